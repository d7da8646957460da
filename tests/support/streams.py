"""Chat streams to convert piece by piece, and an independent reader of the resulting event streams."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import FrameType
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError

Json = dict[str, Any]

KEYRING = Keyring((("k1", b"a key for tests"),))
DONE = b"data: [DONE]\n\n"
# An empty chunk. Between two deltas it keeps the second from being spliced.
NOTHING = b'data: {"choices":[]}\n\n'


def reply(**fields: Any) -> Reply:
    given: Json = {
        "message_id": "msg_1",
        "request_id": "req_1",
        "model": "claude-test",
        "upstream_model": "acme/writer",
        "keyring": KEYRING,
        "input_estimate": 7,
    }
    return Reply(**{**given, **fields})


# Upstream: payloads and their content


def sse(*payloads: Any) -> bytes:
    """Return an event stream of these payloads. Bytes are used unchanged."""
    return b"".join(b"data: %b\n\n" % (one if isinstance(one, bytes) else orjson.dumps(one)) for one in payloads)


def delta_chunk(delta: Json, **choice: Any) -> Json:
    """Return one chunk with a delta. `choice`: further fields of its choice."""
    return {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": delta, **choice}]}


def chunk(delta: Any, finish_reason: str | None = None, **fields: Any) -> Json:
    """Return one chunk. `native_finish_reason`, `error` and `stop_details` go into its choice, others beside it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    inner = {name: fields.pop(name) for name in ("native_finish_reason", "error", "stop_details") if name in fields}
    return {"id": "gen-1", "model": "acme/writer-2", "choices": [{**choice, **inner}], **fields}


def say(text: str) -> Json:
    return chunk({"role": "assistant", "content": text})


def think(text: str) -> Json:
    return chunk({"reasoning": text})


def detail(**entry: Any) -> Json:
    return chunk({"reasoning_details": [entry]})


def call(index: int | None, fragment: Any, call_id: str | None = None, name: str | None = None) -> Json:
    return chunk({"tool_calls": [call_part(index, fragment, call_id, name)]})


def call_part(index: int | None, fragment: Any, call_id: str | None = None, name: str | None = None) -> Json:
    function = {"arguments": fragment} if name is None else {"name": name, "arguments": fragment}
    part: Json = {"function": function}
    if call_id is not None:
        part = {"id": call_id, "type": "function", **part}
    return part if index is None else {"index": index, **part}


def finish(reason: str = "stop", **fields: Any) -> Json:
    return chunk({}, reason, **fields)


def usage(prompt: int = 10, completion: int = 5, **fields: Any) -> Json:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **fields}}


def completion(message: Any, finish_reason: str | None = "stop", **fields: Any) -> Json:
    """Return a whole chat completion."""
    whole = chunk({}, finish_reason, **fields)
    choice = whole["choices"][0]
    del choice["delta"]
    choice["message"] = message
    return whole


# The conversion


@dataclass(slots=True)
class Told:
    """Everything that one converted stream returned."""

    output: bytes
    stream: MessageStream
    pieces: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[Json]:
        return read_events(self.output)

    @property
    def blocks(self) -> list[Json]:
        return blocks_of(self.events)

    @property
    def failure(self) -> GatewayError | None:
        return self.stream.failure

    @property
    def stop(self) -> Json:
        """Return the delta of message_delta: the stop reason and its details."""
        (event,) = [event for event in self.events if event["type"] == "message_delta"]
        delta: Json = event["delta"]
        return delta

    @property
    def usage(self) -> Json:
        (event,) = [event for event in self.events if event["type"] == "message_delta"]
        counts: Json = event["usage"]
        return counts


def convert(pieces: bytes | Iterable[bytes], reply_: Reply | None = None, *, end: bool = True) -> Told:
    """Feed these pieces and end the stream."""
    stream = MessageStream(reply_ or reply())
    outputs = [stream.feed(piece) for piece in ([pieces] if isinstance(pieces, bytes) else pieces)]
    if end:
        outputs.append(stream.end())
    return Told(b"".join(outputs), stream, outputs)


def told(*payloads: Any, **fields: Any) -> Told:
    """Convert a well-formed stream of these payloads, finished, in one read. `fields` are the reply's."""
    return convert(sse(*payloads) + DONE, reply(**fields))


def calls_during(name: str, work: Callable[[], object]) -> int:
    """Count the calls of a function with this name, which show the code path of a result."""
    count = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if (event == "c_call" and argument.__name__ == name) or (event == "call" and frame.f_code.co_name == name):
            count += 1

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# Downstream: reading events without the code that wrote them


def read_events(stream: bytes) -> list[Json]:
    """Return the parsed payloads. Asserts the frame of each event: a name equal to its type, one line of data, a blank
    line."""
    events = []
    frames = stream.split(b"\n\n")
    assert frames.pop() == b""
    for frame in frames:
        name_line, data_line = frame.split(b"\n")
        event = orjson.loads(data_line.removeprefix(b"data: "))
        assert name_line == b"event: " + event["type"].encode()
        events.append(event)
    return events


DELTAS_OF_BLOCKS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}


def check_grammar(events: Sequence[Json], *, complete: bool) -> None:
    """Check Anthropic's order of events: one block open at a time, contiguous indexes, one end, nothing after it."""
    kinds = [event["type"] for event in events]
    assert kinds[:1] == ["message_start"] or (not complete and not kinds)
    assert kinds.count("message_start") <= 1
    assert kinds.count("message_delta") == kinds.count("message_stop") == (1 if complete else 0)
    if complete:
        assert kinds[-2:] == ["message_delta", "message_stop"]
    blocks = check_blocks(events)
    if complete:
        assert blocks == kinds.count("content_block_stop")


def check_blocks(events: Iterable[Json]) -> int:
    """Check the blocks, and return the number of started ones."""
    started, is_open, allowed, last_delta = 0, False, set[str](), ""
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == started
                started, is_open, last_delta = started + 1, True, ""
                allowed = DELTAS_OF_BLOCKS.get(event["content_block"]["type"], set())
            case "content_block_delta":
                assert is_open
                assert event["index"] == started - 1
                assert event["delta"]["type"] in allowed
                assert last_delta != "signature_delta", "a signature comes once, and last"
                last_delta = event["delta"]["type"]
            case "content_block_stop":
                assert is_open
                assert event["index"] == started - 1
                is_open = False
            case "message_delta" | "message_stop":
                assert not is_open
            case kind:
                assert kind in ("message_start", "ping")
    return started


def blocks_of(events: Iterable[Json]) -> list[Json]:
    """Return each block with its deltas joined: `text`, `thinking`, `signature`, or `input` parsed and `json` as
    received."""
    blocks: list[Json] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"]})
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] += delta[name]
            if "partial_json" in delta:
                block["json"] = block.get("json", "") + delta["partial_json"]
                assert delta["partial_json"], "an empty fragment"
    for block in blocks:
        if "json" in block:
            block["input"] = orjson.loads(block["json"])
    return blocks


def cut(stream: bytes, positions: Iterable[int]) -> list[bytes]:
    return [stream[start:end] for start, end in pairwise([0, *sorted(positions), len(stream)])]
