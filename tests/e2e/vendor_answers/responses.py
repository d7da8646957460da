"""Answers of servers that speak OpenAI's Responses, streamed and whole, by vendor."""

from collections.abc import Iterator
from typing import Any, Final

from tests.e2e.vendor_answers.script import CALL, CITY, HELLO, Json, Meant, Script, streamed, whole

TEXT_ITEM: Final[Json] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
CALL_ITEM: Final[Json] = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": CITY,
    "status": "completed",
}
THOUGHT_ITEM: Final[Json] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm"}],
}
COUNTS: Final[Json] = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
MARKUP: Final = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def response(*items: Json, **fields: Any) -> Json:
    base = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": None}
    return {**base, "output": list(items), "usage": COUNTS, "incomplete_details": None, **fields}


def event(kind: str, **fields: Any) -> bytes:
    return Script("", ({"type": f"response.{kind}", **fields},), HELLO, done=False).body


def end(*items: Json, kind: str = "completed", **fields: Any) -> bytes:
    return event(kind, response=response(*items, **{"status": kind, **fields}))


def text(piece: str, **fields: Any) -> bytes:
    return event(
        "output_text.delta", **{"item_id": "msg_1", "output_index": 0, "content_index": 0, **fields}, delta=piece
    )


def added(item: Json, index: int = 0) -> bytes:
    blank: Json = (
        {"content": []} if item["type"] == "message" else {"arguments": ""} if "arguments" in item else {"content": []}
    )
    return event("output_item.added", output_index=index, item={**item, **blank, "status": "in_progress"})


def done(item: Json, index: int = 0) -> bytes:
    return event("output_item.done", output_index=index, item=item)


def arguments(*pieces: str, **fields: Any) -> Iterator[bytes]:
    for piece in pieces:
        yield event("function_call_arguments.delta", **{"item_id": "fc_1", "output_index": 0, **fields}, delta=piece)


BEGUN: Final = event("created", response=response(status="in_progress", usage=None))
PIECES: Final = ('{"city": ', '"Paris"}')

