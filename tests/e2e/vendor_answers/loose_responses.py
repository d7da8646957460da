"""Answers of servers that speak Responses as only some of them do: vendors, engines, and proxies."""

import re
from typing import Any, Final

import orjson

from tests.e2e.vendor_answers import responses as items
from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    HELLO,
    IN_LONDON,
    LOOK,
    PARIS,
    THOUGHT,
    Json,
    Meant,
    whole,
)
from tests.e2e.vendor_answers.shapes import raw

IT: Final = items.TEXT_ITEM
TOLD: Final = (items.BEGUN, items.added(IT), items.text("Hello"), items.done(IT))
FAILED: Final = {"code": "server_error", "message": "upstream failed"}
PART: Final[Json] = {"type": "output_text", "text": "Hello", "annotations": []}


def part(kind: str, name: str, value: Any, **fields: Any) -> bytes:
    return items.event(kind, **{"item_id": "msg_1", "output_index": 0, "content_index": 0, **fields}, **{name: value})


def named_error(**fields: str) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(fields) + b"\n\n"


def untyped(event: bytes) -> bytes:
    """Return an event that has its type only in its name."""
    return re.sub(rb'data: {"type":"(response\.[\w.]+)",', rb"event: \1\ndata: {", event)


CALLING: Final = (items.BEGUN, items.added(items.CALL_ITEM), *items.arguments(*items.PIECES))

