"""A front end before an upstream that speaks Anthropic Messages: bytes out and back, headers, failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anthropic
import orjson
import pytest
import pytest_asyncio

from gateway.app import running
from gateway.settings import load_settings
from gateway.web.reply import _to_lines
from tests.support.messages_server import (
    BEGINNING,
    ENDING,
    MESSAGE,
    STREAM,
    MessagesServer,
    Scripted,
    event,
    failure,
    messages_server,
    text_delta,
)
from tests.support.responses_events import CALLS, REASONING, to_stream
from tests.support.responses_events import MESSAGE as RESPONSES_MESSAGE

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "test-key-0123456789"
BODY = (
    b'{ "max_tokens": 10, "temperature": 1.10, "model" : "claude-test" ,"messages":[{"role":"user",'
    b'"content":"h\\u00e9"}], "container": null, "new_field": {"model": "x", "n": 12345678901234567890123} }'
)


@asynccontextmanager
async def native(server: MessagesServer, **changes: Any) -> AsyncIterator[str]:
    fixed = {
        "port": 0, "admin_port": 0, "keys": f"tests:{KEY}", "secret": "t:secret", "upstream_url": server.url,
        "upstream_api_key": "sk-upstream-canary", "dialect": "messages", "aliases": "claude-test=claude-real",
    }  # fmt: skip
    async with running(load_settings(**{**fixed, **changes})) as addresses:
        yield "http://{}:{}".format(*addresses.client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(upstream: MessagesServer) -> AsyncIterator[str]:
    async with native(upstream, max_attempts=2) as url:
        yield url


async def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent = {"x-api-key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=sent) as reply:
        return reply.status, {name.lower(): value for name, value in reply.headers.items()}, await reply.read()


@pytest.mark.covers("Upstreams · Anthropic Messages byte for byte")
async def test_body_reaches_the_upstream_byte_for_byte_but_for_the_model(upstream: MessagesServer, url: str) -> None:
    status, headers, body = await post(url + "/v1/messages", BODY)
    assert status == 200
    assert upstream.requests[-1].body == BODY.replace(b'"claude-test"', b'"claude-real"')
    assert headers["x-gateway-dialect"] == "messages"
    assert "x-gateway-ignored" not in headers
    assert orjson.loads(body) == {**MESSAGE, "model": "claude-test"}
    assert body == orjson.dumps(MESSAGE).replace(b'"claude-of-the-upstream"', b'"claude-test"')


@pytest.mark.parametrize("value", [b'"many"', b"null", b"1.5", b"[]"])
async def test_max_tokens_of_the_wrong_type_is_left_to_the_upstream_to_refuse(
    upstream: MessagesServer, url: str, value: bytes
) -> None:
    body = b'{"model":"claude-test","max_tokens":%b,"messages":[{"role":"user","content":"hi"}]}' % value
    status, _, _ = await post(url + "/v1/messages", body)
    assert status == 200  # this upstream refuses nothing
    assert b'"max_tokens":' + value in upstream.requests[-1].body


async def test_headers_are_forwarded_without_the_clients_credentials(upstream: MessagesServer, url: str) -> None:
    await post(
        url + "/v1/messages?beta=true", BODY, anthropic_beta="b-2,a-1", anthropic_version="2023-06-01",
        anthropic_workspace_id="wrk_1", anthropic_new_thing="x", cookie="c=1", x_forwarded_for="9.9.9.9",
        x_stainless_lang="python", x_app="cli",
    )  # fmt: skip
    seen = upstream.requests[-1]
    assert seen.header("x-api-key") == "sk-upstream-canary"
    assert seen.header("anthropic-beta") == "b-2,a-1"
    assert seen.header("anthropic-version") == "2023-06-01"
    assert seen.header("anthropic-new-thing") == "x"
    assert seen.query == ""
    assert KEY not in str(seen.headers)
    names = {name for name, _ in seen.headers}
    assert names.isdisjoint(
        {"authorization", "anthropic-workspace-id", "cookie", "x-forwarded-for", "x-stainless-lang", "x-app"}
    )


async def test_upstreams_request_id_is_returned_beside_ours(upstream: MessagesServer, url: str) -> None:
    for body in (BODY, BODY.replace(b"{ ", b'{"stream":true,', 1)):
        reply = Scripted(STREAM) if b'"stream"' in body else Scripted.json(MESSAGE)
        reply.headers["request-id"] = "req_upstream_7"
        upstream.script.append(reply)
        _, headers, _ = await post(url + "/v1/messages", body)
        assert headers["x-gateway-upstream-request-id"] == "req_upstream_7"
        assert headers["request-id"] != "req_upstream_7"


async def test_headers_kept_for_other_replies_are_without_the_upstreams_request_id(
    upstream: MessagesServer, url: str
) -> None:
    kept = []
    for number in range(3):
        for body in (BODY, BODY.replace(b"{ ", b'{"stream":true,', 1)):
            reply = Scripted(STREAM) if b'"stream"' in body else Scripted.json(MESSAGE)
            reply.headers["request-id"] = f"req_upstream_{number}"
            upstream.script.append(reply)
            await post(url + "/v1/messages", body)
        kept.append(_to_lines.cache_info().currsize)
    # A stream that ends in its first write has a length, another one has chunks.
    assert 0 <= kept[-1] - kept[0] <= 1


@pytest.mark.covers("Upstreams · Messages streams byte for byte")
async def test_stream_passes_unchanged_but_for_the_model(upstream: MessagesServer, url: str) -> None:
    streamed = BODY.replace(b"{ ", b'{"stream":true,', 1)
    status, headers, body = await post(url + "/v1/messages", streamed)
    assert status == 200
    assert headers["x-gateway-dialect"] == "messages"
    assert headers["content-type"].startswith("text/event-stream")
    held_ping = STREAM.replace(event("ping"), b"")
    assert body == held_ping.replace(b'"claude-of-the-upstream"', b'"claude-test"')


async def test_official_client_reads_answer_and_stream(url: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        asked: Any = {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        message = await client.messages.create(**asked)
        assert message.content[0].text == "Hello"  # type: ignore[union-attr]
        async with client.messages.stream(**asked) as stream:
            final = await stream.get_final_message()
        assert final.content[0].text == "Hello"  # type: ignore[union-attr]
        assert (final.model, final.usage.input_tokens, final.usage.output_tokens) == ("claude-test", 12, 5)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","messages":[],"model":"b"}',
        b'{"model":"a","messages":[],"mod\\u0065l":"a"}',
        b'{"mod\\u0065l":"a","messages":[]}',
    ],
)
async def test_model_named_twice_or_escaped_is_refused_without_a_call(
    upstream: MessagesServer, url: str, body: bytes
) -> None:
    calls = len(upstream.requests)
    status, _, reply = await post(url + "/v1/messages", body)
    assert status == 400
    assert b"model" in reply
    assert len(upstream.requests) == calls


async def test_refusal_keeps_the_upstreams_words_and_gets_our_request_id(upstream: MessagesServer, url: str) -> None:
    told = failure("invalid_request_error", "thinking.signature: Field required")
    told["error"]["extra"] = {"n": 1}
    upstream.script.append(Scripted.json(told, 400))
    status, headers, reply = await post(url + "/v1/messages", BODY)
    assert status == 400
    assert orjson.loads(reply) == {"type": "error", "error": told["error"], "request_id": headers["request-id"]}
    assert headers["request-id"] != "req_upstream"


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [(401, "authentication_error", 500), (402, "billing_error", 402), (403, "permission_error", 500)],
)
async def test_refusal_of_the_operators_account_is_hidden(
    upstream: MessagesServer, url: str, status: int, kind: str, shown: int
) -> None:
    upstream.script.append(Scripted.json(failure(kind, "key sk-ant-1 of org 7"), status))
    got, _, reply = await post(url + "/v1/messages", BODY)
    assert got == shown
    assert b"org 7" not in reply


async def test_error_event_before_content_is_tried_again(upstream: MessagesServer, url: str) -> None:
    overloaded = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    upstream.script.append(Scripted(BEGINNING + overloaded))
    status, _, body = await post(url + "/v1/messages", BODY.replace(b"{ ", b'{"stream":true,', 1))
    assert status == 200
    assert body.count(b"event: message_start") == 1
    assert b"event: error" not in body
    assert body.endswith(event("message_stop"))


async def test_error_event_after_content_ends_the_stream_in_the_upstreams_words(
    upstream: MessagesServer, url: str
) -> None:
    overloaded = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    upstream.script.append(Scripted(BEGINNING + text_delta("a") + overloaded))
    _, headers, body = await post(url + "/v1/messages", BODY.replace(b"{ ", b'{"stream":true,', 1))
    name, _, data = body.split(b"\n\n")[-2].partition(b"\ndata: ")
    assert name == b"event: error"
    assert orjson.loads(data)["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert orjson.loads(data)["request_id"] == headers["request-id"]


async def test_stream_that_is_cut_ends_in_an_error_event(upstream: MessagesServer, url: str) -> None:
    upstream.script.append(Scripted(BEGINNING + text_delta("a")))
    _, _, body = await post(url + "/v1/messages", BODY.replace(b"{ ", b'{"stream":true,', 1))
    assert body.split(b"\n\n")[-2].startswith(b"event: error")


@pytest.mark.parametrize("sent", [b"", BEGINNING, BEGINNING + text_delta("a")])
async def test_upstream_is_left_when_the_client_goes(upstream: MessagesServer, url: str, sent: bytes) -> None:
    upstream.script.append(Scripted(sent, hangs=True))
    body = BODY.replace(b"{ ", b'{"stream":true,', 1)
    upstream.arrived.clear()
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(5):
        await upstream.arrived.wait()
    writer.close()
    async with asyncio.timeout(1):
        await upstream.requests[-1].left.wait()


@pytest.mark.covers("Upstreams · Responses: reasoning goes back")
async def test_responses_upstream_gives_its_reasoning_and_gets_it_back() -> None:
    async with messages_server() as server, native(server, dialect="responses", aliases="claude-test=gpt-6") as url:
        async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0) as client:
            server.script += [
                Scripted(to_stream([REASONING, RESPONSES_MESSAGE, *CALLS])),
                Scripted(to_stream([RESPONSES_MESSAGE])),
            ]
            asked: Any = {"model": "claude-test", "max_tokens": 99, "thinking": {"type": "adaptive"}}
            asked["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in ("read", "list")]
            messages: list[Any] = [{"role": "user", "content": "hi"}]
            async with client.messages.stream(**asked, messages=messages) as stream:
                first = await stream.get_final_message()
            assert [block.type for block in first.content] == ["thinking", "text", "tool_use", "tool_use"]
            calls = [block.id for block in first.content if block.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": call, "content": "ok"} for call in calls]
            messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
            second = await client.messages.create(**asked, messages=messages)
            assert second.stop_reason == "end_turn"
        assert [seen.path for seen in server.requests] == ["/v1/responses"] * 2
        items = orjson.loads(server.requests[1].body)["input"]
        assert items[1] == REASONING
        kinds = [item["type"] for item in items[2:]]
        assert kinds == ["message", *["function_call"] * 2, *["function_call_output"] * 2]
        assert server.requests[0].header("authorization") == "Bearer sk-upstream-canary"


async def test_claude_codes_billing_header_does_not_reach_other_servers(upstream: MessagesServer, url: str) -> None:
    billing = b'{"type":"text","text":"x-anthropic-billing-header: cc"}'
    system = b'"system": [ ' + billing + b' , {"type":"text","text":"Be\\u0020brief"} ],'
    await post(url + "/v1/messages", BODY.replace(b"{ ", b"{" + system, 1))
    sent = upstream.requests[-1].body
    assert b'"system": [{"type":"text","text":"Be\\u0020brief"} ],"max_tokens": 10,"temperature": 1.10' in sent
    assert orjson.loads(sent)["model"] == "claude-real"


@pytest.mark.parametrize("streams", [False, True], ids=["JSON", "stream"])
@pytest.mark.covers("Chat clients · on Messages upstreams")
async def test_clients_of_openais_apis_are_answered_by_messages(
    upstream: MessagesServer, url: str, streams: bool
) -> None:
    asked = {"model": "claude-test", "max_tokens": 9, "seed": 3, "stream": streams, "reasoning_effort": "low"}
    said = {"chat/completions": {"messages": [{"role": "user", "content": "Hi"}]}, "responses": {"input": "Hi"}}
    for path, prompt in said.items():
        body = {**asked, **prompt} if path.startswith("chat") else {"model": "claude-test", "stream": streams, **prompt}
        status, headers, told = await post(f"{url}/v1/{path}", orjson.dumps(body))
        assert status == 200
        assert b"Hello" in told or b'"Hel"' in told
        sent = orjson.loads(upstream.requests[-1].body)
        assert sent["model"] == "claude-real"
        assert not {"seed", "reasoning_effort", "openai"} & sent.keys()
        assert headers["x-gateway-dialect"] == "messages; edited"
        if path.startswith("chat"):
            assert sent["output_config"] == {"effort": "low"}
            assert sent["thinking"] == {"type": "adaptive"}
            assert headers["x-gateway-ignored"] == "dropped:seed"


ODD_EVENTS = {
    "data that are no JSON": b"event: content_block_delta\ndata: {oops\n\n",
    "a delta of another type": event("content_block_delta", index=0, delta=5),
    "a call without a name": event("content_block_start", index=1, content_block={"type": "tool_use", "id": "c"}),
}
BODIES = {
    "messages": {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "chat/completions": {"model": "claude-test", "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "claude-test", "input": "Hi"},
}


ERROR_TYPES = {"messages": "api_error"}
ODD_CONTENT: dict[str, list[Any]] = {
    "a block without a type": [{"id": "c"}],
    "a call without a name": [{"type": "tool_use", "id": "c", "input": {}}],
    "a block that is no object": [5],
}


@pytest.mark.parametrize("path", BODIES)
async def test_answer_that_cannot_be_read_is_a_502_for_any_client(upstream: MessagesServer, path: str) -> None:
    async with native(upstream, max_attempts=1) as url:
        for name, odd in ODD_EVENTS.items():
            upstream.script.append(Scripted(BEGINNING + odd + ENDING))
            status, _, told = await post(f"{url}/v1/{path}", orjson.dumps({**BODIES[path], "stream": True}))
            assert (status, orjson.loads(told)["error"]["type"]) == (502, ERROR_TYPES.get(path, "server_error")), name
        for name, content in ODD_CONTENT.items():
            upstream.script.append(Scripted.json({**MESSAGE, "content": content}))
            status, _, told = await post(f"{url}/v1/{path}", orjson.dumps(BODIES[path]))
            assert (status, orjson.loads(told)["error"]["type"]) == (502, ERROR_TYPES.get(path, "server_error")), name


async def test_counts_that_are_texts_or_floats_are_numbers_for_an_openai_client(
    upstream: MessagesServer, url: str
) -> None:
    usage = {"input_tokens": "12", "output_tokens": 5.0, "output_tokens_details": "none"}
    upstream.script.append(Scripted.json({**MESSAGE, "usage": usage}))
    status, _, told = await post(f"{url}/v1/chat/completions", orjson.dumps(BODIES["chat/completions"]))
    counts = orjson.loads(told)["usage"]
    assert (status, counts["prompt_tokens"], counts["completion_tokens"]) == (200, 12, 5)


@pytest.mark.parametrize("field", ["logprobs", "logit_bias", "audio"])
async def test_parameters_that_messages_lacks_are_refused_by_name(url: str, field: str) -> None:
    values = {"logprobs": True, "logit_bias": {"5": 1}, "audio": {"voice": "alloy"}}
    body = {"model": "claude-test", "messages": [{"role": "user", "content": "Hi"}], field: values[field]}
    status, _, told = await post(f"{url}/v1/chat/completions", orjson.dumps(body))
    assert status == 400
    assert orjson.loads(told)["error"]["param"] == field
