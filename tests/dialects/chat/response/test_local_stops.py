"""Stop sequences left to the gateway by the operator: never sent, and exact however the answer comes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dialects.chat.response.convert import to_message
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.conversions import DEEPSEEK
from tests.support.conversions import convert as ask
from tests.support.streams import DONE, blocks_of, chunk, completion, convert, finish, reply, say, sse, told

LOCAL = replace(DEEPSEEK, stop_limit=0)
MODELS = ("anthropic/claude-opus-5", "openai/gpt-4o", "google/gemini-3-pro", "x-ai/grok-5", "deepseek/v4", "local")

WORDS = st.text(alphabet="ab \né", max_size=12)
SEQUENCES = st.lists(
    st.text(alphabet="ab\né", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=6, unique=True
)


def cut_before_the_first(text: str, sequences: list[str]) -> tuple[str, str | None]:
    """Cut as a model that watches its own output: as soon as the text ends in a sequence, the longest."""
    for length in range(1, len(text) + 1):
        matches = [sequence for sequence in sequences if text[:length].endswith(sequence)]
        if matches:
            found = max(matches, key=len)
            return text[: length - len(found)], found
    return text, None


@given(sequences=SEQUENCES, pieces=st.lists(WORDS, max_size=6), read_size=st.integers(1, 400))
@example(sequences=["abab", "ba"], pieces=["a", "b", "ab"], read_size=1)
@example(sequences=["b", "ab", "aab"], pieces=["a", "ab"], read_size=400)
def test_o32_stream_and_json_have_the_same_text_and_sequence(
    sequences: list[str], pieces: list[str], read_size: int
) -> None:
    text, found = cut_before_the_first("".join(pieces), sequences)
    conversion = ask(LOCAL, stop_sequences=sequences)
    assert "stop" not in conversion.body
    to = reply(stop_sequences=conversion.stop_sequences)

    whole = to_message(completion({"content": "".join(pieces)}), to).message
    stream = sse(*map(say, pieces), finish()) + DONE
    streamed = convert((stream[at : at + read_size] for at in range(0, len(stream), read_size)), to)

    text = text if text.strip() else ""
    shown = [{"type": "text", "text": text, "citations": None}] if text else []
    ending = ("stop_sequence" if found else "end_turn", found)
    assert whole["content"] == shown
    assert (whole["stop_reason"], whole["stop_sequence"]) == ending
    assert "".join(block["text"] for block in blocks_of(streamed.events)) == text
    assert (streamed.stop["stop_reason"], streamed.stop["stop_sequence"]) == ending
    assert streamed.stream.abandoned is (found is not None)


@given(SEQUENCES)
def test_o32_left_to_the_upstream_they_are_sent_up_to_its_limit(sequences: list[str]) -> None:
    conversion = ask(DEEPSEEK, stop_sequences=sequences)
    assert conversion.body["stop"] == sequences[:4]
    assert conversion.stop_sequences == (tuple(sequences) if len(sequences) > 4 else ())


def resolved(model: str, *, local: bool) -> Target:
    table = one_upstream_table(Upstream("u", "http://127.0.0.1:1/v1"), local_stops=local)
    return table.resolve(model)[0].target


@pytest.mark.parametrize("model", MODELS)
def test_o32_the_operators_decision_goes_for_every_family(model: str) -> None:
    assert resolved(model, local=True).stop_limit == 0
    assert resolved(model, local=False).stop_limit == to_target(model, OPENROUTER).stop_limit


def test_o32_the_operators_decision_goes_over_what_the_upstreams_list_says() -> None:
    table = one_upstream_table(Upstream("u", "http://127.0.0.1:1/v1"), local_stops=True)
    table = table.learned("u", [{"id": "acme/writer", "context_length": 5, "supported_parameters": ["stop"]}])
    target = table.resolve("acme/writer")[0].target
    assert (target.stop_limit, target.context_length) == (0, 5)


def test_o32_one_sequence_sent_upstream_is_named_where_the_upstream_says_that_one_stopped_it() -> None:
    conversion = ask(DEEPSEEK, stop_sequences=["END"])
    assert conversion.stop_sequences == ()
    assert conversion.body["stop"] == ["END"]
    to: Any = {"sent_stop_sequences": ("END",)}
    native = {"native_finish_reason": "stop_sequence"}
    whole = to_message(completion({"content": "a"}, **native), reply(**to)).message
    streamed = told(say("a"), finish("stop", **native), **to).stop
    for ending in (whole, streamed):
        assert (ending["stop_reason"], ending["stop_sequence"]) == ("stop_sequence", "END")


AFTER_IT: dict[str, tuple[dict[str, Any], str | None, dict[str, Any]]] = {
    "the token limit": ({}, "length", {}),
    "a filter": ({}, "content_filter", {}),
    "a native refusal": ({}, "stop", {"native_finish_reason": "refusal"}),
    "a refusal in words": ({"refusal": "No more."}, "stop", {}),
    "the end of the context": ({}, "length", {"native_finish_reason": "model_context_window_exceeded"}),
    "nothing said": ({}, None, {}),
}


@pytest.mark.parametrize("case", AFTER_IT)
def test_the_end_of_the_upstreams_answer_after_the_sequence_is_ignored(case: str) -> None:
    """A JSON answer alone shows it: a stream has been left by then."""
    more, reason, native = AFTER_IT[case]
    answer = completion({"content": "one END two", **more}, reason, **native)
    message = to_message(answer, reply(stop_sequences=("END",))).message
    assert (message["stop_reason"], message["stop_sequence"], message["stop_details"]) == ("stop_sequence", "END", None)
    assert [block["text"] for block in message["content"]] == ["one "]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_that_holds_the_sequence_is_a_refusal(streamed: bool) -> None:
    refusal = {"refusal": "No. END of talk."}
    stops = {"stop_sequences": ("END",)}
    if streamed:
        ending = told(chunk(refusal), finish("content_filter"), **stops).stop
    else:
        ending = to_message(completion(refusal, "content_filter"), reply(**stops)).message
    assert (ending["stop_reason"], ending["stop_sequence"]) == ("refusal", None)
