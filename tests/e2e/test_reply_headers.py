"""Headers of replies: upstream text in them is short and harmless, and errors carry the cache's decision too."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from tests.e2e.caching import caching, completion, post
from tests.e2e.conftest import Live

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = json_script({"error": {"message": "no", "code": 400}}, status=400)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis")) as server,
        Simulator() as simulator,
        caching(simulator, server.url) as fronts,
    ):
        yield fronts[0]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param("acme/writer-2", "acme/writer-2", id="a plain name"),
        pytest.param("x" * 200_000, "x" * 256, id="200 kB are cut to 256 characters"),
        pytest.param("a\r\nset-cookie: b=c", "a??set-cookie: b=c", id="a line break cannot start another header"),
        pytest.param("mödel\x1b[2J", "m?del?[2J", id="other characters than printable ASCII are replaced"),
        pytest.param("\N{GRINNING FACE}" * 300, "?" * 256, id="replaced and cut"),
    ],
)
@pytest.mark.parametrize("cache", [None, "use"], ids=["past the cache", "stored and read back"])
async def test_names_given_by_the_upstream_are_cut_and_made_safe_in_headers(
    front: Live, name: str, header: str, cache: str | None
) -> None:
    front.simulator.script(json_script({**completion(), "model": name, "provider": name}))
    for _ in range(1 if cache is None else 2):
        reply = await post(front, f"name {name[:20]} {cache}", cache)
        assert reply.status == 200
        assert reply.headers["x-gateway-model"] == header
        assert reply.headers["x-gateway-provider"] == header


@pytest.mark.parametrize(
    ("asked", "fields", "decision", "reason"),
    [
        pytest.param("use", {}, "miss", None, id="a miss"),
        pytest.param("use", {"stream": True}, "miss", None, id="a miss, streamed"),
        pytest.param("refresh", {}, "miss", None, id="a refresh"),
        pytest.param(None, {}, "bypass", None, id="not asked for"),
        pytest.param(None, {"stream": True}, "bypass", None, id="not asked for, streamed"),
        pytest.param("bypass", {}, "bypass", None, id="declined"),
        pytest.param("use", {"max_tokens": 0}, "bypass", "prewarm", id="a request that cannot be cached"),
    ],
)
async def test_an_error_of_the_upstream_carries_the_cache_decision(
    front: Live, asked: str | None, fields: dict[str, Any], decision: str, reason: str | None
) -> None:
    front.simulator.script(REFUSED)
    reply = await post(front, f"refused {asked} {fields}", asked, **fields)
    assert reply.status == 400
    assert reply.headers.getall("x-gateway-cache") == [decision]
    assert reply.headers.get("x-gateway-cache-reason") == reason


async def test_an_error_before_any_cache_decision_carries_none(front: Live) -> None:
    for reply in (await post(front, "x", "nonsense"), await post(front, "x", key="wrong")):
        assert reply.status in (400, 401)
        assert "x-gateway-cache" not in reply.headers
