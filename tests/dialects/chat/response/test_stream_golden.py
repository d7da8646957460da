"""Every golden stream gives its golden events, their message, and the same message as the JSON answer.

The events are also read by the official SDK, which is what clients read them with.
"""

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError

from gateway.dialects.chat.response.convert import to_message
from gateway.messages.events import error_event
from gateway.messages.fold import fold_events
from gateway.messages.replay import to_events
from tests.support.golden_cases import CASES, Case, message_of, opened, outcome, to_json
from tests.support.streams import check_grammar, convert, read_events

QUESTION: Any = {"model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_whole_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.has("message.json")], ids=lambda case: case.name
)
every_failure = pytest.mark.parametrize(
    "case", [case for case in CASES if case.has("failure.json")], ids=lambda case: case.name
)


@every_case
def test_a_stream_gives_its_golden_events(case: Case) -> None:
    expected = {name: case.read(name) for name in ("events.sse", "message.json", "failure.json") if case.has(name)}
    assert outcome(case) == expected


@every_case
def test_golden_events_keep_the_grammar(case: Case) -> None:
    check_grammar(read_events(case.read("events.sse")), complete=not case.has("failure.json"))


@pytest.mark.parametrize("case", [case for case in CASES if case.has("completion.json")], ids=lambda case: case.name)
def test_the_json_answer_equals_the_folded_stream(case: Case) -> None:
    answered = to_message(case.json("completion.json"), case.reply)
    assert opened(to_json(answered.message)) == case.read("message.json")
    streamed = convert(case.upstream, case.reply).stream
    assert answered.notes == streamed.notes
    assert answered.origin == streamed.origin


@every_whole_case
def test_a_replayed_message_is_the_message(case: Case) -> None:
    message = message_of(convert(case.upstream, case.reply))
    events = read_events(to_events(message))
    check_grammar(events, complete=True)
    assert fold_events(events) == message


def sdk_reading(stream: bytes) -> Anthropic:
    """A client of a server that answers every request with this stream."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    transport = httpx2.MockTransport(answer)
    return Anthropic(api_key="k", base_url="http://gateway.test", http_client=httpx2.Client(transport=transport))


@every_whole_case
def test_the_official_sdk_reads_the_golden_message(case: Case) -> None:
    expected = case.json("message.json")
    # The SDK never takes this split from a message_delta, so it keeps message_start's.
    expected["usage"]["cache_creation"] = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    with sdk_reading(case.read("events.sse")) as client, client.messages.stream(**QUESTION) as stream:
        assert stream.get_final_message().to_dict() == expected


@every_failure
def test_the_official_sdk_raises_the_golden_failure(case: Case) -> None:
    failure = convert(case.upstream, case.reply).failure
    assert failure is not None
    stream = case.read("events.sse") + error_event(failure, "req_1")
    with sdk_reading(stream) as client, pytest.raises(APIStatusError) as raised:
        list(client.messages.create(**QUESTION, stream=True))
    envelope = case.json("failure.json")["envelope"]
    assert (raised.value.type, raised.value.body) == (envelope["error"]["type"], envelope)
