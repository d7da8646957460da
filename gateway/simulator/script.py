"""One answer of the simulator as a value: status, headers and steps.

Behaviours build scripts from a prompt, tests write their own, and `server` plays both. So a fault that only a test
needs requires no code here. Nothing in this module waits or writes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import orjson

Headers: TypeAlias = tuple[tuple[str, str], ...]

EVENT_STREAM = ("Content-Type", "text/event-stream; charset=utf-8")
# What OpenRouter sends while a provider has not answered.
COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"


class Gate(Protocol):
    """Something that can be awaited, such as an `asyncio.Event`."""

    async def wait(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Continue when the gate opens. Without a gate: stay silent until the client leaves or the simulator stops."""

    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection at once. With `reset` the client gets a TCP reset, otherwise an end of file."""

    reset: bool = False


Step: TypeAlias = bytes | Pause | Hold | HangUp


@dataclass(frozen=True, slots=True, repr=False)
class Script:
    """One answer. Each piece of bytes is one write to the socket.

    The status line and headers leave with the first piece, so steps before it delay or prevent the header; an empty
    piece sends the header alone. The body is chunked unless `headers` hold a Content-Length.
    """

    steps: tuple[Step, ...] = ()
    status: int = 200
    headers: Headers = ()


def json_script(body: Any, *, status: int = 200, headers: Headers = ()) -> Script:
    """Return a JSON answer in one piece. `body` may also be bytes that are not JSON."""
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    framing = (("Content-Type", "application/json"), ("Content-Length", str(len(payload))))
    return Script((payload,), status, framing + headers)


def stream_script(*steps: Step | Mapping[str, Any], headers: Headers = ()) -> Script:
    """Return an event stream: mappings become `data:` events, other steps stay as they are. Adds no `[DONE]`."""
    return Script(
        tuple(to_data(step) if isinstance(step, Mapping) else step for step in steps), 200, (EVENT_STREAM, *headers)
    )


def converted(
    script: Script, pieces: Callable[[Any], Iterable[bytes]], request_id: tuple[str, str], *, streamed: bool
) -> Script:
    """Convert a JSON answer to another API: each completion becomes its `pieces`. Other steps stay unchanged."""
    steps: list[Step] = []
    for step in script.steps:
        try:
            completion = orjson.loads(step) if isinstance(step, bytes) else None
        except orjson.JSONDecodeError:
            completion = None
        steps += [step] if completion is None else pieces(completion)
    kind = EVENT_STREAM if streamed else ("Content-Type", "application/json")
    return Script(tuple(steps), headers=(kind, request_id))


def to_data(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def paced(script: Script, seconds: float) -> Script:
    """Return the same answer with a pause between its pieces."""
    steps: list[Step] = []
    for step in script.steps:
        steps += (Pause(seconds), step) if steps else (step,)
    return Script(tuple(steps), script.status, script.headers)


def trickled(script: Script, seconds: float) -> Script:
    """Return the same bytes, one per write."""
    return paced(Script(tuple(_bytes_of(script.steps)), script.status, script.headers), seconds)


def broken_off(script: Script, *ending: Step) -> Script:
    """Return the first half of the answer, then `ending`. An answer of a single piece is cut within it."""
    steps = script.steps
    if len(steps) == 1 and isinstance(steps[0], bytes):
        half: tuple[Step, ...] = (steps[0][: len(steps[0]) // 2],)
    else:
        half = steps[: len(steps) // 2]
    return Script(half + ending, script.status, script.headers)


def _bytes_of(steps: Iterable[Step]) -> Iterable[Step]:
    for step in steps:
        if isinstance(step, bytes):
            yield from (step[i : i + 1] for i in range(len(step)))
        else:
            yield step
