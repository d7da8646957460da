"""Parameters that both of OpenAI's APIs have, as fields of a Messages request.

Where Messages has the same field, it is used, so that every upstream dialect reads it; the others keep their chat
names, which the gateway takes beside Anthropic's fields, and each upstream dialect carries or notes them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.access.keyring import Keyring
from gateway.dialects.clients.fields import to_object
from gateway.dialects.clients.tools import ToolRegistry
from gateway.errors import shorten
from gateway.messages.notes import Note
from gateway.upstream.models.target import Target
from gateway.upstream.routes.route import Route

# Most tokens of an answer where neither the client nor the model's entry in the list sets a limit. Every Claude since
# 3.7 takes it; upstreams with a default are not sent it.
DEFAULT_MAX_TOKENS: Final = 32_000
# Notes travel in a header; a client that sends hundreds of unknown fields gets the first ones.
MAX_NOTED: Final = 10
STREAM_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation"})
ANTHROPIC_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority"})


@dataclass(frozen=True, slots=True)
class ClientAsking:
    """Facts that a conversion needs: the model that the request goes to first, and the tenant's keyring.

    `takes_grammars`: its upstream takes custom tools as they are.
    """

    target: Target
    keyring: Keyring = field(repr=False)
    takes_grammars: bool = False


def takes_grammars(route: Route) -> bool:
    """Return True for OpenAI's own models on Responses, which hold the input of a custom tool to its grammar."""
    return route.dialect == "responses" and route.target.keeps_to_grammars


@dataclass(slots=True)
class ClientRequest:
    """A client's request as a Messages request, and what its answer must know of it.

    `has_default_length`: the client left the length of the answer to the model.
    """

    request: dict[str, Any] = field(repr=False)
    tools: ToolRegistry
    notes: list[Note]
    has_default_length: bool = False
    session: str | None = None


def to_sampling_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return temperature and top_p. OpenAI's temperature goes up to 2, that of Messages to 1."""
    fields = {name: body[name] for name in ("temperature", "top_p") if body.get(name) is not None}
    temperature = fields.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        del fields["temperature"]
        fields["openai"] = {**to_object(body.get("openai") or {}, "openai"), "temperature": temperature}
    return fields


def to_tier_fields(tier: object, notes: list[Note]) -> dict[str, Any]:
    if tier is None or tier == "auto":
        return {}
    if isinstance(tier, str) and tier in ANTHROPIC_TIERS:
        return {"service_tier": tier}
    if tier == "fast":  # OpenAI's newer word (its reference, 2026-11)
        return {"service_tier": "priority"}
    notes.append(Note("dropped", "service_tier", "the gateway knows no such tier"))
    return {}


def note_ignored(body: Mapping[str, Any], reasons: Mapping[str, str], notes: list[Note]) -> None:
    """Note the fields that are set and reach no upstream."""
    for name, reason in reasons.items():
        if body.get(name):
            notes.append(Note("dropped", name, reason))


def note_unknown(given: Mapping[str, Any], known: Collection[str], path: str, notes: list[Note]) -> None:
    """Note the fields of a request, or of an object at `path` in one, that nothing reads."""
    prefix = f"{path}." if path else ""
    unknown = [name for name, value in given.items() if name not in known and value is not None]
    notes += [
        Note("dropped", shorten(prefix + name), "the gateway knows no such field") for name in unknown[:MAX_NOTED]
    ]
