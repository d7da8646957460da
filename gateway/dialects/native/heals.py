"""Second tries of refused Messages requests: the rules and rewrites of chat requests, on what both forms have.

llama.cpp, vLLM, SGLang and Ollama compile the same schemas, and have the same limits, behind both of their APIs. The
parts that they refuse are put into chat's form, rewritten there, and put back. In messages, only media and the role of
instructions are rewritten. Refusals of Claude are left to the client, and so are values that no Messages API takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from gateway.dialects import spans
from gateway.dialects.chat.request.encode import to_shared_tools
from gateway.dialects.chat.request.fallbacks.apply import OF_SCHEMAS, apply
from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.refusals import asked_for
from gateway.dialects.native.media import media_of, without_media
from gateway.errors import GatewayError, InvalidRequest
from gateway.json_values import to_mapping, to_mappings
from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import CachedTools, derived
from gateway.messages.validation import check_count_tokens_request
from gateway.schemas.openai import ChatRequest
from gateway.upstream.vendors.adaptation import Adaptation, Kind

# Messages have no strict schemas that could be completed or loosened.
SCHEMA_KINDS: Final = OF_SCHEMAS - {"complete_strict", "not_strict"}
TOOL_KINDS: Final[frozenset[Kind]] = frozenset({"auto_choice", "cut_descriptions", "lone_tool"})
MESSAGE_KINDS: Final[frozenset[Kind]] = frozenset({"media_as_text", "system_as_user"})
KINDS: Final = SCHEMA_KINDS | TOOL_KINDS | MESSAGE_KINDS | {"drop_fields", "max_tokens"}
# What a client can do without, of the fields that a server may refuse.
DISPENSABLE: Final = frozenset({"temperature", "thinking", "top_k", "top_p"})
# A request for the check of a single field, in the version of the API that every client speaks.
VERSION: Final = "2023-06-01"
PROBE: Final[Mapping[str, Any]] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
CHOICES: Final = {"any": "required", "auto": "auto", "none": "none"}


@dataclass(frozen=True, slots=True, repr=False)
class Healed:
    """A request that has been changed by an adaptation."""

    body: bytes
    adaptation: Adaptation
    notes: tuple[Note, ...]


def to_healed(body: bytes, error: GatewayError) -> Healed | None:
    """Return the request changed so that it avoids the refusal; None if no part of it can be what was refused."""
    request = orjson.loads(body)
    seen = _to_chat(request)
    for adaptation in asked_for(error, seen):
        changed, notes = _changed(request, adaptation)
        if changed is not request:
            return Healed(_rewritten(body, request, changed), adaptation, notes)
    return None


def to_adapted(
    body: bytes, adaptations: Iterable[Adaptation], parsed: Mapping[str, Any] | None = None
) -> tuple[bytes, tuple[Note, ...]]:
    """Return the request as these adaptations change it: the same bytes if none of them concerns it.

    `parsed`: the body's members, except perhaps for the model, if they are known.
    """
    wanted = [adaptation for adaptation in adaptations if adaptation.kind in KINDS]
    if not wanted:
        return body, ()
    told = request = orjson.loads(body) if parsed is None else dict(parsed)
    notes: list[Note] = []
    for adaptation in wanted:
        request, more = _changed(request, adaptation)
        notes += more
    return (body if request is told else _rewritten(body, told, request)), tuple(notes)


def _changed(request: dict[str, Any], adaptation: Adaptation) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Return the request as one adaptation changes it: the same object if it does not concern it."""
    if adaptation.kind not in KINDS:
        return request, ()
    if adaptation.kind == "media_as_text":
        return without_media(request, adaptation.names)
    if adaptation.kind == "system_as_user":
        return _without_system_turns(request)
    if adaptation.kind == "drop_fields" and not _may_drop(adaptation, request):
        return request, ()
    seen = _to_chat(request)
    changed, notes = apply(adaptation, cast(ChatRequest, seen))
    return (request, ()) if changed is seen else (_written_back(request, seen, changed), notes)


def _may_drop(adaptation: Adaptation, request: Mapping[str, Any]) -> bool:
    """Return whether a client can do without these fields: a value that no Messages API takes is its own mistake."""
    if not DISPENSABLE.issuperset(adaptation.names):
        return False
    if adaptation.lasting:  # the upstream has no such field
        return True
    refused = {name: request[name] for name in adaptation.names if name in request}
    length = {"max_tokens": request["max_tokens"]} if "max_tokens" in request else {}
    try:
        check_count_tokens_request({**PROBE, **length, **refused}, version=VERSION, betas=frozenset())
    except InvalidRequest:
        return False
    return True


