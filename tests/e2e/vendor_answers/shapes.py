"""Odd shapes on the wire: lines of event streams, data that are no chunks, fields of other kinds, and other labels."""

from typing import Any, Final

import orjson

from tests.e2e.vendor_answers import messages as native
from tests.e2e.vendor_answers import responses as items
from tests.e2e.vendor_answers.script import (
    CALL,
    CALLED,
    CITY,
    HELLO,
    LONDON,
    PARIS,
    ROLE,
    STOP,
    THOUGHT,
    USAGE,
    Json,
    Meant,
    Script,
    call,
    calls,
    chunk,
    completion,
    say,
    streamed,
    whole,
)

BLANK: Final[Json] = {"message": "", "type": "", "param": "", "code": None}
NOTHING: Final[Json] = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
HARMONY: Final = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"


def lines(*payloads: Any, end: bytes = b"\n\n", before: bytes = b"data: ") -> bytes:
    return b"".join([before + orjson.dumps(payload) + end for payload in payloads])


def raw(name: str, meant: Meant, *pieces: bytes) -> Script:
    return Script(name, pieces, meant, done=False)


DONE: Final = b"data: [DONE]\n\n"
ANSWER: Final = lines(say("Hel"), say("lo"), STOP)

CHAT: Final = (
    # Lines
    raw("lines: a mark and CRLF", HELLO, b"\xef\xbb\xbf" + (ANSWER + DONE).replace(b"\n", b"\r\n")),
    raw("lines: CR", HELLO, (ANSWER + DONE).replace(b"\n", b"\r")),
    raw("lines: no blank ones", HELLO, (ANSWER + DONE).replace(b"\n\n", b"\n")),
    raw("lines: JSON without fields", HELLO, lines(say("Hel"), say("lo"), STOP, end=b"\n", before=b"")),
    raw(
        "fastapi: the field's name twice",
        HELLO,
        lines(say("Hel"), say("lo"), STOP, end=b"\r\ndata: \r\ndata: \r\n\r\n", before=b"data: data: "),
        b"data: data: [DONE]\r\n\r\n",
    ),
    raw("lines: nothing in data", HELLO, b"data: \n\ndata:\n\ndata: {}\n\n", ANSWER, DONE),
    # Data that are no chunks
    raw(
        "proxy: signs of life as data",
        HELLO,
        b"data: keep-alive\n\n",
        lines(say("Hel")),
        b"data: ping\n\n",
        lines(say("lo"), STOP),
        DONE,
    ),
    raw("proxy: a comment as data", HELLO, b"data: : OPENROUTER PROCESSING\n\n", ANSWER, DONE),
    raw("proxy: null as data", HELLO, b"data: null\n\n", ANSWER, DONE),
    raw("proxy: a place in the queue", HELLO, b'event: metadata\ndata: {"queue_position":3}\n\n', ANSWER, DONE),
    raw("proxy: pings as objects", HELLO, b'data: {"type":"ping"}\n\n', ANSWER, DONE),
    raw("proxy: words behind the end", HELLO, ANSWER, b"event: end\ndata: end of stream\n\n"),
    raw("proxy: the mark under a name", HELLO, ANSWER, b"event: done\ndata: [DONE]\n\n"),
    raw("proxy: the mark twice", HELLO, ANSWER, DONE, DONE),
    raw("opencode: a cost behind the end", HELLO, ANSWER, lines({"choices": [], "cost": "0.0001"}), DONE),
    # Fields of other kinds
    streamed(
        "one-api: an empty error",
        HELLO,
        say("Hel", error=BLANK),
        say("lo", error=BLANK),
        chunk({}, "stop", error=BLANK),
    ),
    streamed(
        "one-api: an empty error beside usage",
        Meant("Hello", output=4),
        say("Hello"),
        STOP,
        {**USAGE, "error": BLANK},
    ),
    streamed("proxy: a code for success", HELLO, say("Hello", code=0, message="success"), chunk({}, "stop", code=0)),
    streamed(
        "proxy: an empty reason each time", HELLO, chunk({"content": "Hel"}, ""), chunk({"content": "lo"}, ""), STOP
    ),
    streamed("proxy: null as a text for the reason", HELLO, chunk({"content": "Hello"}, "null"), STOP),
    streamed("proxy: reasons with hyphens", CALL, calls(call(CITY, 0, "a", "get_weather")), chunk({}, "tool-calls")),
    streamed(
        "proxy: choices are null beside usage", Meant("Hello", output=4), say("Hello"), STOP, {**USAGE, "choices": None}
    ),
    streamed(
        "proxy: the choice's number is null",
        HELLO,
        say("Hel", choice={"index": None}),
        say("lo", choice={"index": None}),
        STOP,
    ),
    streamed("proxy: the choice's number is a text", HELLO, say("Hello", choice={"index": "0"}), STOP),
    streamed(
        "proxy: ids and times are null", HELLO, {**say("Hello"), "id": None, "created": None, "model": None}, STOP
    ),
    streamed(
        "proxy: counts as texts and floats",
        HELLO,
        say("Hello"),
        STOP,
        {"choices": [], "usage": {"prompt_tokens": "9", "completion_tokens": 4.0}},
    ),
    streamed(
        "proxy: more is cached than was sent",
        Meant("Hello", output=4),
        say("Hello"),
        STOP,
        {
            "choices": [],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 900}},
        },
    ),
    streamed(
        "proxy: calls from index 1",
        Meant(calls=(PARIS, LONDON), stop="tool_use"),
        calls(call(CITY, 1, "a", "get_weather")),
        calls(call('{"city":"London"}', 2, "b", "get_weather")),
        CALLED,
    ),
    streamed("proxy: the call's id is a number", CALL, calls(call(CITY, 0, 17, "get_weather")), CALLED),
    streamed(
        "proxy: all of a call is said twice",
        CALL,
        calls(call(CITY, 0, "a", "get_weather")),
        calls(call(CITY, 0, "a", "get_weather")),
        CALLED,
    ),
    streamed("proxy: a call of nulls beside text", HELLO, chunk({"content": "Hello", "tool_calls": [NOTHING]}), STOP),
    streamed(
        "proxy: a call of nulls in front of one", CALL, calls(NOTHING), calls(call(CITY, 0, "a", "get_weather")), CALLED
    ),
    streamed(
        "proxy: a call without a function beside text",
        HELLO,
        chunk({"content": "Hello", "tool_calls": [{"index": 0, "function": None}]}),
        STOP,
    ),
    streamed("proxy: null among the calls", HELLO, chunk({"content": "Hello", "tool_calls": [None]}), STOP),
    streamed(
        "php: a list for no arguments",
        Meant(calls=(("look", {}),), stop="tool_use"),
        calls(call("[]", 0, "a", "look")),
        CALLED,
    ),
    streamed(
        "proxy: a fence around arguments", CALL, calls(call(f"```json\n{CITY}\n```", 0, "a", "get_weather")), CALLED
    ),
    streamed(
        "proxy: the end of markup behind arguments",
        CALL,
        calls(call(f"{CITY}</tool_call>", 0, "a", "get_weather")),
        CALLED,
    ),
    streamed("proxy: brackets behind the tool's name", CALL, calls(call(CITY, 0, "a", "get_weather()")), CALLED),
    streamed("proxy: content is a list of texts", HELLO, chunk({"content": ["Hel", "lo"]}), STOP),
    streamed(
        "assistants: a text as an object",
        HELLO,
        chunk({"content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}]}),
        STOP,
    ),
    # What is nearly JSON
    streamed(
        "python: no probability",
        HELLO,
        lines(say("Hello", choice={"logprobs": {"content": [{"token": "Hello", "logprob": 5}]}})).replace(
            b"5", b"-Infinity"
        ),
        STOP,
    ),
    streamed(
        "java: half a character, and its other half",
        Meant("\U0001f600 Hello"),
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00 Hello"}}]}\n\n',
        STOP,
    ),
    streamed(
        "bytes: half a character",
        Meant("\ufffdHello"),
        b'data: {"choices":[{"index":0,"delta":{"content":"\xf0\x9fHello"}}]}\n\n',
        STOP,
    ),
    # Markup in the text
    streamed(
        "llama: calls as JSON in a tag of their own",
        CALL,
        ROLE,
        *map(say, f"<function=get_weather>{CITY}</function>"),
        STOP,
    ),
    streamed(
        "seed: calls in its markup",
        CALL,
        ROLE,
        say(
            "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n</function>\n</seed:tool_call>"
        ),
        STOP,
    ),
    streamed(
        "longcat: calls in its markup",
        CALL,
        ROLE,
        say('<longcat_tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</longcat_tool_call>'),
        STOP,
    ),
    streamed("kimi: a thought in tags of its own", THOUGHT, say("◁think"), say("▷Hm◁/think▷"), say("Hello"), STOP),
    streamed("gpt-oss: tags of channels", THOUGHT, *map(say, f"{HARMONY}<|channel|>final<|message|>Hello"), STOP),
    streamed("gpt-oss: tags of the last channel alone", HELLO, say("<|channel|>final<|message|>Hello"), STOP),
    streamed(
        "gpt-oss: tags of channels in front of one for tools",
        Meant("", "Hm", (PARIS,), "tool_use"),
        say(f"{HARMONY}<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{CITY}<|call|>"),
        STOP,
    ),
    # Failures
    raw("proxy: a page as a stream", Meant(error=502), b"<!DOCTYPE html><html><body>Just a moment...</body></html>"),
    raw("proxy: words as data", Meant(error=502), b"data: Internal Server Error\n\n"),
    raw("proxy: an empty error alone", Meant(error=502), lines({"error": BLANK}), DONE),
    raw("proxy: cut within a chunk", Meant("Hel", error=502), lines(say("Hel")), b'data: {"choices":[{"index":0,"del'),
)
WHOLES: Final = (
    whole("deepseek: blank lines in front", HELLO, b"\n \n" * 20 + orjson.dumps(completion({"content": "Hello"}))),
    whole("proxy: a mark in front", HELLO, b"\xef\xbb\xbf" + orjson.dumps(completion({"content": "Hello"}))),
    whole("proxy: a list of one", HELLO, [completion({"content": "Hello"})]),
    whole("proxy: a stream", HELLO, ANSWER + DONE),
    whole("proxy: chunks on lines", HELLO, lines(say("Hel"), say("lo"), STOP, end=b"\n", before=b"")),
    whole(
        "python: no probability",
        HELLO,
        orjson.dumps(completion({"content": "Hello"}))[:-1] + b',"prompt_logprobs":[-Infinity]}',
    ),
    whole(
        "java: half a character",
        Meant("Hello\ufffd"),
        orjson.dumps(completion({"content": "Hello@"})).replace(b"@", b"\\ud83d"),
    ),
    whole("one-api: an empty error", HELLO, completion({"content": "Hello"}, error=BLANK)),
    whole(
        "assistants: a text as an object",
        HELLO,
        completion({"content": [{"type": "text", "text": {"value": "Hello"}}]}),
    ),
    whole(
        "php: a list for no arguments",
        Meant(calls=(("look", {}),), stop="tool_use"),
        completion({"tool_calls": [call("[]", None, "a", "look")]}, "tool_calls"),
    ),
    whole("proxy: a call of nulls beside text", HELLO, completion({"content": "Hello", "tool_calls": [NOTHING, None]})),
    whole("proxy: nothing", Meant(error=502), b""),
    whole("proxy: null", Meant(error=502), b"null"),
)

TEXT: Final = (
    native.BEGUN,
    native.start(native.TEXT_BLOCK),
    native.text("Hello"),
    native.stop(),
    native.end(),
    native.OVER,
)
MESSAGES: Final = (
    raw("lines: CRLF", HELLO, b"".join(TEXT).replace(b"\n", b"\r\n")),
    raw("proxy: signs of life as data", HELLO, b"data: ping\n\n", *TEXT[:3], b"data: : waiting\n\n", *TEXT[3:]),
    raw("fastapi: the field's name twice", HELLO, *[b"data: " + one.split(b"\n", 1)[1] for one in TEXT]),
    raw("proxy: two starts", HELLO, native.BEGUN, *TEXT),
    raw("proxy: a block ends twice", HELLO, *TEXT[:4], *TEXT[3:]),
    raw("proxy: all blocks are number 0", THOUGHT, native.BEGUN, native.THINKING, native.stop(), *TEXT[1:]),
    raw(
        "proxy: the text is in the start",
        HELLO,
        native.BEGUN,
        native.start({"type": "text", "text": "Hello"}),
        *TEXT[3:],
    ),
    raw(
        "proxy: counts as texts",
        Meant("Hello", output=4),
        *TEXT[:4],
        native.end(usage={"output_tokens": "4"}),
        native.OVER,
    ),
    whole("proxy: a stream", Meant("Hello", output=4), b"".join(TEXT)),
    whole("proxy: texts in place of blocks", HELLO, native.message("Hello")),
)
ITEM: Final = {name: value for name, value in items.TEXT_ITEM.items() if name != "type"}
SAID: Final = (
    items.BEGUN,
    items.added(items.TEXT_ITEM),
    items.text("Hello"),
    items.done(items.TEXT_ITEM),
    items.end(items.TEXT_ITEM),
)
RESPONSES: Final = (
    raw("lines: CRLF", HELLO, b"".join(SAID).replace(b"\n", b"\r\n")),
    raw("proxy: signs of life as data", HELLO, b"data: ping\n\n", *SAID[:3], b"data: keep-alive\n\n", *SAID[3:]),
    raw("fastapi: the field's name twice", HELLO, *[b"data: " + one for one in SAID]),
    raw("proxy: the end twice", HELLO, *SAID, SAID[-1]),
    raw("proxy: the output is null at the end", HELLO, *SAID[:4], items.end(output=None)),
    raw(
        "proxy: the item is whole when it begins",
        HELLO,
        items.BEGUN,
        items.event("output_item.added", output_index=0, item=items.TEXT_ITEM),
        *SAID[3:],
    ),
    raw("proxy: the item has no type", HELLO, items.BEGUN, items.done(ITEM), items.end(ITEM)),
    whole("proxy: a stream", HELLO, b"".join(SAID)),
    whole("proxy: the item has no type", HELLO, items.response(ITEM)),
    whole(
        "proxy: no status",
        HELLO,
        {name: value for name, value in items.response(items.TEXT_ITEM).items() if name != "status"},
    ),
)
