"""The stream core from outside: what it says when, how it fails, and that nothing an upstream sends makes it raise."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.dialects.base import Origin, cut_off
from gateway.dialects.chat.response.stream import MessageStream
from gateway.errors import UpstreamError, UpstreamTimedOut
from gateway.messages.events import PING
from gateway.messages.fold import fold_events
from gateway.messages.replay import to_events
from tests.support.golden_cases import CASES, Case
from tests.support.streams import (
    DONE,
    Json,
    call,
    check_grammar,
    chunk,
    convert,
    detail,
    finish,
    read_events,
    reply,
    say,
    sse,
    think,
    told,
    usage,
)

LOST = UpstreamTimedOut("The upstream was silent for too long.")


def test_stream_sends_no_event_before_content() -> None:
    stream = MessageStream(reply())
    quiet = b": OPENROUTER PROCESSING\n\n" + sse(chunk({"role": "assistant", "content": ""}), {"choices": []})
    assert stream.feed(quiet) == b""
    assert (stream.started, stream.opened) == (False, False)
    assert [event["type"] for event in read_events(stream.feed(sse(say("a"))))][:2] == [
        "message_start",
        "content_block_start",
    ]
    assert (stream.started, stream.opened) == (True, True)


def test_the_first_event_is_a_whole_message_with_an_estimate_of_the_input() -> None:
    start = told(say("a"), finish(), input_estimate=1234).events[0]["message"]
    assert start["usage"]["input_tokens"] == 1234
    assert (start["id"], start["model"], start["role"], start["content"]) == ("msg_1", "claude-test", "assistant", [])
    assert (start["stop_reason"], start["stop_sequence"]) == (None, None)


def test_edits_of_the_request_are_reported_in_the_first_event_and_survive_folding_and_replay() -> None:
    edit = {"type": "clear_tool_uses_20250919", "cleared_tool_uses": 2, "cleared_input_tokens": 900}
    events = told(say("a"), finish(), applied_edits=(edit,)).events
    assert events[0]["message"]["context_management"] == {"applied_edits": [edit]}
    message = fold_events(events)
    assert message["context_management"] == {"applied_edits": [edit]}
    assert fold_events(read_events(to_events(message))) == message
    assert "context_management" not in told(say("a"), finish()).events[0]["message"]


def test_an_opened_stream_is_not_opened_again() -> None:
    stream = MessageStream(reply())
    opening = stream.open()
    assert [event["type"] for event in read_events(opening)] == ["message_start", "ping"]
    assert stream.opened
    assert not stream.started, "a sign of life is no content"
    assert stream.open() == PING
    check_grammar(read_events(opening + stream.feed(sse(say("a"), finish()) + DONE)), complete=True)


def test_a_second_attempt_goes_on_in_the_stream_that_is_open() -> None:
    stream = MessageStream(reply(), opened=True)
    events = read_events(stream.feed(sse(say("a"), finish()) + DONE))
    assert events[0]["type"] == "content_block_start"


def test_one_read_is_one_write() -> None:
    result = convert([sse(say("a"), say("b"), say("c")), sse(say("d"), finish()) + DONE])
    assert [len(read_events(piece)) for piece in result.pieces] == [5, 4, 0]


def test_complete_content_before_a_failure_is_shown() -> None:
    result = convert(sse(say("a"), say("b"), b"broken", say("c")))
    assert [block["text"] for block in result.blocks] == ["ab"]
    assert str(result.failure) == "The upstream sent a chunk that is not JSON."
    assert result.stream.stop is None


def test_after_a_failure_nothing_more_is_said() -> None:
    stream = MessageStream(reply())
    stream.feed(sse(say("a"), b"broken"))
    failure = stream.failure
    assert stream.feed(sse(say("b"), finish()) + DONE) == b""
    assert stream.end() == b""
    assert stream.fail(LOST) == b""
    assert stream.failure is failure


def test_after_the_end_nothing_more_is_said() -> None:
    stream = MessageStream(reply())
    stream.feed(sse(say("a")) + DONE)
    assert stream.done
    assert stream.feed(sse(say("b"), b"broken") + DONE) == b""
    assert stream.end() == b""
    assert stream.fail(LOST) == b""
    assert stream.failure is None


def test_a_stream_that_ends_without_a_reason_has_failed() -> None:
    for pieces in ([], [sse(say("a"))]):
        result = convert(pieces)
        assert isinstance(result.failure, UpstreamError)
        assert result.failure.message == cut_off(has_begun=True).message


def test_a_lost_upstream_is_a_failure() -> None:
    stream = MessageStream(reply())
    stream.feed(sse(say("a")))
    assert stream.fail(LOST) == b""
    assert stream.failure is LOST
    assert not stream.done


def test_an_upstream_lost_after_its_reason_only_lacks_the_end() -> None:
    stream = MessageStream(reply())
    shown = stream.feed(sse(say("a"), finish("length")))
    end = stream.fail(LOST)
    assert stream.failure is None
    assert stream.done
    events = read_events(shown + end)
    check_grammar(events, complete=True)
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"


def test_an_upstream_lost_after_a_stop_sequence_was_found_only_lacks_the_end() -> None:
    stream = MessageStream(reply(stop_sequences=("END",)))
    shown = stream.feed(sse(say("a END b")))
    check_grammar(read_events(shown + stream.fail(LOST)), complete=True)
    assert stream.failure is None
    assert stream.stop is not None
    assert stream.stop.sequence == "END"


def test_a_call_that_cannot_be_mended_fails_at_the_end() -> None:
    stream = MessageStream(reply())
    stream.feed(sse(call(0, "[", "c", "f"), finish()))
    stream.fail(LOST)
    assert stream.failure is not LOST
    assert "not a JSON object" in str(stream.failure)
    assert not stream.done


def test_an_error_keeps_the_hints_of_the_upstream() -> None:
    error = {"code": 503, "message": "full", "availability": {"retryable": True, "retry_after": 4}}
    failure = told({"choices": [], "error": error}).failure
    assert failure is not None
    assert (failure.status, failure.should_retry, failure.retry_after) == (529, True, 4.0)


def test_an_error_after_the_reason_is_still_an_error() -> None:
    assert told(say("a"), finish(), {"error": {"message": "x"}, "choices": []}).failure is not None


ORIGINS: dict[str, tuple[list[Json], Origin]] = {
    "the last chunk with a model": (
        [say("a"), {**finish(), "provider": "Acme"}, {"choices": [], "usage": {"prompt_tokens": 1, "cost": 0.5}}],
        Origin("acme/writer-2", "Acme", "gen-1", 0.5),
    ),
    "an empty beginning": (
        [{"id": "", "model": "", "choices": [], "prompt_filter_results": []}, say("a"), finish(), usage()],
        Origin("acme/writer-2", None, "gen-1"),
    ),
    "the first chunk where none has a model": (
        [
            {"id": "gen-2", "choices": []},
            {"id": "gen-3", "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        ],
        Origin(generation_id="gen-2", estimated=True),
    ),
    "chunks that name nobody": (
        [{"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}],
        Origin(estimated=True),
    ),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_the_origin_is_read_from(case: str) -> None:
    payloads, origin = ORIGINS[case]
    assert told(*payloads).stream.origin == origin


def test_the_origin_of_an_empty_stream_is_unknown() -> None:
    assert MessageStream(reply()).origin == Origin(estimated=True)


# Nothing makes it raise

KEYS = [
    *("choices", "delta", "message", "content", "reasoning", "reasoning_content", "reasoning_details", "tool_calls"),
    *("function", "function_call", "arguments", "name", "id", "index", "type", "text", "summary", "signature", "data"),
    *("refusal", "finish_reason", "native_finish_reason", "stop_details", "usage", "error", "object", "model", "code"),
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats()
    | st.sampled_from(["", "a", "{", "}", '{"a":', "reasoning.text", "error", "stop", "f", "\ud83d", "\ude00", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    items = (
        list(value.items() if isinstance(value, dict) else enumerate(value)) if isinstance(value, dict | list) else []
    )
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in places_in(inner)]


TEMPLATES: list[Json] = [
    say("a"),
    think("b"),
    detail(type="reasoning.text", text="c", signature="d", index=0),
    detail(type="reasoning.encrypted", data="e", id="f"),
    call(0, '{"a": 1}', "c", "f"),
    call(None, "[", "c", "f"),
    chunk({"refusal": "no"}, "content_filter", stop_details={"category": "bio"}),
    chunk({"function_call": {"name": "f", "arguments": "{}"}}),
    finish("length"),
    usage(cost=1, prompt_tokens_details={"cached_tokens": 1}),
    {
        "error": {
            "code": 429,
            "message": "slow",
            "metadata": {"error_type": "server"},
            "availability": {"retry_after": 1},
        }
    },
]


@st.composite
def strange_chunks(draw: st.DrawFn) -> bytes:
    """A chunk with one of its values, somewhere, replaced by anything."""
    payload: Json = json.loads(json.dumps(draw(st.sampled_from(TEMPLATES))))
    holder, key = draw(st.sampled_from(places_in(payload)))
    holder[key] = draw(JUNK)
    return json.dumps(payload).encode()


def check_survives(stream: bytes, **fields: Any) -> None:
    result = convert(stream, reply(**fields))
    assert result.stream.done == (result.failure is None)
    check_grammar(result.events, complete=result.stream.done)
    if result.failure is not None:
        assert result.failure.message


@given(payloads=st.lists(strange_chunks(), max_size=4), stops=st.sampled_from([(), ("a",)]), is_claude=st.booleans())
@settings(max_examples=300)
def test_no_chunk_makes_it_raise(payloads: list[bytes], stops: tuple[str, ...], is_claude: bool) -> None:
    model = "anthropic/claude-sonnet-4.5" if is_claude else "acme/writer"
    check_survives(sse(*payloads, finish()) + DONE, stop_sequences=stops, upstream_model=model)


@given(st.binary(max_size=60))
@example(b"data: 1\n\n")
@example(b'data: {"choices": 5}\n\n')
@example(b"\xef\xbb\xbfdata: {}\n\n")
def test_no_bytes_make_it_raise(stream: bytes) -> None:
    check_survives(stream)


@given(case=st.sampled_from(CASES), place=st.integers(0), junk=st.binary(max_size=3), length=st.integers(0, 3))
@settings(max_examples=300)
def test_no_damage_makes_it_raise(case: Case, place: int, junk: bytes, length: int) -> None:
    upstream = case.upstream
    place %= len(upstream)
    check_survives(upstream[:place] + junk + upstream[place + length :])


@pytest.mark.parametrize("depth", [300, 1000, 5000, 100_000])
@pytest.mark.parametrize(
    "around", ['{"choices":[{"delta":{"reasoning_details":[{"type":"new","a":%s}]}}]}', '{"a":"\\ud83d","b":%s}']
)
def test_no_depth_makes_it_raise(depth: int, around: str) -> None:
    payload = (around % ("[" * depth + "]" * depth)).encode()
    check_survives(sse(payload, say("x"), finish()) + DONE)
