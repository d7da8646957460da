"""Output that a server could not read: its calls are taken from the refusal, or the request is made once more."""

from typing import Any

import orjson
import pytest

from gateway.dialects.base import Prepared
from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.dialects.chat.response.errors.refused_output import MAX_STARTS, _parts
from gateway.errors import MalformedOutput
from gateway.messages.fold import fold_events
from tests.dialects.chat.response.calls.test_written_calls import OFFERED, TAGGED, calls_of
from tests.support.streams import KEYRING, Json, convert, reply, say, sse

LOOK = [("look", {"city": "A"})]
OBJECT = '{"name": "look", "arguments": {"city": "A"}}'
QUOTED: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "Llama's, without the end of its tag": ('<function=look{"city": "A"}</function>', LOOK),
    "Llama's": ('<function=look>{"city": "A"}</function>\n<function=hear>{}</function>', [*LOOK, ("hear", {})]),
    "Llama's, with brackets": ('<function(look){"city": "A"}<function>', LOOK),
    "text in front of it": ('Let me look.\n<function=look>{"city": "A"}</function>', LOOK),
    "an object": (OBJECT, LOOK),
    "a list": (f'[{OBJECT}, {{"name": "hear", "parameters": {{}}}}]', [*LOOK, ("hear", {})]),
    "OpenAI's form": ('{"tool_calls": [{"function": {"name": "look", "arguments": "{\\"city\\": \\"A\\"}"}}]}', LOOK),
    "a fence": (f"So:\n```json\n{OBJECT}\n```", LOOK),
    "near-JSON": ('{"name": "look", "arguments": {"city": "A",}}', LOOK),
    "Hermes's": (f"Let me look.\n{TAGGED}", LOOK),
}
UNREADABLE = {
    "text": "I cannot do that.",
    "half a call": '<function=look{"city": ',
    "another tool": '{"name": "smell", "arguments": {}}',
    "arguments of another shape": '{"name": "look", "arguments": [1]}',
    "no name": '[{"arguments": {}}]',
    "arguments that nest too deeply to be written": f'{{"name": "look", "arguments": {"[" * 400}{"]" * 400}}}',
}


def body_of(quotation: str) -> Json:
    words = "Failed to call a function. See 'failed_generation' for more details."
    error = {"message": words, "type": "invalid_request_error", "code": "tool_use_failed"}
    return {"error": {**error, "failed_generation": quotation}}


@pytest.mark.parametrize("case", QUOTED)
def test_call_that_a_refusal_quotes_is_the_answer(case: str) -> None:
    quotation, calls = QUOTED[case]
    prepared = Prepared("/chat/completions", b"", reply(**OFFERED))
    error = ChatDialect(KEYRING).error(400, {}, orjson.dumps(body_of(quotation)), prepared)
    message = error.substitute.message
    assert (calls_of(message["content"]), message["stop_reason"]) == (calls, "tool_use")
    assert [note.field for note in error.substitute.notes] == ["content"]


@pytest.mark.parametrize("case", UNREADABLE)
def test_quotation_that_is_no_call_is_asked_for_once_more(case: str) -> None:
    error = to_error(400, {}, orjson.dumps(body_of(UNREADABLE[case])), reply(**OFFERED))
    assert isinstance(error, MalformedOutput)
    assert (error.calls, error.substitute) == ([], None)
    assert UNREADABLE[case] not in error.message


def test_quotation_is_no_call_where_none_was_allowed() -> None:
    error = to_error(400, {}, orjson.dumps(body_of(OBJECT)), reply(**OFFERED, forbids_calls=True))
    assert isinstance(error, MalformedOutput)
    assert error.calls == []


@pytest.mark.parametrize(
    "message",
    [
        "error parsing tool call: raw='{\"city\"}', err=invalid character",  # Ollama
        "Failed to parse input at pos 12: <tool_call>",  # llama.cpp
        "Failed to parse fc related info to json format!",  # SGLang
    ],
)
def test_output_that_is_not_quoted_is_malformed_too(message: str) -> None:
    body = orjson.dumps({"error": {"message": message, "type": "server_error"}})
    assert isinstance(to_error(500, {}, body, reply()), MalformedOutput)


@pytest.mark.parametrize("event", [b"", b"event: error\n"])
def test_call_quoted_within_a_stream_ends_the_answer(event: bytes) -> None:
    result = convert([sse(say("Let me look.")), event + sse(body_of(OBJECT))], reply(**OFFERED))
    assert result.failure is None
    message = fold_events(result.events)
    assert (message["content"][0]["text"], calls_of(message["content"])) == ("Let me look.", LOOK)
    assert (message["stop_reason"], len(result.stream.notes)) == ("tool_use", 1)


def test_call_quoted_within_a_stream_that_is_passed_on_is_a_chunk() -> None:
    stream = OriginalStream(reply(**OFFERED), shows_usage=False)
    events = stream.feed(sse(say("Let me look."))) + stream.feed(sse(body_of(OBJECT))) + stream.end()
    chunks = [orjson.loads(event[6:])["choices"][0] for event in events.split(b"\n\n") if event.startswith(b"data: {")]
    called = [call["function"] for choice in chunks for call in choice["delta"].get("tool_calls") or ()]
    assert called == [{"name": "look", "arguments": '{"city":"A"}'}]
    assert (chunks[-1]["finish_reason"], stream.done, stream.failure) == ("tool_calls", True, None)


def test_calls_are_looked_for_at_few_places_of_a_text_full_of_beginnings() -> None:
    beginnings = "<function=look{}</function><tool_call>```" * 500
    assert len(list(_parts(beginnings))) <= 1 + 3 * MAX_STARTS
