"""Odd HTTP at a real front end, bare and behind the proxies that stand before it in production."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import front_end
from tests.support.framing import CORPUS, KEY, NOT_FOR_PROXIES, check_invariants
from tests.support.ports import free_port
from tests.support.proxies import PROXIES, find_proxy, proxy
from tests.support.raw_http import converse, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front() -> AsyncIterator[str]:
    async with Simulator() as simulator, front_end(simulator, GATEWAY_KEYS=f"tests:{KEY}") as (live, _):
        yield live.url


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROXIES)
async def proxied(
    request: pytest.FixtureRequest, front: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    if find_proxy(request.param) is None:
        pytest.skip(f"{request.param} is not installed (Debian: apt install {request.param})")
    folder = tmp_path_factory.mktemp(request.param)
    async with proxy(request.param, front, folder, free_port()) as url:
        yield url


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.covers("Security · odd HTTP")
async def test_odd_http_at_the_bare_front_end(front: str, name: str) -> None:
    case = CORPUS[name]
    wanted = None if case.ends else len(case.statuses)
    told = await converse(front, case.pieces, replies=wanted, seconds=5)
    assert (told.statuses, told.interim) == ([*case.statuses], case.interim)
    assert (told.end != "open") == case.ends
    check_invariants(told, most=case.most)
    await check_health(front)


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - NOT_FOR_PROXIES))
async def test_odd_http_behind_a_proxy_confuses_no_connection(proxied: str, name: str) -> None:
    case = CORPUS[name]
    told = await converse(proxied, [*case.pieces, 0.05, None], seconds=3)
    check_invariants(told, most=case.most, ours=False)
    await check_health(proxied)


async def check_health(url: str) -> None:
    """The next clients get their own replies: nothing was left on a connection that a proxy shares."""
    for _ in range(2):
        (reply,) = (await converse(url, [request("GET", "/livez")], replies=1, seconds=5)).replies
        assert (reply.status, orjson.loads(reply.body)) == (200, {"status": "ok"})


async def test_a_hundred_odd_conversations_at_once_leave_the_front_end_well(front: str) -> None:
    cases = [CORPUS[name] for name in CORPUS] * 2
    await asyncio.gather(*[converse(front, [*case.pieces, 0.1, None], seconds=5) for case in cases])
    await check_health(front)
