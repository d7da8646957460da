"""Every route of the client listener is closed without a key, except the probes."""

import re
from typing import Any

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from gateway.web.auth import OPEN_PATHS, PROBES
from gateway.web.routes import CLIENT_ROUTES
from gateway.web.wrong_keys import AT_ONCE, EMISSION
from tests.e2e.conftest import KEY, Live, serving


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


async def test_address_with_many_wrong_keys_is_limited_and_its_correct_key_accepted(
    simulator: Simulator,
) -> None:
    async with serving(simulator) as live, aiohttp.ClientSession() as session:

        async def ask(headers: dict[str, str]) -> tuple[int, str | None]:
            async with session.get(live.url + "/v1/models", headers=headers) as reply:
                return reply.status, reply.headers.get("retry-after")

        wrong = [await ask({"x-api-key": f"wrong-{number}"}) for number in range(AT_ONCE)]
        assert wrong == [(401, None)] * AT_ONCE
        while (last := await ask({"x-api-key": "wrong"}))[0] == 401:
            pass
        assert last[0] == 429
        assert 1 <= int(last[1] or 0) <= EMISSION
        assert await ask({"x-api-key": KEY}) == (200, None)
        assert await ask({}) == (401, None)
