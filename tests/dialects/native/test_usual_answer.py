"""Answers that need no repair are read without trying the repairs, and read the same."""

from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.base import Answered
from gateway.dialects.native import answer
from gateway.dialects.native.usual_answer import usual_counts
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError

MESSAGE: dict[str, Any] = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "up",
    "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there", "citations": None}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 12,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 0},
        "server_tool_use": None,
        "service_tier": "standard",
    },
}
VALUES: list[Any] = [
    *(None, "", "x", "5", 0, 5, -1, 1.0, 2.5, True, [], {}),
    *(["x"], [None], [{}], [[{}]], {"type": "error", "message": "x"}),
]
TYPES = ("message", "error", "thinking", "tool_use", "end_turn", "max_tokens", "stop_sequence", "stop")
MORE = ("error", "data", "prompt_tokens", "cost", "text", "name", "input", "thinking", "context_management")


def variants() -> list[dict[str, Any]]:
    """Return the message with each of its fields, and those of its first block and its usage, changed or left out."""
    found = [MESSAGE]
    for part in ((), ("content", 0), ("usage",)):
        target: Any = MESSAGE
        for step in part:
            target = target[step]
        for name in (*target, *MORE):
            found += [changed(part, {**target, name: value}) for value in (*VALUES, *TYPES)]
            found.append(changed(part, {key: value for key, value in target.items() if key != name}))
    return found


def changed(part: tuple[Any, ...], value: dict[str, Any]) -> dict[str, Any]:
    if not part:
        return value
    if part == ("usage",):
        return {**MESSAGE, "usage": value}
    return {**MESSAGE, "content": [value, *MESSAGE["content"][1:]]}


def read(body: bytes, upstream_model: str) -> Answered | tuple[str, str]:
    reply = Reply("msg_1", "req_1", "asked", upstream_model, Keyring(()), max_tokens=5)
    try:
        return answer.to_answered(body, reply)
    except GatewayError as error:
        return type(error).__name__, error.message


@pytest.mark.parametrize("upstream_model", ["up", "claude-opus-5"])
def test_answers_are_read_as_with_all_repairs(upstream_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [orjson.dumps(one) for one in variants()]
    quick = [read(body, upstream_model) for body in bodies]
    monkeypatch.setattr(answer, "usual_counts", lambda _: None)
    for body, found in zip(bodies, quick, strict=True):
        assert found == read(body, upstream_model), body


def test_usual_answers_are_recognised() -> None:
    assert usual_counts(MESSAGE) == {name: it for name, it in MESSAGE["usage"].items() if it is not None}
    recognised = sum(usual_counts(one) is not None for one in variants())
    assert 100 < recognised < len(variants()) - 100
