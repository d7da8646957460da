"""Settings of a Responses request that are objects and lists, with a note for each part that has no effect.

Clients of chat completions send them too: Cursor writes requests of Responses to the other API.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.dialects.clients.fields import to_list, to_object, to_text
from gateway.dialects.clients.parameters import MAX_NOTED, note_unknown
from gateway.errors import InvalidRequest, shorten
from gateway.messages.notes import Note

NO_LOGPROBS: Final = "log probabilities are given to clients of chat completions only"
STATELESS: Final = "the gateway stores no responses"
# Parts of a response that `include` names, by the beginning of their names; sealed reasoning is always included.
INCLUDED: Final = "reasoning.encrypted_content"
NOT_INCLUDED: Final = {
    "message.output_text.logprobs": NO_LOGPROBS,
    "message.input_image.image_url": STATELESS,
    "computer_call_output.": STATELESS,
    "code_interpreter_call.": "it belongs to a hosted tool, which is not available here",
    "file_search_call.": "it belongs to a hosted tool, which is not available here",
    "web_search_call.": "it belongs to a hosted tool, which is not available here",
}


def note_absent_parts(include: object, notes: list[Note]) -> None:
    """Note each part that a client wants included and a response here does not have."""
    values = [to_text(value, f"include.{index}") for index, value in enumerate(to_list(include, "include"))]
    absent = [(index, value) for index, value in enumerate(values) if value != INCLUDED]
    for index, value in absent[:MAX_NOTED]:
        reasons = (reason for name, reason in NOT_INCLUDED.items() if value.startswith(name))
        notes.append(Note("dropped", f"include.{index}", next(reasons, "the gateway knows no such part")))


def note_truncation(truncation: object, notes: list[Note]) -> None:
    """Raises InvalidRequest for a word that Responses do not have."""
    if truncation not in (None, "disabled", "auto"):
        raise InvalidRequest("truncation: Input should be 'auto' or 'disabled'")
    if truncation == "auto":
        notes.append(Note("dropped", "truncation", "a conversation that does not fit is refused, never cut"))


def to_text_fields(told: object, notes: list[Note]) -> dict[str, Any]:
    """Return `text` as the fields that chat completions have for it."""
    text = to_object(told or {}, "text")
    note_unknown(text, {"verbosity", "format"}, "text", notes)
    fields = {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
    return fields | _to_format(to_object(text.get("format") or {}, "text.format"))


def _to_format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    match wanted.get("type", "text"):
        case "text":
            return {}
        case "json_schema":
            schema = {name: value for name, value in wanted.items() if name != "type" and value is not None}
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", **schema}}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case kind:
            raise InvalidRequest(f"text.format.type: {shorten(str(kind))!r} is not available here")
