"""A text answer is the same if its stream comes in one read and if its events come one by one."""

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.chat.response.whole_stream import MAX_PARSED, to_whole_text
from tests.support.payloads import ENDS, FRAMED, escaped, loose, spread, streams, tight
from tests.support.streams import DONE, Json, chunk, finish, reply, say, sse, usage

# Fields of chunks and of choices, harmless and otherwise.
OF_CHUNKS: list[Json] = [
    {},
    {"id": "gen-1", "model": "m-1", "provider": "P", "service_tier": "priority", "system_fingerprint": "fp"},
    {"error": None, "choices": []},
    {"error": {"message": "no"}},
    {"base_resp": {"status_code": 1002, "status_msg": "slow down"}},
    {"usage": {"prompt_tokens": 3, "completion_tokens": 0, "cost": 0.5}},
    {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
]
OF_CHOICES: list[Json] = [
    {},
    {"logprobs": None, "stop_reason": None, "matched_stop": None},
    {"index": 1},
    {"index": 0, "stop_reason": "END"},
    {"finish_reason": "length", "native_finish_reason": "MAX_TOKENS"},
    {"finish_reason": None, "native_finish_reason": "STOP"},
    {"finish_reason": 5},
    {"finish_reason": "error"},
    {"logprobs": {"content": [{"token": "a", "logprob": -1}]}},
    {"message": {"content": "x"}},
    {"error": {"message": "no", "code": 503}},
    {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
]
# A failure behind the answer, in the form of one server's events.
FAILURE: Json = {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}
DELTAS: list[Json] = [
    {},
    {"role": "assistant", "content": ""},
    {"content": "a"},
    {"content": 'so "b"\n'},
    {"content": [{"type": "text", "text": "c"}]},
    {"content": "d", "refusal": None, "reasoning_content": None},
    {"content": "e", "reasoning_content": ""},
    {"content": None, "reasoning": "hm"},
    {"content": "f", "reasoning_details": []},
    {"content": "\n\n"},
    {"tool_calls": []},
]


@st.composite
def mixed(draw: st.DrawFn) -> list[bytes]:
    """Payloads of any fields in any order."""
    write = draw(st.sampled_from([tight, loose, escaped, spread]))
    payloads = []
    for _ in range(draw(st.integers(1, 6))):
        choice = {"index": 0, "delta": draw(st.sampled_from(DELTAS)), **draw(st.sampled_from(OF_CHOICES))}
        payloads.append(write({"choices": [choice], **draw(st.sampled_from(OF_CHUNKS))}).replace(b"\n", b""))
    return payloads


@given(streams() | mixed(), ENDS, st.booleans(), st.sampled_from([b"", b": wait\n\n"]))
@settings(max_examples=400)
@example([tight(say("a")), FRAMED], sse(finish()) + DONE, False, b"")
@example([tight(say("a")), tight(say("b")).replace(b'"b"', b'"b","c"')], sse(finish()) + DONE, False, b"")
@example([tight(say("a"))], sse(finish(), usage(), FAILURE) + DONE, False, b"")
def test_one_read_gives_the_answer_of_many(payloads: list[bytes], end: bytes, think_tags: bool, comment: bytes) -> None:
    events = [event + b"\n\n" for event in end.split(b"\n\n") if event]
    pieces = [comment, *[b"data: " + payload + b"\n\n" for payload in payloads], *events]
    outcomes = [outcome_of(reads, think_tags=think_tags) for reads in ([b"".join(pieces)], pieces)]
    assert outcomes[0] == outcomes[1]


def outcome_of(pieces: list[bytes], **fields: Any) -> tuple[Any, ...]:
    stream = MessageStream(reply(**fields), collects=True)
    for piece in pieces:
        stream.feed(piece)
    stream.end()
    if stream.failure is not None:
        return type(stream.failure), str(stream.failure), stream.started
    return stream.message(), stream.origin, stream.notes, stream.stop_reason, stream.started


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}, {}),
        ({"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "logprobs": None}, {}),
        ({"index": 0, "delta": {"content": ""}, "stop_reason": None, "token_ids": None}, {"stop_reason": None}),
        ({"index": 0, "delta": {"content": ""}, "native_finish_reason": None}, {"native_finish_reason": "STOP"}),
    ],
)
def test_plain_streams_are_folded(first: Json, last: Json) -> None:
    texts = ['say "', "hello", "\n", "\\", "é", "🌍"]
    deltas = [{**first, "delta": {**first["delta"], "content": text}} for text in texts]
    end = {"index": 0, "delta": {}, "finish_reason": "stop", **last}
    events = [*[{"choices": [choice]} for choice in (first, *deltas, end)], usage()]
    for write in (tight, escaped, loose):
        whole = to_whole_text(b": wait\n\n" + sse(*map(write, events)) + DONE, reply())
        assert whole is not None
        assert whole.text == "".join(texts)


def test_the_work_for_changing_events_is_bounded() -> None:
    changing = [chunk({"content": "a", "n": number}) for number in range(MAX_PARSED + 1)]
    assert to_whole_text(sse(*changing[: MAX_PARSED - 1], finish()) + DONE, reply()) is None  # an unknown field
    counted = [{**say("a"), "n": number} for number in range(MAX_PARSED + 1)]
    assert to_whole_text(sse(*counted[: MAX_PARSED - 1], finish()) + DONE, reply()) is not None
    assert to_whole_text(sse(*counted, finish()) + DONE, reply()) is None


def test_events_of_several_lines_are_left_to_the_parser() -> None:
    payload = orjson.dumps(say("a"))
    assert to_whole_text(b"event: message\ndata: " + payload + b"\n\n" + sse(finish()) + DONE, reply()) is None
    assert to_whole_text(b"data: " + payload + b"\n" + payload + b"\n\n" + sse(finish()) + DONE, reply()) is None
    assert to_whole_text(b"data: " + payload + b"\r\n\r\n" + sse(finish()) + DONE, reply()) is None
