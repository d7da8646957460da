"""Every route of the client listener is closed without a key, except the probes."""

import re
from typing import Any

import aiohttp
import pytest

from gateway.web.auth import OPEN_PATHS, PROBES
from gateway.web.routes import CLIENT_ROUTES
from tests.e2e.conftest import Live


async def status_of(live: Live, method: str, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.request(method, live.url + path, data=b"{}") as reply:
        return reply.status


@pytest.mark.parametrize("route", CLIENT_ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_route_without_a_key(live: Live, route: Any) -> None:
    path = re.sub(r"\{[^}]*\}", "x", route.path)
    status = await status_of(live, route.method, path)
    is_always_there = path in (*PROBES, "/.well-known/opencode")
    open_status = 200 if is_always_there else 404  # no sign-in is configured
    assert status == (open_status if path in OPEN_PATHS else 401)


async def test_unknown_path_without_a_key_is_404_and_wrong_method_405(live: Live) -> None:
    assert await status_of(live, "POST", "/v1/nothing") == 404
    assert await status_of(live, "DELETE", "/v1/messages") == 405
