"""Rewrites of the JSON schemas in a chat request, for upstreams that cannot hold the model to them.

Schemas stay in the request whatever happens, since they describe what is wanted.
"""

from typing import Any

from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten
from gateway.messages.notes import Note
from gateway.upstream.adaptation import Adaptation


def not_strict(_: Adaptation, body: Body) -> Rewritten:
    """Keep the schemas, and give up that the model is held to them. Tools lose the word: some servers refuse it."""
    changes: dict[str, Any] = {}
    notes: list[Note] = []
    tools: list[Any] = list(body.get("tools") or ())
    if any(_function(tool).get("strict") for tool in tools):
        changes["tools"] = [_loosened(tool) if "strict" in _function(tool) else tool for tool in tools]
        reason = "the upstream could not hold the model to the schemas of its tools"
        notes.append(Note("dropped", "tools.strict", reason))
    wanted: Any = body.get("response_format") or {}
    schema = wanted.get("json_schema") or {}
    if schema.get("strict"):
        changes["response_format"] = {**wanted, "json_schema": {**schema, "strict": False}}
        reason = "the upstream could not hold the model to the schema"
        notes.append(Note("changed", "response_format.strict", reason))
    return ({**body, **changes}, tuple(notes)) if changes else (body, ())


def _function(tool: Any) -> dict[str, Any]:
    return tool.get("function") or {}


def _loosened(tool: Any) -> Any:
    function = {name: value for name, value in _function(tool).items() if name != "strict"}
    return {**tool, "function": function}
