"""Payloads of chat streams in the JSON forms that servers write, most of them alike, some damaged."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.support.streams import DONE, Json, call, chunk, finish, say, sse, usage

Write = Callable[[Any], bytes]


def tight(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def loose(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def escaped(value: Any) -> bytes:
    return json.dumps(value).encode()


def spread(value: Any) -> bytes:
    return json.dumps(value, indent=1, separators=(" , ", " : ")).replace("\n", "").encode()


def backwards(value: Any) -> bytes:
    return json.dumps(turned(value), ensure_ascii=False).encode("utf-8", "surrogatepass")


def turned(value: Any) -> Any:
    """Return the value with its keys in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return [turned(one) for one in value] if isinstance(value, list) else value


# What makes trouble in JSON, in UTF-8 or in the frame of an event, next to what does not.
WORDS = st.sampled_from(
    [
        *(
            "a",
            " the",
            "é",
            "中",
            "🌍",
            "{",
            "}",
            "",
            "content",
            "<think>",
            "</think>",
            "data: ",
            ": [1, 2]",
            '{"a": "',
            '"content":"x"',
        ),
        *('"', '"}', "\\", "\\n", "\\u0041", "\n", "\x00", "\x7f", "\u0085", "\u2028", "\ud83d", "\ude00"),
    ]
)
TEXTS = WORDS | st.lists(WORDS, max_size=4).map("".join) | st.text(max_size=8)
# Beside the delta: fields that look like those that are read, or that change from chunk to chunk.
BESIDE: list[Json] = [
    {},
    {"usage": None},
    {"obfuscation": "aB3"},
    {"content": "x"},
    {"note": '"content":"a"'},
    {"path": "a\\b"},
    {"delta": {"content": "a", "arguments": "a"}},
]
IN_DELTA: list[Json] = [{}, {"refusal": None}, {"annotations": []}, {"arguments": "a"}, {"mood": "content"}]


def delta_chunk(kind: str, text: str, beside: Json, in_delta: Json) -> Json:
    part = say(text) if kind == "text" else call(0, text, "id_0", "f") if kind == "first" else call(0, text)
    return {**beside, **chunk({**in_delta, **delta_in(part)})}


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Draw payloads of one serialiser, most of them alike, so that splices apply; some damaged."""
    write = draw(st.sampled_from([tight, loose, escaped, spread, backwards]))
    kinds = draw(st.sampled_from([["text"], ["first", "more"], ["text", "first", "more"]]))
    beside, in_delta = draw(st.sampled_from(BESIDE)), draw(st.sampled_from(IN_DELTA))
    payloads: list[bytes] = []
    for text in draw(st.lists(TEXTS, min_size=2, max_size=8)):
        kind = kinds[min(len(payloads), len(kinds) - 1)]
        payload = write(delta_chunk(kind, '{"a": "' if kind == "first" else text, beside, in_delta))
        payloads.append(payload.replace(b"\n", b"").replace(b"\r", b""))
    if draw(st.booleans()):
        spoilt = draw(st.integers(0, len(payloads) - 1))
        payloads[spoilt] = damaged(payloads[spoilt], draw(st.integers(0, 400)), draw(st.binary(min_size=1, max_size=2)))
    return payloads


def damaged(payload: bytes, place: int, junk: bytes) -> bytes:
    place %= len(payload)
    return (payload[:place] + junk + payload[place + 1 :]).replace(b"\n", b"").replace(b"\r", b"")


# The frame of `say` around more than a string: a tool call, which then waits to be named.
FRAMED = tight(say("x")).replace(b'"x"', b'"x","tool_calls":[{"index":0,"function":{"arguments":""}}],"y":"z"')


ENDS = st.sampled_from([sse(finish()) + DONE, sse(finish(), usage()) + DONE, b""])


def delta_in(payload: Json) -> Json:
    inner: Json = payload["choices"][0]["delta"]
    return inner
