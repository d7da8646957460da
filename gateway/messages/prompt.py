"""Parse and validate the bytes of a body to a prompt: the one way in for live requests, counting and batch items."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import orjson

from gateway.context import Context
from gateway.errors import InvalidRequest
from gateway.json_values import check_value_count
from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import remember
from gateway.messages.validation import check_messages_request
from gateway.schemas.anthropic import MessagesRequest

# The smallest thinking budget that the API takes.
MIN_BUDGET_TOKENS = 1024


@dataclass(slots=True)
class Received:
    """A request as the client sent it, for upstreams that get it as it is: body, headers, query string."""

    body: bytes = field(repr=False)
    headers: Iterable[tuple[str, str]] = field(default=(), repr=False)
    query: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Original:
    """A request in another API than Messages, for upstreams that speak that API.

    `replays_reasoning`: its conversation has reasoning of earlier answers. `shows_usage`: its stream is to end with the
    usage. `convert` returns the same as a prompt of Messages, and raises InvalidRequest for what that cannot hold.
    """

    body: bytes = field(repr=False)
    replays_reasoning: bool
    shows_usage: bool
    convert: "Callable[[], Prompt]" = field(repr=False)


@dataclass(slots=True)
class Prompt:
    """A request, the notes of its validation, and the size of its JSON in bytes (for the token estimate).

    `received`: None where the request was assembled here. A request that is not `is_checked` was only looked into as
    far as the gateway reads it: an upstream that speaks the client's API validates it. Until then one with an
    `original` is in the client's form, with `max_tokens` added. `has_default_length`: the client has not set
    `max_tokens`, since its API leaves the length to the model.
    """

    request: MessagesRequest = field(repr=False)
    body_size: int
    notes: tuple[Note, ...] = ()
    received: Received | None = field(default=None, repr=False)
    is_checked: bool = True
    has_default_length: bool = False
    original: Original | None = None

    def check(self, context: Context) -> tuple[Note, ...]:
        """Validate what was not, and return the notes. Raises InvalidRequest naming the first field that is wrong."""
        return self.check_as(context.api_version, context.betas)

    def check_as(self, version: str, betas: frozenset[str]) -> tuple[Note, ...]:
        """Validate by the rules of an API version, as `check` does."""
        if self.is_checked:
            return ()
        if self.original is None:
            self.request, checks = check_messages_request(self.request, version=version, betas=betas)
            notes = tuple(checks)
        else:
            converted = self.original.convert()
            self.request, notes = converted.request, converted.notes
        self.is_checked = True
        return notes

    def in_messages(self) -> "Prompt":
        """Return the prompt in the form of Messages alone. Raises InvalidRequest for what that cannot hold."""
        return self if self.original is None else self.original.convert()

    def remember(self) -> None:
        """Cache the beginning of a conversation that was not validated, for the next request."""
        remember(self.request.get("messages"))

    def with_max_tokens(self, most: int) -> "Prompt":
        """Return the prompt for a shorter answer, with still shorter thinking. The received bytes are dropped."""
        request = {**self.request, "max_tokens": most}
        thinking = request.get("thinking")
        if isinstance(thinking, dict) and isinstance(thinking.get("budget_tokens"), int):
            if most > MIN_BUDGET_TOKENS:
                request["thinking"] = {**thinking, "budget_tokens": min(thinking["budget_tokens"], most - 1)}
            else:
                request["thinking"] = {"type": "disabled"}
        changed = cast(MessagesRequest, request)
        return replace(self, request=changed, received=None, original=None, has_default_length=False)


def parse_body(body: bytes, tools: ToolCache, loads: Callable[[bytes], object] = orjson.loads) -> object:
    """Parse JSON, with repeated tool lists from the cache. `loads` parses the rest of a large body.

    Raises InvalidRequest naming the position, RequestTooLarge for too many values.
    """
    check_value_count(body)
    try:
        return tools.parse(body, loads)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error.msg} at position {error.pos}.") from None


def to_prompt(parsed: object, size: int, context: Context, received: Received | None = None) -> Prompt:
    """Validate a parsed body of `size` bytes. Raises InvalidRequest naming the first field that is wrong."""
    checked, notes = check_messages_request(parsed, version=context.api_version, betas=context.betas)
    return Prompt(checked, size, tuple(notes), received)


def to_unchecked(parsed: object, size: int, received: Received | None) -> Prompt | None:
    """Return a prompt that its upstream validates; None for a body that the gateway itself cannot work with."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("model"), str):
        return None
    if not isinstance(parsed.get("stream"), bool | None):
        return None
    return Prompt(cast(MessagesRequest, parsed), size, (), received, is_checked=False)
