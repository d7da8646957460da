"""Fuzz test: clients of all three APIs, with and without streaming, get the same facts from one odd upstream answer.

The changes are those of real servers: an event is missing, comes twice, early or late, has a failure or a sign of life
beside it, or a field is absent, null or of another form.
"""

import copy
from collections.abc import Callable, Iterator, Set
from random import Random
from typing import Any

import orjson

from gateway.dialects.base import StreamConverter
from gateway.dialects.chat.client.answer import BETWEEN_THOUGHTS, to_completion
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import ResponseFacts, to_response
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.errors import GatewayError
from gateway.exchange.face_sink import UNREADABLE
from tests.e2e.vendor_answers.reading import READERS, Read
from tests.support.fuzz_dialects import DIALECTS, WRITERS, prepare, to_answer

TOOLS, FACTS = ToolRegistry(), ResponseFacts(5, {})
REQUEST: dict[str, Any] = {
    "model": "asked",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [{"name": f"tool_{number}", "input_schema": {"type": "object"}} for number in range(3)],
}
FAILURES = (
    b'data: {"error":{"message":"boom","type":"server_error","code":500}}',
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    b'data: {"type":"error","code":"rate_limit_exceeded","message":"slow down"}',
    b'data: {"error":"boom"}',
)
NOISE = (b": wait", b"data:", b'event: ping\ndata: {"type":"ping"}', b"retry: 100", b"id: 5", *FAILURES)
ABSENT = object()
ODD = (None, ABSENT, "", [], {}, 0, -1, 1.5, "x")
# Fields that say what an answer is, so that another value makes another answer.
TELLING = frozenset(
    {
        *("arguments", "choices", "content", "content_block", "delta", "function", "input", "item", "message"),
        *("output", "partial_json", "response", "summary", "text", "thinking", "tool_calls", "type"),
    }
)
# Stop reasons that all three APIs have; OpenAI's have no other word for stop sequences and for those of the future.
STOPS = {"max_tokens": "cut", "model_context_window_exceeded": "cut", "refusal": "refusal"}
# What clients read of an answer: text, thinking, calls, and how it ended.
Told = tuple[Any, ...]


def fuzz_facts(random: Random) -> str:
    """Raises AssertionError where clients of two APIs are told different things."""
    name = random.choice(list(WRITERS))
    answer = to_answer(random)
    telling = TELLING | ({"index"} if name == "chat" else set())  # another index is another choice
    frames = WRITERS[name](answer).removesuffix(b"\n\n").split(b"\n\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        frames = changed(frames, telling, random) if frames else frames
    stream = b"".join([frame + b"\n\n" for frame in frames])
    told = dict(all_told(name, stream, has_calls=any(block["type"] == "tool_use" for block in answer["content"])))
    first = told["messages"]
    for api, facts in told.items():
        assert facts == first, f"{name}: {api} tells {facts}, messages {first}: {stream!r}"
    return "failed" if first == ("failed",) else "whole"


def changed(frames: list[bytes], telling: Set[str], random: Random) -> list[bytes]:
    place = random.randrange(len(frames))
    match random.randrange(6):
        case 0:
            return frames[:place] + frames[place + 1 :]
        case 1:
            return frames[: place + 1] + frames[place:]
        case 2:
            return [*frames[:place], *reversed(frames[place : place + 2]), *frames[place + 2 :]]
        case 3:
            return [*frames[:place], random.choice(NOISE), *frames[place:]]
        case _:
            return [*frames[:place], with_odd_field(frames[place], telling, random), *frames[place + 1 :]]


def with_odd_field(frame: bytes, telling: Set[str], random: Random) -> bytes:
    head, separator, payload = frame.rpartition(b"data: ")
    if not payload.startswith(b"{"):
        return frame
    event = orjson.loads(payload)
    places = list(fields_of(event, telling))
    if not places:
        return frame
    *path, last = random.choice(places)
    part = event = copy.deepcopy(event)
    for key in path:
        part = part[key]
    value = random.choice(ODD)
    if value is not ABSENT:
        part[last] = value
    elif isinstance(part, dict):
        del part[last]
    return head + separator + orjson.dumps(event)


def fields_of(value: Any, telling: Set[str], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of fields that an answer can do without."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        if isinstance(key, str) and key not in telling:
            yield (*path, key)
        yield from fields_of(inner, telling, (*path, key))


def all_told(name: str, stream: bytes, *, has_calls: bool) -> Iterator[tuple[str, Told]]:
    """Yield what clients of each API are told of the stream."""
    prepared, dialect = prepare(name, REQUEST), DIALECTS[name]
    converter = dialect.stream(prepared, opened=False)
    events = converter.feed(stream) + converter.end()
    yield "messages", read("messages", events, converter, has_stream=True)
    yield "chat", through(converter, lambda: read("chat", chat_stream(events), converter, has_stream=True))
    responses = ClientResponseStream(TOOLS, FACTS)
    yield "responses", through(converter, lambda: read("responses", responses.feed(events), converter, has_stream=True))
    collector = dialect.collect(prepared)
    collector.feed(stream)
    collector.end()
    for api, write in WHOLE.items():
        yield f"{api}, whole", through(collector, lambda api=api, write=write: whole(api, write, collector))
    if name == "chat" and not has_calls:  # arguments that cannot be repaired reach clients of chat as they are
        passed = OriginalStream(prepared.reply, shows_usage=True)
        told = passed.feed(stream) + passed.end()
        yield "chat, passed on", through(passed, lambda: read("chat", told, passed, has_stream=True))


WHOLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "messages": lambda message: message,
    "chat": lambda message: to_completion(message, TOOLS, 5),
    "responses": lambda message: to_response(message, TOOLS, FACTS, compacts=False),
}


def chat_stream(events: bytes) -> bytes:
    return ChatStream(TOOLS, 5, shows_usage=True).feed(events)


def whole(api: str, write: Callable[[dict[str, Any]], Any], collector: Any) -> Told:
    return read(api, orjson.dumps(write(collector.message())), collector, has_stream=False)


def through(converter: StreamConverter, tell: Callable[[], Told]) -> Told:
    """Return the facts that the client gets, or `("failed",)` if the answer failed or cannot be read in this API."""
    if converter.failure is not None:
        return ("failed",)
    try:
        return tell()
    except (*UNREADABLE, GatewayError):
        return ("failed",)


def read(api: str, told: bytes, converter: StreamConverter, *, has_stream: bool) -> Told:
    if converter.failure is not None:
        return ("failed",)
    found: Read = READERS[api](told, stream=has_stream)
    assert not found.error
    assert found.output == converter.usage["output_tokens"], "a client is told other counts than are recorded"
    stop = STOPS.get(found.stop, "ended")
    calls = [call if stop == "ended" else call[0] for call in found.calls]  # one of the others may be cut
    return found.text.strip(), found.thinking.strip().replace(BETWEEN_THOUGHTS, ""), calls, stop
