"""Answers of servers that speak Messages as only some of them do: vendors, engines, and proxies."""

import re
from typing import Final

from tests.e2e.vendor_answers import messages as native
from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    CITY,
    HELLO,
    IN_LONDON,
    LOOK,
    THOUGHT,
    Meant,
    whole,
)
from tests.e2e.vendor_answers.shapes import raw

TEXT: Final = (native.start(native.TEXT_BLOCK), native.text("Hello"), native.stop())
SIGNED: Final = (
    native.start({"type": "thinking", "thinking": "", "signature": ""})
    + native.delta("signature_delta", "signature", "c2ln")
    + native.stop()
)
CALLING: Final = (native.BEGUN, native.start(native.CALL_BLOCK), native.arguments(CITY), native.stop())
CUT_CALLING: Final = (native.BEGUN, native.start(native.CALL_BLOCK), native.arguments('{"city": "Pa'), native.stop())
CUT: Final = Meant(calls=(("get_weather", "cut"),), stop="max_tokens")


def untyped(event: bytes) -> bytes:
    """Return an event that has its type only in its name."""
    return re.sub(rb'"type":"(?:content_block|message)_\w+",?', b"", event)


MESSAGES: Final = (
    raw(
        "bedrock: a signature without a thought",
        HELLO,
        native.BEGUN,
        SIGNED,
        native.start(native.TEXT_BLOCK, 1),
        native.text("Hello", 1),
        native.stop(1),
        native.end(),
        native.OVER,
    ),
    raw(
        "claude: a redacted thought",
        HELLO,
        native.BEGUN,
        native.start({"type": "redacted_thinking", "data": "x"}),
        native.stop(),
        native.start(native.TEXT_BLOCK, 1),
        native.text("Hello", 1),
        native.stop(1),
        native.end(),
        native.OVER,
    ),
    raw(
        "claude: pings everywhere",
        HELLO,
        native.BEGUN,
        native.event("ping"),
        TEXT[0],
        native.event("ping"),
        *TEXT[1:],
        native.event("ping"),
        native.end(),
        native.OVER,
    ),
    raw(
        "claude: an event of the future",
        HELLO,
        native.BEGUN,
        native.event("future_event", x=1),
        *TEXT,
        native.end(),
        native.OVER,
    ),
    raw(
        "sglang: arguments of two calls in one",
        Meant(error=502),
        native.BEGUN,
        native.start(native.CALL_BLOCK),
        native.arguments(CITY),
        native.arguments(IN_LONDON),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "new-api: ends of blocks that never began",
        HELLO,
        native.BEGUN,
        native.stop(3),
        *TEXT,
        native.stop(5),
        native.end(),
        native.OVER,
    ),
    raw(
        "new-api: two last deltas",
        Meant("Hello", output=4),
        native.BEGUN,
        *TEXT,
        native.event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 2}),
        native.end(),
        native.OVER,
    ),
    raw(
        "new-api: the last delta twice",
        Meant("Hello", output=4),
        native.BEGUN,
        *TEXT,
        native.end(),
        native.end(),
        native.OVER,
    ),
    raw("proxy: no message_start", HELLO, *TEXT, native.end(), native.OVER),
    raw("proxy: no start of the block", HELLO, native.BEGUN, *TEXT[1:], native.end(), native.OVER),
    raw("proxy: no end of the block", HELLO, native.BEGUN, *TEXT[:2], native.end(), native.OVER),
    raw("proxy: no message_stop but the mark", HELLO, native.BEGUN, *TEXT, native.end(), b"data: [DONE]\n\n"),
    raw("proxy: usage is null at the end", HELLO, native.BEGUN, *TEXT, native.end(usage=None), native.OVER),
    raw(
        "proxy: the id of a call is null",
        CALL,
        native.BEGUN,
        native.start({**native.CALL_BLOCK, "id": None}),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: the id of a call is empty",
        CALL,
        native.BEGUN,
        native.start({**native.CALL_BLOCK, "id": ""}),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: the input of a call is null",
        CALL,
        native.BEGUN,
        native.start({**native.CALL_BLOCK, "input": None}),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: the input of a call is a text",
        CALL,
        native.BEGUN,
        native.start({**native.CALL_BLOCK, "input": ""}),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: the input twice",
        CALL,
        native.BEGUN,
        native.start(native.FULL_CALL),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: ids of two calls are alike",
        BOTH,
        *CALLING,
        native.start(native.CALL_BLOCK, 1),
        native.arguments(IN_LONDON, 1),
        native.stop(1),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "proxy: a name with its namespace",
        CALL,
        native.BEGUN,
        native.start({**native.CALL_BLOCK, "name": "functions.get_weather"}),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    *[
        raw(name, Meant("Hel", error=error), native.BEGUN, native.start(native.TEXT_BLOCK), native.text("Hel"), failure)
        for name, error, failure in (
            (
                "aws: the failure by its type",
                429,
                b'data: {"__type":"ThrottlingException","message":"Too many requests"}\n\n',
            ),
            ("proxy: an error as a text", 502, b'event: error\ndata: {"error":"upstream failed"}\n\n'),
            (
                "proxy: an error without its kind",
                502,
                b'event: error\ndata: {"type":"error","message":"upstream failed"}\n\n',
            ),
            ("proxy: an error in words", 502, b"event: error\ndata: upstream failed\n\n"),
            ("proxy: a line of JSON as the error", 502, b'{"error":{"message":"upstream failed"}}\n\n'),
        )
    ],
    *[
        raw(f"words: {word}", Meant("Hello", stop=stop), native.BEGUN, *TEXT, native.end(word), native.OVER)
        for word, stop in (
            ("length", "max_tokens"),
            ("max_output_tokens", "max_tokens"),
            ("content_filter", "refusal"),
            ("refusal", "refusal"),
            ("STOP", "end_turn"),
            ("end", "end_turn"),
            ("", "end_turn"),
            ("completed", "end_turn"),
        )
    ],
    *[
        raw(f"words of a call: {word}", CALL, *CALLING, native.end(word), native.OVER)
        for word in ("tool_calls", "function_call", "stop", None)
    ],
    *[
        raw(f"words of a cut call: {word}", CUT, *CUT_CALLING, native.end(word), native.OVER)
        for word in ("max_tokens", "length", "tool_use", None)
    ],
    raw(
        "vllm: a call without its last bracket",
        CALL,
        *(native.BEGUN, native.start(native.CALL_BLOCK), native.arguments(CITY[:-1]), native.stop()),
        native.end("tool_use"),
        native.OVER,
    ),
    whole(
        "glm: the input is a text, cut",
        CUT,
        native.message({**native.CALL_BLOCK, "input": '{"city": "Pa'}, stop_reason="max_tokens"),
    ),
    whole(
        "vllm: the input is a text without its last bracket",
        CALL,
        native.message({**native.CALL_BLOCK, "input": CITY[:-1]}, stop_reason="tool_use"),
    ),
    raw(
        "proxy: types in the names of events only",
        HELLO,
        *map(untyped, (native.BEGUN, *TEXT, native.end(), native.OVER)),
    ),
    raw("proxy: a call with types in names only", CALL, *map(untyped, (*CALLING, native.end("tool_use"), native.OVER))),
    raw(
        "proxy: all events have one name",
        HELLO,
        *[re.sub(rb"event: \w+", b"event: message", one) for one in (native.BEGUN, *TEXT, native.end(), native.OVER)],
    ),
    whole("proxy: content is one block", HELLO, native.message() | {"content": {"type": "text", "text": "Hello"}}),
    whole("proxy: data around it", HELLO, {"success": True, "data": native.message({"type": "text", "text": "Hello"})}),
    whole("proxy: a block without its kind", HELLO, native.message({"text": "Hello"})),
    whole("proxy: the reason is null", HELLO, native.message({"type": "text", "text": "Hello"}, stop_reason=None)),
    whole(
        "proxy: the input is null",
        LOOK,
        native.message({**native.CALL_BLOCK, "name": "look", "input": None}, stop_reason="tool_use"),
    ),
    whole(
        "proxy: no id of the call",
        CALL,
        native.message({"type": "tool_use", "name": "get_weather", "input": {"city": "Paris"}}, stop_reason="tool_use"),
    ),
    whole(
        "proxy: thinking without a signature",
        THOUGHT,
        native.message({"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hello"}),
    ),
    whole("proxy: content is null", Meant(""), native.message() | {"content": None}),
    whole("proxy: an error as a text", Meant(error=502), {"error": "upstream failed"}),
)
