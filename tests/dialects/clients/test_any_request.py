"""Any JSON in place of any part of a client's request: converted, or refused with a 400."""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.context import Context
from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.native.parameters import to_messages_fields
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.errors import InvalidRequest
from gateway.messages.prompt import to_prompt
from tests.dialects.clients.conversions import ASKING, KEYRING

REQUESTS = Path(__file__).parents[2] / "clients" / "requests"
RECORDED = [orjson.loads(path.read_bytes()) for path in sorted(REQUESTS.glob("*.json"))]
CHAT: dict[str, Any] = {
    "model": "m",
    "n": 1,
    "modalities": ["text"],
    "stop": ["a"],
    "temperature": 1,
    "max_tokens": 5,
    "service_tier": "flex",
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
    },
    "tools": [
        {
            "type": "custom",
            "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}},
        },
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"maximum": 9}}}},
        },
    ],
    "thinking": {"type": "enabled"},
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "user": "u",
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}],
        },
        {
            "role": "assistant",
            "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}],
            "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}}],
        },
        {
            "role": "tool",
            "tool_call_id": "a",
            "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}}],
        },
    ],
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.none() | st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def convert_chat(body: dict[str, Any], asking: ClientAsking) -> ClientRequest:
    return from_chat(body, asking, ToolRegistry(asking.takes_grammars))


def convert_responses(body: dict[str, Any], asking: ClientAsking) -> ClientRequest:
    return from_responses(body, asking)[0]


def bodies(path: str) -> list[dict[str, Any]]:
    found = [recorded["body"] for recorded in RECORDED if recorded["path"].endswith(path)]
    return [*found, CHAT] if path == "chat/completions" else found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield all places in the body; of a list its first and last items only."""
    if path and path[0] != "model":
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for index in {0, len(value) - 1} if value else ():
            yield from places(value[index], (*path, index))


def with_value(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    part: Any = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return changed


@pytest.mark.parametrize(("path", "convert"), [("chat/completions", convert_chat), ("responses", convert_responses)])
def test_any_value_in_any_place_is_converted_or_refused(
    path: str, convert: Callable[[dict[str, Any], ClientAsking], ClientRequest]
) -> None:
    candidates = [(body, place) for body in bodies(path) for place in places(body)]

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.sampled_from(candidates), VALUES, st.booleans())
    def check(candidate: tuple[dict[str, Any], tuple[Any, ...]], value: Any, takes_grammars: bool) -> None:
        body, place = candidate
        asking = ClientAsking(ASKING.target, KEYRING, takes_grammars)
        with suppress(InvalidRequest):
            asked = convert(with_value(body, place, value), asking)
            prompt = to_prompt(asked.request, 100, Context("req_1"))
            to_messages_fields(prompt.request)

    check()