STREAMS: Final = (
    streamed("litellm: deltas without their item", HELLO, text("Hel"), text("lo"), end(TEXT_ITEM)),
    streamed(
        "litellm: text behind reasoning without its item",
        Meant("Hello", "Hm"),
        BEGUN,
        added(THOUGHT_ITEM),
        event("reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="Hm"),
        done(THOUGHT_ITEM),
        text("Hello", output_index=1),
        end(THOUGHT_ITEM, TEXT_ITEM),
    ),
    streamed(
        "litellm: the ids of an item differ",
        HELLO,
        BEGUN,
        added(TEXT_ITEM),
        text("Hel", item_id="a"),
        text("lo", item_id="b"),
        done({**TEXT_ITEM, "id": "c"}),
        end(TEXT_ITEM),
    ),
    streamed(
        "copilot: each event has its own id",
        CALL,
        BEGUN,
        added(CALL_ITEM),
        *arguments(PIECES[0], item_id="x1"),
        *arguments(PIECES[1], item_id="x2"),
        done({**CALL_ITEM, "id": "x3"}),
        end({**CALL_ITEM, "id": "x4"}),
    ),
    streamed(
        "vllm: no part is announced", HELLO, BEGUN, added(TEXT_ITEM), text("Hello"), done(TEXT_ITEM), end(TEXT_ITEM)
    ),
    streamed(
        "vllm: a call is left in the text",
        CALL,
        BEGUN,
        added(TEXT_ITEM),
        *map(text, MARKUP),
        end({**TEXT_ITEM, "content": [{"type": "output_text", "text": MARKUP}]}),
    ),
    streamed(
        "vllm: no output_index",
        HELLO,
        BEGUN,
        added(TEXT_ITEM),
        event("output_text.delta", item_id="msg_1", delta="Hello"),
        end(TEXT_ITEM),
    ),
    streamed("vllm: counts are null", HELLO, BEGUN, added(TEXT_ITEM), text("Hello"), end(TEXT_ITEM, usage=None)),
    streamed(
        "vllm: plain reasoning",
        Meant("Hello", "Hm"),
        BEGUN,
        added(THOUGHT_ITEM),
        event("reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="Hm"),
        done(THOUGHT_ITEM),
        added(TEXT_ITEM, 1),
        text("Hello", output_index=1),
        done(TEXT_ITEM, 1),
        end(THOUGHT_ITEM, TEXT_ITEM),
    ),
    streamed(
        "ollama: the last response is empty", HELLO, BEGUN, added(TEXT_ITEM), text("Hello"), done(TEXT_ITEM), end()
    ),
    streamed(
        "ollama: arguments come whole with their end",
        CALL,
        BEGUN,
        added(CALL_ITEM),
        event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments=CITY),
        done(CALL_ITEM),
        end(CALL_ITEM),
    ),
    streamed("lmstudio: a call in its last event only", CALL, BEGUN, done(CALL_ITEM), end(CALL_ITEM)),
    streamed("lmstudio: all in the last response", CALL, BEGUN, end(CALL_ITEM)),
    streamed(
        "lmstudio: near JSON",
        CALL,
        BEGUN,
        added(CALL_ITEM),
        *arguments("{'city': ", "'Paris',}"),
        done({**CALL_ITEM, "arguments": "{'city': 'Paris',}"}),
        end({**CALL_ITEM, "arguments": "{'city': 'Paris',}"}),
    ),
    streamed(
        "xai: the mark of chat behind the end",
        HELLO,
        BEGUN,
        added(TEXT_ITEM),
        text("Hello"),
        end(TEXT_ITEM),
        b"data: [DONE]\n\n",
    ),
    streamed(
        "openai: a refusal",
        Meant("No.", stop="refusal"),
        BEGUN,
        added(TEXT_ITEM),
        event("refusal.delta", item_id="msg_1", output_index=0, content_index=0, delta="No."),
        end({**TEXT_ITEM, "content": [{"type": "refusal", "refusal": "No."}]}),
    ),
    streamed(
        "openai: the limit",
        Meant("Hel", stop="max_tokens"),
        BEGUN,
        added(TEXT_ITEM),
        text("Hel"),
        end(
            {**TEXT_ITEM, "content": [{"type": "output_text", "text": "Hel"}], "status": "incomplete"},
            kind="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
    streamed(
        "openai: the filter",
        Meant("Hel", stop="refusal"),
        BEGUN,
        added(TEXT_ITEM),
        text("Hel"),
        end(kind="incomplete", incomplete_details={"reason": "content_filter"}),
    ),
    streamed(
        "openai: failed",
        Meant(error=502),
        BEGUN,
        end(kind="failed", error={"code": "server_error", "message": "An error occurred"}, usage=None),
    ),
    streamed(
        "openai: too many calls",
        Meant(error=429),
        BEGUN,
        end(kind="failed", error={"code": "rate_limit_exceeded", "message": "Rate limit reached"}, usage=None),
    ),
    streamed(
        "openai: an error event",
        Meant(error=429),
        BEGUN,
        Script(
            "",
            ({"type": "error", "code": "rate_limit_exceeded", "message": "Rate limit reached", "param": None},),
            HELLO,
            done=False,
        ).body,
    ),
    streamed(
        "proxy: an error without a type",
        Meant(error=529),
        Script(
            "",
            (
                {
                    "error": {
                        "type": "service_unavailable_error",
                        "code": "server_is_overloaded",
                        "message": "Our servers are currently overloaded.",
                    }
                },
            ),
            HELLO,
            done=False,
        ).body,
    ),
    streamed("proxy: no end", Meant("Hel", error=502), BEGUN, added(TEXT_ITEM), text("Hel"), done=False),
    streamed(
        "proxy: arguments without an id",
        CALL,
        BEGUN,
        added(CALL_ITEM),
        event("function_call_arguments.delta", output_index=0, delta=CITY),
        end(CALL_ITEM),
    ),
)
STREAMS = tuple(Script(one.name, one.payloads, one.meant, done=False) for one in STREAMS)  # type: ignore[misc]

WHOLES: Final = (
    whole("openai: text", HELLO, response(TEXT_ITEM)),
    whole("vllm: reasoning and a call", Meant("", "Hm", CALL.calls, "tool_use"), response(THOUGHT_ITEM, CALL_ITEM)),
    whole("ollama: no id of the call", CALL, response({**CALL_ITEM, "call_id": None})),
    whole("proxy: arguments are an object", CALL, response({**CALL_ITEM, "arguments": {"city": "Paris"}})),
    whole("proxy: content is a text", HELLO, response({**TEXT_ITEM, "content": "Hello"})),
    whole("proxy: no counts", HELLO, response(TEXT_ITEM, usage=None)),
    whole(
        "proxy: a completion of chat",
        HELLO,
        {
            "id": "c",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        },
    ),
    whole(
        "openai: failed", Meant(error=502), response(status="failed", error={"code": "server_error", "message": "x"})
    ),
)
