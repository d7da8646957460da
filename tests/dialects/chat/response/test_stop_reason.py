"""Stop reasons: every row of the table, from either of an upstream's two words."""

from typing import Any

import pytest

from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.stop_reason import (
    MAX_LOGPROBS,
    REFUSALS,
    Finish,
    StopFields,
    broken_finish,
    to_extension,
    to_stop,
)
from gateway.errors import UpstreamError
from gateway.messages.fold import fold_events
from gateway.messages.replay import to_events
from tests.support.streams import (
    Json,
    call,
    chunk,
    completion,
    convert,
    finish,
    read_events,
    reply,
    say,
    sse,
    told,
    usage,
)

TOOL = call(0, "{}", "call_1", "f")
CUT_TOOL = call(0, '{"a": [', "call_1", "f")
UNCLOSED_TOOL = call(0, '{"a": ["b"', "call_1", "f")
MEANT_TOOL = call(0, '"{}"', "call_1", "f")
EMPTY_TOOL = call(0, "", "call_1", "f")

# What the upstream says at the end (reason, native reason), after which payloads; what the client reads.
ROWS: dict[str, tuple[str | None, str | None, list[Json], str]] = {
    "stop": ("stop", None, [say("a")], "end_turn"),
    "end_turn": ("end_turn", None, [say("a")], "end_turn"),
    "eos": ("eos", None, [say("a")], "end_turn"),
    "nothing but the end": (None, None, [say("a")], "end_turn"),
    "a native word nobody knows": ("stop", "LANGUAGE", [say("a")], "end_turn"),
    "length": ("length", None, [say("a")], "max_tokens"),
    "max_tokens": ("max_tokens", None, [say("a")], "max_tokens"),
    "a reason in capitals": ("LENGTH", None, [say("a")], "max_tokens"),
    "max_output_tokens": ("max_output_tokens", None, [say("a")], "max_tokens"),
    "a limit in other words": ("max_tokens_reached", None, [say("a")], "max_tokens"),
    "a limit of tokens in other words": ("token_limit_exceeded", None, [say("a")], "max_tokens"),
    "incomplete": ("incomplete", None, [say("a")], "max_tokens"),
    "Zhipu's sensitive": ("sensitive", None, [say("a")], "refusal"),
    "a filter with a hyphen": ("content-filter", None, [say("a")], "refusal"),
    "native MAX_TOKENS under stop": ("stop", "MAX_TOKENS", [say("a")], "max_tokens"),
    "length over another native word": ("length", "stop_sequence", [say("a")], "max_tokens"),
    "native pause_turn": ("stop", "pause_turn", [say("a")], "pause_turn"),
    "native compaction": ("stop", "compaction", [say("a")], "compaction"),
    "native stop_sequence": ("stop", "stop_sequence", [say("a")], "stop_sequence"),
    "native context window": ("length", "model_context_window_exceeded", [say("a")], "model_context_window_exceeded"),
    "the context window before a tool call": (
        "tool_calls",
        "model_context_window_exceeded",
        [TOOL],
        "model_context_window_exceeded",
    ),
    "content_filter": ("content_filter", None, [say("a")], "refusal"),
    "Gemini's filter with its reason": ("content_filter: PROHIBITED_CONTENT", None, [say("a")], "refusal"),
    "native refusal": ("stop", "refusal", [say("a")], "refusal"),
    "native SAFETY": ("stop", "SAFETY", [say("a")], "refusal"),
    "a refusal under length": ("length", None, [chunk({"refusal": "No."})], "refusal"),
    "a refusal with a tool call": ("content_filter", None, [TOOL], "refusal"),
    "tool_calls": ("tool_calls", "tool_use", [TOOL], "tool_use"),
    "function_call": ("function_call", None, [chunk({"function_call": {"name": "f", "arguments": "{}"}})], "tool_use"),
    "a tool call under stop": ("stop", "end_turn", [say("a"), TOOL], "tool_use"),
    "a tool call without a reason": (None, None, [TOOL], "tool_use"),
    "a tool call that looks whole under length": ("length", None, [TOOL], "max_tokens"),
    "a tool call that looks whole under native stop_sequence": ("stop", "stop_sequence", [TOOL], "stop_sequence"),
    "a tool call under native pause_turn": ("stop", "pause_turn", [TOOL], "tool_use"),
    "a tool call cut off at length": ("length", None, [CUT_TOOL], "max_tokens"),
    "a tool call cut off before its arguments": ("length", None, [TOOL, call(1, "", "call_2", "g")], "max_tokens"),
    "a tool call cut off before a whole one": ("length", None, [CUT_TOOL, call(1, "{}", "call_2", "g")], "max_tokens"),
    "a tool call quoted twice under length": ("length", None, [MEANT_TOOL], "max_tokens"),
    "an unended tool call under tool_calls": ("tool_calls", None, [CUT_TOOL], "max_tokens"),
    "an unended tool call under stop": ("stop", None, [CUT_TOOL], "max_tokens"),
    "an unended tool call without a reason": (None, None, [CUT_TOOL], "max_tokens"),
    "an unended tool call before a whole one": ("tool_calls", None, [CUT_TOOL, call(1, "{}", "d", "g")], "max_tokens"),
    "a tool call that lacks closing brackets only": ("tool_calls", None, [UNCLOSED_TOOL], "tool_use"),
    "a tool call without arguments": ("tool_calls", None, [EMPTY_TOOL], "tool_use"),
    "tool_calls without any": ("tool_calls", None, [say("a")], "end_turn"),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.covers("Messages · stop reasons")
def test_the_stop_reason_of_a_stream(row: str) -> None:
    reason, native, payloads, expected = ROWS[row]
    end = [] if reason is None else [finish(reason, native_finish_reason=native)]
    result = told(*payloads, *end)
    assert result.failure is None
    assert result.stop["stop_reason"] == expected


@pytest.mark.parametrize("row", ROWS)
def test_the_stop_reason_of_a_json_answer(row: str) -> None:
    reason, native, payloads, expected = ROWS[row]
    deltas = [payload["choices"][0]["delta"] for payload in payloads]
    message = {name: value for delta in deltas for name, value in delta.items()}
    calls = [part for delta in deltas for part in delta.get("tool_calls", ())]
    answer = completion({**message, "tool_calls": calls}, reason, native_finish_reason=native)
    assert to_message(answer, reply()).message["stop_reason"] == expected


@pytest.mark.parametrize("word", sorted(REFUSALS))
def test_every_word_for_a_refusal_from_either_place(word: str) -> None:
    refusal = StopFields("refusal", details={"type": "refusal", "category": None, "explanation": None})
    for said in (Finish(reason=word), Finish(reason="stop", native=word)):
        assert to_stop(said, has_tools=False, has_cut_call=False, reply=reply()) == refusal


@pytest.mark.parametrize(
    "word",
    ["content_filtered", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "guardrail_intervened"],
)
def test_words_of_several_upstreams_are_refusals(word: str) -> None:
    assert told(say("a"), finish("stop", native_finish_reason=word)).stop["stop_reason"] == "refusal"


DETAILS: dict[str, tuple[Any, str | None, Any]] = {
    "the upstream's own": (
        {"type": "refusal", "category": "cyber", "explanation": "Because."},
        None,
        ("cyber", "Because."),
    ),
    "its text where there is no explanation": ({"category": "bio"}, "No.", ("bio", "No.")),
    "its text where there are none": (None, "No.", (None, "No.")),
    "its text where the explanation is empty": ({"explanation": ""}, "No.", (None, "No.")),
    "nothing of another shape": ({"category": [1], "explanation": 5}, None, (None, None)),
    "nothing where they are no object": ("why", None, (None, None)),
}


@pytest.mark.parametrize("case", DETAILS)
def test_a_refusal_carries(case: str) -> None:
    details, refusal, (category, explanation) = DETAILS[case]
    end = finish("content_filter", stop_details=details)
    result = told(chunk({"refusal": refusal}), end)
    assert result.stop["stop_details"] == {"type": "refusal", "category": category, "explanation": explanation}


@pytest.mark.parametrize(
    ("sent", "sequence"), [(("END",), "END"), (("END", "STOP"), None), ((), None)], ids=["one", "two", "none"]
)
def test_an_upstreams_stop_sequence_is_named_only_where_it_must_be_the_one(
    sent: tuple[str, ...], sequence: str | None
) -> None:
    result = told(say("a"), finish("stop", native_finish_reason="stop_sequence"), sent_stop_sequences=sent)
    assert (result.stop["stop_reason"], result.stop["stop_sequence"]) == ("stop_sequence", sequence)


@pytest.mark.parametrize("name", ["stop_reason", "matched_stop", "stopping_word", "stop_sequence"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("STOP", ("stop_sequence", "STOP"), id="the one that stopped it"),
        pytest.param(151645, ("end_turn", None), id="a token"),
        pytest.param("end_turn", ("end_turn", None), id="another word"),
        pytest.param(None, ("end_turn", None), id="nothing"),
    ],
)
def test_a_sequence_that_the_upstream_names_is_reported(name: str, said: Any, expected: tuple[str, str | None]) -> None:
    """Servers that report it use a separate field each."""
    end = finish("stop")
    end["choices"][0][name] = said
    stop = told(say("a"), end, sent_stop_sequences=("END", "STOP")).stop
    assert (stop["stop_reason"], stop["stop_sequence"]) == expected


@pytest.mark.parametrize("tool", [TOOL, CUT_TOOL], ids=["looks whole", "cut"])
@pytest.mark.parametrize("name", ["stop_reason", "matched_stop"])
def test_a_call_in_which_the_upstream_found_a_sequence_is_not_to_be_run(name: str, tool: Json) -> None:
    """vLLM streams the pieces, SGLang completes them; both then say `tool_calls`."""
    end = finish("tool_calls")
    end["choices"][0][name] = "END"
    stop = told(tool, end, sent_stop_sequences=("STOP", "END")).stop
    assert (stop["stop_reason"], stop["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("tool", "sent", "expected"),
    [
        pytest.param(CUT_TOOL, ("END",), ("stop_sequence", "END"), id="the only one"),
        pytest.param(CUT_TOOL, ("END", "STOP"), ("stop_sequence", None), id="one of two"),
        pytest.param(UNCLOSED_TOOL, ("END",), ("stop_sequence", "END"), id="before a closing bracket"),
        pytest.param(TOOL, ("END",), ("tool_use", None), id="not within a whole call"),
    ],
)
def test_a_call_cut_while_sequences_were_sent_was_stopped_by_one(
    tool: Json, sent: tuple[str, ...], expected: tuple[str, str | None]
) -> None:
    """llama.cpp and LiteLLM stop there and do not name it."""
    stop = told(tool, finish("stop"), sent_stop_sequences=sent).stop
    assert (stop["stop_reason"], stop["stop_sequence"]) == expected


@pytest.mark.parametrize("sent", [(), ("END",)])
@pytest.mark.parametrize(("spent", "reason"), [(99, "tool_use"), (100, "max_tokens"), (101, "max_tokens")])
def test_a_call_cut_at_the_token_limit_is_known_by_the_usage(spent: int, reason: str, sent: tuple[str, ...]) -> None:
    """Some servers report `tool_calls` also for calls that were cut off."""
    counted = usage(10, spent)
    result = told(UNCLOSED_TOOL, finish("tool_calls"), counted, max_tokens=100, sent_stop_sequences=sent)
    expected = "stop_sequence" if sent and reason == "tool_use" else reason
    assert result.stop["stop_reason"] == expected


def test_a_sequence_sent_upstream_is_not_named_when_something_else_stopped_it() -> None:
    assert told(say("a"), finish("length"), sent_stop_sequences=("END",)).stop["stop_sequence"] is None


def test_a_sequence_found_here_wins_over_what_the_upstream_said_later() -> None:
    found = Finish(reason="length", native="pause_turn", matched="END")
    stop = to_stop(found, has_tools=False, has_cut_call=False, reply=reply())
    assert stop == StopFields("stop_sequence", sequence="END")


def test_a_sequence_found_after_a_tool_call_is_reported() -> None:
    stop = to_stop(Finish(reason="stop", matched="END"), has_tools=True, has_cut_call=False, reply=reply())
    assert stop == StopFields("stop_sequence", sequence="END")


def test_a_reason_that_comes_too_early_does_not_end_the_answer() -> None:
    """Some servers repeat it in every chunk."""
    result = told(
        chunk({"content": "a"}, "stop"), finish(), chunk({"content": "b"}, "stop"), TOOL, finish("tool_calls")
    )
    assert [block["type"] for block in result.blocks] == ["text", "tool_use"]
    assert result.blocks[0]["text"] == "ab"
    assert result.stop["stop_reason"] == "tool_use"


def test_a_reason_that_came_too_early_is_no_reason_to_leave_the_upstream() -> None:
    for payloads, is_finished in (
        ([say("a"), finish()], True),
        ([say("a"), finish(), usage(), chunk({"role": "assistant", "content": ""})], True),
        ([chunk({"content": "a"}, "stop")], True),
        ([chunk({"content": "a"}, "stop"), usage(), chunk({"content": "b"}, "stop")], False),
        ([say("a")], False),
    ):
        assert convert(sse(*payloads), end=False).stream.is_finished is is_finished


PROBABLE = {"token": "a", "logprob": -0.1, "top_logprobs": []}


def test_o30_logprobs_are_in_the_last_event() -> None:
    pieces = [{"content": [PROBABLE]}, None, {"content": [PROBABLE], "refusal": None}, {"refusal": [PROBABLE]}, "x"]
    deltas = [chunk({"content": "a"}) for _ in pieces]
    for payload, logprobs in zip(deltas, pieces, strict=True):
        payload["choices"][0]["logprobs"] = logprobs
    result = told(*deltas, finish())
    expected = {"content": [PROBABLE, PROBABLE], "refusal": [PROBABLE]}
    assert result.stop["logprobs"] == expected
    assert fold_events(result.events)["logprobs"] == expected
    answer = completion({"content": "aaa"})
    answer["choices"][0]["logprobs"] = {"content": [PROBABLE, PROBABLE], "refusal": [PROBABLE]}
    message = to_message(answer, reply()).message
    assert message["logprobs"] == expected
    replayed = read_events(to_events(message))
    assert "logprobs" not in replayed[0]["message"]
    assert fold_events(replayed) == message


def test_an_answer_without_logprobs_has_no_logprobs_field() -> None:
    assert "logprobs" not in told(say("a"), finish()).stop
    assert "logprobs" not in to_message(completion({"content": "a"}), reply()).message


@pytest.mark.parametrize(
    ("seeded", "fingerprint"), [(True, "fp_1"), (False, "fp_1"), (True, None), (True, 5), (True, "")]
)
def test_o29_who_sends_a_seed_learns_which_system_answered(seeded: bool, fingerprint: Any) -> None:
    fields = {} if fingerprint is None else {"system_fingerprint": fingerprint}
    expected = "fp_1" if seeded and fingerprint == "fp_1" else None
    streamed = told(chunk({"content": "a"}, **fields), finish(**fields), is_seeded=seeded)
    whole = to_message(completion({"content": "a"}, **fields), reply(is_seeded=seeded)).message
    assert streamed.stop.get("system_fingerprint") == whole.get("system_fingerprint") == expected
    assert fold_events(read_events(to_events(whole))) == whole
    if expected is None:
        assert "system_fingerprint" not in streamed.stop
        assert "system_fingerprint" not in whole


def test_no_more_logprobs_are_kept_than_an_answer_has_tokens() -> None:
    said = Finish()
    for _ in range(3):
        said.note({"logprobs": {"content": [PROBABLE] * (MAX_LOGPROBS // 2)}})
    assert len(to_extension(said, {}, reply())["logprobs"]["content"]) == MAX_LOGPROBS


def test_later_words_fill_gaps_and_erase_nothing() -> None:
    said = Finish()
    assert not said.is_over
    for choice in (
        {"finish_reason": None, "native_finish_reason": None},
        {"finish_reason": "stop", "native_finish_reason": "end_turn", "stop_details": {"category": "bio"}},
        {"finish_reason": "", "native_finish_reason": "", "stop_details": None},
        {"finish_reason": 5, "native_finish_reason": ["x"], "stop_details": "y"},
    ):
        said.note(choice)
    assert said == Finish("stop", "end_turn", stop_details={"category": "bio"}, has_choice=True, said=True)
    assert said.is_over


MALFORMED: dict[str, Json] = {
    "native": {"finish_reason": "stop", "native_finish_reason": "MALFORMED_FUNCTION_CALL"},
    "native, unexpected": {"finish_reason": "stop", "native_finish_reason": "UNEXPECTED_TOOL_CALL"},
    "Gemini's API of OpenAI's form": {"finish_reason": "function_call_filter: MALFORMED_FUNCTION_CALL"},
    "alone": {"finish_reason": "malformed_function_call"},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_call_is_an_error_worth_another_attempt(case: str) -> None:
    said = Finish()
    said.note(MALFORMED[case])
    error = broken_finish(said)
    assert isinstance(error, UpstreamError)
    assert error.retryable


@pytest.mark.parametrize("reason", ["error", "ERROR", "failed", "network_error", "insufficient-system-resource"])
def test_a_finish_of_a_failure_is_an_error(reason: str) -> None:
    said = Finish()
    said.note({"finish_reason": reason})
    assert isinstance(broken_finish(said), UpstreamError)


def test_a_finish_of_another_word_is_no_error() -> None:
    assert broken_finish(Finish(reason="stop", native="end_turn")) is None
    assert broken_finish(Finish()) is None


def test_reason_under_geminis_own_name_is_read() -> None:
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": None, "finishReason": "MAX_TOKENS"}]}
    assert told(say("a"), chunk).events[-2]["delta"]["stop_reason"] == "max_tokens"