RESPONSES: Final = (
    raw("proxy: types in the names of events only", HELLO, *map(untyped, (*TOLD, items.end(IT)))),
    raw("proxy: a call with types in names only", CALL, *map(untyped, (*CALLING, items.end(items.CALL_ITEM)))),
    raw(
        "proxy: a failure with types in names only",
        Meant("Hel", error=502),
        *map(untyped, (items.BEGUN, items.added(IT), items.text("Hel"), items.end(kind="failed", error=FAILED))),
    ),
    *[
        raw(f"proxy: an error of {kind or 'no'} type", Meant(error=529), items.BEGUN, named_error(**error))
        for kind, error in {
            "its own": {"type": "server_overloaded", "code": "server_is_overloaded", "message": "Overloaded."},
            "": {"code": "server_is_overloaded", "message": "Overloaded."},
        }.items()
    ],
    raw(
        "proxy: no end of the item",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.end(),
    ),
    raw("proxy: no end of the text's item", HELLO, items.BEGUN, items.added(IT), items.text("Hello"), items.end()),
    raw(
        "proxy: the end has no name of the tool",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.done({**items.CALL_ITEM, "name": ""}),
        items.end(items.CALL_ITEM),
    ),
    raw(
        "proxy: ids are null at the end",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.done(items.CALL_ITEM),
        items.end({**items.CALL_ITEM, "id": None}),
    ),
    raw(
        "proxy: no arguments",
        LOOK,
        items.BEGUN,
        items.added({**items.CALL_ITEM, "name": "look"}),
        items.done({**items.CALL_ITEM, "name": "look", "arguments": ""}),
        items.end({**items.CALL_ITEM, "name": "look", "arguments": ""}),
    ),
    raw("codex: the end by another name", HELLO, *TOLD, items.event("done", response=items.response(IT))),
    raw(
        "codex: limits as an event",
        HELLO,
        items.BEGUN,
        b'event: codex.rate_limits\ndata: {"type":"codex.rate_limits","rate_limits":{}}\n\n',
        *TOLD[1:],
        items.end(IT),
    ),
    raw(
        "codex: queued, and kept alive",
        HELLO,
        items.event("queued", response=items.response(status="queued", usage=None)),
        items.event("in_progress", response=items.response(status="in_progress", usage=None)),
        items.event("keepalive"),
        *TOLD[1:],
        items.end(IT),
    ),
    raw(
        "proxy: the text at its end only",
        HELLO,
        items.BEGUN,
        items.added(IT),
        part("output_text.done", "text", "Hello"),
        items.done({**IT, "content": []}),
        items.end(),
    ),
    raw(
        "proxy: the text in its part only",
        HELLO,
        items.BEGUN,
        items.added(IT),
        part("content_part.added", "part", {**PART, "text": ""}),
        part("content_part.done", "part", PART),
        items.end(),
    ),
    raw(
        "openai: parts of the text",
        HELLO,
        items.BEGUN,
        items.added(IT),
        part("content_part.added", "part", {**PART, "text": ""}),
        items.text("Hel"),
        items.text("lo"),
        part("output_text.done", "text", "Hello"),
        part("content_part.done", "part", PART),
        items.done(IT),
        items.end(IT),
    ),
    raw(
        "openai: a summary in parts",
        THOUGHT,
        items.BEGUN,
        items.added({**items.THOUGHT_ITEM, "content": []}),
        items.event(
            "reasoning_summary_part.added",
            item_id="rs_1",
            output_index=0,
            summary_index=0,
            part={"type": "summary_text", "text": ""},
        ),
        items.event("reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0, delta="Hm"),
        items.event("reasoning_summary_text.done", item_id="rs_1", output_index=0, summary_index=0, text="Hm"),
        items.done({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}),
        items.added(IT, 1),
        items.text("Hello", output_index=1),
        items.done(IT, 1),
        items.end({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}, IT),
    ),
    raw(
        "proxy: the summary in its item only",
        THOUGHT,
        items.BEGUN,
        items.done({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}),
        items.added(IT, 1),
        items.text("Hello", output_index=1),
        items.done(IT, 1),
        items.end(),
    ),
    raw(
        "openai: sealed reasoning alone",
        HELLO,
        items.BEGUN,
        items.done({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}),
        items.added(IT, 1),
        items.text("Hello", output_index=1),
        items.done(IT, 1),
        items.end({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, IT),
    ),
    raw(
        "vllm: parts of the reasoning by their own names",
        THOUGHT,
        items.BEGUN,
        items.added(items.THOUGHT_ITEM),
        items.event(
            "reasoning_part.added",
            item_id="rs_1",
            output_index=0,
            content_index=0,
            part={"type": "reasoning_text", "text": ""},
        ),
        items.event("reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="Hm"),
        items.event(
            "reasoning_part.done",
            item_id="rs_1",
            output_index=0,
            content_index=0,
            part={"type": "reasoning_text", "text": "Hm"},
        ),
        items.done(items.THOUGHT_ITEM),
        items.added(IT, 1),
        items.text("Hello", output_index=1),
        items.done(IT, 1),
        items.end(items.THOUGHT_ITEM, IT),
    ),
    raw(
        "vllm: ids of the end differ",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.done(items.CALL_ITEM),
        items.end({**items.CALL_ITEM, "id": "fc_9", "call_id": "call_9"}),
    ),
    raw(
        "vllm: blank text in front of a call",
        CALL,
        items.BEGUN,
        items.added(IT),
        items.text("\n\n"),
        items.done({**IT, "content": [{**PART, "text": "\n\n"}]}),
        items.added(items.CALL_ITEM, 1),
        *items.arguments(*items.PIECES, output_index=1),
        items.done(items.CALL_ITEM, 1),
        items.end(items.CALL_ITEM),
    ),
    raw(
        "vllm: calls in their markup",
        CALL,
        items.BEGUN,
        items.added(IT),
        items.text(items.MARKUP),
        items.done({**IT, "content": [{**PART, "text": items.MARKUP}]}),
        items.end({**IT, "content": [{**PART, "text": items.MARKUP}]}),
    ),
    raw(
        "ccr: reasoning behind a call",
        Meant("", "Hm", (PARIS,), "tool_use"),
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.done(items.CALL_ITEM),
        items.added(items.THOUGHT_ITEM, 1),
        items.event("reasoning_text.delta", item_id="rs_1", output_index=1, content_index=0, delta="Hm"),
        items.done(items.THOUGHT_ITEM, 1),
        items.end(items.CALL_ITEM, items.THOUGHT_ITEM),
    ),
    raw(
        "ccr: pieces of two calls in turn",
        BOTH,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        items.added({**items.CALL_ITEM, "id": "fc_2", "call_id": "call_2"}, 1),
        *items.arguments('{"city": '),
        *items.arguments('{"city": ', item_id="fc_2", output_index=1),
        *items.arguments('"Paris"}'),
        *items.arguments('"London"}', item_id="fc_2", output_index=1),
        items.done(items.CALL_ITEM),
        items.done({**items.CALL_ITEM, "id": "fc_2", "call_id": "call_2", "arguments": IN_LONDON}, 1),
        items.end(items.CALL_ITEM, {**items.CALL_ITEM, "id": "fc_2", "call_id": "call_2", "arguments": IN_LONDON}),
    ),
    raw(
        "proxy: the item is announced twice",
        HELLO,
        items.BEGUN,
        items.added(IT),
        items.added(IT),
        *TOLD[2:],
        items.end(IT),
    ),
    raw(
        "proxy: items are null",
        HELLO,
        items.BEGUN,
        items.event("output_item.added", output_index=0, item=None),
        *TOLD[1:],
        items.event("output_item.done", output_index=1, item=None),
        items.end(IT),
    ),
    raw("proxy: no first event", HELLO, *TOLD[1:], items.end(IT)),
    raw("proxy: the mark in place of the end", Meant("Hello", error=502), *TOLD, b"data: [DONE]\n\n"),
    raw(
        "proxy: a limit by another word",
        Meant("Hel", stop="max_tokens"),
        items.BEGUN,
        items.added(IT),
        items.text("Hel"),
        items.end(
            {**IT, "content": [{**PART, "text": "Hel"}]}, kind="incomplete", incomplete_details={"reason": "max_tokens"}
        ),
    ),
    raw(
        "proxy: a limit without a word",
        Meant("Hel", stop="max_tokens"),
        items.BEGUN,
        items.added(IT),
        items.text("Hel"),
        items.end({**IT, "content": [{**PART, "text": "Hel"}]}, kind="incomplete", incomplete_details=None),
    ),
    raw(
        "proxy: a limit though completed",
        Meant("Hel", stop="max_tokens"),
        items.BEGUN,
        items.added(IT),
        items.text("Hel"),
        items.end({**IT, "content": [{**PART, "text": "Hel"}]}, incomplete_details={"reason": "max_output_tokens"}),
    ),
    raw(
        "openai: a call is cut",
        Meant(calls=(("get_weather", "cut"),), stop="max_tokens"),
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments('{"city": "Pa'),
        items.end(
            {**items.CALL_ITEM, "arguments": '{"city": "Pa', "status": "incomplete"},
            kind="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
    raw(
        "openai: too long",
        Meant(error=400),
        items.BEGUN,
        items.end(
            kind="failed",
            error={
                "code": "context_length_exceeded",
                "message": "Your input exceeds the context window of this model.",
            },
            usage=None,
        ),
    ),
    raw(
        "openai: an error around the error",
        Meant(error=529),
        items.BEGUN,
        b'event: error\ndata: {"type":"error","error":{"code":"server_is_overloaded","message":"Overloaded."}}\n\n',
    ),
    raw(
        "openai: no quota",
        Meant(error=402),
        items.BEGUN,
        items.end(
            kind="failed",
            error={"code": "insufficient_quota", "message": "You exceeded your current quota"},
            usage=None,
        ),
    ),
    raw(
        "openai: an error by its own name",
        Meant("Hel", error=502),
        items.BEGUN,
        items.added(IT),
        items.text("Hel"),
        items.event("error", error={"message": "upstream failed"}),
    ),
    raw("proxy: the response's fields beside the kind", HELLO, *TOLD, items.event("completed", **items.response(IT))),
    raw(
        "proxy: usage by chat's names",
        Meant("Hello", output=4),
        *TOLD,
        items.end(IT, usage={"prompt_tokens": 9, "completion_tokens": 4}),
    ),
    raw(
        "proxy: a web search in front",
        HELLO,
        items.BEGUN,
        items.done(
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
        ),
        items.added(IT, 1),
        items.text("Hello", output_index=1),
        items.done(IT, 1),
        items.end(IT),
    ),
    whole("proxy: content is null", CALL, items.response({**IT, "content": None}, items.CALL_ITEM)),
    whole(
        "proxy: a part of text by chat's name",
        HELLO,
        items.response({**IT, "content": [{"type": "text", "text": "Hello"}]}),
    ),
    whole("proxy: data around it", HELLO, {"success": True, "data": items.response(IT)}),
    whole("proxy: items are null", HELLO, items.response(IT) | {"output": [None, IT]}),
    whole(
        "openai: a refusal",
        Meant("No.", stop="refusal"),
        items.response({**IT, "content": [{"type": "refusal", "refusal": "No."}]}),
    ),
    whole(
        "openai: the limit",
        Meant("Hel", stop="max_tokens"),
        items.response(
            {**IT, "content": [{**PART, "text": "Hel"}]},
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
    whole("proxy: an error as a text", Meant(error=502), {"error": "upstream failed"}),
    whole(
        "proxy: a name with its namespace", CALL, items.response({**items.CALL_ITEM, "name": "functions.get_weather"})
    ),
)
