"""A request's bytes are searched in their new parts only, and with the same result."""

from typing import Any

import orjson
import pytest

from gateway.dialects.spans import find_model
from gateway.errors import InvalidRequest
from gateway.messages.repeated_text import RepeatedText
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


def test_second_model_behind_repeated_parts_is_refused() -> None:
    text = repeated({"model": "m", "messages": TURN, "tools": TOOLS})
    twice = text.body[:-1] + b',"model":"other"}'
    with pytest.raises(InvalidRequest):
        find_model(twice, "other", RepeatedText.of(twice, {}).new_parts())
    known = RepeatedText(twice, text._parts)
    with pytest.raises(InvalidRequest):
        find_model(twice, "other", known.new_parts())
