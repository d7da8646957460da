"""A recording sink is invisible to the stream, and knows its message only when the stream was whole."""

import pytest

from gateway.errors import UpstreamError
from gateway.exchange.recording import RecordingSink
from gateway.messages.events import error_event
from gateway.messages.replay import to_events

USAGE = {
    "input_tokens": 3,
    "output_tokens": 2,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "service_tier": "standard",
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "ün" * 900, "citations": None}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "stop_details": None,
    "container": None,
    "usage": USAGE,
}
WHOLE = to_events(MESSAGE)
FAILED = WHOLE[:600] + b"\n\n" + error_event(UpstreamError("gone"), "req_1")


class Wire:
    """A sink that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.sources: list[object] = []
        self.aborted = False

    @property
    def committed(self) -> bool:
        return bool(self.data)

    def write(self, data: bytes) -> None:
        self.data += data

    def attach(self, source: object) -> None:
        self.sources.append(source)

    def abort(self) -> None:
        self.aborted = True


def test_a_whole_stream_is_read_back_as_its_message() -> None:
    wire = Wire()
    sink = RecordingSink(wire)
    assert not sink.committed
    for start in range(0, len(WHOLE), 7):
        sink.write(WHOLE[start : start + 7])
    assert sink.committed
    assert wire.data == WHOLE
    assert sink.message() == MESSAGE


@pytest.mark.parametrize("data", [b"", WHOLE[:-20], FAILED, WHOLE + WHOLE], ids=["none", "cut", "failed", "twice"])
def test_a_stream_that_was_not_whole_has_no_message(data: bytes) -> None:
    sink = RecordingSink(Wire())
    sink.write(data)
    assert sink.message() is None


def test_a_stream_over_the_limit_is_passed_on_and_forgotten() -> None:
    wire = Wire()
    sink = RecordingSink(wire, limit=len(WHOLE) - 1)
    sink.write(WHOLE[:100])
    sink.write(WHOLE[100:])
    sink.write(b": more")
    assert wire.data == WHOLE + b": more"
    assert sink.message() is None


def test_flow_control_reaches_the_wire() -> None:
    wire = Wire()
    sink = RecordingSink(wire)
    sink.attach(None)
    sink.abort()
    assert wire.sources == [None]
    assert wire.aborted


def test_a_cut_call_of_claude_is_read_back_with_null() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b", "c": "d"}}
    whole = to_events({**MESSAGE, "content": [call], "stop_reason": "max_tokens"})
    sink = RecordingSink(Wire())
    sink.write(whole.replace(b'\\"d\\"}', b'\\"d'))
    message = sink.message()
    assert message is not None
    assert message["content"][0]["input"] == {"a": "b", "c": None}
