"""A request's bytes are searched in their new parts only, and with the same result."""

import json
from typing import Any

import orjson
import pytest

from gateway.dialects.spans import find_model
from gateway.errors import InvalidRequest
from gateway.messages.repeated_text import BEGINNING, LARGE_MEDIA, RepeatedText
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import LEAST_BYTES, CachedMessages, TurnCache

TOOLS = [{"name": "look", "input_schema": {"properties": {"model": {"type": "string"}, "file_id": {}}}}]
ASKED = {"role": "user", "content": 'Which "model" is it? ' + "a, " * LEAST_BYTES}
ANSWERED = {"role": "assistant", "content": [{"type": "tool_use", "input": {"model": "x"}}]}
TURN = [ASKED, ANSWERED, {"role": "user", "content": "The next."}]
TEXTS = (b'"model"', b'"file_id"', b"\\u00", b"nowhere")


def repeated(request: dict[str, Any]) -> RepeatedText:
    """Read the request three times, so that its tools and messages are known."""
    body, tools, turns = orjson.dumps(request), ToolCache("t" * 32), TurnCache("m" * 32)
    for _ in range(3):
        parsed: Any = tools.parse(body, lambda rest: turns.parse(rest, "red"))
        if isinstance(parsed["messages"], CachedMessages):
            parsed["messages"].learn_unchecked()
    return RepeatedText.of(body, parsed)


@pytest.mark.parametrize("first", ["model", "tools", "messages"])
def test_texts_are_counted_in_new_and_repeated_parts(first: str) -> None:
    request = {
        "model": "m",
        "tools": TOOLS,
        "messages": TURN,
        "system": [{"type": "text", "text": "\x1b[0m" * 1000}, {"text": "x"}],
    }
    text = repeated({first: request[first], **request})
    assert len(text.new_parts()) == 4
    assert [text.count(one) for one in TEXTS] == [text.body.count(one) for one in TEXTS]


def test_block_that_stands_in_several_parts_counts_where_it_stands() -> None:
    block = {"type": "text", "text": "\x1b[0m" * 1000}
    asked = {"role": "user", "content": [block, {"type": "text", "text": ASKED["content"]}]}
    text = repeated({"model": "m", "messages": [asked, *TURN[1:]], "system": [block, block]})
    assert text.count(b"\\u00") == text.body.count(b"\\u00")


@pytest.mark.parametrize("after", [{}, {"metadata": {"model": "x"}}])
def test_model_is_found_among_new_parts(after: dict[str, Any]) -> None:
    text = repeated({"messages": TURN, "tools": TOOLS, "model": "m", **after})
    assert text.body[slice(*find_model(text.body, "m", text.new_parts()))] == b'"m"'


def with_media(data: str, where: str, media_type: str = "image") -> dict[str, Any]:
    block: dict[str, Any] = {"type": media_type, "source": {"type": "base64", "media_type": "image/png", "data": data}}
    if where == "result":
        block = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": '"gw'}, block]}
    return {"role": "user", "content": [{"type": "text", "text": "\x1b file_id"}, block]}


@pytest.mark.parametrize("where", ["message", "result"])
def test_large_media_are_passed_over(where: str) -> None:
    several = [with_media("gw" + letter * LARGE_MEDIA, where) for letter in "ABA"]
    request = {"messages": [*TURN[:2], *several], "model": "m"}
    text = RepeatedText.of(orjson.dumps(request), request)
    assert len(text.new_parts()) == 3
    assert sum(end - start for start, end in text.new_parts()) < len(text.body) - 2 * LARGE_MEDIA + 2 * BEGINNING
    assert [text.count(one) for one in (*TEXTS, b'"gw')] == [text.body.count(one) for one in (*TEXTS, b'"gw')]
    assert text.body[slice(*find_model(text.body, "m", text.new_parts()))] == b'"m"'


@pytest.mark.parametrize(
    "data", ['a"model":' + "A" * LARGE_MEDIA, "a\\u0061" + "A" * LARGE_MEDIA, "é" * LARGE_MEDIA, "\udc00" * LARGE_MEDIA]
)
def test_data_that_may_hold_texts_is_searched(data: str) -> None:
    request = {"model": "m", "messages": [with_media(data, "message")]}
    body = json.dumps(request).encode()  # with escapes
    text = RepeatedText.of(body, request)
    assert text.new_parts() == []
    assert text.count(b"\\u00") == body.count(b"\\u00")


@pytest.mark.parametrize("messages", [None, "x", [None, {"content": 1}, {"content": [{"source": {"data": 1}}, 1]}]])
def test_odd_messages_have_no_media(messages: Any) -> None:
    request = {"system": "A" * LARGE_MEDIA, "messages": messages}
    assert RepeatedText.of(orjson.dumps(request), request).new_parts() == []


def test_second_model_behind_repeated_parts_is_refused() -> None:
    text = repeated({"model": "m", "messages": TURN, "tools": TOOLS})
    twice = text.body[:-1] + b',"model":"other"}'
    with pytest.raises(InvalidRequest):
        find_model(twice, "other", RepeatedText.of(twice, {}).new_parts())
    known = RepeatedText(twice, text._parts)
    with pytest.raises(InvalidRequest):
        find_model(twice, "other", known.new_parts())
