"""The dialect of one request: the route's, unless a part of the request needs another.

An upstream that speaks two dialects gets chat for parameters that Messages does not have, and for blocks and tools that
its Messages would drop without an error. A request that needs both is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import InvalidRequest
from gateway.json_values import to_mappings
from gateway.messages.notes import Note
from gateway.upstream.routes.route import Route

# Parameters of chat completions that Messages does not have, and the objects that hold more of them.
CHAT_ONLY = frozenset(
    (
        *("frequency_penalty", "logit_bias", "logprobs", "min_p", "modalities", "models", "openai", "openrouter"),
        *("plugins", "prediction", "presence_penalty", "provider", "reasoning", "reasoning_effort"),
        *("repetition_penalty", "response_format", "seed", "top_a", "top_logprobs", "transforms", "upstream"),
        *("verbosity", "web_search_options"),
    )
)
# Features of Anthropic's own servers that cannot be converted.
MESSAGES_ONLY = frozenset({"compaction", "container", "fallback_credit_token", "fallbacks", "mcp_servers"})

DROPPED_THERE = "this upstream's Messages would leave it out, so the request was converted to chat"


def for_request(route: Route, request: Mapping[str, Any]) -> Route:
    """Return the route in the dialect for this request. Raises InvalidRequest if no single dialect can carry it."""
    if route.dialect != "messages":
        return route
    if not speaks_chat(route):
        return route
    asked = _given(request, CHAT_ONLY) if route.upstream.dialect == "auto" else []
    if asked:
        native = _given(request, MESSAGES_ONLY)
        if native:
            raise InvalidRequest(
                f"{native[0]}: only upstreams that speak Anthropic's Messages take it, and they do not take "
                f"`{asked[0]}`; send one of the two."
            )
        return replace(route, dialect="chat")
    if find_unsupported(route, request) is not None:
        return replace(route, dialect="chat")
    return route


def note_of_choice(route: Route, request: Mapping[str, Any]) -> tuple[Note, ...]:
    """Return the note for a request that `for_request` converted although its route is one of Messages."""
    if route.upstream.dialect != "messages" or route.dialect != "chat":
        return ()
    path = find_unsupported(route, request)
    return (Note("changed", path, DROPPED_THERE),) if path is not None else ()


def speaks_chat(route: Route) -> bool:
    """Return False for servers that serve Messages only."""
    support = route.upstream.vendor.messages
    return support.depends_on_model or support.blocks is not None


def find_unsupported(route: Route, request: Mapping[str, Any]) -> str | None:
    """Return the path of the first block or tool that the server's Messages would drop, None if there is none."""
    support = route.upstream.vendor.messages
    if support.blocks is None:
        return None
    for index, tool in enumerate(to_mappings(request.get("tools"))):
        kind = tool.get("type") or "custom"
        if kind != "custom":
            return f"tools.{index}"
    for index, message in enumerate(to_mappings(request.get("messages"))):
        for path, kind in _kinds(message.get("content"), f"messages.{index}.content"):
            if kind not in support.blocks:
                return path
    return None


def _kinds(content: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and type of each block, those within tool results included."""
    for index, block in enumerate(to_mappings(content)):
        yield f"{path}.{index}", block.get("type")
        if block.get("type") == "tool_result":
            yield from _kinds(block.get("content"), f"{path}.{index}.content")


def _given(request: Mapping[str, Any], names: frozenset[str]) -> list[str]:
    return [name for name in sorted(names & request.keys()) if request[name] not in (None, {}, [])]
