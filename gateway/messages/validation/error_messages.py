"""Errors in the words of Anthropic's API: the path of a value, then the problem with it.

Anthropic's own wording is pydantic's, so most of it comes for free. Paths hold keys and positions only, no names of
types: `messages.0.content.1.text`. What a client sent is quoted at most in part, since a value may be megabytes long.
"""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError

from gateway.errors import InvalidRequest, shorten
from gateway.schemas.anthropic import ClientToolType, ServerToolType

EXTRA_INPUT = "Extra inputs are not permitted"

ROLES = "Input should be 'user', 'assistant' or 'system'"
TOOL_TYPES = ", ".join(repr(name) for name in ("custom", *get_args(ClientToolType), *get_args(ServerToolType)))


def to_invalid_request(error: ValidationError, body: dict[str, Any]) -> InvalidRequest:
    """The first of pydantic's errors; the others say little once the first is fixed."""
    first = error.errors(include_url=False, include_input=False)[0]
    is_missing = first["type"] == "missing"
    path, value = _locate(first["loc"], body, is_missing)
    discriminator = first.get("ctx", {}).get("discriminator", "")
    match first["type"], discriminator:
        case "union_tag_invalid" | "union_tag_not_found", "'role'":
            return InvalidRequest(f"{path}.role: {ROLES if 'role' in value else 'Field required'}")
        case "union_tag_invalid", "tool_kind()":
            return InvalidRequest(f"{path}: {_unknown_tag(value['type'], TOOL_TYPES)}")
        case "union_tag_invalid", _:
            return InvalidRequest(f"{path}: {_unknown_tag(value['type'], first['ctx']['expected_tags'])}")
        case "union_tag_not_found", _:
            return InvalidRequest(f"{path}.type: Field required")
        case _:
            return InvalidRequest(f"{path}: {first['msg']}")


def _unknown_tag(tag: object, expected: str) -> str:
    quoted = shorten(tag) if isinstance(tag, str) else type(tag).__name__
    return f"Input tag '{quoted}' found using 'type' does not match any of the expected tags: {expected}"


def _locate(location: Sequence[Any], body: Any, is_missing: bool) -> tuple[str, Any]:
    """Return the path of pydantic's location, and the value it leads to (the parent's, for a missing key).

    A location also holds labels of union branches: a block's own type, or a word in brackets. A label is never last,
    and is the first thing said of the object it belongs to; any other text that is no key of the value is one too.
    """
    path: list[str] = []
    value, may_be_label = body, False
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if may_be_label and not is_last and part in (value.get("type"), value.get("role")):
            may_be_label = False
        elif part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int):
            path.append(shorten(str(part)))
            value = value[part]
            may_be_label = isinstance(value, dict)
        elif is_missing and is_last:
            path.append(str(part))
        else:
            may_be_label = False
    return ".".join(path), value
