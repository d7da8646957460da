"""What can be left out of a request that its upstream has refused, so that it is worth one more try.

A remedy takes away what was there, so none is tried twice, and one may follow another. What it loses is noted. Schemas
stay in the request whatever happens: only that the model is held to them is given up, where the operator allows it.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

from gateway.dialects.chat.request.convert import Conversion, without_reasoning
from gateway.dialects.chat.response.errors import rejects_reasoning, rejects_strict
from gateway.errors import GatewayError
from gateway.messages.notes import Note
from gateway.schemas.openai import ChatRequest
from gateway.upstream.target import Target

NO_REASONING = Note("dropped", "reasoning", "the upstream could not verify the reasoning that was given back")
NO_STRICT_TOOLS = Note("dropped", "tools.strict", "the upstream could not hold the model to the schemas of its tools")
NO_STRICT_FORMAT = Note("changed", "response_format.strict", "the upstream could not hold the model to the schema")


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to send instead, and what that loses."""

    conversion: Conversion
    notes: tuple[Note, ...]


def to_remedy(conversion: Conversion, target: Target, error: GatewayError) -> Remedy | None:
    """None where nothing was sent that the error may be about, and that an answer can do without."""
    if conversion.replayed_reasoning and rejects_reasoning(error):
        body = without_reasoning(conversion.body)
        return Remedy(replace(conversion, body=body, replayed_reasoning=False), (NO_REASONING,))
    if target.strict_fallback and rejects_strict(error):
        changes, notes = _without_strict(conversion.body)
        if notes:
            return Remedy(replace(conversion, body=cast(ChatRequest, {**conversion.body, **changes})), notes)
    return None


def _without_strict(body: ChatRequest) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """The fields of the body that differ. Tools lose the word altogether, which some servers do not even know."""
    changes: dict[str, Any] = {}
    notes: list[Note] = []
    tools: list[Any] = list(body.get("tools") or ())
    if any(_function(tool).get("strict") for tool in tools):
        changes["tools"] = [_loosened(tool) if "strict" in _function(tool) else tool for tool in tools]
        notes.append(NO_STRICT_TOOLS)
    wanted: Any = body.get("response_format") or {}
    schema = wanted.get("json_schema") or {}
    if schema.get("strict"):
        changes["response_format"] = {**wanted, "json_schema": {**schema, "strict": False}}
        notes.append(NO_STRICT_FORMAT)
    return changes, tuple(notes)


def _function(tool: Any) -> dict[str, Any]:
    return cast(dict[str, Any], tool.get("function") or {})


def _loosened(tool: Any) -> Any:
    function = {name: value for name, value in _function(tool).items() if name != "strict"}
    return {**tool, "function": function}
