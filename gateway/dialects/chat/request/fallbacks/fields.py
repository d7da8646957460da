"""Rewrites of a chat request's parameters, for upstreams that refuse a field, a value or a combination of them.

As in `messages`, a rewrite returns the body that it was given when there is nothing to change.
"""

from typing import Any

import orjson

from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten, with_instruction, without
from gateway.dialects.chat.request.thinking import nearest_effort
from gateway.messages.notes import Note
from gateway.upstream.vendors.adaptation import Adaptation

# What a client calls the fields that it can only set by another name.
CLIENT_NAMES = {
    "chat_template_kwargs": "thinking",
    "enable_thinking": "thinking",
    "max_completion_tokens": "max_tokens",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "prompt_cache_key": "metadata.user_id",
    "reasoning": "thinking",
    "reasoning_effort": "output_config.effort",
    "safety_identifier": "metadata.user_id",
    "stop": "stop_sequences",
    "thinking_budget": "thinking.budget_tokens",
    "thinking_budget_tokens": "thinking.budget_tokens",
    "thinking_token_budget": "thinking.budget_tokens",
    "user": "metadata.user_id",
}

# A field that means nothing without another.
DEPENDENTS = {"logprobs": ("top_logprobs",), "modalities": ("audio",)}

# How thinking is turned off, by field; a pair is a key of an object and its value.
OFF_VALUES: dict[str, tuple[tuple[str, Any], ...]] = {
    "chat_template_kwargs": (("enable_thinking", False),),
    "enable_thinking": (("", False),),
    "reasoning": (("enabled", False), ("effort", "none")),
    "reasoning_effort": (("", "none"),),
    "thinking": (("type", "disabled"),),
}

BUDGET_FIELDS = ("thinking_budget", "thinking_budget_tokens", "thinking_token_budget")
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens")
# For upstreams without a schema or without a JSON mode.
FORMAT_INSTRUCTION = "Answer with JSON only, without any other text. It must follow this JSON schema:"
JSON_INSTRUCTION = "Answer with JSON only, without any other text."


def drop_fields(adaptation: Adaptation, body: Body) -> Rewritten:
    named = [name for name in adaptation.names if name in body]
    if not named:
        return body, ()
    gone = frozenset(named).union(*(DEPENDENTS.get(name, ()) for name in named))
    notes = tuple(
        Note("dropped", CLIENT_NAMES.get(name, name), f"the upstream refuses {name}") for name in sorted(named)
    )
    return without(body, gone), notes


def length_field(adaptation: Adaptation, body: Body) -> Rewritten:
    """Send the answer's length limit under the other name."""
    name = adaptation.names[0]
    other = next(field for field in LENGTH_FIELDS if field != name)
    if other not in body:
        return body, ()
    return {**without(body, frozenset({other})), name: body[other]}, ()


def max_tokens(adaptation: Adaptation, body: Body) -> Rewritten:
    """Ask for no more tokens than the model writes."""
    field = next((field for field in LENGTH_FIELDS if field in body), None)
    if field is None or body[field] <= adaptation.limit:
        return body, ()
    note = Note("changed", "max_tokens", f"this model writes {adaptation.limit} tokens at most")
    return {**body, field: adaptation.limit}, (note,)


def cut_stops(adaptation: Adaptation, body: Body) -> Rewritten:
    """Send fewer stop sequences, or none. The gateway matches all of them instead."""
    sequences = body.get("stop") or []
    sequences = [sequences] if isinstance(sequences, str) else sequences
    if len(sequences) <= adaptation.limit:
        return body, ()
    if not adaptation.limit:
        return without(body, frozenset({"stop"})), ()
    return {**body, "stop": sequences[: adaptation.limit]}, ()


def efforts(adaptation: Adaptation, body: Body) -> Rewritten:
    """Ask for the nearest effort among those that the upstream has listed."""
    asked = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
    if asked is None or asked in adaptation.names:
        return body, ()
    snapped = nearest_effort(asked, adaptation.names)
    note = Note("changed", "output_config.effort", f"the model has no effort {asked!r}; {snapped!r} is asked for")
    if "reasoning_effort" in body:
        return {**body, "reasoning_effort": snapped}, (note,)
    return {**body, "reasoning": {**body["reasoning"], "effort": snapped}}, (note,)


def effort_none_with_tools(_: Adaptation, body: Body) -> Rewritten:
    """Turn reasoning off where tools are offered: OpenAI's chat API takes no other effort with them since GPT-5.4."""
    if not body.get("tools") or body.get("reasoning_effort") == "none":
        return body, ()
    note = Note("dropped", "output_config.effort", "this upstream offers tools without reasoning only")
    return {**body, "reasoning_effort": "none"}, (note,)


def keep_thinking(_: Adaptation, body: Body) -> Rewritten:
    """Leave out what would turn thinking off, for models that always think."""
    off = frozenset(name for name, value in body.items() if _turns_thinking_off(name, value))
    if not off:
        return body, ()
    return without(body, off), (Note("dropped", "thinking", "this model always thinks"),)


def json_object(adaptation: Adaptation, body: Body) -> Rewritten:
    """Ask for JSON of any form, and describe the schema in the system prompt.

    With the name `schema` the schema is sent beside the type, where llama-cpp-python and others hold the model to it.
    """
    wanted = body.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return body, ()
    schema = (wanted.get("json_schema") or {}).get("schema") or {}
    plain: dict[str, Any] = {"type": "json_object"}
    if "schema" in adaptation.names:
        plain["schema"] = schema
    note = Note(
        "changed",
        "output_config.format",
        "this upstream takes no schema: JSON is asked for, the schema is in the prompt",
    )
    return {**body, "response_format": plain, "messages": _with_schema(body, schema)}, (note,)


def format_in_prompt(_: Adaptation, body: Body) -> Rewritten:
    """Ask for the format in the system prompt only."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") not in ("json_schema", "json_object"):
        return body, ()
    rest = without(body, frozenset({"response_format"}))
    schema = (wanted.get("json_schema") or {}).get("schema")
    note = Note("changed", "output_config.format", "this upstream has no output formats; the prompt asks for JSON")
    return {**rest, "messages": _with_schema(body, schema)}, (note,)


def _turns_thinking_off(name: str, value: Any) -> bool:
    off = OFF_VALUES.get(name)
    if off is None:
        return False
    return any(value.get(key) == word for key, word in off) if isinstance(value, dict) else value == off[0][1]


def _with_schema(body: Body, schema: Any) -> list[Any]:
    text = f"{FORMAT_INSTRUCTION}\n{orjson.dumps(schema).decode()}" if schema else JSON_INSTRUCTION
    return with_instruction(body["messages"], text)
