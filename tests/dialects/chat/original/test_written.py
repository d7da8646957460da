"""Texts made of parts of markup: streams, however they are cut, and JSON hold the same calls, and lose no text."""

from random import Random
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.original.answer import to_passed_on
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.chat.response.convert import to_message
from gateway.messages.fold import fold_events
from tests.support.streams import DONE, completion, finish, reply, say, sse, told

PARTS = (
    *("<tool_call>", "</tool_call>", "<function=look>", "<function=smell>", "</function>", "<parameter=city>"),
    *("</parameter>", '{"name": "look", "arguments": {"city": "A"}}', "{}", "[TOOL_CALLS]", "look[ARGS]{}", "look"),
    *("<|python_tag|>", "<", "[", "<arg_key>city</arg_key>", "<arg_value>1</arg_value>", "<|im_end|>", "</s>"),
    *(
        "<｜DSML｜tool_calls>",
        "<minimax:tool_call>",
        '<invoke name="look">',
        "</invoke>",
        "\n",
        "\n",
        " ",
        "é",
        "words ",
    ),
    *("```", "```xml\n", "~~~", "`", "> "),
)
WHOLE = (
    "<tool_call>\n<function=look>\n<parameter=city>\nA\n</parameter>\n</function>\n</tool_call>",
    '[TOOL_CALLS]look{"city":"A"}',
    "<tool_call>look\n<arg_key>city</arg_key>\n<arg_value>A</arg_value>\n</tool_call>",
)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}}}}]
FIELDS: dict[str, Any] = {"offered": frozenset({"look"}), "tools": TOOLS, "think_tags": True}


def drawn_text(drawn: Random) -> str:
    parts = drawn.choices(PARTS, k=drawn.randrange(1, 12))
    return "".join([*parts, *drawn.choices(WHOLE, k=drawn.randrange(2))])


def cut(text: str, drawn: Random) -> list[str]:
    pieces = []
    while text:
        size = drawn.choice([1, 2, 5, 20, 100])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def parts_of(message: dict[str, Any]) -> list[Any]:
    return [(block.get("text"), block.get("name"), block.get("input")) for block in message["content"]]


def passed_on(pieces: list[str]) -> tuple[str, list[Any]]:
    stream = OriginalStream(reply(**FIELDS), shows_usage=True)
    data = b"".join([stream.feed(event) for event in [*(sse(say(piece)) for piece in pieces), sse(finish()), DONE]])
    chunks = [orjson.loads(event[6:]) for event in data.split(b"\n\n") if event.startswith(b"data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
    return "".join([delta.get("content") or "" for delta in deltas]), calls


@pytest.mark.parametrize("seed", range(8))
def test_streams_and_json_hold_the_same_calls_and_text(seed: int) -> None:
    drawn = Random(seed)
    for _ in range(40):
        text = drawn_text(drawn)
        pieces = cut(text, drawn)
        whole = to_message(completion({"content": text}), reply(**FIELDS)).message
        streamed = fold_events(told(*map(say, pieces), finish(), **FIELDS).events)
        assert parts_of(streamed) == parts_of(whole), text
        said, calls = passed_on(pieces)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = to_passed_on(orjson.dumps({"model": "m", "choices": [choice]}), reply(**FIELDS)).written
        message = orjson.loads(body or b"")["choices"][0]["message"]
        assert (said, calls) == (
            message["content"] or "",
            [call["function"] for call in message.get("tool_calls", ())],
        ), text
        assert calls or said == text
