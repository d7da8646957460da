"""Parameters of chat completions in a request that the gateway assembled, for upstreams that speak Messages.

Requests of Messages clients pass as they are, and their upstream refuses what it does not know. One that was converted
from another API, or comes from a batch, is written here: what Messages has another name for is renamed, the rest noted.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.schemas.openai import PassThrough

CHAT_FIELDS: Final = frozenset(PassThrough.__annotations__)
# Without these the answer would not be what was asked for.
REFUSED: Final = frozenset({"audio", "logit_bias", "logprobs", "top_logprobs", "modalities"})
# Said by other fields of Messages.
TAKEN: Final = frozenset({"reasoning_effort", "reasoning", "response_format", "user", "n", "parallel_tool_calls"})
EFFORTS: Final = {"minimal": "low"}
# Asks for a search even where it is an empty object.
SEARCH: Final = "web_search_options"
# Tiers that Anthropic has, by the names of both.
TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
UNHEARD: Final = frozenset({"input_audio", "video_url"})
NO_PARAMETER: Final = "Messages has no such parameter"
JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def to_messages_fields(request: Mapping[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """Return the request without chat's parameters, and notes. Raises InvalidRequest naming one that decides."""
    fields = {name: value for name, value in request.items() if name not in CHAT_FIELDS}
    notes: list[Note] = []
    for name in CHAT_FIELDS & request.keys():
        if not _asks(name, request[name]):
            continue
        if name in REFUSED:
            raise InvalidRequest(
                f"{name}: an upstream that speaks Messages has no such parameter", code="unsupported_parameter"
            )
        if name not in TAKEN:
            notes.append(Note("dropped", name, NO_PARAMETER))
    overrides = request.get("openai") or {}
    if overrides.get("temperature") is not None:
        fields["temperature"] = min(overrides["temperature"], 1)
        notes.append(Note("changed", "temperature", "Messages takes 1 at most"))
    reasoning = request.get("reasoning") or {}
    effort = request.get("reasoning_effort") or reasoning.get("effort")
    if reasoning.get("summary") and effort in (None, "none") and not fields.get("thinking"):
        notes.append(Note("dropped", "reasoning.summary", "Messages show thinking where an effort asks for it"))
    _put_effort(fields, effort, shows=bool(reasoning.get("summary")))
    _put_format(fields, request.get("response_format") or {}, notes)
    tier = fields.pop("service_tier", None)
    if tier in TIERS:
        fields["service_tier"] = TIERS[tier]
    elif tier is not None:
        notes.append(Note("dropped", "service_tier", "Messages has no such tier"))
    fields["messages"] = _with_plain_media(fields["messages"], notes)
    if request.get("user") and not fields.get("metadata"):
        fields["metadata"] = {"user_id": request["user"]}
    return fields, notes


def _asks(name: str, value: Any) -> bool:
    """Return whether a field of chat completions asks for something."""
    if value is None or (name == "modalities" and value == ["text"]):
        return False
    return name == SEARCH or value not in (False, {}, [])


def _with_plain_media(messages: Any, notes: list[Note]) -> list[Any]:
    """Return the messages without what OpenAI's media have beyond those of Messages; the same ones if there is none.

    Raises InvalidRequest for sound and video.
    """
    plain = []
    for place, message in enumerate(messages):
        content = _plain_content(message["content"], f"messages.{place}.content", notes)
        plain.append(message if content is message["content"] else {**message, "content": content})
    return plain


def _plain_content(content: Any, path: str, notes: list[Note]) -> Any:
    if not isinstance(content, list):
        return content
    plain = [_plain_block(block, f"{path}.{place}", notes) for place, block in enumerate(content)]
    return plain if any(one is not other for one, other in zip(plain, content, strict=True)) else content


def _plain_block(block: Any, path: str, notes: list[Note]) -> Any:
    match block["type"]:
        case "image" if "detail" in block:
            if block["detail"] != "auto":
                notes.append(Note("dropped", f"{path}.detail", "Messages has no such field"))
            return {name: value for name, value in block.items() if name != "detail"}
        case "tool_result":
            content = _plain_content(block.get("content"), f"{path}.content", notes)
            return block if content is block.get("content") else {**block, "content": content}
        case kind if kind in UNHEARD:
            raise InvalidRequest(f"{path}: an upstream that speaks Messages takes no content of type {kind!r}")
    return block


def _put_effort(fields: dict[str, Any], effort: str | None, *, shows: bool) -> None:
    """Ask for adaptive thinking, since a turn that comes back without its thinking is then no error.

    `shows`: the client wants to see it, which newer models do only if they are asked.
    """
    if effort is None or fields.get("thinking"):
        return
    if effort == "none":
        fields["thinking"] = {"type": "disabled"}
        return
    fields["thinking"] = {"type": "adaptive", "display": "summarized"} if shows else {"type": "adaptive"}
    fields["output_config"] = {"effort": EFFORTS.get(effort, effort), **(fields.get("output_config") or {})}


def _put_format(fields: dict[str, Any], wanted: Mapping[str, Any], notes: list[Note]) -> None:
    match wanted.get("type"):
        case "json_schema":
            schema = wanted["json_schema"].get("schema") or {"type": "object"}
            output_format = {"type": "json_schema", "schema": schema}
            fields["output_config"] = {**(fields.get("output_config") or {}), "format": output_format}
        case "json_object":
            system = fields.get("system") or ""
            fields["system"] = (
                [*system, {"type": "text", "text": JSON_ONLY}]
                if isinstance(system, list)
                else f"{system}\n\n{JSON_ONLY}".strip()
            )
            notes.append(Note("emulated", "response_format", "the model is asked for JSON in the system prompt"))
