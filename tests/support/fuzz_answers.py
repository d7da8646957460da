"""Odd answers of upstreams: Messages and Responses streams on their way to clients, and lists of models."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import orjson

from gateway.dialects.base import StreamConverter
from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.chat.original.answer import to_passed_on
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.responses.client.output import ResponseFacts, to_response
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.dialects.responses.stream import ResponsesStream
from gateway.errors import GatewayError, UpstreamError
from gateway.exchange.face_sink import UNREADABLE, FaceSink, StreamFace
from gateway.messages.events import error_event
from gateway.upstream.models.catalog import to_entries, to_models
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing, one_upstream_table
from gateway.upstream.vendors.registry import VENDORS
from tests.support.damage import ODD_VALUES, Mutator, damaged, pieces_of
from tests.support.exchanges import ListSink
from tests.support.fuzz_dialects import to_answer, to_chat, to_native, to_responses
from tests.support.streams import reply

DATA = b"data: "
WHOLE: dict[str, Any] = {
    "id": "gen-1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "a",
                "reasoning_content": "b",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
}
TOOLS, FACTS = ToolRegistry(), ResponseFacts(5, {})
CONVERTERS: dict[str, Callable[..., StreamConverter]] = {"messages": NativeStream, "responses": ResponsesStream}
WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "messages": to_native,
    "responses": to_responses,
    "chat": to_chat,
}


def payloads_of(stream: bytes) -> list[Any]:
    return [orjson.loads(line.removeprefix(DATA)) for line in stream.split(b"\n") if line.startswith(DATA + b"{")]


MUTATORS = {
    name: Mutator([event for seed in range(30) for event in payloads_of(write(to_answer(Random(seed))))])
    for name, write in WRITERS.items()
}


def fuzz_faces(random: Random) -> str:
    """A damaged stream is read, refused by its converter, or refused by the converter to the client's API."""
    name = random.choice(list(CONVERTERS))
    stream = WRITERS[name](to_answer(random))
    changed = random.random() < 0.7
    stream = with_changed_events(stream, name, random) if changed else damaged(stream, random, random.randrange(1, 4))
    collect(name, stream)
    converter = CONVERTERS[name](reply())
    told = [converter.feed(piece) for piece in pieces_of(stream, random)]
    told.append(converter.end())
    assert converter.done == (converter.failure is None), "a stream has to end or to fail"
    outcomes = {
        tell(face, told) for face in (ChatStream(TOOLS, 5, shows_usage=True), ClientResponseStream(TOOLS, FACTS))
    }
    if converter.failure is not None:
        return "failed"
    return "unreadable" if "unreadable" in outcomes else "whole"


def fuzz_passed_on(random: Random) -> str:
    """A damaged chat stream reaches its client in a shape that clients read, or fails."""
    stream = with_changed_events(WRITERS["chat"](to_answer(random)), "chat", random)
    converter = OriginalStream(reply(offered=frozenset({"look"}), think_tags=True), shows_usage=True)
    told = b"".join([converter.feed(piece) for piece in pieces_of(stream, random)]) + converter.end()
    assert converter.done == (converter.failure is None), "a stream has to end or to fail"
    chunks = [orjson.loads(event.removeprefix(DATA)) for event in told.split(b"\n\n") if event.startswith(DATA + b"{")]
    for choice in [choice for chunk in chunks for choice in chunk["choices"]]:
        for call in choice.get("delta", {}).get("tool_calls") or ():
            assert type(call["index"]) is int
            assert isinstance(call.get("function", {}).get("arguments"), str | None)
    events = payloads_of(stream)
    with suppress(GatewayError):
        to_passed_on(orjson.dumps(MUTATORS["chat"].mutate(WHOLE, random, random.randrange(1, 4))), reply())
    with suppress(GatewayError):
        to_passed_on(orjson.dumps(random.choice(events) if events else None), reply())
    return "failed" if converter.failure is not None else "whole"


