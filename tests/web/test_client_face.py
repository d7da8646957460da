"""Replies in the API that the client speaks: the sink in front of a stream."""

import orjson
import pytest

from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import ResponseFacts
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.errors import UpstreamError
from gateway.exchange.face_sink import FaceSink, StreamFace
from gateway.messages.events import PING, error_event
from gateway.messages.replay import to_events
from gateway.web.openai_errors import api_of
from tests.support.exchanges import ListSink

MESSAGE = {
    "id": "msg_1",
    "model": "m",
    "content": [{"type": "text", "text": "Hi", "citations": None}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_creation": None,
        "service_tier": None,
    },
}


def responses(keep_alive_after: float | None = 2.0) -> tuple[FaceSink, ListSink]:
    sink = ListSink()
    return FaceSink(sink, responses_stream(), keep_alive_after), sink


def responses_stream() -> ClientResponseStream:
    return ClientResponseStream(ToolRegistry(), ResponseFacts(5, {}))


@pytest.mark.covers("Responses clients · keepalive events")
def test_silence_is_filled_with_events_once_the_stream_has_begun() -> None:
    face, sink = responses()
    face.tick(0.0)
    assert sink.pieces == []
    face.write(to_events(MESSAGE))
    begun = len(sink.pieces)
    for second in (10.0, 11.0, 12.0, 13.0, 14.0):
        face.tick(second)
    told = [orjson.loads(piece.split(b"data: ")[1]) for piece in sink.pieces[begun:]]
    assert [event["type"] for event in told] == ["keepalive"]
    face.tick(15.0)
    assert len(sink.pieces) == begun + 2


def test_content_restarts_the_silence() -> None:
    face, sink = responses()
    face.write(to_events(MESSAGE))
    face.tick(10.0)
    face.write(PING)
    face.tick(12.0)
    assert len(sink.pieces) == 2


def test_chat_streams_are_left_to_the_streams_own_pings() -> None:
    sink = ListSink()
    face = FaceSink(sink, ChatStream(ToolRegistry(), 5, shows_usage=False), None)
    face.write(to_events(MESSAGE))
    count = len(sink.pieces)
    face.tick(0.0)
    face.tick(100.0)
    assert len(sink.pieces) == count


def test_paths_belong_to_their_api_behind_any_prefix() -> None:
    apis = {
        "/v1/chat/completions": "chat",
        "/v1/responses": "responses",
        "/v1/responses/resp_1": "responses",
        "/openai/v1/responses": "responses",
        "/llm/openai/v1/assistants": "chat",
        "/llm/v1/chat/completions": "chat",
        "/v1/messages": None,
        "/v1/models": None,
        "/v1/models/a/v1/chat": None,
        "/": None,
    }
    assert {path: api_of(path) for path in apis} == apis


@pytest.mark.parametrize("stream", [ChatStream(ToolRegistry(), 5, shows_usage=True), responses_stream()])
def test_events_that_cannot_be_read_are_refused_and_the_error_is_in_the_clients_api(stream: StreamFace) -> None:
    sink = ListSink()
    face = FaceSink(sink, stream, None)
    face.write(to_events(MESSAGE).partition(b"event: content_block_stop")[0])
    with pytest.raises(UpstreamError, match="cannot be read"):
        face.write(b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":5}\n\n')
    face.write(error_event(UpstreamError("It cannot be read."), "req_1"))
    assert b"It cannot be read." in sink.pieces[-1]
