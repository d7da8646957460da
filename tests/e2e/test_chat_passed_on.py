"""Chat completions before upstreams that speak chat: bytes out and back, and when they are converted instead."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.app import running
from gateway.settings import load_settings
from tests.e2e.conftest import KEY
from tests.support.messages_server import MessagesServer, Scripted, Seen, failure, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 20.0
ROUTES = """
[upstreams]
a = {{ url = "{a}", dialect = "chat" }}
b = {{ url = "{b}", dialect = "messages" }}
[routes]
"quick" = "a/vendor/m"
"safe" = ["a/vendor/m", "b/claude-real"]
"sealed" = ["b/claude-real", "a/vendor/m"]
"cool" = {{ to = "a/vendor/m", params = {{ temperature = {{ max = 0.5 }} }} }}
"""
BODY = (
    b'{ "messages":[{"role":"user","content":"h\\u00e9"}], "model" : "quick" ,"temperature": 1.10, "n": 2,'
    b' "new_field": {"model": "x", "n": 12345678901234567890123}%b }'
)
ASK: dict[str, Any] = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION = (
    b'{"id":"gen-1", "object":"chat.completion","created":1.0,"model":"vendor/m-2026","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"h\\u00e9","new":1.10},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}'
)


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: %b\n\n" % orjson.dumps({"id": "gen-1", "model": "vendor/m", "choices": choices, **fields})


BEGIN, TEXT = chunk({"role": "assistant", "content": ""}), chunk({"content": "Hello"})
END = chunk({}, "stop") + chunk(usage={"prompt_tokens": 9, "completion_tokens": 4}) + b"data: [DONE]\n\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


@pytest.fixture(scope="module")
def file(upstream: MessagesServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("routes") / "gateway.toml"
    path.write_text(ROUTES.format(a=upstream.url, b=upstream.url))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(file: Path) -> AsyncIterator[aiohttp.ClientSession]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_CONFIG", str(file))
        settings = load_settings(port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret")
    async with running(settings) as addresses:
        base = "http://{}:{}".format(*addresses.client)
        async with aiohttp.ClientSession(base, headers={"x-api-key": KEY}) as session:
            yield session


async def ask(
    client: aiohttp.ClientSession, upstream: MessagesServer, body: Any, *script: Scripted, **headers: str
) -> tuple[aiohttp.ClientResponse, bytes, list[Seen]]:
    upstream.script[:] = script
    count = len(upstream.requests)
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with client.post("/v1/chat/completions", data=data, headers=headers) as response:
        return response, await response.read(), upstream.requests[count:]


@pytest.mark.covers("Chat clients · passed on byte for byte to chat upstreams")
async def test_json_goes_out_and_comes_back_byte_for_byte(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    body = BODY % b""
    response, told, [seen] = await ask(client, upstream, body, Scripted(COMPLETION, content_type="application/json"))
    assert seen.path == "/v1/chat/completions"
    assert seen.body == body.replace(b'"model" : "quick"', b'"model" : "vendor/m"')
    assert told == COMPLETION.replace(b"vendor/m-2026", b"quick")
    assert response.headers["x-gateway-dialect"] == "chat"
    assert response.headers["x-gateway-model"] == "vendor/m-2026"
    assert "x-gateway-ignored" not in response.headers


def conversation(turns: int) -> list[Any]:
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Look: " * 2000}]
    for number in range(turns):
        call = {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages += [{"role": "assistant", "content": None, "tool_calls": [call]}]
        messages += [{"role": "tool", "tool_call_id": f"call_{number}", "content": "caf\u00e9 " * number}]
    return messages


@pytest.mark.parametrize("model", ["quick", "cool", "sealed"])
async def test_each_turn_of_a_conversation_reaches_its_upstream_whole(
    client: aiohttp.ClientSession, upstream: MessagesServer, model: str
) -> None:
    sent: list[Any] = []
    for turns in (1, 2, 3, 3):
        body = orjson.dumps({"model": model, "messages": conversation(turns), "temperature": 0.9})
        script = () if model == "sealed" else (Scripted(COMPLETION, content_type="application/json"),)
        _, _, [seen] = await ask(client, upstream, body, *script)
        sent.append(orjson.loads(seen.body))
        if model == "quick":
            assert seen.body == body.replace(b'"quick"', b'"vendor/m"')
    counts = [len(one["messages"]) for one in sent]
    assert counts == sorted(counts)
    assert sent[2] == sent[3]
    assert [one["messages"][: counts[0]] for one in sent] == [sent[0]["messages"]] * 4


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.covers("Chat clients · usage in streams only when asked for")
async def test_stream_passes_with_its_usage_only_for_clients_that_asked(
    client: aiohttp.ClientSession, upstream: MessagesServer, asks: bool
) -> None:
    body = BODY % (b',"stream":true,"stream_options":{"include_usage":%b}' % (b"true" if asks else b"false"))
    _, told, [seen] = await ask(client, upstream, body, Scripted([BEGIN, TEXT, END]))
    assert orjson.loads(seen.body)["stream_options"] == {"include_usage": True}
    assert (b'"usage":{' in told) == asks
    assert told.startswith(BEGIN.replace(b"vendor/m", b"quick") + TEXT.replace(b"vendor/m", b"quick"))
    assert told.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.covers("Chat clients · failing over to another dialect")
async def test_failure_before_content_goes_to_a_candidate_of_another_dialect(
    client: aiohttp.ClientSession, upstream: MessagesServer, streams: bool
) -> None:
    body = {**ASK, "model": "safe", "stream": streams}
    broken = Scripted([BEGIN]) if streams else Scripted.json({"error": {"message": "no"}}, 500)
    response, told, seen = await ask(client, upstream, body, broken)
    assert [one.path for one in seen] == ["/v1/chat/completions", "/v1/messages"]
    assert response.status == 200
    assert response.headers["x-gateway-dialect"] == "messages; edited"
    text = told.decode()
    assert '"gen-1"' not in text
    assert text.count('"role":"assistant"') == 1
    assert "Hel" in text


async def test_failure_of_messages_goes_to_a_chat_candidate(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    broken = Scripted.json(failure("api_error", "no"), 500)
    body = {**ASK, "model": "sealed", "stream": True}
    response, told, seen = await ask(client, upstream, body, broken, Scripted([BEGIN, TEXT, END]))
    assert [one.path for one in seen] == ["/v1/messages", "/v1/chat/completions"]
    assert response.headers["x-gateway-dialect"] == "chat"
    assert b"Hello" in told


async def test_error_after_content_is_openais_and_ends_the_stream(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    failed = b'data: {"error":{"message":"broken","code":500}}\n\n'
    _, told, seen = await ask(client, upstream, {**ASK, "model": "safe", "stream": True}, Scripted([TEXT, failed]))
    assert len(seen) == 1
    last = orjson.loads(told.strip().rpartition(b"data: ")[2])
    assert last["error"]["message"] == "broken"
    assert b"[DONE]" not in told


@pytest.mark.covers("Chat clients · refused requests are converted and asked again")
async def test_refused_request_is_converted_and_asked_again(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    refusal = Scripted.json({"error": {"message": "new_field: unknown field", "type": "invalid_request_error"}}, 400)
    answer = Scripted([BEGIN, TEXT, END])
    response, told, seen = await ask(client, upstream, {**ASK, "new_field": 1}, refusal, answer)
    assert (response.status, len(seen)) == (200, 2)
    assert "new_field" not in orjson.loads(seen[1].body)
    assert "dropped:new_field" in response.headers["x-gateway-ignored"]
    assert orjson.loads(told)["choices"][0]["message"]["content"] == "Hello"


async def test_refusal_that_conversion_cannot_help_keeps_the_upstreams_words(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    refusal = Scripted.json({"error": {"message": "n is too large", "type": "invalid_request_error"}}, 400)
    response, told, seen = await ask(client, upstream, {**ASK, "n": 200}, refusal)
    assert (response.status, len(seen)) == (400, 1)
    assert orjson.loads(told)["error"]["message"] == "n is too large"


async def test_policy_on_a_parameter_converts_the_request(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    body = {**ASK, "model": "cool", "temperature": 0.9}
    response, _, [seen] = await ask(client, upstream, body, Scripted([BEGIN, TEXT, END]))
    assert orjson.loads(seen.body)["temperature"] == 0.5
    assert "changed:temperature" in response.headers["x-gateway-ignored"]


async def test_stream_that_the_client_leaves_is_closed_at_the_upstream(
    client: aiohttp.ClientSession, upstream: MessagesServer
) -> None:
    upstream.script[:] = [Scripted([BEGIN, TEXT], hangs=True)]
    async with asyncio.timeout(SECONDS):
        response = await client.post("/v1/chat/completions", json={**ASK, "stream": True})
        await response.content.readuntil(b"Hello")
        response.close()
        await upstream.requests[-1].left.wait()
