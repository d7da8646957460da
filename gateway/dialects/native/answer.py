"""A whole Message from an upstream, passed on with the model's name as the client knows it."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects import spans
from gateway.dialects.base import Answered, Origin
from gateway.dialects.chat.response.errors.embedded_errors import error_in
from gateway.dialects.native.blocks import to_block
from gateway.dialects.native.calls import WholeCalls, may_be_cut, with_cut_call
from gateway.dialects.native.errors import MAX_RELAYED_BYTES, error_object, to_relayed
from gateway.dialects.native.frames import without_broken_texts
from gateway.dialects.native.thinking import with_sealed_thinking
from gateway.dialects.native.usage import counted, is_as_told, to_stop_reason, to_usage
from gateway.dialects.native.usual_answer import COUNTS, FIELDS, usual_counts
from gateway.dialects.reply import Reply, empty_message
from gateway.errors import InvalidRequest, UpstreamError
from gateway.json_values import TOO_DEEP, check_answer_values, to_mappings, to_string
from gateway.messages.tokens.estimate import to_tokens
from gateway.messages.usage import to_cost
from gateway.messages.validation.depth import WRITABLE_DEPTH
from gateway.upstream.models.target import signs_thinking

NOT_A_MESSAGE = "The upstream answered with something that is not a message."


def to_answered(body: bytes, reply: Reply) -> Answered:
    """Raises the error inside a 200, and UpstreamError for a body that is no message."""
    check_answer_values(body)
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamError(NOT_A_MESSAGE) from None
    counts = usual_counts(told)
    if counts is None:
        return _repaired(told, body, reply)
    usage = to_usage(counts)
    message = empty_message(reply, usage) | told | {"model": reply.model, "usage": usage}
    return Answered(message, to_origin(told, counts), written=with_model(body, told, reply.model))


def _repaired(told: Any, body: bytes, reply: Reply) -> Answered:
    details = error_object(told) if len(body) <= MAX_RELAYED_BYTES else None
    if details is not None:
        raise to_relayed(None, details)
    message = _unwrapped(told)
    if not isinstance(message, dict) or not isinstance(message.get("content"), list | str):
        error = error_in(message, None, reply) if isinstance(message, dict) else None
        raise error or UpstreamError(NOT_A_MESSAGE)
    counts = counted(message.get("usage"))
    origin = to_origin(message, counts)
    written = with_model(body, message, reply.model) if message is told else None
    reason = _to_reason(message, reply)
    calls = WholeCalls(reply, may_be_cut(reason, counts, reply))
    content = to_blocks(message["content"], calls)
    if content is not message["content"]:
        message["content"], written = content, None
    if not signs_thinking(reply.upstream_model):
        content = with_sealed_thinking(content, reply.upstream_model, reply.keyring)
        if content != message["content"]:
            message["content"], written = content, None
    message = without_broken_texts(message)
    if not message.keys() >= FIELDS:
        written = None
    if reason != message.get("stop_reason"):
        message["stop_reason"], written = reason, None
    if calls.has_cut_call:
        message |= with_cut_call({"stop_reason": reason}, counts, reply)
    usage = to_estimated(counts, reply, content)
    if not counts.keys() >= COUNTS or not is_as_told(counts, message.get("usage")):
        written = None
    message = empty_message(reply, usage) | message | {"model": reply.model, "usage": usage}
    if written is None:
        check_writable(message, body)
    return Answered(message, origin, tuple(calls.notes), written=written)


def _to_reason(message: Mapping[str, Any], reply: Reply) -> str | None:
    has_calls = any(block.get("type") == "tool_use" for block in to_mappings(message["content"]))
    ended = message if message.get("stop_reason") else {**message, "stop_reason": "end_turn"}
    return to_stop_reason(ended, reply, has_calls=has_calls)


def _unwrapped(told: Any) -> Any:
    """Return the message that some proxies put into an object of their own, with a list where one block stands."""
    if not isinstance(told, dict):
        return told
    inner = told.get("data")
    message = inner if "content" not in told and isinstance(inner, dict) and "content" in inner else told
    content = message.get("content")
    if isinstance(content, dict):
        return {**message, "content": [content]}
    return {**message, "content": []} if content is None and message.get("stop_reason") else message


def to_estimated(counts: Mapping[str, Any], reply: Reply, content: list[Any]) -> dict[str, Any]:
    """Return the counts as a usage, with estimates in place of those that the upstream lacks."""
    usage = to_usage(counts)
    if "input_tokens" not in counts:
        usage["input_tokens"] = reply.input_estimate
    if "output_tokens" not in counts:
        written = [block.get("text") or block.get("thinking") or orjson.dumps(block.get("input")) for block in content]
        usage["output_tokens"] = max(1, to_tokens(sum(map(len, written))))
    return usage


def check_writable(message: dict[str, Any], body: bytes) -> None:
    """Raises UpstreamError for a message that orjson has read from the body and does not write."""
    if body.count(b"[") + body.count(b"{") <= WRITABLE_DEPTH:
        return
    try:
        orjson.dumps(message)
    except orjson.JSONEncodeError:
        raise UpstreamError(TOO_DEEP) from None


def to_blocks(content: list[Any] | str, calls: WholeCalls) -> list[Any]:
    """Return the content as blocks with the fields that clients read; the same list if they have them.

    Some servers have null for an empty text. Raises UpstreamError as `to_block`.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    told = content
    if not all(isinstance(block, dict) for block in content):  # some are mere texts, or null
        told = [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]
        told = [block for block in told if block is not None]
    completed = [_completed(to_block(block), index, calls) for index, block in enumerate(told)]
    blocks = [block for block in completed if block != {}]
    is_same = told is content and len(blocks) == len(content)
    return content if is_same and all(one is other for one, other in zip(blocks, content, strict=True)) else blocks


def _completed(block: dict[str, Any], index: int, calls: WholeCalls) -> dict[str, Any]:
    match block.get("type"):
        case "thinking" if block.get("thinking") is None or not isinstance(block.get("signature"), str):
            return {**block, "thinking": block.get("thinking") or "", "signature": to_string(block.get("signature"))}
        case "text" if not block.get("text"):
            return {}  # no block: it could not be given back
        case "tool_use":
            return calls.completed(block, index)
    return block


def to_origin(message: dict[str, Any], counts: Any) -> Origin:
    return Origin(
        to_string(message.get("model")) or None,
        to_string(message.get("provider")) or None,
        to_string(message.get("id")) or None,
        to_cost(counts),
        estimated=not counts,
    )


def with_model(body: bytes, message: dict[str, Any], model: str) -> bytes:
    """Return the message's JSON with another name of the model; written again only where its place is ambiguous."""
    name = message.get("model")
    if name == model:
        return body
    try:
        start, end = spans.find_model(body, name) if isinstance(name, str) else (0, 0)
    except InvalidRequest:
        start = end = 0
    if not end:
        return orjson.dumps({**message, "model": model})
    return spans.spliced(body, start, end, orjson.dumps(model))
