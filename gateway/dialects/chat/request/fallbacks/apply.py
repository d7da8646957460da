"""Applies adaptations to chat requests, for a second try as for the first try of a later request.

The rewrites are in the modules beside it; this table names them by kind. A body is never changed in place, since it
shares its parts with the client's request.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.encode import to_shared_tools
from gateway.dialects.chat.request.fallbacks import fields, media, messages, schemas, tools
from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten
from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import ChatTools
from gateway.schemas.openai import ChatRequest
from gateway.upstream.vendors.adaptation import Adaptation, Kind

REWRITES: dict[Kind, Callable[[Adaptation, Body], Rewritten]] = {
    "alternate_turns": messages.alternate_turns,
    "auto_choice": tools.auto_choice,
    "bare_schemas": schemas.bare_schemas,
    "complete_strict": schemas.complete_strict,
    "cut_descriptions": tools.cut_descriptions,
    "cut_stops": fields.cut_stops,
    "declare_tools": tools.declare_tools,
    "drop_fields": fields.drop_fields,
    "drop_nested": messages.drop_nested,
    "drop_reasoning": messages.drop_reasoning,
    "effort_none_with_tools": fields.effort_none_with_tools,
    "efforts": fields.efforts,
    "empty_content": messages.empty_content,
    "fill_empty": messages.fill_empty,
    "fill_reasoning": messages.fill_reasoning,
    "flat_content": media.flat_content,
    "forced_without_thinking": tools.forced_without_thinking,
    "format_in_prompt": fields.format_in_prompt,
    "hide_tools": tools.hide_tools,
    "json_object": fields.json_object,
    "keep_thinking": fields.keep_thinking,
    "length_field": fields.length_field,
    "lone_tool": tools.lone_tool,
    "max_tokens": fields.max_tokens,
    "media_as_text": media.media_as_text,
    "name_results": messages.name_results,
    "narrow_schemas": schemas.narrow_schemas,
    "no_system": messages.no_system,
    "not_strict": schemas.not_strict,
    "omit_content": messages.omit_content,
    "plain_schemas": schemas.plain_schemas,
    "prefill_fields": messages.prefill_fields,
    "prefill_flag": messages.prefill_flag,
    "schema_formats": schemas.schema_formats,
    "schema_words": schemas.schema_words,
    "short_ids": messages.short_ids,
    "sign_calls": messages.sign_calls,
    "single_types": schemas.single_types,
    "strict_calls": tools.strict_calls,
    "system_as_user": messages.system_as_user,
    "system_role": messages.system_role,
    "typed_schemas": schemas.typed_schemas,
}
# Of each tool by itself, and of the schema of the answer.
OF_SCHEMAS: frozenset[Kind] = frozenset(
    {
        *("bare_schemas", "complete_strict", "narrow_schemas", "not_strict", "plain_schemas", "schema_formats"),
        *("schema_words", "single_types", "typed_schemas"),
    }
)


def apply(adaptation: Adaptation, body: ChatRequest) -> Rewritten:
    """The body as adapted, with notes of the effects for the client; the same body if it is not concerned."""
    tools: object = body.get("tools")
    if adaptation.kind in OF_SCHEMAS and isinstance(tools, ChatTools):
        return _with_shared_tools(adaptation, cast(Body, body), tools)
    return REWRITES[adaptation.kind](adaptation, cast(Body, body))


def _with_shared_tools(adaptation: Adaptation, body: Body, tools: ChatTools) -> Rewritten:
    """Return the body as adapted. Its tools, which many requests share, are rewritten once for all of them."""
    rewrite = REWRITES[adaptation.kind]

    def rewrite_tools() -> tuple[Sequence[Any], tuple[Note, ...]]:
        changed, notes = rewrite(adaptation, {"tools": tools})
        if changed["tools"] is tools:
            return tools, ()
        shared = to_shared_tools(changed["tools"])
        return changed["tools"] if shared is None else shared, notes

    adapted_tools, tool_notes = tools.derive_as(adaptation, rewrite_tools)
    others = {name: value for name, value in body.items() if name != "tools"}
    rest, notes = rewrite(adaptation, others)
    if adapted_tools is tools and rest is others:
        return body, ()
    return {**body, **rest, "tools": adapted_tools}, (*tool_notes, *notes)


def adapted(conversion: Conversion, adaptations: Iterable[Adaptation]) -> Conversion:
    """The conversion with all adaptations applied that concern it, in order."""
    for adaptation in adaptations:
        old = cast(Body, conversion.body)
        body, notes = apply(adaptation, conversion.body)
        if body is old:
            continue
        sequences = conversion.stop_sequences
        if body.get("stop") != old.get("stop") and not sequences:  # the gateway matches what the upstream does not get
            sequences = (old["stop"],) if isinstance(old["stop"], str) else tuple(old["stop"])
        notes = (*conversion.notes, *notes)
        refused = (*conversion.refused, conversion.body)
        conversion = replace(
            conversion, body=cast(ChatRequest, body), notes=notes, stop_sequences=sequences, refused=refused
        )
    return conversion
