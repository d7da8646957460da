"""Answers in the shapes of servers that follow OpenAI's loosely: other labels, other places, everything twice."""

from typing import Any

import orjson
import pytest

from gateway.dialects import json_body
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.dialects.chat.response.stream import MessageStream
from gateway.errors import EmptyAnswer, GatewayError, NotFound, Overloaded, UpstreamError
from gateway.messages.envelope import Envelope, open_envelope
from gateway.messages.events import error_event
from gateway.messages.fold import fold_events
from gateway.messages.notes import Note
from tests.support.streams import (
    DONE,
    KEYRING,
    Json,
    call,
    call_part,
    check_grammar,
    chunk,
    completion,
    convert,
    cut,
    finish,
    read_events,
    reply,
    say,
    sse,
    think,
    told,
    usage,
)

WHOLE = completion(
    {"content": "Hello", "reasoning": "Hm"}, usage={"prompt_tokens": 9, "completion_tokens": 2, "cost": 0.5}
)
COMPACT = orjson.dumps(WHOLE)
INDENTED = orjson.dumps(WHOLE, option=orjson.OPT_INDENT_2)
CHUNKS = [say("Hel"), say("lo"), finish(), usage()]

# Bodies that are no event streams, against their content type.
BODIES: dict[str, bytes] = {
    "JSON": COMPACT,
    "JSON over many lines": INDENTED,
    "JSON behind white space": b"\n  \n" + COMPACT,
    "JSON before the end of a stream": COMPACT + b"data: [DONE]\n\n",
    "JSON lines before the end of a stream": INDENTED + b"\n\ndata:[DONE]\n\n",
    "JSON with half a surrogate pair": COMPACT.replace(b"Hello", b"Hello\\ud83d"),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_json_for_a_stream_request_becomes_a_stream(case: str, size: int) -> None:
    body = BODIES[case]
    result = convert(cut(body, range(size, len(body), size)))
    assert result.failure is None
    message = fold_events(result.events)
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["content"][1]["text"].startswith("Hello")
    assert message["usage"]["output_tokens"] == 2
    assert (result.stream.origin.cost, result.stream.usage["input_tokens"]) == (0.5, 9)
    assert (result.stream.stop_reason, result.stream.done, result.stream.started) == ("end_turn", True, True)


def test_json_for_a_stream_that_was_opened_does_not_begin_again() -> None:
    stream = MessageStream(reply())
    events = read_events(stream.open() + stream.feed(COMPACT) + stream.end())
    check_grammar(events, complete=True)
    assert fold_events(events)["content"][1]["text"] == "Hello"


def test_chunks_as_bare_lines_are_a_stream() -> None:
    body = b"\n".join(map(orjson.dumps, CHUNKS))
    message = fold_events(convert(cut(body, range(5, len(body), 5))).events)
    assert (message["content"][0]["text"], message["usage"]["output_tokens"]) == ("Hello", 5)


def test_an_error_in_json_for_a_stream_is_an_error() -> None:
    failure = convert(b'{"error": {"message": "no such model", "code": 404}}').failure
    assert isinstance(failure, NotFound)


@pytest.mark.parametrize("body", [b'{"choices": [', b'{"choices": [{"mess', b"[1, 2]", b"{}"])
def test_json_that_is_no_answer_is_an_error(body: bytes) -> None:
    result = convert(body)
    assert isinstance(result.failure, UpstreamError)
    assert result.output == b""


def test_a_broken_connection_behind_a_whole_answer_is_no_failure() -> None:
    lost = UpstreamError("The connection was lost.")
    for body, is_whole in ((COMPACT, True), (COMPACT[:-1], False)):
        result = convert(body, end=False)
        output = result.stream.fail(lost)
        assert result.stream.done is is_whole
        assert result.stream.failure is (None if is_whole else lost)
        assert (b"message_stop" in output) is is_whole


def test_an_answer_without_end_is_refused_before_it_fills_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MAX_BODY_BYTES", 100)
    failure = convert([b"{", b" " * 99, b" "]).failure
    assert failure is not None
    assert "larger than the gateway accepts" in failure.message


NOTHINGS = [b"data: null\n\n", b"data: {}\n\n", b"event: ping\ndata: 12:00\n\n", b": \n\n", b"data:\n\n", b"id: 1\n\n"]


@pytest.mark.parametrize("nothing", NOTHINGS)
def test_noise_between_chunks_is_skipped(nothing: bytes) -> None:
    stream = nothing.join([b"", *map(sse, [*(say(word) for word in "Hello"), finish()]), DONE])
    result = convert(stream)
    assert (result.failure, [block["text"] for block in result.blocks]) == (None, ["Hello"])


@pytest.mark.parametrize("done", [b"[DONE]", b"[DONE] ", b'"[DONE]"', b" [DONE]"])
def test_the_end_may_be_written_otherwise(done: bytes) -> None:
    assert convert(sse(say("a"), finish()) + b"data: " + done + b"\n\n", end=False).stream.done


def test_only_the_first_choice_is_read() -> None:
    def other(text: str, reason: str | None = None) -> Json:
        return {"index": 1, "delta": {"content": text}, "finish_reason": reason}

    together = {**say("a"), "choices": [other("x"), say("b")["choices"][0]]}
    alone = {**say("a"), "choices": [other("y", "length")]}
    result = told(say("a"), alone, together, alone, say("c"), alone, finish())
    assert [block["text"] for block in result.blocks] == ["abc"]
    assert result.stop["stop_reason"] == "end_turn"


def test_a_choice_may_have_any_number() -> None:
    numbered = [
        {**payload, "choices": [{**payload["choices"][0], "index": 3}]} for payload in (say("a"), say("b"), finish())
    ]
    assert [block["text"] for block in told(*numbered).blocks] == ["ab"]


def test_a_call_in_both_forms_is_one_call() -> None:
    """llama-cpp-python 0.3.36 sends each piece of a forced call so."""

    def both(fragment: str, name: str | None = None) -> Json:
        function = {"name": name or "f", "arguments": fragment}
        return chunk({"tool_calls": [call_part(0, fragment, "c", name)], "function_call": function})

    result = told(both("", "f"), both('{"city"'), both(': "Paris"}'), finish("tool_calls"))
    assert [(block["name"], block["input"]) for block in result.blocks] == [("f", {"city": "Paris"})]
    message = {"tool_calls": [call_part(0, "{}", "c", "f")], "function_call": {"name": "f", "arguments": "{}"}}
    whole = to_message(completion(message, "tool_calls"), reply()).message
    assert [block["name"] for block in whole["content"]] == ["f"]


# What an upstream sends as reasoning, and the text that it shows.
REASONING: dict[str, tuple[Json, str]] = {
    "a text": ({"reasoning": "Hm"}, "Hm"),
    "a text by DeepSeek's name": ({"reasoning_content": "Hm"}, "Hm"),
    "a text by Anthropic's name": ({"thinking": "Hm"}, "Hm"),
    "an object with a text": ({"reasoning_content": {"text": "Hm", "signature": ""}}, "Hm"),
    "an object with content": ({"reasoning": {"content": "Hm"}}, "Hm"),
    "a list of parts": ({"reasoning": [{"type": "text", "text": "H"}, "m"]}, "Hm"),
    "parts of the content": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}, "Hm"),
    "the request's own settings": ({"reasoning": {"effort": "high", "summary": None}}, ""),
    "blocks beside it": (
        {"reasoning_content": "Hm", "thinking_blocks": [{"type": "thinking", "thinking": "Hm"}]},
        "Hm",
    ),
    "blocks alone": ({"thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "S"}]}, "Hm"),
}


@pytest.mark.parametrize("case", REASONING)
def test_reasoning_is_read_in_any_form(case: str) -> None:
    delta, text = REASONING[case]
    streamed = told(chunk(delta), say("So."), finish())
    whole = to_message(completion({**delta, "content": [*delta.get("content", []), {"text": "So."}]}), reply())
    for blocks in (streamed.blocks, whole.message["content"]):
        assert "".join(block.get("thinking", "") for block in blocks) == text
        assert [block["type"] for block in blocks] == (["thinking", "text"] if text else ["text"])
    assert streamed.stream.notes == whole.notes == ()


def test_signatures_of_blocks_beside_the_reasoning_are_kept() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "S"}, {"type": "redacted_thinking", "data": "D"}]
    delta = {"reasoning_content": "Hm", "thinking_blocks": blocks}
    result = told(chunk(delta), say("So."), finish(), upstream_model="anthropic/claude-sonnet-4.5")
    assert result.blocks[:2] == [
        {"type": "thinking", "thinking": "Hm", "signature": "S"},
        {"type": "redacted_thinking", "data": "D"},
    ]


