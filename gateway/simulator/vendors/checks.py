"""Checks of a request against a row. The first part that the server would refuse raises RefusedRequest."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulator.vendors.row import SimulatedVendor, Switch, ThinkingRules
from gateway.simulator.vendors.schemas import check_answer_schema, check_tool_schemas
from gateway.simulator.vendors.words import refusal_of

Json = dict[str, Any]

THINKING_FIELDS = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of a function
OTHER_LENGTHS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


def check_request(request: Json, row: SimulatedVendor) -> None:
    """Raises RefusedRequest. `row` is that of the request's model."""
    thinks = is_thinking(request, row.thinking)
    check_fields(request, row)
    check_lengths(request, row)
    check_thinking_fields(request, row)
    check_messages(request["messages"], row, thinks=thinks)
    check_tools(request, row, thinks=thinks)
    check_format(request, row)


def is_thinking(request: Mapping[str, Any], thinking: ThinkingRules) -> bool:
    """Return True if the model thinks about this request."""
    if thinking.always:
        return True
    effort = request.get("reasoning_effort") or (request.get("reasoning") or {}).get("effort")
    if effort == "none" or any(_is_set(request, switch) for switch in thinking.off):
        return False
    if effort is not None or any(_is_set(request, switch) for switch in thinking.on):
        return True
    return thinking.by_default


def check_fields(request: Json, row: SimulatedVendor) -> None:
    names = sorted(name for name, value in request.items() if value is not None)
    switches = {path.partition(".")[0] for path, _ in (*row.thinking.on, *row.thinking.off)}
    known = row.fields | row.length_fields | switches | row.refused | OTHER_LENGTHS.keys()
    known |= {"reasoning_effort"} if row.thinking.efforts else frozenset()
    unknown = [name for name in names if name not in known]
    if unknown and not row.ignores_unknown:
        raise refusal_of("unknown_field", name=unknown[0], value=request[unknown[0]])
    refused = [name for name in names if name in row.refused]
    if refused:
        raise refusal_of("refused_field", name=refused[0], param=refused[0], value=request[refused[0]])
    user = request.get("user") or ""
    if row.user_limit and len(user) > row.user_limit:
        raise refusal_of("long_field", name="user", limit=row.user_limit, size=len(user), param="user")
    stops = request.get("stop") or []
    if isinstance(stops, list) and len(stops) > row.stop_limit:
        raise refusal_of("stops", limit=row.stop_limit, size=len(stops), param="stop")


def check_lengths(request: Json, row: SimulatedVendor) -> None:
    given = [name for name in OTHER_LENGTHS if request.get(name) is not None]
    if len(given) > 1:
        raise refusal_of("two_lengths")
    for name in given:
        if name not in row.length_fields:
            raise refusal_of("length_field", name=name, other=OTHER_LENGTHS[name], param=name)
        most = row.listed(request.get("model", "")).output
        if request[name] > most:
            raise refusal_of("max_tokens", value=request[name], limit=most, param=name)


def check_thinking_fields(request: Json, row: SimulatedVendor) -> None:
    thinking = row.thinking
    effort = request.get("reasoning_effort")
    if effort is not None and thinking.efforts and effort not in thinking.efforts:
        listed = ", ".join(f"'{name}'" for name in sorted(thinking.efforts))
        raise refusal_of("effort", value=effort, listed=listed, param="reasoning_effort")
    if thinking.always and any(_is_set(request, switch) for switch in thinking.off):
        raise refusal_of("always_thinks")


def check_messages(messages: Any, row: SimulatedVendor, *, thinks: bool) -> None:
    waiting: list[str] = []  # ids of calls that need a result
    called: set[str] = set()
    for index, message in enumerate(messages):
        _check_order(messages, index, row)
        _check_message(message, index, row)
        if message["role"] == "tool":
            if message.get("tool_call_id") not in called:
                raise refusal_of("orphan_result", index=index)
            waiting = [identifier for identifier in waiting if identifier != message["tool_call_id"]]
        elif waiting:
            raise refusal_of("missing_results", value=", ".join(waiting), index=index)
        if message["role"] == "assistant":
            waiting = list(_checked_calls(message, index, row))
            called.update(waiting)
            _check_thinking_back(message, index, row.thinking, thinks=thinks)
    if waiting:
        raise refusal_of("missing_results", value=", ".join(waiting), index=len(messages))


