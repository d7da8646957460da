"""Reading what the simulator sends, by other means than those it was written with."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.simulator.script import Script


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, as a client got it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# `await ask("sim/echo", "Hello", stream=True)`: model, the user's text, and further fields of the body.
Ask: TypeAlias = Callable[..., Awaitable[Reply]]


def body_of(script: Script) -> Any:
    (payload,) = script.steps
    assert isinstance(payload, bytes)
    assert dict(script.headers)["Content-Length"] == str(len(payload))
    return json.loads(payload)


def events_of(stream: bytes) -> list[str]:
    """Comments and payloads of an event stream, in order, without `data: `."""
    return [event.removeprefix("data: ") for event in stream.decode().split("\n\n") if event]


def chunks_of(stream: bytes) -> list[Any]:
    return [json.loads(event) for event in events_of(stream) if event.startswith("{")]


def deltas_of(stream: bytes) -> list[Any]:
    return [choice["delta"] for chunk in chunks_of(stream) for choice in chunk["choices"]]


def joined_text(stream: bytes, key: str = "content") -> str:
    return "".join(delta.get(key) or "" for delta in deltas_of(stream))


def joined_calls(deltas: Iterable[Any]) -> dict[int, tuple[str, str, str]]:
    """Index → id, name and arguments of each call."""
    calls: dict[int, tuple[str, str, str]] = {}
    for delta in deltas:
        for call in delta.get("tool_calls") or ():
            identifier, name, arguments = calls.get(call["index"], ("", "", ""))
            function = call["function"]
            calls[call["index"]] = (
                identifier + call.get("id", ""),
                name + function.get("name", ""),
                arguments + function["arguments"],
            )
    return calls
