"""Streams of an upstream that break off within a batch, in each dialect: the item is tried again, and never half a
message its result."""

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.native.dialect import NativeDialect
from gateway.dialects.native.refused import RefusedThinking
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.exchange.exchange import Exchange
from gateway.upstream.health.trouble import Trouble
from gateway.upstream.routes.route import Dialect, Upstream
from gateway.upstream.routes.table import Routing, one_upstream_table
from tests.support.exchanges import KEYRING, ScriptedAnswer, ScriptedClient
from tests.support.messages_server import START, event
from tests.support.responses_events import CALLS, MESSAGE, REASONING, to_stream
from tests.support.streams import DONE, call, finish, say, sse, think, usage
from tests.workers.conftest import item
from tests.workers.test_execute import run
from workers.execute import Failed, Succeeded
from workers.wiring import to_patient_exchange

TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("read", "list")]
DIALECTS: dict[Dialect, Callable[[], Any]] = {
    "chat": lambda: ChatDialect(KEYRING),
    "messages": lambda: NativeDialect(KEYRING, RefusedThinking(lambda: 0.0)),
    "responses": lambda: ResponsesDialect(KEYRING),
}


def blocks(*contents: tuple[dict[str, Any], str, str]) -> bytes:
    events = b""
    for index, (block, kind, text) in enumerate(contents):
        events += event("content_block_start", index=index, content_block=block)
        name = {"input_json_delta": "partial_json", "text_delta": "text", "thinking_delta": "thinking"}[kind]
        for place in range(0, len(text), 5):
            events += event("content_block_delta", index=index, delta={"type": kind, name: text[place : place + 5]})
        events += event("content_block_stop", index=index)
    return events


# A stream of each dialect with thinking, text and a call, and the bytes with which its answer is whole.
STREAMS: dict[Dialect, tuple[bytes, bytes]] = {
    "chat": (
        sse(think("Hm."), say("I "), say("read."), call(0, '{"path"', "call_1", "read"), call(0, ':"a"}'))
        + sse(finish("tool_calls"), usage())
        + DONE,
        sse(finish("tool_calls")).removesuffix(b"\n\n"),
    ),
    "messages": (
        event("message_start", message=START)
        + blocks(
            ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "Hm, hm."),
            ({"type": "text", "text": ""}, "text_delta", "I read."),
            ({"type": "tool_use", "id": "call_1", "name": "read", "input": {}}, "input_json_delta", '{"path":"a"}'),
        )
        + event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 5})
        + event("message_stop"),
        b'"output_tokens":5}}',
    ),
    "responses": (to_stream([REASONING, MESSAGE, CALLS[0]]), b""),
}


def exchange_on(dialect: Dialect, body: bytes) -> Exchange:
    upstream = Upstream("up", "http://127.0.0.1:9/v1", dialect=dialect)
    client = ScriptedClient([ScriptedAnswer(200, body)] * 2)  # an empty stream is asked for once more, whole
    exchange = Exchange(client, Routing(one_upstream_table(upstream)), KEYRING, {dialect: DIALECTS[dialect]()}, ())
    return to_patient_exchange(exchange)


async def result_of(dialect: Dialect, body: bytes) -> tuple[Succeeded | Failed, Any]:
    return await run(exchange_on(dialect, body), item(1, model="m", tools=TOOLS))


def comparable(result: Any) -> bytes:
    """The result without ids and signatures that differ from call to call, and without counts that are estimated."""
    message = {name: value for name, value in result["message"].items() if name not in ("id", "usage")}
    content = [{**block, "signature": ""} if "signature" in block else block for block in message["content"]]
    return re.sub(rb"msg_[a-f0-9]+", b"", orjson.dumps({**message, "content": content}))


@pytest.mark.parametrize("dialect", STREAMS)
@pytest.mark.covers("Batches · streams that break off, in each dialect")
async def test_stream_that_breaks_off_is_tried_again_and_gives_no_half_message(dialect: Dialect) -> None:
    body, whole_with = STREAMS[dialect]
    outcome, whole = await result_of(dialect, body)
    assert isinstance(outcome, Succeeded)
    assert [block["type"] for block in whole["message"]["content"]] == ["thinking", "text", "tool_use"]
    assert whole["message"]["stop_reason"] == "tool_use"
    end = body.index(whole_with) + len(whole_with) if whole_with else len(body) - len(b"\n\n")
    ends = {found.end() for found in re.finditer(rb"\n\n", body)}
    cuts = sorted({cut + place for cut in ends for place in (-2, -1, 0, 9)} | set(range(0, len(body), 97)))
    for cut in [cut for cut in cuts if cut < len(body)]:
        outcome, result = await result_of(dialect, body[:cut])
        if cut < end:
            assert isinstance(outcome, Failed), body[:cut][-80:]
            assert outcome.trouble is Trouble.FAILURE
        else:
            assert comparable(result) == comparable(whole), body[:cut][-80:]