def test_reasoning_without_a_text_is_noted() -> None:
    result = told(chunk({"reasoning": {"tokens": [1, 2]}}), say("So."), finish())
    reason = "the answer's reasoning of an unknown shape could not be carried over"
    assert result.stream.notes == (Note("dropped", "content", reason),)


LEADS: dict[str, tuple[list[str], str]] = {
    "the tag and the text in one piece": (["<think>\nLet me", " see."], "\nLet me see."),
    "the tag in pieces": (["<th", "ink>", "Let me see."], "Let me see."),
    "white space before the tag": (["\n", "<think>", "Let me see."], "Let me see."),
    "no tag": (["Let me", " see."], "Let me see."),
    "what only begins like one": (["<thi", "s> is it."], "<this> is it."),
    "a tag later on": (["The tag ", "<think>"], "The tag <think>"),
    "the tag alone": (["<think>"], ""),
    "the beginning of a tag alone": (["<th"], "<th"),
}


@pytest.mark.parametrize("case", LEADS)
@pytest.mark.parametrize("after", [[], [say("So.")], [call(0, "{}", "c", "f")]], ids=["nothing", "text", "a call"])
def test_a_tag_at_the_start_of_the_reasoning_is_taken_off(case: str, after: list[Json]) -> None:
    pieces, text = LEADS[case]
    result = told(*map(think, pieces), *after, finish(), think_tags=True)
    assert "".join(block.get("thinking", "") for block in result.blocks) == text
    assert len(result.blocks) == len(after) + (text != "")
    whole = to_message(completion({"reasoning": "".join(pieces), "content": "So."}), reply(think_tags=True)).message
    assert "".join(block.get("thinking", "") for block in whole["content"]) == text


