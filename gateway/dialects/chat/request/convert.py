"""A Messages request to a chat request: the way in.

Validated data in, a new body out. Large parts (tool schemas, media, texts) are shared with the request, never copied;
the request itself is never changed. What chat cannot express is refused, or done by the gateway, or noted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.access.keyring import Keyring
from gateway.dialects.chat.request.context_editing import edit_messages
from gateway.dialects.chat.request.conversation import Conversation
from gateway.dialects.chat.request.parameters import to_parameters
from gateway.dialects.chat.request.scope import Scope, ToolNames
from gateway.dialects.chat.request.tools import to_chat_tools, to_choice_fields
from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.schemas.anthropic import MessagesRequest
from gateway.schemas.openai import ChatRequest
from gateway.upstream.models.target import Target

# A conversation repeats itself; a longer list of losses adds no information.
MAX_NOTES = 50


@dataclass(slots=True, repr=False)
class Conversion:
    """A chat request, and what its answer and the log must know of how it came about.

    `tool_names`: names as they went upstream → the client's, where they differ. `toolsets`: likewise → `toolset_name`.
    `stop_sequences`: those the gateway must match itself, since the upstream does not take them all.
    `used_call_ids`: the client's ids of the conversation's tool calls.
    `applied_edits`: Anthropic's `context_management.applied_edits` for the answer.
    `refused`: bodies before each adaptation, which the upstream refused or would refuse.
    """

    body: ChatRequest
    notes: tuple[Note, ...] = ()
    tool_names: Mapping[str, str] = field(default_factory=dict)
    toolsets: Mapping[str, str] = field(default_factory=dict)
    stop_sequences: tuple[str, ...] = ()
    applied_edits: tuple[dict[str, Any], ...] = ()
    used_call_ids: frozenset[str] = frozenset()
    refused: tuple[ChatRequest, ...] = ()


def to_chat_request(
    request: MessagesRequest, target: Target, keyring: Keyring, session_id: str | None = None
) -> Conversion:
    """Raises InvalidRequest, naming the field, for what this upstream cannot do and no note would make good, and
    JSONEncodeError for a tool call's input that nests deeper than can be written.

    `session_id` is from the client's headers; OpenRouter keeps a session with one provider, to keep its cache warm.
    """
    overrides = request.get("openrouter") or {}
    keeps_deferred = bool(request.get("deferred_tools") or overrides.get("deferred_tools")) and target.openrouter
    scope = Scope(target, keyring, ToolNames(target.tool_name_limit), keeps_deferred)
    messages = request["messages"]
    applied: list[dict[str, Any]] = []
    edits = (request.get("context_management") or {}).get("edits")
    if edits:
        messages, applied = edit_messages(request, cast(Any, edits), scope)
    conversation = Conversation(scope)
    conversation.add_system_prompt(request.get("system"))
    conversation.add_messages(messages)
    fields, stop_sequences = to_parameters(request, scope, conversation.effort)
    # The gateway decides on the last two, even against an override.
    body = cast(ChatRequest, {**fields, "model": target.model, "messages": conversation.to_list()})
    if session_id is not None and target.openrouter:
        body.setdefault("session_id", session_id)
    if "tools" in request or "tool_choice" in request or conversation.changes:
        tools = to_chat_tools(request.get("tools") or (), conversation.changes, scope)
        if tools:
            body["tools"] = tools
        for name, value in to_choice_fields(request.get("tool_choice"), tools, scope).items():
            if cast(Any, body).get(name, value) != value:
                raise InvalidRequest(f"tool_choice: conflicts with the {name} of chat; set only one of them")
            cast(Any, body)[name] = value
    if target.format_excludes_tools and body.get("tools") and "response_format" in body:
        scope.note("changed", "output_config.format", "with an output format this upstream calls no tool")
    if request.get("stream"):
        body = to_streamed(body, target)
    else:
        body.pop("stream_options", None)  # upstreams refuse it in requests that do not stream
    used = frozenset(scope.used_call_ids)
    notes, names = _distinct(scope.notes), scope.names
    return Conversion(body, notes, names.originals, names.toolsets, tuple(stop_sequences), tuple(applied), used)


def to_streamed(body: ChatRequest, target: Target) -> ChatRequest:
    """The same request with its answer streamed. OpenRouter always sends usage; elsewhere it has to be asked for."""
    streamed = cast(ChatRequest, {**body, "stream": True})
    if not target.openrouter:
        streamed["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
        if target.continuous_usage:  # the first chunk then has the prompt's tokens
            streamed["stream_options"]["continuous_usage_stats"] = True
        if target.pads_streams:  # which costs bytes in each delta
            streamed["stream_options"].setdefault("include_obfuscation", False)
    return streamed


def to_unstreamed(body: ChatRequest) -> ChatRequest:
    kept = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    return cast(ChatRequest, kept)


def _distinct(notes: list[Note]) -> tuple[Note, ...]:
    """The first of each sort: the same loss in every turn of a conversation is one fact."""
    if not notes:
        return ()
    sorts = {(note.kind, re.sub(r"\d+", "", note.field), note.reason): note for note in reversed(notes)}
    return tuple(sorted(sorts.values(), key=notes.index))[:MAX_NOTES]
