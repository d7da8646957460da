"""Stop sequences found by the gateway: the same text and the same sequence however the text was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.filters.stop_sequences import StopScan
from tests.support.streams import (
    Json,
    call,
    chunk,
    completion,
    convert,
    detail,
    finish,
    reply,
    say,
    sse,
    think,
    told,
    usage,
)

# Sequences, a text, what of it passes, the sequence found.
ROWS: dict[str, tuple[tuple[str, ...], str, str, str | None]] = {
    "nothing found": (("END",), "one two", "one two", None),
    "found in the middle": (("END",), "one END two", "one ", "END"),
    "found at the start": (("END",), "END", "", "END"),
    "found at the end": (("END",), "one END", "one ", "END"),
    "only its beginning, at the end": (("END",), "one EN", "one EN", None),
    "its beginning, then its whole": (("aab",), "aaab", "a", "aab"),
    "the one that ends first, not the one that begins first": (("abcd", "c"), "xabcd", "xab", "c"),
    "of two that end together the longer": (("c", "abc"), "xabc", "x", "abc"),
    "the first of several places": (("b",), "abab", "a", "b"),
    "white space": (("\n\n",), "one\n \n\n", "one\n ", "\n\n"),
    "outside ASCII": (("終わり",), "はい。終わり", "はい。", "終わり"),
    "an empty sequence is none": (("", "b"), "ab", "a", "b"),
    "only an empty sequence": (("",), "ab", "ab", None),
}


def scan(sequences: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    stop_scan = StopScan(sequences)
    passed = ""
    for piece in pieces:
        text, found = stop_scan.feed(piece)
        passed += text
        if found is not None:
            return passed, found
    return passed + stop_scan.flush(), None


@pytest.mark.parametrize("row", ROWS)
def test_a_text_in_one_piece(row: str) -> None:
    sequences, text, passed, found = ROWS[row]
    assert scan(sequences, [text]) == (passed, found)


@pytest.mark.parametrize("row", ROWS)
def test_a_text_cut_anywhere(row: str) -> None:
    sequences, text, passed, found = ROWS[row]
    for one in range(len(text) + 1):
        for two in range(one, len(text) + 1):
            assert scan(sequences, [text[:one], text[one:two], text[two:]]) == (passed, found)
    assert scan(sequences, list(text)) == (passed, found)


LETTERS = st.text(alphabet="ab", max_size=12)


@given(
    sequences=st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=4), pieces=st.lists(LETTERS)
)
def test_any_cuts_of_any_text(sequences: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    ends = [length for length in range(len(text) + 1) if text[:length].endswith(tuple(sequences))]
    expected: tuple[str, str | None] = (text, None)
    if ends:
        found = max((one for one in sequences if text[: ends[0]].endswith(one)), key=len)
        expected = (text[: ends[0] - len(found)], found)
    assert scan(tuple(sequences), pieces) == expected


@given(st.lists(LETTERS))
def test_no_more_is_held_back_than_could_begin_a_sequence(pieces: list[str]) -> None:
    stop_scan = StopScan(("abba",))
    shown = whole = ""
    for piece in pieces:
        text, found = stop_scan.feed(piece)
        shown, whole = shown + text, whole + piece
        if found is not None:
            return
        held = whole[len(shown) :]
        assert "abba".startswith(held)
        assert not any("abba".startswith(whole[start:]) for start in range(len(shown)))


STOPS = ("END",)


def test_no_text_is_shown_after_the_stop_sequence() -> None:
    payloads = [say("one EN"), say("D two"), say("three"), think("no"), call(0, "{}", "call_1", "f")]
    result = told(*payloads, finish("tool_calls"), stop_sequences=STOPS)
    assert [block["text"] for block in result.blocks] == ["one "]
    assert (result.stop["stop_reason"], result.stop["stop_sequence"]) == ("stop_sequence", "END")


def test_pieces_before_the_text_in_its_delta_are_shown() -> None:
    both = chunk({"reasoning": "Hmm.", "content": "one END", "tool_calls": [{"index": 0, "function": {"name": "f"}}]})
    result = told(both, finish(), stop_sequences=STOPS)
    assert [block["type"] for block in result.blocks] == ["thinking", "text"]


@pytest.mark.parametrize(
    "other", [think("hm"), call(0, "{}", "call_1", "f"), detail(type="reasoning.encrypted", data="x")]
)
def test_held_text_goes_on_before_anything_else(other: Json) -> None:
    result = told(say("one EN"), other, say("D two"), finish(), stop_sequences=STOPS)
    assert result.blocks[0]["text"].startswith("one EN")
    assert "".join(block["text"] for block in result.blocks if block["type"] == "text") == "one END two"
    assert {block["type"] for block in result.blocks} & {"thinking", "redacted_thinking", "tool_use"}
    assert result.stop["stop_sequence"] is None


def test_held_text_goes_on_at_the_end() -> None:
    result = told(say("one EN"), finish(), stop_sequences=STOPS)
    assert result.blocks[0]["text"] == "one EN"
    assert result.stop["stop_reason"] == "end_turn"


def test_the_sequence_is_found_in_text_that_comes_in_parts() -> None:
    result = told(chunk({"content": [{"type": "text", "text": "one END two"}]}), finish(), stop_sequences=STOPS)
    assert result.blocks[0]["text"] == "one "


MESSAGES: dict[str, tuple[Json, list[Json], str]] = {
    "found": ({"content": "one END two"}, [{"type": "text", "text": "one ", "citations": None}], "stop_sequence"),
    "not found": ({"content": "one EN"}, [{"type": "text", "text": "one EN", "citations": None}], "end_turn"),
    "found at once": ({"content": "END"}, [], "stop_sequence"),
    "no text": ({"content": None}, [], "end_turn"),
    "a call behind the text": (
        {"content": "END", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        [],
        "stop_sequence",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_json_answer_is_cut_at_the_sequence(case: str) -> None:
    message, content, reason = MESSAGES[case]
    answered = to_message(completion(message), reply(stop_sequences=STOPS)).message
    assert (answered["content"], answered["stop_reason"]) == (content, reason)


def test_once_the_sequence_is_found_the_upstream_may_go() -> None:
    told_until_then = convert(sse(say("one END")), reply(stop_sequences=STOPS), end=False)
    assert told_until_then.stream.done
    assert told_until_then.stream.abandoned
    assert told_until_then.stop["stop_sequence"] == "END"


def test_usage_of_a_left_stream_is_an_estimate() -> None:
    stream = [say("one END two"), finish(), usage(prompt=1000, completion=1000)]
    result = told(*stream, stop_sequences=STOPS)
    assert (result.usage["input_tokens"], result.usage["output_tokens"]) == (7, 1)
    assert result.stream.origin.estimated
    counted = chunk({"content": "one END"}, usage={"prompt_tokens": 1000, "completion_tokens": 3})
    assert told(counted, stop_sequences=STOPS).usage["input_tokens"] == 1000
    whole = completion({"content": "one END two"}, usage={"prompt_tokens": 1000, "completion_tokens": 3})
    assert to_message(whole, reply(stop_sequences=STOPS)).message["usage"]["output_tokens"] == 3


def test_a_stream_that_ends_by_itself_is_not_abandoned() -> None:
    assert not told(say("one EN"), finish(), stop_sequences=STOPS).stream.abandoned
    assert not convert(b'data: {"choices":[{"delta":{"content":"END"}}]}', reply(stop_sequences=STOPS)).stream.abandoned
