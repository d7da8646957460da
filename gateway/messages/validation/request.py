"""The way in: a parsed body becomes a request, or an InvalidRequest that names what is wrong with it."""

from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.turn_cache import CachedMessages
from gateway.messages.validation.blank_text import without_blank_text
from gateway.messages.validation.block_index import take_inventory
from gateway.messages.validation.breakpoints import check_breakpoints
from gateway.messages.validation.depth import check_depth
from gateway.messages.validation.error_messages import to_invalid_request
from gateway.messages.validation.fields import (
    RULED_FIELDS,
    UNSUPPORTED_FIELDS,
    check_fields,
    refuse_sampling,
    refuse_unsupported,
)
from gateway.messages.validation.media import check_media
from gateway.messages.validation.tools import check_tools, is_checked
from gateway.messages.validation.turns import NEW_VERSION, check_turns
from gateway.messages.validation.unknown_keys import LOOKED_INTO, MAX_NOTED, PLAIN_NAME, note_unknown, to_note
from gateway.schemas.anthropic import MAX_MESSAGES, CountTokensRequest, MessagesRequest

MESSAGES: TypeAdapter[MessagesRequest] = TypeAdapter(MessagesRequest)

AnyRequest = TypeVar("AnyRequest", MessagesRequest, CountTokensRequest)

KNOWN_FIELDS = MessagesRequest.__required_keys__ | MessagesRequest.__optional_keys__

# Only with one of these fields is there something to be said by the rule of that name.
DOUBTFUL_FIELDS = frozenset(UNSUPPORTED_FIELDS) | {"context_management"}
TOOL_FIELDS = frozenset({"tools", "tool_choice"})
# Of a tool call's input.
WIDE_NUMBER = "numbers beyond 64 bits are carried as floating point"

CACHED_FIELDS = frozenset({"cache_control", "system", "tools"})


def check_messages_request(body: object, *, version: str, betas: frozenset[str]) -> tuple[MessagesRequest, list[Note]]:
    """Return the request in `body`, the same data without blank text, and notes of dropped and changed fields.

    `version` and `betas` are those of the client's headers. Unknown fields are noted; those at the top level are left
    out here, those within by the conversion. Raises only InvalidRequest for anything that orjson can
    parse. How deep the body nests is found when the chat request is made of it and written.
    """
    fields, notes = _known_fields(body, version)
    _check_shape(fields)
    return _check_rules(cast(MessagesRequest, fields), notes, version, betas)


def check_count_tokens_request(
    body: object, *, version: str, betas: frozenset[str]
) -> tuple[CountTokensRequest, list[Note]]:
    """Check a prompt without a reply: like `check_messages_request`, but `max_tokens` may be absent."""
    fields, notes = _known_fields(body, version)
    check_depth(fields)
    # With a limit put in, so that one validator serves both: a second one takes 1 MB, and 4 % of a front end's start.
    _check_shape(fields if fields.get("max_tokens") is not None else {**fields, "max_tokens": 1})
    return _check_rules(cast(CountTokensRequest, fields), notes, version, betas)


def _known_fields(body: object, version: str) -> tuple[dict[str, Any], list[Note]]:
    """The body without unknown fields; unsupported ones that ask for nothing go without a note."""
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if not DOUBTFUL_FIELDS.isdisjoint(body):
        refuse_unsupported(body)
    refuse_sampling(body, version)
    if body.keys() <= KNOWN_FIELDS:
        return body, []
    unknown = [name for name in body if name not in KNOWN_FIELDS and name not in UNSUPPORTED_FIELDS]
    fields = {name: value for name, value in body.items() if name in KNOWN_FIELDS}
    return fields, [to_note(name if PLAIN_NAME.fullmatch(name) else "?") for name in unknown[:MAX_NOTED]]


def _check_shape(fields: dict[str, Any]) -> None:
    """Check types and values, and leave pydantic's own result: it has lost keys within blocks, and their order.

    What an earlier request had is left out; if the rest is wrong, all of it is checked, for the place of the error.
    """
    unchecked = fields
    if is_checked(fields.get("tools")):
        unchecked = {name: value for name, value in fields.items() if name != "tools"}
    messages = fields.get("messages")
    if isinstance(messages, CachedMessages) and messages.known and len(messages) <= MAX_MESSAGES:
        rest = {**unchecked, "messages": messages[messages.known :]}
        if _is_valid(rest):
            return
    try:
        MESSAGES.validate_python(unchecked, strict=True)
    except ValidationError as error:
        raise to_invalid_request(error, fields) from None


def _is_valid(fields: dict[str, Any]) -> bool:
    try:
        MESSAGES.validate_python(fields, strict=True)
    except ValidationError:
        return False
    return True


def _check_rules(
    request: AnyRequest, notes: list[Note], version: str, betas: frozenset[str]
) -> tuple[AnyRequest, list[Note]]:
    """The request without blank text, and `notes` with those of the rules.

    Rules are left out where there is nothing for them to look at: most requests have few fields, and each rule's code
    and tables cost several times their run once they have fallen out of the processor's cache.
    """
    messages = request["messages"]
    if not RULED_FIELDS.isdisjoint(request) or not request.get("max_tokens"):
        check_fields(request, betas)
    if not TOOL_FIELDS.isdisjoint(request):
        check_tools(request)
    system = request.get("system")
    if isinstance(system, list) and not all(block["text"] for block in system):
        raise InvalidRequest("system: text content blocks must be non-empty")
    # The version with separate rules has them checked for all messages.
    prefix = messages.prefix if isinstance(messages, CachedMessages) and version != NEW_VERSION else None
    turns = check_turns(messages, version, prefix.last_turn if prefix else 0)
    inventory = take_inventory(messages, turns.held)
    if inventory.media:
        check_media(inventory.media)
    if inventory.cached or not CACHED_FIELDS.isdisjoint(request):
        check_breakpoints(request, inventory)
    for index, position in turns.wide:
        notes.append(Note("changed", f"messages.{index}.content.{position}.input", WIDE_NUMBER))
    if inventory.unknown or not LOOKED_INTO.isdisjoint(request):
        notes += note_unknown(request, inventory.unknown)
    if turns.blank:
        kept, dropped = without_blank_text(messages, turns.blank)
        return cast(AnyRequest, {**request, "messages": kept}), notes + dropped
    if isinstance(messages, CachedMessages):
        # Those before the first that a rule other than that of turns has to look at.
        first = len(messages) if inventory.first is None else inventory.first
        messages.learn(min(first, turns.wide[0][0]) if turns.wide else first)
    return request, notes
