"""White space that an upstream puts around thinking and calls is no text; what is left, a client can give back."""

from typing import Any

import pytest

from gateway.dialects.chat.response.convert import to_message
from tests.support.streams import (
    Json,
    call,
    chunk,
    completion,
    convert,
    cut,
    detail,
    finish,
    reply,
    say,
    sse,
    think,
    told,
)

CALL = call(0, '{"a":1}', "c", "f")
OTHER_CALL = call(1, "{}", "d", "g")

# What an upstream sends, and each block that comes of it: its kind, and its text if it has one.
CASES: dict[str, tuple[list[Json], list[tuple[str, str]]]] = {
    "before a call": ([say("\n\n"), CALL], [("tool_use", "")]),
    "before a call, in pieces": ([say("\n"), say(" "), say("\n"), CALL], [("tool_use", "")]),
    "between two calls": ([CALL, say("\n"), OTHER_CALL], [("tool_use", ""), ("tool_use", "")]),
    "within a call": ([call(0, '{"a":', "c", "f"), say("\n"), call(0, "1}")], [("tool_use", "")]),
    "after a call": ([CALL, say("\n")], [("tool_use", "")]),
    "between thinking and a call": ([think("Hm"), say("\n\n"), CALL], [("thinking", "Hm"), ("tool_use", "")]),
    "between thinking and text": ([think("Hm"), say("\n\n"), say("So.")], [("thinking", "Hm"), ("text", "So.")]),
    "in one piece with the text after thinking": ([think("Hm"), say("\n\nSo.")], [("thinking", "Hm"), ("text", "So.")]),
    "between a call and text": ([CALL, say("\n"), say("\nSo.")], [("tool_use", ""), ("text", "So.")]),
    "the indent behind the line ends": ([think("Hm"), say("\n\n  "), say("x")], [("thinking", "Hm"), ("text", "  x")]),
    "a space, which parts words": ([think("Hm"), say(" so.")], [("thinking", "Hm"), ("text", " so.")]),
    "at the start of the answer": ([say("\n"), say("\n a")], [("text", "\n\n a")]),
    "before thinking": ([say("\n"), think("Hm"), say("So.")], [("thinking", "Hm"), ("text", "So.")]),
    "within text": ([say("a"), say("\n\n"), say("b")], [("text", "a\n\nb")]),
    "at the end of text before a call": ([say("a"), say("\n"), CALL], [("text", "a\n"), ("tool_use", "")]),
    "as the whole answer": ([say("\n"), say(" ")], []),
    "of other kinds": ([say("\u00a0\u2028\t\r\n"), CALL], [("tool_use", "")]),
    "beside reasoning that shows nothing": (
        [say("a"), detail(type="reasoning.encrypted", data="x"), say("\n"), CALL],
        [("text", "a\n"), ("redacted_thinking", ""), ("tool_use", "")],
    ),
}


def seen(blocks: list[Json]) -> list[tuple[str, str]]:
    return [(block["type"], block.get("text", block.get("thinking", ""))) for block in blocks]


@pytest.mark.parametrize("case", CASES)
def test_white_space_makes_no_separate_block(case: str) -> None:
    payloads, expected = CASES[case]
    result = told(*payloads, finish())
    assert seen(result.blocks) == expected
    assert result.stream.notes == ()


@pytest.mark.parametrize("case", CASES)
def test_the_network_may_cut_white_space_anywhere(case: str) -> None:
    payloads, expected = CASES[case]
    upstream = sse(*payloads, finish())
    assert seen(convert(cut(upstream, range(1, len(upstream)))).blocks) == expected


WHOLE: dict[str, tuple[Json, list[tuple[str, str]]]] = {
    "beside calls": ({"content": "\n\n", "tool_calls": CALL["choices"][0]["delta"]["tool_calls"]}, [("tool_use", "")]),
    "after reasoning": ({"reasoning": "Hm", "content": "\n\nSo."}, [("thinking", "Hm"), ("text", "So.")]),
    "as the whole answer": ({"content": "\n"}, []),
    "before the only text": ({"content": "\n a"}, [("text", "\n a")]),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_json_answer_has_no_white_space_for_a_block_either(case: str) -> None:
    message, expected = WHOLE[case]
    whole = to_message(completion(message), reply()).message
    assert seen(whole["content"]) == expected
    assert seen(told(chunk(message), finish()).blocks) == expected


@pytest.mark.parametrize("fields", [{"stop_sequences": ("END",)}, {"think_tags": True}], ids=str)
def test_fields_before_the_blocks_let_no_white_space_through(fields: Any) -> None:
    assert seen(told(say("\n"), CALL, say("\n"), finish(), **fields).blocks) == [("tool_use", "")]


def test_text_before_a_stop_sequence_may_be_white_space_alone() -> None:
    result = told(say("\n END"), finish(), stop_sequences=("END",))
    assert (result.blocks, result.stop["stop_reason"]) == ([], "stop_sequence")
