"""One scripted answer, and what a client of any API must read of it."""

from dataclasses import dataclass, replace
from typing import Any

import orjson

Json = dict[str, Any]
PARIS = ("get_weather", {"city": "Paris"})
LONDON = ("get_weather", {"city": "London"})


@dataclass(frozen=True, slots=True)
class Meant:
    """`stop` is Anthropic's. `error`: the status that Messages have for the failure; a stream has an error event."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    stop: str = "end_turn"
    error: int = 0
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """`payloads`: of a stream, or one of JSON; bytes are written as they are.

    `is_plain`: a client of the upstream's own API reads it too, though it is passed on as it is.
    """

    name: str
    payloads: tuple[Any, ...]
    meant: Meant
    status: int = 200
    is_json: bool = False
    done: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    is_plain: bool = True

    @property
    def body(self) -> bytes:
        if self.is_json:
            [payload] = self.payloads
            return payload if isinstance(payload, bytes) else orjson.dumps(payload)
        events = [one if isinstance(one, bytes) else b"data: " + orjson.dumps(one) + b"\n\n" for one in self.payloads]
        return b"".join([*events, b"data: [DONE]\n\n"] if self.done else events)


def streamed(name: str, meant: Meant, *payloads: Any, done: bool = True) -> Script:
    return Script(name, payloads, meant, done=done)


def whole(name: str, meant: Meant, payload: Any) -> Script:
    return Script(name, (payload,), meant, is_json=True)


def peculiar(script: Script) -> Script:
    """Return the answer as a client of the same API sees it, in the upstream's own words."""
    return replace(script, is_plain=False)


def refused(name: str, error: int, status: int, payload: Any, **headers: str) -> Script:
    return Script(name, (payload,), Meant(error=error), status, is_json=True, headers=tuple(headers.items()))


def chunk(delta: Any, finish: str | None = None, *, choice: Json | None = None, **fields: Any) -> Json:
    told = {"index": 0, "delta": delta, "finish_reason": finish, **(choice or {})}
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**base, "choices": [told], **fields}


def say(text: str, finish: str | None = None, **fields: Any) -> Json:
    return chunk({"content": text}, finish, **fields)


def call(arguments: Any, index: int | None = 0, call_id: Any = None, name: Any = None, **fields: Any) -> Json:
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    part = {"index": index} if index is not None else {}
    part |= {"id": call_id, "type": "function"} if call_id is not None else {}
    return {**part, "function": function, **fields}


def calls(*parts: Json, finish: str | None = None, **fields: Any) -> Json:
    return chunk({"tool_calls": list(parts)}, finish, **fields)


def completion(message: Json, finish: str | None = "stop", **fields: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    base = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**base, "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 4}, **fields}


ROLE = chunk({"role": "assistant", "content": ""})
USAGE = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}
CITY = '{"city": "Paris"}'
STOP, CALLED = chunk({}, "stop"), chunk({}, "tool_calls")
HELLO = Meant("Hello")
CALL = Meant(calls=(PARIS,), stop="tool_use")
THOUGHT = Meant("Hello", "Hm")
BOTH = Meant(calls=(PARIS, LONDON), stop="tool_use")
LOOK = Meant(calls=(("look", {}),), stop="tool_use")
IN_LONDON = '{"city": "London"}'
