"""Answers of servers that speak Anthropic's Messages, streamed and whole, by vendor."""

from typing import Any, Final

from tests.e2e.vendor_answers.script import CALL, CITY, HELLO, PARIS, Json, Meant, Script, streamed, whole

CALL_BLOCK: Final[Json] = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
TEXT_BLOCK: Final[Json] = {"type": "text", "text": ""}
FULL_CALL: Final[Json] = {**CALL_BLOCK, "input": {"city": "Paris"}}


def message(*content: Any, **fields: Any) -> Json:
    base = {"id": "msg_u", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return {
        **base,
        "content": list(content),
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 4},
        **fields,
    }


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + Script("", ({"type": kind, **fields},), HELLO, done=False).body


def start(block: Json, index: int = 0) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(kind: str, name: str, value: str, index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, name: value})


def text(value: str, index: int = 0) -> bytes:
    return delta("text_delta", "text", value, index)


def arguments(value: str, index: int = 0) -> bytes:
    return delta("input_json_delta", "partial_json", value, index)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", **fields: Any) -> bytes:
    told = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 4}, **fields}
    return event("message_delta", **told)


BEGUN: Final = event("message_start", message=message(stop_reason=None, usage={"input_tokens": 9, "output_tokens": 1}))
OVER: Final = event("message_stop")
THINKING: Final = start({"type": "thinking", "thinking": "", "signature": ""}) + delta(
    "thinking_delta", "thinking", "Hm"
)

SCRIPTS: Final = (
    streamed(
        "kimi: no block ends",
        Meant("Hello", "", (PARIS,), "tool_use"),
        BEGUN,
        start(TEXT_BLOCK),
        text("Hello"),
        start(CALL_BLOCK, 1),
        arguments(CITY, 1),
        end("tool_use"),
        OVER,
    ),
    streamed("litellm: index -1 without a start", HELLO, BEGUN, text("Hel", -1), text("lo", -1), stop(-1), end(), OVER),
    streamed(
        "sglang: text within an open call",
        Meant("Hello", "", (PARIS,), "tool_use"),
        BEGUN,
        start(CALL_BLOCK),
        arguments(CITY),
        text("Hello"),
        stop(),
        end("tool_use"),
        OVER,
    ),
    streamed(
        "cc-switch: content and counts are null",
        HELLO,
        event("message_start", message={**message(), "content": None, "usage": None, "stop_reason": None}),
        start(TEXT_BLOCK),
        text("Hello"),
        stop(),
        end(),
        OVER,
    ),
    streamed("new-api: no end at all", Meant("Hello", error=502), BEGUN, start(TEXT_BLOCK), text("Hello")),
    streamed("glm: no message_stop", HELLO, BEGUN, start(TEXT_BLOCK), text("Hello"), stop(), end()),
    streamed("vllm: OpenAI's reason", HELLO, BEGUN, start(TEXT_BLOCK), text("Hello"), stop(), end("stop"), OVER),
    streamed("deepseek: no reason", HELLO, BEGUN, start(TEXT_BLOCK), text("Hello"), stop(), end(None), OVER),
    streamed(
        "minimax: thinking without a signature",
        Meant("Hello", "Hm"),
        BEGUN,
        THINKING,
        stop(),
        start(TEXT_BLOCK, 1),
        text("Hello", 1),
        stop(1),
        end(),
        OVER,
    ),
    streamed(
        "kimi: end_turn beside a call", CALL, BEGUN, start(CALL_BLOCK), arguments(CITY), stop(), end("end_turn"), OVER
    ),
    streamed("qwen: the input is in the start", CALL, BEGUN, start(FULL_CALL), stop(), end("tool_use"), OVER),
    streamed(
        "glm: arguments in one delta, then an empty one",
        CALL,
        BEGUN,
        start(CALL_BLOCK),
        arguments(CITY),
        arguments(""),
        stop(),
        end("tool_use"),
        OVER,
    ),
    streamed(
        "minimax: overloaded",
        Meant("Hel", error=529),
        BEGUN,
        start(TEXT_BLOCK),
        text("Hel"),
        event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    ),
    streamed(
        "vllm: an error in OpenAI's form",
        Meant(error=502),
        Script("", ({"error": {"message": "x", "type": "InternalServerError", "code": 500}},), HELLO, done=False).body,
    ),
    streamed(
        "proxy: data without names of events",
        HELLO,
        *[one.split(b"\n", 1)[1] for one in (BEGUN, start(TEXT_BLOCK), text("Hello"), stop(), end(), OVER)],
    ),
    streamed(
        "proxy: a gap in the indexes",
        Meant("Hello", "Hm"),
        BEGUN,
        THINKING,
        stop(),
        start(TEXT_BLOCK, 2),
        text("Hello", 2),
        stop(2),
        end(),
        OVER,
    ),
    streamed(
        "proxy: near JSON",
        CALL,
        BEGUN,
        start(CALL_BLOCK),
        arguments("{'city': "),
        arguments("'Paris'}"),
        stop(),
        end("tool_use"),
        OVER,
    ),
    streamed(
        "proxy: blocks are mixed",
        Meant("Hel", error=502),
        BEGUN,
        start(TEXT_BLOCK),
        text("Hel"),
        start(CALL_BLOCK, 1),
        arguments('{"city": ', 1),
        text("lo"),
        arguments('"Paris"}', 1),
        stop(),
        stop(1),
        end("tool_use"),
        OVER,
    ),
    streamed(
        "proxy: the mark of chat behind the end",
        HELLO,
        BEGUN,
        start(TEXT_BLOCK),
        text("Hello"),
        stop(),
        end(),
        OVER,
        b"data: [DONE]\n\n",
    ),
    streamed(
        "proxy: a count in message_stop only",
        HELLO,
        BEGUN,
        start(TEXT_BLOCK),
        text("Hello"),
        stop(),
        event("message_delta", delta={"stop_reason": "end_turn"}),
        event("message_stop", usage={"output_tokens": 4}),
    ),
    whole("deepseek: content is a text", HELLO, message() | {"content": "Hello"}),
    whole("kimi: end_turn beside a call", CALL, message(FULL_CALL)),
    whole("glm: the input is a text", CALL, message({**CALL_BLOCK, "input": CITY}, stop_reason="tool_use")),
    whole(
        "minimax: no usage",
        HELLO,
        {name: value for name, value in message({"type": "text", "text": "Hello"}).items() if name != "usage"},
    ),
    whole("vllm: OpenAI's reason", HELLO, message({"type": "text", "text": "Hello"}, stop_reason="stop")),
    whole(
        "proxy: an error in a 200",
        Meant(error=529),
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ),
)
MESSAGES: Final = tuple(Script(one.name, one.payloads, one.meant, is_json=one.is_json, done=False) for one in SCRIPTS)