def test_a_prefill_that_an_answer_repeats_is_cut_off() -> None:
    to = reply(prefill="Hello from")
    for content, text in (("Hello from here.", " here."), (" here.", " here."), ("Hello", "Hello")):
        assert to_message(completion({"content": content}), to).message["content"][0]["text"] == text


REPEATS = [
    pytest.param(["Hello from here."], " here.", id="at once"),
    pytest.param(["Hel", "lo", " from", " here."], " here.", id="in pieces"),
    pytest.param(["\n", "Hello from here."], " here.", id="behind white space"),
    pytest.param([" a server."], " a server.", id="continued"),
    pytest.param(["Hello", " there."], "Hello there.", id="begun alike"),
    pytest.param(["Hel"], "Hel", id="cut short"),
]


@pytest.mark.parametrize(("pieces", "text"), REPEATS)
def test_a_stream_is_cut_where_it_repeats_the_prefill(pieces: list[str], text: str) -> None:
    result = told(*map(say, pieces), finish(), prefill="Hello from")
    assert [block["text"] for block in result.blocks] == [text]


def test_a_call_ends_the_watch_for_a_prefill() -> None:
    result = told(say("Hel"), call(0, "{}", "c1", "look"), finish("tool_calls"), prefill="Hello from")
    assert [block["type"] for block in result.blocks] == ["text", "tool_use"]


@pytest.mark.parametrize("name", ["parameters", "input"])
def test_arguments_under_other_names_are_read(name: str) -> None:
    delta = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", name: {"at": 1}}}]}
    assert told(chunk(delta), finish("tool_calls")).blocks[0]["input"] == {"at": 1}


def test_a_call_among_the_parts_of_the_content_is_a_call() -> None:
    parts = [{"type": "text", "text": "Ok"}, {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}}]
    result = told(chunk({"content": parts}), finish())
    assert [block["type"] for block in result.blocks] == ["text", "tool_use"]
    assert result.blocks[1]["input"] == {"at": 1}


def test_a_transcript_equal_to_the_content_is_written_once() -> None:
    spoken = {"content": "Good day.", "audio": {"transcript": "Good day.", "data": "QQ=="}}
    assert told(chunk(spoken), finish()).blocks[0]["text"] == "Good day."


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_line_separators_are_escaped_in_every_event(separator: str) -> None:
    text = f"one{separator}two"
    result = told(think(text), say(text), say(text), say(text), call(0, f'{{"a":"{text}"}}', "c", "f"), finish())
    output = result.output + error_event(GatewayError(text), "req_1")
    assert len(output.decode().splitlines()) == output.count(b"\n")
    assert fold_events(result.events)["content"][1]["text"] == text * 3


def test_an_empty_body_is_asked_for_again() -> None:
    for body in ([], [b""], [b"\n\n"], [b": comment\n\n"]):
        assert isinstance(convert(body).failure, EmptyAnswer)


