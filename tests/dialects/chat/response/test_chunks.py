"""Chunks and their surrogates: a character that came in halves is whole again, and never in another's place."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.chunks import ChunkDecoder
from gateway.errors import UpstreamError
from tests.support.streams import Json, call, chunk, detail, finish, say, think, told

FACE, HIGH, LOW = "😀", "\ud83d", "\ude00"


def decode(*chunks: Any) -> list[Any]:
    """Decode chunks as sent by an upstream that escapes characters."""
    decoder = ChunkDecoder()
    return [decoder.decode(json.dumps(one).encode()) for one in chunks]


def contents(chunks: list[Any]) -> list[str]:
    return [one["choices"][0]["delta"]["content"] for one in chunks]


ROWS: dict[str, tuple[list[str], list[str]]] = {
    "no halves": (["a", "ö", FACE], ["a", "ö", FACE]),
    "two halves": ([HIGH, LOW], ["", FACE]),
    "halves between letters": (["a" + HIGH, LOW + "b"], ["a", FACE + "b"]),
    "several in a row": ([HIGH, LOW + HIGH, LOW], ["", FACE, FACE]),
    "an empty delta in between": ([HIGH, "", LOW], ["", "", FACE]),
    "a first half that is never joined": ([HIGH, "a"], ["", "�a"]),
    "a second half alone": ([LOW, "a"], ["�", "a"]),
    "a first half in the middle": ([HIGH + "a"], ["�a"]),
    "two first halves": ([HIGH, HIGH + "a"], ["", "��a"]),
    "the first and the last of the halves": (
        ["\ud800", "\udc00", "\udbff", "\udfff"],
        ["", "\U00010000", "", "\U0010ffff"],
    ),
    "characters next to the halves": ([HIGH, LOW + "\ud7ff", "\ue000"], ["", FACE + "\ud7ff", "\ue000"]),
    "halves the wrong way round": ([LOW + HIGH], ["�"]),
}


@pytest.mark.parametrize("row", ROWS)
def test_content_of(row: str) -> None:
    sent, read = ROWS[row]
    assert contents(decode(*[say(text) for text in sent])) == read


@given(st.lists(st.text(alphabet=["a", "é", FACE, HIGH, LOW], max_size=3)))
def test_any_pieces_of_text_join_to_the_text(pieces: list[str]) -> None:
    joined = "".join(pieces)
    unpaired = joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    read = "".join(contents(decode(*[say(piece) for piece in pieces])))
    assert read == (unpaired[:-1] if joined[-1:] == HIGH else unpaired)


PLACES: dict[str, tuple[Json, Json, Any]] = {
    "reasoning": (think(HIGH), think(LOW), lambda delta: delta["reasoning"]),
    "reasoning_content": (
        chunk({"reasoning_content": HIGH}),
        chunk({"reasoning_content": LOW}),
        lambda delta: delta["reasoning_content"],
    ),
    "refusal": (chunk({"refusal": HIGH}), chunk({"refusal": LOW}), lambda delta: delta["refusal"]),
    "the text of an entry": (
        detail(type="reasoning.text", text=HIGH),
        detail(type="reasoning.text", text=LOW),
        lambda delta: delta["reasoning_details"][0]["text"],
    ),
    "the summary of an entry": (
        detail(type="reasoning.summary", summary=HIGH),
        detail(type="reasoning.summary", summary=LOW),
        lambda delta: delta["reasoning_details"][0]["summary"],
    ),
    "arguments": (call(1, HIGH), call(1, LOW), lambda delta: delta["tool_calls"][0]["function"]["arguments"]),
}


@pytest.mark.parametrize("place", PLACES)
def test_halves_meet_in(place: str) -> None:
    first, second, read = PLACES[place]
    assert read(decode(first, say("between"), second)[-1]["choices"][0]["delta"]) == FACE


def test_a_half_beside_an_empty_string_is_carried() -> None:
    chunks = decode(chunk({"content": HIGH, "reasoning": ""}), say(LOW))
    assert contents(chunks) == ["", FACE]


def test_halves_of_two_calls_do_not_mix() -> None:
    chunks = decode(call(0, HIGH), call(1, HIGH), call(1, LOW + "1"), call(0, LOW + "0"))
    arguments = [one["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for one in chunks]
    assert arguments == ["", "", FACE + "1", FACE + "0"]


def test_halves_anywhere_else_are_replaced_since_nothing_continues_them() -> None:
    (read,) = decode({"id": HIGH, "choices": [], "error": {"message": LOW, "metadata": {HIGH: [HIGH + LOW]}}})
    assert read == {"id": "�", "choices": [], "error": {"message": "�", "metadata": {"�": [FACE]}}}
    orjson.dumps(read)


@pytest.mark.parametrize("text", [HIGH + LOW, HIGH, LOW, "a" + HIGH])
def test_a_stream_of_halves_is_valid_utf_8(text: str) -> None:
    payloads = [json.dumps(say(text)).encode(), json.dumps(say(text)).encode()]
    result = told(*payloads, finish())
    assert result.failure is None
    result.output.decode()


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"{'a': 1}",
        b'{"a": "\\u12"}',
        b'{"a": "\\ud83d", "b": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"a": "\\ud83d", "b": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        '{"a": "\\u0041"}'.encode("utf-16-le"),
    ],
    ids=["cut", "quotes", "escape", "deep", "deeper", "UTF-16"],
)
def test_a_payload_that_is_no_json_is_an_error(payload: bytes) -> None:
    with pytest.raises(UpstreamError, match="a chunk that is not JSON"):
        ChunkDecoder().decode(payload)


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (b'{"a": "\\ud83d", "b": NaN}', {"a": "\ufffd", "b": None}),
        (b'{"a": [-Infinity, Infinity]}', {"a": [None, None]}),
        (b'{"a": "one\ttwo\nthree"}', {"a": "one\ttwo\nthree"}),
        (b'{"a": "caf\xc3"}', {"a": "caf\ufffd"}),
    ],
    ids=["NaN", "Infinity", "control characters", "half a character"],
)
def test_a_payload_that_is_almost_json_is_read(payload: bytes, read: Json) -> None:
    assert ChunkDecoder().decode(payload) == read


STALE = b'{"id":"old","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]}'
CONTENT_AT = STALE.index(b"content") + 1


def glued(cut: int, event: Json) -> bytes:
    return STALE[:cut] + b"data: " + orjson.dumps(event)


@pytest.mark.parametrize("cut", [STALE.index(b",") + 1, STALE.index(b"choices"), CONTENT_AT - 2])
def test_event_behind_the_beginning_of_another_answers_is_read(cut: int) -> None:
    event = {"id": "new", "choices": [{"index": 0, "delta": {"content": "b"}}]}
    decoder = ChunkDecoder()
    assert (decoder.decode(glued(cut, event)), decoder.changes) == (event, 1)


@pytest.mark.parametrize(
    ("cut", "event"),
    [
        (CONTENT_AT, {"id": "new"}),
        (len(STALE) - 5, {"id": "new"}),
        (CONTENT_AT - 2, {"id": "old"}),
        (CONTENT_AT - 2, {"choices": []}),
        (5, {"id": "new"}),
    ],
    ids=[
        "cut in its content",
        "cut behind its content",
        "of the same answer",
        "without an id",
        "cut in front of its id",
    ],
)
def test_event_behind_a_beginning_that_may_be_of_the_same_answer_is_an_error(cut: int, event: Json) -> None:
    with pytest.raises(UpstreamError, match="a chunk that is not JSON"):
        ChunkDecoder().decode(glued(cut, event))


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b'"a"', b'"\\ud83d"', b'["\\ud83d"]'])
def test_a_payload_that_is_no_object_is_an_error(payload: bytes) -> None:
    with pytest.raises(UpstreamError, match="a chunk that is not a JSON object"):
        ChunkDecoder().decode(payload)


def test_a_payload_that_is_no_object_is_an_error_while_a_half_waits_too() -> None:
    decoder = ChunkDecoder()
    decoder.decode(json.dumps(say(HIGH)).encode())
    with pytest.raises(UpstreamError, match="a chunk that is not a JSON object"):
        decoder.decode(b"[]")


@pytest.mark.parametrize(
    "strange",
    [
        {"choices": 5},
        {"choices": [5, {"delta": 5}, {"delta": {"tool_calls": 5, "reasoning_details": {"a": 1}}}]},
        {"choices": [{"delta": {"tool_calls": [5, {}, {"function": 5}, {"function": {}}], "reasoning_details": [5]}}]},
    ],
)
def test_strange_shapes_are_left_to_their_readers(strange: Json) -> None:
    first, second = decode(say(HIGH), {**strange, "note": HIGH})
    assert second == {**strange, "note": "�"}
    assert first["choices"][0]["delta"]["content"] == ""


def test_a_number_beyond_64_bits_reads_as_it_would_without_halves() -> None:
    (read,) = decode({"a": HIGH, "n": 10**30})
    assert read["n"] == 1e30