def _rewritten(body: bytes, request: Mapping[str, Any], changed: Mapping[str, Any]) -> bytes:
    """Return the body with its changed members; the others keep their bytes, such as integers of any width."""
    kept = []
    for member in spans.members(body, request):
        name = orjson.loads(member.key)
        if name in changed and changed[name] is request[name]:
            kept.append(body[member.start : member.end])
        elif name in changed:
            kept.append(body[member.start : member.value] + orjson.dumps(changed[name]))
    added = changed.keys() - request.keys()
    kept += [orjson.dumps(name) + b":" + orjson.dumps(changed[name]) for name in sorted(added)]
    return b"{" + b",".join(kept) + b"}"


def _without_system_turns(request: dict[str, Any]) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Turn system messages within the conversation into marked text of the user; `system` stays."""
    messages = to_mappings(request.get("messages"))
    if len(messages) != len(request["messages"]) or not all({"role", "content"} <= one.keys() for one in messages):
        return request, ()
    changed, notes = apply(Adaptation("no_system"), cast(ChatRequest, {"messages": messages}))
    if not notes:
        return request, ()
    note = Note("changed", "messages", "this upstream takes a system message at the start only; others are user text")
    return {**request, "messages": changed["messages"]}, (note,)


def _to_chat(request: Mapping[str, Any]) -> Body:
    """Return what the rules look at, under its names in chat. Requests are not checked before: any shape may come."""
    # Of the messages only that they hold media, whose rewrite is not chat's.
    parts = [{"type": kind} for kind in sorted(media_of(request))]
    messages = [{"role": "user", "content": parts}] if parts else []
    body: Body = {"messages": messages, **{name: request[name] for name in DISPENSABLE if name in request}}
    if isinstance(request.get("max_tokens"), int):
        body["max_tokens"] = request["max_tokens"]
    if request.get("tools"):
        tools = request["tools"]
        body["tools"] = derived(_to_functions, tools)
    choice = to_mapping(request.get("tool_choice"))
    if choice.get("type") == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif choice.get("type") in CHOICES:
        body["tool_choice"] = CHOICES[choice["type"]]
    schema = _format_of(request).get("schema")
    if isinstance(schema, dict):
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    return body


def _to_functions(tools: Any) -> Sequence[Any]:
    """Return tools in chat's form: shared like those that they were made of."""
    functions = [_to_function(tool) for tool in to_mappings(tools)]
    shared = to_shared_tools(functions) if isinstance(tools, CachedTools) else None
    return functions if shared is None else shared


def _to_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool in chat's form. One of the server's own has no schema, and stays as it is."""
    if not isinstance(tool.get("input_schema"), dict):
        return {"type": "server", "tool": tool}
    function = {name: tool[name] for name in ("name", "description") if name in tool}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}, "tool": tool}


def _to_tool(tool: Mapping[str, Any]) -> Any:
    function = to_mapping(tool.get("function"))
    schema = {"input_schema": function.get("parameters") or {"type": "object"}} if function else {}
    described = {"description": function["description"]} if "description" in function else {}
    return {**tool["tool"], **described, **schema}


def _written_back(request: Mapping[str, Any], seen: Body, changed: Body) -> dict[str, Any]:
    """Return the request with what was changed in chat's form."""
    written = {name: value for name, value in request.items() if name in changed or name not in seen}
    if "max_tokens" in changed:
        written["max_tokens"] = changed["max_tokens"]
    if changed.get("tools") is not seen.get("tools"):
        written["tools"] = [_to_tool(tool) for tool in changed["tools"]]
    if "tool_choice" in changed and changed["tool_choice"] != seen["tool_choice"]:
        written["tool_choice"] = {**request["tool_choice"], "type": "any"}
        written["tool_choice"].pop("name", None)
    schema = (to_mapping(changed.get("response_format")).get("json_schema") or {}).get("schema")
    if schema is not None and schema != _format_of(request).get("schema"):
        place = "output_config" if "output_config" in request else "output_format"
        described = {**_format_of(request), "schema": schema}
        written[place] = {**request[place], "format": described} if place == "output_config" else described
    return written


def _format_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the form that the answer must have."""
    return to_mapping(to_mapping(request.get("output_config")).get("format") or request.get("output_format"))