def with_changed_events(stream: bytes, name: str, random: Random) -> bytes:
    """Some of its events damaged inside, said twice or left out."""
    frames = stream.split(b"\n\n")
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(frames))
        lines = frames[place].split(b"\n")
        for index, line in enumerate(lines):
            if line.startswith(DATA + b"{"):
                event = orjson.loads(line.removeprefix(DATA))
                lines[index] = DATA + orjson.dumps(MUTATORS[name].mutate(event, random, random.randrange(1, 3)))
        frames[place] = b"\n".join(lines)
        if random.random() < 0.2:
            frames.insert(random.randrange(len(frames) + 1), random.choice(frames))
        elif random.random() < 0.1:
            del frames[place]
    return b"\n\n".join(frames)


def tell(face: StreamFace, told: list[bytes]) -> str:
    """Write a stream to a client. One that cannot be read ends in an error in the client's API."""
    sink = ListSink()
    out = FaceSink(sink, face, None)
    try:
        for piece in told:
            out.write(piece)
    except UpstreamError as error:
        written = len(sink.pieces)
        out.write(error_event(error, "req_1"))
        assert len(sink.pieces) > written, "the client is not told of the error"
        return "unreadable"
    return "read"


def collect(name: str, stream: bytes) -> None:
    """Read the same for a client that wants one message, and what a JSON answer of it would be."""
    converter = CONVERTERS[name](reply(), collects=True)
    converter.feed(stream)
    converter.end()
    if converter.failure is not None:
        return
    try:
        message = converter.message()
    except GatewayError:
        return
    with suppress(*UNREADABLE):
        to_completion(message, TOOLS, 5)
    with suppress(*UNREADABLE):
        to_response(message, TOOLS, FACTS, compacts=False)


# Lists of models

UPSTREAM = Upstream("test", "http://upstream.test/v1", vendor=VENDORS["openrouter"])
MODEL: dict[str, Any] = {
    "id": "acme/writer",
    "canonical_slug": "acme/writer-1",
    "name": "Writer",
    "created": 1_750_000_000,
    "description": "d",
    "context_length": 8000,
    "architecture": {"modality": "text->text", "input_modalities": ["text", "image"], "tokenizer": "Other"},
    "pricing": {"prompt": "0.000001", "completion": "0.000002", "image": "0"},
    "top_provider": {"context_length": 8000, "max_completion_tokens": 400, "is_moderated": False},
    "supported_parameters": ["tools", "reasoning", "max_tokens"],
    "reasoning": {"supported_efforts": ["low", "high"], "default_effort": "low"},
    "owned_by": "acme",
    "meta": {"n_ctx_train": 4096},
    "max_model_len": 4096,
}
GOOD = {"id": "good/model", "created": 1_750_000_000}
MODEL_MUTATOR = Mutator([MODEL])
WRAPPERS: tuple[Callable[[list[Any]], Any], ...] = (
    lambda models: {"object": "list", "data": models},
    lambda models: {"models": models},
    lambda models: models,
)


def fuzz_models(random: Random) -> str:
    """An odd entry is left out or listed, and never hides the good one; odd lists are refused."""
    models = [GOOD, *[MODEL_MUTATOR.mutate(MODEL, random, random.randrange(4)) for _ in range(random.randrange(1, 4))]]
    models += random.choices(ODD_VALUES, k=random.randrange(3))
    random.shuffle(models)
    body = orjson.dumps(random.choice(WRAPPERS)(models))
    is_damaged = random.random() < 0.3
    try:
        entries = to_entries(damaged(body, random, random.randrange(1, 4)) if is_damaged else body)
    except UpstreamError:
        assert is_damaged, "a list with a good entry is refused"
        return "refused"
    routing = Routing(one_upstream_table(UPSTREAM))
    routing.learn(UPSTREAM.name, entries)
    listed = to_models({UPSTREAM.name: entries}, routing.table)
    assert orjson.dumps(listed)
    for entry in entries:
        routing.table.resolve(entry["id"])
    if is_damaged:
        return "damaged"
    assert GOOD["id"] in {model["id"] for model in listed}, "an odd entry hides a good one"
    return "listed"
