"""Header values that are not UTF-8 are refused at the door, on every path."""

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from gateway.redis.connections import queue_client
from gateway.simulator.loopback import Simulator
from tests.e2e.caching import ADMIN_KEY, body, caching
from tests.e2e.conftest import KEY, Live
from tests.support.raw_http import RawReply, converse, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGE = orjson.dumps(body("hello"))
BATCH = orjson.dumps({"requests": [{"custom_id": f"c{i}", "params": body("x" * 3000)} for i in range(50)]})
PATHS = {
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": MESSAGE,
    "/v1/messages/batches": BATCH,
    "/v1/nothing": MESSAGE,
}
HEADERS = (
    "idempotency-key",
    "anthropic-beta",
    "anthropic-version",
    "x-gateway-cache",
    "x-gateway-priority",
    "x-session-id",
    "content-type",
    "content-encoding",
    "user-agent",
    "x-unknown",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(redis_url: str) -> AsyncIterator[Live]:
    async with Simulator() as simulator, caching(simulator, redis_url) as fronts:
        yield fronts[0]


async def answer(url: str, asked: bytes) -> RawReply:
    (reply,) = (await converse(url, [asked], replies=1)).replies
    return reply


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_that_is_not_utf8_is_refused_and_nothing_stays_staged(
    front: Live, redis_url: str, path: str, name: str
) -> None:
    fields = [("x-api-key", KEY.encode()), (name, b"caf\xe9 \xff"), ("x-gateway-cache", b"use")]
    reply = await answer(front.url, request("POST", path, PATHS[path], fields))
    assert reply.status == 400
    error = orjson.loads(reply.body)["error"]
    assert error == {
        "type": "invalid_request_error",
        "message": f"{name}: the value of this header is not valid UTF-8.",
    }
    redis = queue_client(redis_url)
    assert [key async for key in redis.scan_iter("gw:b:*")] == []
    await redis.aclose()


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_a_key_that_is_not_utf8_is_refused(front: Live, name: str) -> None:
    reply = await answer(front.url, request("POST", "/v1/messages", MESSAGE, [(name, b"\xff")]))
    assert reply.status == 400


async def test_the_admin_listener_refuses_a_header_that_is_not_utf8(front: Live) -> None:
    fields = [("x-api-key", ADMIN_KEY.encode()), ("x-note", b"\xff")]
    reply = await answer(front.admin_url, request("GET", "/cache/stats", headers=fields))
    assert reply.status == 400


async def test_a_header_in_utf8_passes(front: Live) -> None:
    fields = [("x-api-key", KEY.encode()), ("idempotency-key", "schlüssel ☃".encode())]
    reply = await answer(front.url, request("POST", "/v1/messages/batches", BATCH, fields))
    assert reply.status == 200