CONTEXTS: dict[str, tuple[dict[str, Any], tuple[int, int], str]] = {
    "the whole context": ({"max_tokens": 4000, "context_length": 8192}, (8120, 72), "model_context_window_exceeded"),
    "all but one": ({"max_tokens": 4000, "context_length": 8192}, (8120, 71), "model_context_window_exceeded"),
    "less than the context": ({"max_tokens": 4000, "context_length": 8192}, (4096, 1000), "max_tokens"),
    "as much as was asked for": ({"max_tokens": 72, "context_length": 8192}, (8120, 72), "max_tokens"),
    "a likely context": ({"max_tokens": 5000}, (7670, 522), "model_context_window_exceeded"),
    "no likely context": ({"max_tokens": 5000}, (7670, 500), "max_tokens"),
    "too small a context": ({"max_tokens": 5000}, (200, 56), "max_tokens"),
    "an unknown limit": ({"context_length": 8192}, (8120, 72), "max_tokens"),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_an_answer_that_fills_the_context_is_not_said_to_have_reached_its_limit(case: str) -> None:
    fields, (prompt, written), reason = CONTEXTS[case]
    counts = usage(prompt, written)
    result = told(say("again"), finish("length"), counts, **fields)
    assert result.stop["stop_reason"] == reason
    whole = completion({"content": "again"}, "length", usage=counts["usage"])
    assert to_message(whole, reply(**fields)).message["stop_reason"] == reason


def test_a_natural_end_at_the_end_of_the_context_is_one() -> None:
    result = told(say("a"), finish(), usage(8120, 72), max_tokens=4000, context_length=8192)
    assert result.stop["stop_reason"] == "end_turn"


FIRST_COUNTS: dict[str, tuple[list[Json], int]] = {
    "in the first chunk": ([chunk({"role": "assistant"}, usage={"prompt_tokens": 289, "completion_tokens": 0})], 289),
    "of zeros": ([chunk({"role": "assistant"}, usage={"prompt_tokens": 0, "completion_tokens": 0})], 7),
    "later": ([chunk({"role": "assistant"}), say("a"), chunk({}, usage={"prompt_tokens": 289})], 7),
}


@pytest.mark.parametrize("case", FIRST_COUNTS)
def test_a_prompt_counted_in_the_first_chunk_stands_in_message_start(case: str) -> None:
    """vLLM's, with `continuous_usage_stats`."""
    payloads, expected = FIRST_COUNTS[case]
    result = told(*payloads, say("a"), finish(), usage(300, 9))
    start, end = result.events[0]["message"]["usage"], result.usage
    assert (start["input_tokens"], start["output_tokens"]) == (expected, 0)
    assert (end["input_tokens"], end["output_tokens"]) == (300, 9)


def test_a_stream_left_at_a_stop_sequence_has_the_latest_count() -> None:
    counted = [{**say(word), "usage": {"prompt_tokens": 9, "completion_tokens": n}} for n, word in enumerate("ab!", 1)]
    result = told(*counted, stop_sequences=("!",))
    assert (result.stream.abandoned, result.usage["output_tokens"]) == (True, 3)
    assert not result.stream.origin.estimated


def test_a_pool_that_all_requests_have_filled_is_an_overload() -> None:
    """llama.cpp's slots share one context by default."""
    filled = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    assert isinstance(told(say("a"), filled).failure, Overloaded)
    assert isinstance(to_error(500, {}, orjson.dumps(filled), reply()), Overloaded)


@pytest.mark.parametrize("wrapper", ["data", "result"])
def test_completion_within_an_object_of_a_proxy_is_read(wrapper: str) -> None:
    body = orjson.dumps({"success": True, wrapper: WHOLE})
    assert fold_events(convert(body).events)["content"][-1]["text"] == "Hello"
    assert to_message({wrapper: WHOLE}, reply()).message["usage"]["output_tokens"] == 2


def extra(call_id: str | None, **function: str) -> Json:
    """A piece of a call that carries what Gemini wants back with it."""
    part: Json = {"index": 0, "extra_content": {"google": {"thought_signature": "SIG"}}}
    part |= {"id": call_id} if call_id else {}
    return chunk({"tool_calls": [part | ({"function": function} if function else {})]})


@pytest.mark.parametrize("later", [extra(None), extra(None, arguments=""), extra("f1")], ids=["bare", "piece", "id"])
def test_signature_that_comes_after_its_call_belongs_to_the_call(later: Json) -> None:
    result = told(call(0, '{"a":1}', "f1", "look"), later, finish())
    sealed = next(block for block in result.blocks if block["type"] == "redacted_thinking")
    opened = open_envelope(sealed["data"], KEYRING)
    assert isinstance(opened, Envelope)
    assert [entry["id"] for entry in opened.entries] == ["f1"]


def test_signature_of_a_call_that_has_no_id_is_noted_as_lost() -> None:
    result = told(extra(None, name="look", arguments="{}"), finish())
    assert [block["type"] for block in result.blocks] == ["tool_use"]
    assert [note.kind for note in result.stream.notes] == ["dropped"]


@pytest.mark.parametrize("kind", [[], {}, 5, None])
def test_a_part_whose_type_is_no_text_is_read_by_its_text_or_noted(kind: Any) -> None:
    both = [
        convert(sse(chunk({"content": {"type": kind, **text}}), say("b"), finish()) + DONE)
        for text in ({}, {"text": "a"})
    ]
    assert [one.failure for one in both] == [None, None]
    assert [one.blocks[0]["text"] for one in both] == ["b", "ab"]
