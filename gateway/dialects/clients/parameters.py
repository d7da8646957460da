"""Parameters that both of OpenAI's APIs have, as fields of a Messages request.

Where Messages has the same field, it is used, so that every upstream dialect reads it; the others keep their chat
names, which the gateway takes beside Anthropic's fields, and each upstream dialect carries or notes them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.access.keyring import Keyring
from gateway.dialects.clients.fields import to_flag, to_object
from gateway.dialects.clients.tools import ToolRegistry
from gateway.errors import InvalidRequest, shorten
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
CHOICES: Final = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


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


def to_choice(choice: object, parallel: object, registry: ToolRegistry) -> dict[str, Any] | None:
    """Return the `tool_choice` of a Messages request, None where the client's asks for nothing.

    A choice of allowed tools leaves the others out of the request.
    """
    is_parallel = to_flag(parallel, "parallel_tool_calls", default=True)
    if not registry.tools:
        return None
    wanted: dict[str, Any] = {"type": "auto"}
    if isinstance(choice, str):
        if choice not in CHOICES:
            raise InvalidRequest(f"tool_choice: Input should be one of {', '.join(sorted(CHOICES))} or an object")
        wanted = {"type": CHOICES[choice]}
    elif choice is not None:
        wanted = _to_named_choice(to_object(choice, "tool_choice"), registry)
    if not is_parallel and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return None if wanted == {"type": "auto"} else wanted


def _to_named_choice(choice: Mapping[str, Any], registry: ToolRegistry) -> dict[str, Any]:
    kind = choice.get("type")
    inner = choice.get(kind) if isinstance(kind, str) else None
    named = inner if isinstance(inner, dict) else choice
    if kind == "allowed_tools":
        allowed = named.get("tools")
        tools = [tool for tool in allowed if isinstance(tool, dict)] if isinstance(allowed, list) else []
        registry.keep_only({_flat_name(tool, registry) for tool in tools})
        return {"type": CHOICES.get(str(named.get("mode", "auto")), "auto")}
    if kind not in ("function", "custom", "tool"):
        raise InvalidRequest(f"tool_choice.type: {str(kind)[:60]!r} is not available here")
    return {"type": "tool", "name": _flat_name(choice, registry)}


def _flat_name(tool: Mapping[str, Any], registry: ToolRegistry) -> str:
    kind = "custom" if tool.get("type") == "custom" else "function"
    inner = tool.get(kind)
    named = inner if isinstance(inner, dict) else tool
    name, namespace = named.get("name"), named.get("namespace")
    if not isinstance(name, str) or not isinstance(namespace, str | None):
        raise InvalidRequest("tool_choice: a tool is chosen by its name")
    return registry.flat_name("custom" if kind == "custom" else "function", name, namespace)


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
