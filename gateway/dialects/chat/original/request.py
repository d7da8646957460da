"""Chat requests that their upstream gets as they are, and the bytes that it gets."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.dialects import spans
from gateway.dialects.chat.client.request import PASSED_ON, READ
from gateway.dialects.clients.content import KNOWN_PARTS
from gateway.errors import InvalidRequest
from gateway.messages.tools.tool_cache import derived
from gateway.messages.turn_cache import all_hold
from gateway.upstream.routes.route import Route
from gateway.upstream.vendors.adaptation import Adaptation

# `input` is Responses', which some clients send here; the objects hold parameters for the gateway to place; `store`
# would keep prompts in the operator's account.
CONVERTED_FIELDS: Final = frozenset({"input", "openai", "openrouter", "store", "upstream"})
# Parts of messages that only the conversion understands begin like this (those of Responses).
FOREIGN_PART: Final = "input_"
CHAT_PARTS: Final = frozenset({"input_audio"})
# Begins the signatures that this gateway seals.
SEALED: Final = "gw"
OTHER_LENGTH: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Adaptations that change only requests with a choice of tools, or with an answer to continue.
OF_CHOICES: Final = frozenset({"auto_choice", "forced_without_thinking", "hide_tools", "lone_tool", "strict_calls"})
OF_PREFILLS: Final = frozenset({"prefill_fields", "prefill_flag"})
REPLAYED: Final = ("reasoning_content", "reasoning", "reasoning_details")


def is_plain(body: Mapping[str, Any]) -> bool:
    """Return whether a chat upstream can get this request as it is, with nothing for the gateway or of another API."""
    messages, tools = body.get("messages"), body.get("tools")
    if not isinstance(messages, list) or not messages or not isinstance(tools, list | None):
        return False
    if any(body.get(name) for name in CONVERTED_FIELDS):
        return False
    if tools and not derived(are_plain, tools):
        return False
    return all_hold(_is_plain_message, messages)


def are_plain(tools: Sequence[Any]) -> bool:
    """Return whether all tools are functions in the form of chat completions."""
    return all(
        isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("function"), dict)
        for tool in tools
    )


def replays_reasoning(body: Mapping[str, Any]) -> bool:
    """Return whether the conversation has reasoning of earlier answers."""
    return not all_hold(_has_no_reasoning, body["messages"])


def _has_no_reasoning(message: Mapping[str, Any]) -> bool:
    return message.keys().isdisjoint(REPLAYED)


def suits_model(body: Mapping[str, Any], route: Route, *, replays: bool) -> bool:
    """Return whether the model takes the request as it is, by what is known of it and of its server."""
    target, vendor = route.target, route.upstream.vendor
    if target.constants or (target.adaptations and not only_chat_has(body)):
        return False
    if any(concerns(adaptation, body) for adaptation in target.adaptations):
        return False
    if names_allowed_tools(body) and not target.takes_allowed_tools and not only_chat_has(body):
        return False
    if not target.unsupported.isdisjoint(body) or any(name in body for name, _ in target.renamed):
        return False
    other = OTHER_LENGTH[target.max_tokens_field]
    # Nearly every server takes the newer name, and an unknown one is asked as the client would ask it.
    if other in body and (other == "max_tokens" or vendor.length_field is not None):
        return False
    efforts = target.reasoning.supported_efforts
    effort = body.get("reasoning_effort")
    if effort is not None and (not target.reasoning.takes_effort or (efforts and effort not in efforts)):
        return False
    return not replays or target.openrouter or target.reasoning_field == "reasoning_content"


def names_allowed_tools(body: Mapping[str, Any]) -> bool:
    """Return whether only some of the tools may be called. The conversion leaves out the others, for any server."""
    choice = body.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "allowed_tools"


def only_chat_has(body: Mapping[str, Any]) -> bool:
    """Return whether the conversion would lose something: a field or a kind of content that Messages lack."""
    if body.get("n") not in (None, 1):
        return True
    if any(value is not None and name not in READ and name not in PASSED_ON for name, value in body.items()):
        return True
    contents = [content for message in body["messages"] if isinstance(content := message.get("content"), list)]
    return any(part["type"] not in KNOWN_PARTS for content in contents for part in content)


def concerns(adaptation: Adaptation, body: Mapping[str, Any]) -> bool:
    """Return whether this server needs the adaptation for this request."""
    if adaptation.kind in OF_CHOICES:
        return body.get("tool_choice") not in (None, "auto")
    return adaptation.kind not in OF_PREFILLS or body["messages"][-1].get("role") == "assistant"


def to_body(original: bytes, request: Mapping[str, Any], model: str) -> bytes:
    """Return the client's bytes with the upstream's name of the model; a stream is asked for its usage.

    Raises InvalidRequest for a model that is named twice.
    """
    body = original
    start, end = spans.find_model(body, request["model"])
    if request["model"] != model:
        body = spans.spliced(body, start, end, orjson.dumps(model))
    return with_usage(body, request) if request.get("stream") else body


def with_usage(body: bytes, request: Mapping[str, Any]) -> bytes:
    """Set `stream_options.include_usage`. Raises InvalidRequest for options that are named twice."""
    options = request.get("stream_options") or {}
    if options.get("include_usage") is True:
        return body
    wanted = orjson.dumps({**options, "include_usage": True})
    if "stream_options" not in request:
        brace = body.index(b"{") + 1
        return b"".join((body[:brace], b'"stream_options":', wanted, b",", body[brace:]))
    found = [member for member in spans.members(body, request) if orjson.loads(member.key) == "stream_options"]
    if len(found) != 1:
        raise InvalidRequest("stream_options is named twice")
    return spans.spliced(body, found[0].value, found[0].end, wanted)


def _is_plain_message(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    if isinstance(content, list) and not all(map(_is_plain_part, content)):
        return False
    calls, details = message.get("tool_calls"), message.get("reasoning_details")
    if isinstance(calls, list) and any(not isinstance(call, dict) or "custom" in call for call in calls):
        return False
    return not (isinstance(details, list) and any(map(_is_sealed, details)))


def _is_plain_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    kind, file = part.get("type"), part.get("file")
    if isinstance(file, dict) and "file_id" in file:
        return False  # files belong to the operator's account
    return isinstance(kind, str) and (not kind.startswith(FOREIGN_PART) or kind in CHAT_PARTS)


def _is_sealed(entry: Any) -> bool:
    told = (entry.get("signature"), entry.get("data")) if isinstance(entry, dict) else ()
    return any(isinstance(text, str) and text.startswith(SEALED) for text in told)
