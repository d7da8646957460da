"""Calls in a model's output that its server could not read, as the server's refusal quotes it.

Groq answers 400 with `tool_use_failed`, and quotes the model in `failed_generation`: the call in the markup of another
model, or as bare JSON, or with arguments that break the tool's schema. Since the server took the output for calls as
well, it is read more liberally than the text of an answer (`written_calls`).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from gateway.dialects.chat.response.calls.call_markup import WrittenCall, read_calls, starts_of_calls
from gateway.dialects.chat.response.calls.near_json import repaired
from gateway.dialects.chat.response.calls.written_calls import to_schemas
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, MalformedOutput
from gateway.messages.notes import Note

QUOTED = Note("changed", "content", "the server could not read its model's call, which was taken from its refusal")
# Groq's `tool_use_failed`, `output_parse_failed` and `json_validate_failed` have it (2026-11).
QUOTATION = "failed_generation"
# Llama's markup with JSON in it, and its slips: `<function=look{…}</function>`, `<function/look>{…}</function>`,
# `<function(look){…}<function>`.
TAG_WITH_JSON = re.compile(
    r"<function[=/(]([\w.-]{1,128})[>)(\s,]{0,4}(\{.*?\})[)\s>]{0,4}(?:</?function>|$)\s*", re.IGNORECASE | re.DOTALL
)
TAG_START = re.compile(r"<function[=/(]", re.IGNORECASE)
FENCE = "```"
# Places of the text from which calls are read. Each takes time in proportion to the text, which a model may have filled
# with beginnings.
MAX_STARTS = 4
ARGUMENTS = ("arguments", "parameters", "args", "input")


def malformed_output(fields: Mapping[str, Any], message: str, reply: Reply) -> MalformedOutput | None:
    """Return the failure that quotes its model's output; None for any other failure."""
    quotation = fields.get(QUOTATION)
    return MalformedOutput(message, calls=quoted_calls(quotation, reply)) if isinstance(quotation, str) else None


def quoted_choice(error: GatewayError, notes: list[Note]) -> dict[str, Any]:
    """Return the choice that ends an answer with the calls of a failure, and note it. Raise a failure without any."""
    if not isinstance(error, MalformedOutput) or not error.calls:
        raise error
    notes.append(QUOTED)
    called = [{"function": {"name": call.name, "arguments": call.arguments}} for call in error.calls]
    return {"index": 0, "delta": {"tool_calls": called}, "finish_reason": "tool_calls"}


def quoted_calls(text: str, reply: Reply) -> list[WrittenCall]:
    """Return the calls that end a text; none if one of them is not for a tool that was offered."""
    if reply.forbids_calls or not reply.offered:
        return []
    schemas = to_schemas(reply.tools)
    for part in _parts(text):
        calls = _read_json(part) or _read_tagged(part) or read_calls(part, schemas)
        if calls and all(call.name in reply.offered for call in calls):
            return calls
    return []


def _parts(text: str) -> Iterator[str]:
    """The whole text, what code fences hold, and what begins like markup; of each the first few."""
    yield text.strip()
    yield from [fenced.removeprefix("json").strip() for fenced in text.split(FENCE, 2 * MAX_STARTS)[1:-1:2]]
    yield from [text[start.start() :] for start in islice(TAG_START.finditer(text), MAX_STARTS)]
    yield from [text[start:] for start in islice(starts_of_calls(text), MAX_STARTS)]


def _read_json(text: str) -> list[WrittenCall]:
    if text[:1] not in ("{", "["):
        return []
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = orjson.loads(repaired(text))
        except orjson.JSONDecodeError:
            return []
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    calls = [_of_value(entry) for entry in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if None not in calls else []


def _of_value(value: Any) -> WrittenCall | None:
    """A call as an object: OpenAI's, with the level between or without it, or Anthropic's."""
    if not isinstance(value, dict):
        return None
    function = value.get("function")
    call = function if isinstance(function, dict) else value
    name = call.get("name") or (function if isinstance(function, str) else None)
    arguments: Any = next((call[key] for key in ARGUMENTS if key in call), {})
    if not isinstance(arguments, str):
        try:
            arguments = orjson.dumps(arguments).decode()
        except orjson.JSONEncodeError:  # it nests deeper than orjson writes
            return None
    return _checked(name, arguments)


def _read_tagged(text: str) -> list[WrittenCall]:
    calls: list[WrittenCall] = []
    place = 0
    while place < len(text):
        found = TAG_WITH_JSON.match(text, place)
        call = _checked(found[1], found[2]) if found is not None else None
        if found is None or call is None:
            return []
        calls.append(call)
        place = found.end()
    return calls


def _checked(name: Any, arguments: str) -> WrittenCall | None:
    arguments = repaired(arguments or "{}")
    try:
        is_object = isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return None
    return WrittenCall("", name.removeprefix("functions."), arguments) if is_object and isinstance(name, str) else None
