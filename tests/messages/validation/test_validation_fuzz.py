"""Any JSON value is either a request or refused; validation has no third outcome."""

from contextlib import suppress
from functools import reduce
from operator import getitem
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.messages.validation import check_count_tokens_request, check_messages_request
from gateway.schemas.anthropic import MessagesRequest
from tests.support.bodies import (
    ABSENT,
    NEW,
    OLD,
    assistant,
    body,
    call,
    document,
    image,
    image_at,
    result,
    system,
    text,
    tool,
    user,
)

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
# Words that mean something here, so that a random value gets further than the first check.
WORDS = st.sampled_from(
    [
        *("text", "image", "document", "tool_use", "tool_result", "thinking", "base64", "url", "content", "custom"),
        *("user", "assistant", "system", "ephemeral", "1h", "5m", "enabled", "auto", "any", "tool", "json_schema"),
        *("type", "role", "id", "name", "input", "source", "data", "cache_control", "ttl", "edits", "definition"),
        *("bash_20250124", "openrouter:x", "", " ", "[text]", "[list]", "é", "\x00"),
    ]
)
FIELDS = st.sampled_from(sorted(MessagesRequest.__required_keys__ | MessagesRequest.__optional_keys__))
VALUES = st.recursive(
    SCALARS | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)

# One of nearly everything, to break at one place each.
RICH = body(
    stream=True,
    system=[text("s", cache_control={"type": "ephemeral"})],
    thinking={"type": "enabled", "budget_tokens": 1024},
    max_tokens=2000,
    metadata={"user_id": "u"},
    output_config={"effort": "high", "format": {"type": "json_schema", "schema": {}}},
    context_management={"edits": [{"type": "clear_thinking_20251015"}]},
    tools=[
        tool(),
        {"type": "bash_20250124", "name": "bash"},
        {"type": "custom", "custom": {"name": "g"}},
        {"type": "openrouter:datetime"},
    ],
    tool_choice={"type": "auto"},
    logit_bias={"1": 2},
    provider={"sort": {"by": "price"}, "max_price": {"prompt": 1}},
    response_format=None,
    openrouter={"reasoning": {"effort": "low"}, "stop": ["a"], "prediction": {"type": "content", "content": "x"}},
    messages=[
        user("a"),
        assistant(text("b", citations=[{}]), {"type": "thinking", "thinking": "t", "signature": "s"}, call()),
        user(
            result(content=[text("c"), image()]),
            image_at("https://example.com/"),
            document(type="content", content=[text("d"), image()]),
            {"type": "search_result", "source": "s", "title": "t", "content": [text("e")]},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        system(text("f"), {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("x")}}),
    ],
)


def validate(source: Any) -> None:
    """Validate bytes as the front door does; the message of a refusal can be sent, and is never long."""
    parsed = orjson.loads(orjson.dumps(source))
    for check in (check_messages_request, check_count_tokens_request):
        for version in (OLD, NEW):
            message = ""
            try:
                check(parsed, version=version, betas=frozenset())
            except InvalidRequest as refused:
                message = refused.message
            assert len(orjson.dumps(message)) < 2500


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with `new` at a place, or without that place (ABSENT)."""
    if not path:
        return new
    copy = value.copy()
    if len(path) > 1:
        copy[path[0]] = replaced(value[path[0]], path[1:], new)
    elif new is ABSENT:
        del copy[path[0]]
    else:
        copy[path[0]] = new
    return copy


ODD_VALUES = [ABSENT, None, True, 0, -1, 1.5, 1e300, "", " ", "x", [], {}, [[]], [{}], {"type": "x"}, {"type": None}]
PLACES = places(RICH)[1:]


def test_the_rich_request_is_valid() -> None:
    check_messages_request(RICH, version=OLD, betas=frozenset())


@pytest.mark.parametrize("odd", ODD_VALUES, ids=lambda odd: "nothing" if odd is ABSENT else repr(odd))
def test_a_valid_request_with_an_odd_value_at_each_of_its_places(odd: Any) -> None:
    for path in PLACES:
        validate(replaced(RICH, path, odd))


EXTRA_KEYS = sorted({key for path in PLACES for key in path if isinstance(key, str)} | {"encrypted_content", "zeta"})


@pytest.mark.parametrize("odd", [None, 1, "x", [{}], {"type": "x"}], ids=repr)
def test_a_valid_request_with_an_extra_key_in_each_of_its_objects(odd: Any) -> None:
    """Keys that mean something elsewhere: no rule may take an unchecked one for the checked one."""
    for path in PLACES:
        value = reduce(getitem, path, RICH)
        if not isinstance(value, dict):
            continue
        for key in EXTRA_KEYS:
            if key not in value:
                with suppress(InvalidRequest):
                    check_messages_request(replaced(RICH, (*path, key), odd), version=NEW, betas=frozenset())


@settings(max_examples=50)
@given(VALUES)
@pytest.mark.covers("Errors · any body, and any value in any place")
def test_any_value(value: Any) -> None:
    validate(value)


@given(st.dictionaries(FIELDS, VALUES, max_size=6))
def test_any_values_of_known_fields(changes: dict[str, Any]) -> None:
    validate(body(**changes))


@given(st.lists(st.fixed_dictionaries({"role": WORDS, "content": VALUES}), max_size=4))
def test_any_messages(messages: list[Any]) -> None:
    validate(body(messages=messages))


@given(st.sampled_from(PLACES), VALUES)
def test_a_valid_request_with_any_value_at_any_place(path: tuple[Any, ...], value: Any) -> None:
    validate(replaced(RICH, path, value))
