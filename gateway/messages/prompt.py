"""From the bytes of a body to a validated prompt: the one way in for live requests, counting and batch items."""

from dataclasses import dataclass, field

import orjson

from gateway.context import Context
from gateway.errors import InvalidRequest
from gateway.json_values import check_value_count
from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import ToolMemory
from gateway.messages.validation import check_messages_request
from gateway.schemas.anthropic import MessagesRequest


@dataclass(slots=True)
class Prompt:
    """A validated request, the notes of its validation, and the size of its JSON in bytes (for the token estimate)."""

    request: MessagesRequest = field(repr=False)
    body_size: int
    notes: tuple[Note, ...] = ()


def parse_body(body: bytes, tools: ToolMemory) -> object:
    """Parse JSON, with repeated tool lists from the cache.

    Raises InvalidRequest naming the position, RequestTooLarge for too many values.
    """
    check_value_count(body)
    try:
        return tools.parse(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error.msg} at position {error.pos}.") from None


def to_prompt(parsed: object, size: int, context: Context) -> Prompt:
    """Validate a parsed body of `size` bytes. Raises InvalidRequest naming the first field that is wrong."""
    checked, notes = check_messages_request(parsed, version=context.api_version, betas=context.betas)
    return Prompt(checked, size, tuple(notes))
