"""Who may use what the admin listener does beyond metrics and probes."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.errors import PermissionDenied, Unauthenticated
from gateway.web.admin.metrics import require_admin
from gateway.web.keys import ADMIN_KEY


def request_with(admin_key: str | None, **headers: str) -> web.Request:
    app = web.Application()
    app[ADMIN_KEY] = admin_key
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", "/cache/stats", headers=named, app=app)


@pytest.mark.parametrize("admin_key", [None, ""])
@pytest.mark.parametrize("headers", [{}, {"x_api_key": ""}, {"x_api_key": "any"}, {"authorization": "Bearer "}])
def test_without_an_admin_key_every_request_is_refused(admin_key: str | None, headers: dict[str, str]) -> None:
    with pytest.raises(PermissionDenied, match="GATEWAY_ADMIN_KEY"):
        require_admin(request_with(admin_key, **headers))


@pytest.mark.parametrize("headers", [{}, {"x_api_key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_a_wrong_admin_key_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        require_admin(request_with("right", **headers))


@pytest.mark.parametrize("headers", [{"x_api_key": "right"}, {"authorization": "Bearer right"}])
def test_the_admin_key_is_taken_in_either_header(headers: dict[str, str]) -> None:
    require_admin(request_with("right", **headers))
