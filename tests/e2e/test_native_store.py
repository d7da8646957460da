"""Threads, the prompt cache and batch items with an upstream that speaks Messages."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.messages.fold import fold_stream
from gateway.redis.embedded import EmbeddedServer
from tests.e2e.test_native import KEY, native
from tests.support.messages_server import BEGINNING, ENDING, MessagesServer, Scripted, event, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(upstream: MessagesServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis")) as redis,
        native(upstream, redis_url=redis.url, max_attempts=1) as url,
    ):
        yield url


async def ask(url: str, body: dict[str, Any], **headers: str) -> tuple[Any, dict[str, str]]:
    """Return the message, of JSON or of a stream, and the header."""
    sent = {"x-api-key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + "/v1/messages", data=orjson.dumps(body), headers=sent) as reply,
    ):
        told = await reply.read()
        assert reply.status == 200, told
        message = fold_stream(told) if body.get("stream") else orjson.loads(told)
        return message, {name.lower(): value for name, value in reply.headers.items()}


def body_of(words: str, **fields: Any) -> dict[str, Any]:
    return {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": words}], **fields}


@pytest.mark.parametrize("first", [False, True], ids=["stored from JSON", "stored from a stream"])
@pytest.mark.parametrize("second", [False, True], ids=["read as JSON", "read as a stream"])
async def test_native_answer_is_served_from_the_cache(
    upstream: MessagesServer, url: str, first: bool, second: bool
) -> None:
    words, calls = f"cached {next(numbers)}", len(upstream.requests)
    told, headers = await ask(url, body_of(words, stream=first), x_gateway_cache="use")
    assert headers["x-gateway-cache"] == "miss"
    again, headers = await ask(url, body_of(words, stream=second), x_gateway_cache="use")
    assert headers["x-gateway-cache"] == "hit"
    assert len(upstream.requests) == calls + 1
    texts = [[block["text"] for block in message["content"]] for message in (told, again)]
    assert texts == [["Hello"], ["Hello"]]
    assert again["model"] == "claude-test"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.covers("Threads · on Messages upstreams")
async def test_native_thread_is_continued(upstream: MessagesServer, url: str, stream: bool) -> None:
    upstream_id = f"msg_up_{next(numbers)}"
    start = BEGINNING.replace(b"msg_upstream", upstream_id.encode())
    spaced = ENDING.replace(b'{"type":"message_stop"}', b'{"type": "message_stop"   }')
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
    if stream:
        upstream.script.append(Scripted(start + delta + spaced))
    first, _ = await ask(url, body_of("begin", stream=stream, thread={"type": "create"}, system="Be brief."))
    thread = {"type": "continue", "previous_message_id": first["id"]}
    second, headers = await ask(url, body_of("go on", stream=stream, thread=thread))
    assert second["content"][0]["text"] == "Hello"
    assert headers["x-gateway-dialect"] == "messages; edited"
    sent = orjson.loads(upstream.requests[-1].body)
    assert "thread" not in sent
    assert sent["system"] == "Be brief."
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
