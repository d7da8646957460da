"""Rules of message threads: parse a request's `thread`, and merge the stored and the new messages into one request.

A thread is the fields it was created with and its turns: the messages a request brought, then the reply. A turn is
continued from the reply's id, once. This module is independent of storage and of the upstream's dialect: the merged
request is the one that a client without threads would have sent.

Sources: the official SDK's thread state and error classes (2.12, 2026-11). `system` and `tools` are taken from the
thread, and a request that continues one may not repeat them; `output_config` is sent with every turn, and stays the
same; everything else may change from turn to turn.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from gateway.errors import InvalidRequest, NotFound
from gateway.messages.claude_code import BILLING_HEADER
from gateway.messages.validation.depth import check_depth
from gateway.messages.validation.error_messages import EXTRA_INPUT, to_invalid_request
from gateway.schemas.threads import ThreadField, ThreadParam

# Taken from the thread; repeated by every turn. `output_format` is the older name of `output_config.format`.
CREATE_ONLY: Final = ("system", "tools")
FIXED: Final = ("output_config", "output_format")

# Of a message, in errors and notes of validation and conversion.
POSITION: Final = re.compile(r"\bmessages\.(\d{1,6})\b")

THREAD_FIELD: TypeAdapter[ThreadField] = TypeAdapter(ThreadField)

Messages = list[Any]


@dataclass(frozen=True, slots=True)
class Held:
    """A stored thread: the fields of its creation, the messages of each turn including replies, the stop reason of
    the last reply, and the total size in bytes of JSON."""

    fields: dict[str, Any] = field(repr=False)
    turns: Sequence[Messages] = field(repr=False)
    stop_reason: str = ""
    size: int = 0


def has_thread(body: object) -> bool:
    """Return True if this parsed body uses a thread; null does not."""
    return isinstance(body, dict) and body.get("thread") not in (None, {})


def to_thread_param(body: dict[str, Any]) -> ThreadParam:
    """Parse `thread`. Raises InvalidRequest if it is neither create nor continue."""
    field = {"thread": body["thread"]}
    try:
        return THREAD_FIELD.validate_python(field, strict=True)["thread"]
    except ValidationError as error:
        raise to_invalid_request(error, field) from None


def to_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a thread keeps from its first request, besides the messages."""
    return {name: body[name] for name in (*CREATE_ONLY, *FIXED) if body.get(name)}


def to_turn(body: dict[str, Any], reply: dict[str, Any]) -> Messages:
    """Return the messages that a request and its reply add. An empty reply adds none: no request may repeat it."""
    said = [{"role": "assistant", "content": reply["content"]}] if reply["content"] else []
    return [*body["messages"], *said]


def merged(body: dict[str, Any], held: Held) -> dict[str, Any]:
    """Return the whole conversation as one request. Changes only breakpoints of stored messages, and not the body.

    Raises InvalidRequest for fields that must be absent or equal, and for a turn without messages, which is only
    allowed after a pause. Other errors are left to the checks of any request.
    """
    check_depth(body)
    _check_fields(body, held.fields)
    new = body.get("messages")
    if new == [] and held.stop_reason != "pause_turn":
        raise InvalidRequest("messages: at least one message is required, unless the thread's last reply was paused")
    request = {name: value for name, value in body.items() if name not in ("thread", *CREATE_ONLY)}
    request |= {name: held.fields[name] for name in CREATE_ONLY if name in held.fields}
    if isinstance(new, list):
        settle_breakpoints(held.turns, sets_breakpoints=bool(body.get("cache_control")) or any(marked_in(new)))
        request["messages"] = [message for turn in held.turns for message in turn] + new
    return request


def settle_breakpoints(turns: Sequence[Messages], *, sets_breakpoints: bool) -> None:
    """Keep the breakpoints of the latest turn that set any: a request may have four, and each is meant for its turn.

    The official SDK does the same with the history that it resends.
    """
    superseded = sets_breakpoints
    for turn in reversed(turns):
        marked = list(marked_in(turn))
        if superseded:
            for block in marked:
                del block["cache_control"]
        superseded = superseded or bool(marked)


def marked_in(value: object) -> Iterator[dict[str, Any]]:
    """Yield blocks with a breakpoint, nested ones included; accepts unvalidated messages."""
    if isinstance(value, list):
        for inner in value:
            yield from marked_in(inner)
    elif isinstance(value, dict):
        if value.get("cache_control"):
            yield value
        yield from marked_in(value.get("content"))
        yield from marked_in(value.get("source"))


def name_own_positions(error: InvalidRequest, held: Held | None) -> None:
    """Count positions in a message of validation from the request's first message, as the client sees them."""
    before = sum(map(len, held.turns)) if held is not None else 0
    if before:
        error.message = POSITION.sub(lambda found: _own_position(int(found[1]) - before), error.message)
        error.args = (error.message,)


def _own_position(index: int) -> str:
    return f"messages.{index}" if index >= 0 else "messages of the thread"


def _check_fields(body: dict[str, Any], kept: dict[str, Any]) -> None:
    repeated = [name for name in CREATE_ONLY if (body.get(name) and not _is_billing_header(name, body[name]))]
    differing = [name for name in repeated if body[name] != kept.get(name)]
    differing += [name for name in FIXED if (body.get(name) or None) != kept.get(name)]
    if differing:
        raise InvalidRequest(
            f"thread: the request differs from the thread that it continues; differing field(s): "
            f"{', '.join(differing)}. Send what the thread was created with, where it is not left out, or replay the "
            'whole conversation with `thread: {"type": "create"}`.',
            code="thread_fingerprint_mismatch",
        )
    if repeated:
        raise InvalidRequest(
            f"{repeated[0]}: {EXTRA_INPUT} when `thread` continues from a `previous_message_id`: "
            "the thread keeps what it was created with."
        )


def _is_billing_header(name: str, value: object) -> bool:
    """Return True for a system prompt with only Claude Code's billing header, which it sends with every request."""
    return (
        name == "system"
        and isinstance(value, list)
        and all(isinstance(block, dict) and str(block.get("text")).startswith(BILLING_HEADER) for block in value)
    )


# Errors specific to threads, with the messages of Anthropic's API where known: clients match on some.


def not_found() -> NotFound:
    return NotFound(
        "thread: no usable thread state was found for `previous_message_id`. "
        'Replay the whole conversation with `thread: {"type": "create"}` to start a new thread.',
        code="thread_not_found",
    )


def already_continued() -> InvalidRequest:
    return InvalidRequest(
        "thread: the response that `previous_message_id` names has already been continued, and each response can be "
        "continued only once. Continue from the thread's most recent response.",
        code="thread_already_continued",
    )


def continue_in_flight() -> InvalidRequest:
    return InvalidRequest(
        "thread: another request is still continuing from the same `previous_message_id`. Wait for it to complete and "
        'continue from its response, or replay the whole conversation with `thread: {"type": "create"}`.',
        code="thread_continue_in_flight",
    )


def unsupported(reason: str) -> InvalidRequest:
    """Return the error for a thread that cannot be stored. Clients that know its code continue without threads."""
    return InvalidRequest(
        f"thread: {reason}. Send the whole conversation in `messages`, without `thread`.",
        code="thread_unsupported_request",
    )


def too_long() -> InvalidRequest:
    return unsupported("the conversation has become too long to be held")
