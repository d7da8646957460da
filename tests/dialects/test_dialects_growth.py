"""Work of the dialects and of the client faces: ten times as much takes no more than twelve times the work."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.clients.tools import ToolRegistry, with_hash
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.responses.client.output import ResponseFacts
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.dialects.responses.items import to_items
from gateway.dialects.responses.stream import ResponsesStream
from tests.dialects.clients.conversions import ASKING
from tests.support.fuzz_dialects import prepare
from tests.support.growth import Work
from tests.support.messages_server import BEGINNING, ENDING, event, text_delta
from tests.support.responses_events import to_stream
from tests.support.streams import reply
from tests.test_growth import assert_linear

Json = dict[str, Any]
USER: Json = {"role": "user", "content": "a"}
SCHEMA = {"type": "object", "properties": {}}


def chat(messages: list[Json], **fields: Any) -> Work:
    return lambda: from_chat({"model": "m", "messages": messages, **fields}, ASKING, ToolRegistry())


def responses(items: list[Json], **fields: Any) -> Work:
    return lambda: from_responses({"model": "m", "input": items, **fields}, ASKING)


def called(number: int) -> Json:
    function = {"name": "t", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}


def result(number: int) -> Json:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": "r"}


def function(name: str) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


REQUESTS: dict[str, Callable[[int], Work]] = {
    "turns of a user": lambda n: chat([USER] * n),
    "turns of both": lambda n: chat([USER, {"role": "assistant", "content": "b"}] * n),
    "turns of the assistant": lambda n: chat([USER, *[{"role": "assistant", "content": "b"}] * n]),
    "turns that think": lambda n: chat([USER, *[{"role": "assistant", "content": "b", "reasoning": "r"}] * n]),
    "instructions": lambda n: chat([USER, *[{"role": "system", "content": "b"}] * n]),
    "instructions between turns": lambda n: chat([USER, {"role": "system", "content": "b"}] * n),
    "calls with results": lambda n: chat([USER, *[turn for i in range(n) for turn in (called(i), result(i))]]),
    "results of one turn": lambda n: chat([USER, called(0), *[result(0)] * n]),
    "results between turns of a user": lambda n: chat([USER, called(0), *[result(0), USER] * 2 * n]),
    "results without a call": lambda n: chat([USER, *[result(0)] * n]),
    "results without a call between turns of a user": lambda n: chat([USER, result(0)] * n),
    "parts": lambda n: chat([{"role": "user", "content": [{"type": "text", "text": "a"}] * n}]),
    "tools": lambda n: chat([USER], tools=[function(f"t{number}") for number in range(n)]),
    "tools declared twice": lambda n: chat([USER], tools=[function(f"t{number}") for number in range(n)] * 2),
    "tools in namespaces": lambda n: responses(
        [USER], tools=[{"type": "namespace", "name": f"s{i}", "tools": [function("t")]} for i in range(n)]
    ),
    "tools with odd names": lambda n: chat([USER], tools=[function(f"t {number}") for number in range(n)]),
    "hosted tools": lambda n: responses([USER], tools=[{"type": f"hosted{number}"} for number in range(n)]),
    "items": lambda n: responses([{"type": "message", **USER}] * n),
    "unknown items": lambda n: responses([USER, *[{"type": f"t{number}"} for number in range(n)]]),
    "reasoning items": lambda n: responses(
        [USER, *[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}] * n]
    ),
    "outputs between turns of a user": lambda n: responses(
        [USER, *[{"type": "function_call_output", "call_id": "c", "output": "r"}, USER] * 2 * n]
    ),
    "tools that a search has found": lambda n: responses(
        [USER, *[{"type": "tool_search_output", "call_id": "c", "tools": [function(f"t{i}")]} for i in range(n)]]
    ),
    "the same tools, found again": lambda n: responses(
        [
            USER,
            {"type": "additional_tools", "tools": [function(f"t{i}") for i in range(n)]},
            *[{"type": "tool_search_output", "call_id": "c", "tools": [function(f"t{i}")]} for i in range(n)],
        ]
    ),
    "unknown fields": lambda n: chat([USER], **{f"field{number}": 1 for number in range(n)}),
    "a native request of many keys": lambda n: native(padding={f"key{number}": [1] for number in range(n)}),
    "a native request of many models": lambda n: native(padding=[{"model": "m"}] * 3 * n),
    "a native request of deep models": lambda n: native(padding=[[[{"model": ["m"]}]]] * 3 * n),
    "a native request that is left without its extensions": lambda n: native(
        openai={"a": [1] * n}, padding=[{"a": "]}"}] * n
    ),
    "reasoning of one item for Responses": lambda n: (
        lambda: to_items(
            [
                {
                    "role": "assistant",
                    "content": "a",
                    "reasoning_details": [{"type": "reasoning.text", "id": "r", "text": "a"}] * n,
                }
            ],
            frozenset(),
            [],
        )
    ),
}


def native(**fields: Any) -> Work:
    body = {"model": "asked", "max_tokens": 9, "messages": [USER], **fields}
    return lambda: prepare("messages", body)


@pytest.mark.parametrize("shape", REQUESTS)
def test_request_for_a_dialect_takes_work_in_proportion(shape: str) -> None:
    assert_linear(REQUESTS[shape], 6)


# Answers as Messages streams, which pass as they are or go to a client in its own API.

THINKING = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
CALL = event("content_block_start", index=0, content_block={"type": "tool_use", "id": "c", "name": "t", "input": {}})


def delta(kind: str, **fields: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": kind, **fields})


def block(number: int) -> bytes:
    started = event("content_block_start", index=number, content_block={"type": "text", "text": ""})
    return started + text_delta("a") + event("content_block_stop", index=number)


ANSWERS: dict[str, Callable[[int], list[bytes]]] = {
    "texts": lambda n: [BEGINNING, *[text_delta("a b")] * n, ENDING],
    "a text in many reads": lambda n: [BEGINNING, *split(text_delta("a b" * 20_000 * n), n), ENDING],
    "thoughts": lambda n: [BEGINNING, THINKING, *[delta("thinking_delta", thinking="a b")] * n, ENDING],
    "signatures": lambda n: [BEGINNING, THINKING, *[delta("signature_delta", signature="a" * 50_000)] * n, ENDING],
    "fragments of a call": lambda n: [BEGINNING, CALL, *[delta("input_json_delta", partial_json="[1,")] * n, ENDING],
    "blocks": lambda n: [BEGINNING, *[block(number) for number in range(n)], ENDING],
    "pings": lambda n: [BEGINNING, *[event("ping")] * n, ENDING],
    "unknown events": lambda n: [BEGINNING, *[event("later")] * n, ENDING],
    "comments before the first event": lambda n: [*[b": hold on\n\n"] * n, BEGINNING, ENDING],
    "starts without content": lambda n: [*[BEGINNING] * n, ENDING],
    "line ends of one event": lambda n: [BEGINNING, *[b": a\n"] * n, b"\n", ENDING],
}


def split(data: bytes, pieces: int) -> list[bytes]:
    size = -(-len(data) // pieces)
    return [data[start : start + size] for start in range(0, len(data), size)]


def passed_on(pieces: list[bytes]) -> Work:
    def work() -> None:
        stream = NativeStream(reply())
        for piece in pieces:
            stream.feed(piece)
        stream.end()

    return work


def told_in_chat(pieces: list[bytes]) -> Work:
    def work() -> None:
        stream = ChatStream(ToolRegistry(), 5, shows_usage=True)
        for piece in pieces:
            stream.feed(piece)

    return work


def told_in_responses(pieces: list[bytes]) -> Work:
    def work() -> None:
        stream = ClientResponseStream(ToolRegistry(), ResponseFacts(5, {}))
        for piece in pieces:
            stream.feed(piece)

    return work


WAYS = {"passed on": passed_on, "told in chat": told_in_chat, "told in Responses": told_in_responses}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ANSWERS)
def test_messages_stream_takes_work_in_proportion(shape: str, way: str) -> None:
    assert_linear(lambda n: WAYS[way](ANSWERS[shape](n)), 6)


def message(*texts: str) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": "m", "role": "assistant", "content": content}


def reasoning(*texts: str) -> Json:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": "r", "summary": summary, "encrypted_content": "e"}


def calling(number: int, arguments: str = "{}") -> Json:
    return {"type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "t", "arguments": arguments}


UPSTREAM_ITEMS: dict[str, Callable[[int], list[Json]]] = {
    "texts": lambda n: [message("a b c " * n)],
    "parts": lambda n: [message(*["abc"] * n)],
    "messages": lambda n: [{**message("abc"), "id": f"m{number}"} for number in range(n)],
    "thoughts": lambda n: [reasoning("a b c " * n)],
    "summaries": lambda n: [reasoning(*["abc"] * n), message("a")],
    "reasoning items": lambda n: [{**reasoning("abc"), "id": f"r{number}"} for number in range(n)],
    "calls": lambda n: [calling(number) for number in range(n)],
    "fragments of a call": lambda n: [calling(0, orjson.dumps(["abc" * n]).decode())],
    "unknown items": lambda n: [{"type": f"t{number}", "id": f"i{number}"} for number in range(n)],
}


def streamed(items: list[Json]) -> Work:
    told = split(to_stream(items), 10 * len(items))

    def work() -> None:
        stream = ResponsesStream(reply())
        for piece in told:
            stream.feed(piece)
        stream.end()

    return work


@pytest.mark.parametrize("shape", UPSTREAM_ITEMS)
def test_responses_stream_takes_work_in_proportion(shape: str) -> None:
    assert_linear(lambda n: streamed(UPSTREAM_ITEMS[shape](n)), 3)


def test_names_that_clash_with_their_own_hashes_stay_apart() -> None:
    """Each name that takes the place of another is declared first; the chain would be too deep for a recursion."""
    taken = [with_hash("a_b", "a b" + "_" * number) for number in range(1500)]
    registry = ToolRegistry()
    registry.declare_all([function(name) for name in [*taken, "a b"]], "tools")
    assert len({tool["name"] for tool in registry.tools}) == len(taken) + 1
    assert registry.find(registry.tools[-1]["name"]).name == "a b"