def check_tools(request: Json, row: SimulatedVendor, *, thinks: bool) -> None:
    tools, choice = request.get("tools") or [], request.get("tool_choice")
    if not tools:
        if choice not in (None, "none", "auto"):
            raise refusal_of("choice_without_tools")
        return
    for index, tool in enumerate(tools):
        function = tool["function"]
        if not NAME.fullmatch(function["name"]):
            raise refusal_of("tool_name", index=index, name=function["name"])
        size = len(function.get("description") or "")
        if row.description_limit and size > row.description_limit:
            raise refusal_of("description", index=index, limit=row.description_limit, size=size)
    check_tool_schemas([tool["function"] for tool in tools], row)
    kind = "named" if isinstance(choice, dict) else choice or "auto"
    if kind not in row.choices:
        raise refusal_of("choice", value=choice, listed=", ".join(sorted(row.choices)), param="tool_choice")
    if kind in ("named", "required") and thinks and not row.forced_while_thinking:
        raise refusal_of("choice_while_thinking")
    if not row.tools_with_effort and request.get("reasoning_effort") != "none":
        raise refusal_of("tools_with_effort", model=request.get("model"), param="reasoning_effort")


def check_format(request: Json, row: SimulatedVendor) -> None:
    wanted = request.get("response_format") or {"type": "text"}
    if wanted["type"] not in row.formats:
        raise refusal_of("format", value=wanted["type"], param="response_format")
    if wanted["type"] != "text" and request.get("tools") and not row.format_with_tools:
        raise refusal_of("format_with_tools")
    check_answer_schema(wanted, row)


def _check_order(messages: list[Json], index: int, row: SimulatedVendor) -> None:
    role, before = messages[index].get("role"), messages[index - 1]["role"] if index else None
    if role not in row.roles:
        listed = ", ".join(f"'{name}'" for name in sorted(row.roles))
        raise refusal_of("role", value=role, listed=listed, index=index)
    if role in ("system", "developer") and index and not row.late_system:
        raise refusal_of("late_system", index=index)
    if role == "user" and before == "tool" and not row.user_after_tool:
        raise refusal_of("user_after_tool")
    if role == "assistant" and index == len(messages) - 1 and not messages[index].get("tool_calls"):
        is_marked = messages[index].get(row.last_assistant) is True
        if row.last_assistant != "continued" and not is_marked:
            raise refusal_of("last_assistant", value=role)


def _check_message(message: Json, index: int, row: SimulatedVendor) -> None:
    own = {"role", "content", "tool_calls", "tool_call_id", "name"} | row.thinking.fields | {row.last_assistant}
    if row.message_fields is not None:
        unknown = sorted(message.keys() - own - row.message_fields)
        if unknown:
            role = message["role"]
            raise refusal_of("message_field", index=index, name=unknown[0], role=role, value=message[unknown[0]])
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise refusal_of("no_content", index=index)
    if isinstance(content, list):
        if message["role"] == "tool" and not row.tool_parts:
            raise refusal_of("tool_parts", index=index)
        for part in content:
            _check_part(part, index, row)


def _check_part(part: Json, index: int, row: SimulatedVendor) -> None:
    kind = part["type"]
    if kind == "text" or (kind == "thinking" and row.thinking.field == "thinking_parts"):
        return
    if kind != "image_url" or not row.images:
        raise refusal_of("part", value=kind, index=index)
    address = part["image_url"]["url"]
    if address.partition(":")[0] not in row.images:
        raise refusal_of("image_address", value=address[:100], index=index)


def _checked_calls(message: Json, index: int, row: SimulatedVendor) -> Iterator[str]:
    for call in message.get("tool_calls") or ():
        identifier, function = call["id"], call["function"]
        try:
            arguments = orjson.loads(function["arguments"])
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise refusal_of("arguments", index=index)
        if row.id_pattern and not re.fullmatch(row.id_pattern, identifier):
            raise refusal_of("call_id", index=index, value=row.id_pattern, id=identifier)
        if row.id_limit and len(identifier) > row.id_limit:
            raise refusal_of("long_id", index=index, limit=row.id_limit, size=len(identifier))
        yield identifier


def _check_thinking_back(message: Json, index: int, thinking: ThinkingRules, *, thinks: bool) -> None:
    given = any(message.get(name) for name in thinking.fields)
    match thinking.back:
        case "refused" if THINKING_FIELDS & message.keys():
            raise refusal_of("thinking_refused", index=index, name=sorted(THINKING_FIELDS & message.keys())[0])
        case "calls" if thinks and message.get("tool_calls") and not given:
            raise refusal_of("thinking_missing", index=index)
        case "all" if thinks and not given:
            raise refusal_of("thinking_missing", index=index)
        case "signature" if message.get("tool_calls"):
            first = message["tool_calls"][0]
            extra = (first.get("extra_content") or {}).get("google") or {}
            if not extra.get("thought_signature"):
                raise refusal_of("signature_missing", index=index, name=first["function"]["name"])
        case _:
            return


def _is_set(request: Mapping[str, Any], switch: Switch) -> bool:
    path, value = switch
    place: Any = request
    for key in path.split("."):
        place = place.get(key) if isinstance(place, dict) else None
    return bool(place == value)
