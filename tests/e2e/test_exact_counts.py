"""count_tokens with upstreams that have a tokenizer: what each is asked, and the estimate behind every count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.app import running
from gateway.settings import load_settings
from tests.support.messages_server import MessagesServer, Scripted, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "test-key-0123456789"
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
PROMPT: dict[str, Any] = {
    "model": "qwen3",
    "system": "You help.",
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [TOOL],
}
CHAT_MESSAGES = [{"role": "system", "content": "You help."}, {"role": "user", "content": "hi"}]


@asynccontextmanager
async def counting(server: MessagesServer, flavor: str, **changes: Any) -> AsyncIterator[str]:
    fixed = {
        "port": 0, "admin_port": 0, "keys": f"tests:{KEY}", "secret": "t:secret", "upstream_url": server.url,
        "upstream_api_key": "sk-upstream", "upstream_flavor": flavor,
    }  # fmt: skip
    async with running(load_settings(**{**fixed, **changes})) as addresses:
        yield "http://{}:{}".format(*addresses.client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


async def count(url: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """Return the answer, and the method of the count."""
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(url + "/v1/messages/count_tokens", json={**PROMPT, **fields}) as response,
    ):
        assert response.status == 200, await response.text()
        method = response.headers["x-gateway-token-count"].partition(";")[0]
        return await response.json(), method


@pytest.mark.parametrize(
    ("flavor", "path", "answer", "messages"),
    [
        ("llamacpp", "/v1/chat/completions/input_tokens", {"input_tokens": 308}, CHAT_MESSAGES),
        ("vllm", "/tokenize", {"count": 308, "max_model_len": 8192, "tokens": [1, 2]}, CHAT_MESSAGES),
        ("sglang", "/v1/messages/count_tokens", {"input_tokens": 308}, PROMPT["messages"]),
        ("litellm", "/v1/messages/count_tokens", {"input_tokens": 308}, PROMPT["messages"]),
    ],
)
@pytest.mark.covers("Models and tokens · count_tokens by the server's own tokenizer")
async def test_tokens_are_counted_by_the_servers_own_tokenizer(
    upstream: MessagesServer, flavor: str, path: str, answer: dict[str, Any], messages: Any
) -> None:
    upstream.requests.clear()
    upstream.script.append(Scripted.json(answer))
    async with counting(upstream, flavor) as url:
        assert await count(url) == ({"input_tokens": 308}, "method=upstream")
    [seen] = upstream.requests
    body = orjson.loads(seen.body)
    assert (seen.path, seen.header("authorization")) == (path, "Bearer sk-upstream")
    assert (body["messages"], body["model"], len(body["tools"])) == (messages, "qwen3", 1)
    assert "stream" not in body


async def test_tokens_are_counted_by_an_upstream_that_speaks_messages(upstream: MessagesServer) -> None:
    upstream.requests.clear()
    upstream.script.append(Scripted.json({"input_tokens": 77}))
    async with counting(upstream, "openai", dialect="messages") as url:
        assert await count(url) == ({"input_tokens": 77}, "method=upstream")
    assert upstream.requests[0].path == "/v1/messages/count_tokens"
    assert "max_tokens" not in orjson.loads(upstream.requests[0].body)


@pytest.mark.parametrize(
    ("flavor", "calls"),
    [("openai", 0), ("transformers", 0), ("openrouter", 0)],
)
async def test_servers_without_a_tokenizer_are_not_asked(upstream: MessagesServer, flavor: str, calls: int) -> None:
    upstream.requests.clear()
    async with counting(upstream, flavor) as url:
        assert (await count(url))[1] == "method=characters"
    assert len(upstream.requests) == calls


REFUSED = Scripted.json({"error": {"message": "scripted is not a multimodal model"}}, 400)
MISSING = Scripted.json({"detail": "Not Found"}, 404)


@pytest.mark.parametrize(
    ("answers", "methods", "calls"),
    [
        pytest.param([REFUSED, Scripted.json({"count": 5})], ["characters", "upstream"], 2, id="refused: asked again"),
        pytest.param([MISSING], ["characters", "characters"], 1, id="no such route: left alone"),
        pytest.param(
            [Scripted.json({"count": "many"}), Scripted.json([])], ["characters", "characters"], 2, id="no number"
        ),
        pytest.param([Scripted(b"<html>"), Scripted.json({"count": 0})], ["characters", "characters"], 2, id="no JSON"),
    ],
)
async def test_estimate_stands_behind_a_count_that_does_not_come(
    upstream: MessagesServer, answers: list[Scripted], methods: list[str], calls: int
) -> None:
    upstream.requests.clear()
    upstream.script[:] = answers
    async with counting(upstream, "vllm") as url:
        counted = [await count(url) for _ in methods]
    assert [method for _, method in counted] == [f"method={method}" for method in methods]
    assert all(answer["input_tokens"] > 0 for answer, _ in counted)
    assert len(upstream.requests) == calls


async def test_server_that_does_not_answer_is_not_waited_for_twice() -> None:
    async with messages_server() as server:
        url = server.url
    server.url = url  # nothing listens there now
    async with counting(server, "vllm") as gateway:
        assert (await count(gateway))[1] == "method=characters"
        assert (await count(gateway))[1] == "method=characters"


async def test_edits_are_applied_before_the_server_counts(upstream: MessagesServer) -> None:
    upstream.requests.clear()
    upstream.script[:] = [Scripted.json({"count": 50}), Scripted.json({"count": 90})]
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    async with counting(upstream, "vllm") as url:
        answer, method = await count(url, context_management=edits)
    assert (answer, method) == (
        {"context_management": {"original_input_tokens": 90}, "input_tokens": 50},
        "method=upstream",
    )


OVERFLOW = "This model's maximum context length is 8192 tokens. However, your prompt contains "
FLOOR = OVERFLOW + "at least 8193 input tokens, which exceeds this limit even without any output tokens."
CHARACTERS = (
    OVERFLOW + "400062 characters (more than 155648 characters, which is the upper bound for 8192 input tokens)."
)
COUNTED = "The input (9500 tokens) is longer than the model's context length (8192 tokens)."


@pytest.mark.parametrize(
    ("flavor", "words", "counts", "told"),
    [
        pytest.param("vllm", FLOOR, [{"count": 24016}], 24016, id="a floor"),
        pytest.param("vllm", CHARACTERS, [{"count": 240016}], 240016, id="characters"),
        pytest.param("vllm", FLOOR, [{"count": 5}], 8193, id="a count below the limit"),
        pytest.param("vllm", FLOOR, [{}], 8193, id="no count"),
        pytest.param("vllm", COUNTED, [], 9500, id="the server's own count"),
        pytest.param("openai", FLOOR, [], 8193, id="a server without a tokenizer"),
    ],
)
async def test_overflow_that_the_server_did_not_count_is_counted_by_its_tokenizer(
    upstream: MessagesServer, flavor: str, words: str, counts: list[dict[str, int]], told: int
) -> None:
    refusal = Scripted.json({"error": {"message": words, "type": "BadRequestError", "code": 400}}, 400)
    upstream.requests.clear()
    upstream.script[:] = [refusal, *map(Scripted.json, counts)]
    async with (
        counting(upstream, flavor, dialect="chat") as url,
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(url + "/v1/messages", json={**PROMPT, "max_tokens": 100}) as response,
    ):
        error = (await response.json())["error"]
    assert (response.status, error["message"]) == (400, f"prompt is too long: {told} tokens > 8192 maximum")
    assert [seen.path for seen in upstream.requests] == ["/v1/chat/completions", *["/tokenize"] * len(counts)]
