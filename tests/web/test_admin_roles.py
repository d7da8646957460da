"""Roles of the admin listener's routes: each declares one, and what declares none is refused."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.errors import PermissionDenied, Unauthenticated
from gateway.web.admin.authorization import (
    ADMIN_KEYS,
    OTHER_CALLERS,
    RANKS,
    ROLES,
    WRONG_ADMIN_KEYS,
    AdminKeys,
    OtherCallers,
    authorize,
    identify,
)
from gateway.web.admin.wrong_keys import WrongAdminKeys
from gateway.web.routes import ADMIN_ROLES, ADMIN_ROUTES


def app_with(keys: AdminKeys) -> web.Application:
    app = web.Application()
    app[ADMIN_KEYS], app[OTHER_CALLERS], app[WRONG_ADMIN_KEYS] = keys, OtherCallers(), WrongAdminKeys()
    return app


def test_every_admin_route_declares_a_role() -> None:
    assert {(route.method, route.path) for route in ADMIN_ROUTES} == set(ADMIN_ROLES)
    assert set(ADMIN_ROLES.values()) == set(RANKS)
    writes = {role for (method, path), role in ADMIN_ROLES.items() if method != "GET" and path != "/api/session"}
    assert writes == {"operator", "admin"}


async def test_route_without_a_role_is_refused() -> None:
    async def handler(request: web.Request) -> web.Response:
        raise AssertionError

    app = app_with(AdminKeys("right"))
    app[ROLES] = {}
    with pytest.raises(PermissionDenied, match="No role"):
        await authorize(make_mocked_request("GET", "/", headers={"x-api-key": "right"}, app=app), handler)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "any"}, {"authorization": "Bearer "}])
async def test_empty_admin_keys_refuse_every_caller(headers: dict[str, str]) -> None:
    app = app_with(AdminKeys("", ""))
    with pytest.raises(PermissionDenied, match="GATEWAY_ADMIN_KEY"):
        await identify(make_mocked_request("GET", "/cache/stats", headers=headers, app=app))


async def test_empty_viewer_key_lets_no_empty_key_in() -> None:
    app = app_with(AdminKeys("right", ""))
    with pytest.raises(Unauthenticated):
        await identify(make_mocked_request("GET", "/", headers={"authorization": "Bearer wrong"}, app=app))
    assert AdminKeys("right", "").role_of("") is None
