"""Models as Codex lists them (`model_catalog_url`, 0.171.0), beside OpenAI's and Anthropic's fields in one object.

An entry decides which request Codex sends. Tool search and code mode are left out, and tools with a grammar where the
upstream takes functions only: Codex' own functions need no conversion.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gateway.dialects.clients.parameters import takes_grammars
from gateway.upstream.routes.route import Route

# Needed in every entry: Codex refuses the whole list for one that lacks a field.
CONSTANTS: Final[dict[str, Any]] = {
    "shell_type": "unified_exec",
    "visibility": "list",
    "supported_in_api": True,
    "support_verbosity": False,
    "supports_parallel_tool_calls": True,
    "truncation_policy": {"mode": "tokens", "limit": 10_000},
    "experimental_supported_tools": [],
    # What Codex puts before the conversation, as the model's own instructions.
    "base_instructions": (
        "You are a coding agent in the user's terminal. Use the tools to read, change and run code in the working "
        "directory. Keep going until the task is done, check your work, then say briefly what you did."
    ),
}
# Those that Codex has a name for, weakest first.
EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh")


def to_openai_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of OpenAI's object; `created` is in seconds since 1970."""
    created = int(datetime.fromisoformat(model["created_at"]).timestamp())
    owner, separator, _ = str(model["id"]).partition("/")
    return {**model, "object": "model", "created": created, "owned_by": owner if separator else "upstream"}


def to_catalog_entry(model: Mapping[str, Any], route: Route, priority: int) -> dict[str, Any]:
    """Return Codex' entry. `priority`: place in its picker."""
    reasoning = route.target.reasoning
    supported = reasoning.supported_efforts if reasoning.takes_effort else ()
    levels = [effort for effort in EFFORTS if effort in supported]
    entry = {
        "slug": model["id"],
        "display_name": model["display_name"],
        "supported_reasoning_levels": [{"effort": effort, "description": effort} for effort in levels],
        "priority": priority,
        **CONSTANTS,
    }
    if takes_grammars(route):
        entry["apply_patch_tool_type"] = "freeform"
    if levels:
        entry["default_reasoning_level"] = "medium" if "medium" in levels else levels[-1]
    if model["max_input_tokens"] is not None:
        entry["context_window"] = model["max_input_tokens"]
    return entry
