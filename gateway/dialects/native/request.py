"""The body of a native request: the client's bytes with the model's name replaced, or an edited copy of its JSON.

Spans that are replaced or left out: `model`; the gateway's own extension objects; and, for upstreams other than
Anthropic's, the billing block of Claude Code. Deeper parts are edited in the parsed request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects import spans
from gateway.dialects.native.claude_limits import within_claude_limits
from gateway.dialects.native.parameters import to_messages_fields
from gateway.dialects.native.thinking import without_foreign_thinking
from gateway.errors import InvalidRequest
from gateway.messages.claude_code import BILLING_HEADER
from gateway.messages.notes import Note
from gateway.messages.openai_breakpoints import with_cache_control
from gateway.messages.prompt import Prompt
from gateway.messages.repeated_text import RepeatedText
from gateway.upstream.models.target import claude_version
from gateway.upstream.routes.route import Route

# Objects of extensions in a request, for gateways and their upstreams; Messages has no such fields.
EXTENSIONS = frozenset({"openrouter", "openai", "upstream"})
# Begins the signatures that this gateway seals (`dialects/chat/reasoning`).
SEALED = b'"gw'

NO_EXTENSIONS = "an upstream that speaks Messages takes no such field"
NO_BILLING = "Claude Code's billing header would keep the upstream's prompt cache from ever hitting"


@dataclass(frozen=True, slots=True)
class NativeBody:
    """`is_edited`: the JSON was written again."""

    body: bytes = field(repr=False)
    is_edited: bool = False
    notes: tuple[Note, ...] = ()


def to_body(
    prompt: Prompt, text: RepeatedText | None, route: Route, keyring: Keyring, *, drops_thinking: bool = False
) -> NativeBody:
    """Return the body for the upstream. `text`: that of the client, if there is one and it can be searched.

    Raises InvalidRequest for a model that is named twice.
    """
    request: dict[str, Any] = dict(prompt.request)
    notes = [Note("dropped", name, NO_EXTENSIONS) for name in request if name in EXTENSIONS]
    removes_billing = not route.upstream.vendor.messages.keeps_billing and has_billing(request)
    if removes_billing:
        notes.append(Note("dropped", "system.0", NO_BILLING))
    received = prompt.received
    if received is None:
        has_effort = not request.get("thinking")
        request, chat_notes = to_messages_fields(with_cache_control(request))
        notes += chat_notes
        if route.target.claude:
            version = claude_version(route.target.model)
            request, limit_notes = within_claude_limits(request, version, has_effort=has_effort)
            notes += limit_notes
    if text is None or received is None or drops_thinking or text.count(SEALED):
        edited, thinking_notes = without_foreign_thinking(request, route.target, keyring, drops_all=drops_thinking)
        if received is None or edited is not request:
            return NativeBody(_written(edited, route.target.model, removes_billing), True, (*notes, *thinking_notes))
    body, parts = received.body, [] if text is None else text.new_parts()
    if notes:
        body, parts = without_members(body, request, without_billing=removes_billing), []
    start, end = spans.find_model(body, request["model"], parts)
    if request["model"] != route.target.model:
        body = spans.spliced(body, start, end, orjson.dumps(route.target.model))
    return NativeBody(body, False, tuple(notes))


def has_billing(request: Mapping[str, Any]) -> bool:
    system = request.get("system")
    first = system[0] if isinstance(system, list) and system else None
    return isinstance(first, dict) and str(first.get("text")).startswith(BILLING_HEADER)


def without_members(body: bytes, request: Mapping[str, Any], *, without_billing: bool) -> bytes:
    """Leave out the extension objects and the billing block; the other members keep their bytes."""
    kept = []
    for member in spans.members(body, request):
        key = orjson.loads(member.key)
        if key in EXTENSIONS:
            continue
        written = body[member.start : member.end]
        if key == "system" and without_billing:
            system = without_first(body[member.value : member.end])
            if system == b"[]":
                continue
            written = body[member.start : member.value] + system
        kept.append(written)
    return b"{" + b",".join(kept) + b"}"


def without_first(items: bytes) -> bytes:
    """Return an array of objects without its first."""
    end = spans.first_item_end(items, items.index(b"{"))
    return b"[" + items[end:].lstrip(b", \t\r\n")


def _written(request: Mapping[str, Any], model: str, removes_billing: bool) -> bytes:
    fields = {name: value for name, value in request.items() if name not in EXTENSIONS} | {"model": model}
    if removes_billing:
        fields["system"] = fields["system"][1:]
        if not fields["system"]:
            del fields["system"]
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request nests too deeply.") from None
