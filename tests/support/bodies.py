"""Minimal requests for validation, and checks of their outcome."""

import copy
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.validation import check_messages_request
from gateway.schemas.anthropic import MessagesRequest

OLD, NEW = "2023-06-01", "2026-10-21"


def check(fields: Any, version: str = OLD, betas: frozenset[str] = frozenset()) -> tuple[MessagesRequest, list[Note]]:
    return check_messages_request(fields, version=version, betas=betas)


def check_unchanged(fields: Any, version: str = OLD, betas: frozenset[str] = frozenset()) -> None:
    """Check that a request is valid as it is, without a note."""
    before = copy.deepcopy(fields)
    assert check(fields, version, betas) == (before, [])


def refusal(fields: Any, version: str = OLD, betas: frozenset[str] = frozenset()) -> str:
    """Return the message with which a request is refused."""
    with pytest.raises(InvalidRequest) as raised:
        check(fields, version, betas)
    return raised.value.message


ABSENT = object()

FORMAT = {"type": "json_schema", "schema": {"type": "object"}}

# The smallest of its kind.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
JPEG = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBD"
WEBP = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCd"


def body(**changes: Any) -> dict[str, Any]:
    """Return a valid request with some top-level fields changed, added, or removed (ABSENT)."""
    fields: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [user("hello")], **changes}
    return {name: value for name, value in fields.items() if value is not ABSENT}


def user(*blocks: Any) -> dict[str, Any]:
    """Return a user's message: one string, or blocks, where a string among several is a text block."""
    return {"role": "user", "content": _content(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": _content(blocks)}


def system(*blocks: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "system", "content": _content(blocks), **fields}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def call(call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "get", "input": {}, **fields}


def result(call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, **fields}


def image(data: str = PNG, media_type: str = "image/png", **fields: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}, **fields}


def image_at(url: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": url}}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


def tool(name: str = "get", **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **fields}


def _content(blocks: tuple[Any, ...]) -> Any:
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    return [text(block) if isinstance(block, str) else block for block in blocks]
