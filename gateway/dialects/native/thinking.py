"""Thinking that native upstreams sign: sealed on its way to the client, and opened for the model that signed it.

A signature is bound to its author; Anthropic answers 400 to any other, for the rest of the conversation. Claude's own
signatures pass raw in both directions. Those of other models are sealed with the model's name, so that a conversation
can move to another upstream, where they are left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from gateway.access.keyring import Keyring
from gateway.json_values import to_mapping
from gateway.messages.envelope import NATIVE_THINKING, Envelope, RejectedEnvelope, open_envelope, seal
from gateway.messages.notes import Note
from gateway.upstream.models.target import Target, same_model

# A string that only its author reads.
OPAQUE_FIELDS = ("signature", "data")

THINKING = ("thinking", "redacted_thinking")

FOREIGN = "reasoning that another model made"
UNREADABLE = "reasoning in an envelope that could not be opened"
UNSIGNED_LOOP = "with thinking enabled a turn that calls tools must start with signed thinking"
REFUSED = "the upstream refused the signature of earlier reasoning"


def without_foreign_thinking(
    request: dict[str, Any], target: Target, keyring: Keyring, *, drops_all: bool
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Return the request without thinking that the target cannot read; the same object if all of it can stay."""
    messages = request.get("messages")
    if not isinstance(messages, list):
        return request, ()
    reasons: dict[str, None] = {}
    edited = [_edited(message, target, keyring, reasons, drops_all) for message in messages]
    if all(one is other for one, other in zip(edited, messages, strict=True)):
        return request, ()
    notes = [Note("dropped", "messages.thinking", reason) for reason in reasons]
    kept = [message for message in edited if not isinstance(message, dict) or message.get("content") != []]
    fields = {**request, "messages": kept}
    is_enabled = to_mapping(request.get("thinking")).get("type") == "enabled"
    if reasons and is_enabled and _is_tool_loop(kept):
        del fields["thinking"]
        notes.append(Note("dropped", "thinking", UNSIGNED_LOOP))
    return fields, tuple(notes)


def _is_tool_loop(messages: list[Any]) -> bool:
    """Return True if the last message holds results: the turn before it then has to start with thinking."""
    content = messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _edited(message: Any, target: Target, keyring: Keyring, reasons: dict[str, None], drops_all: bool) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or message.get("role") != "assistant":
        return message
    blocks: list[Any] = []
    for block in content:
        if not isinstance(block, dict) or block.get("type") not in THINKING:
            blocks.append(block)
        elif drops_all:
            reasons[REFUSED] = None
        else:
            blocks += _opened(block, target, keyring, reasons)
    if len(blocks) == len(content) and all(one is other for one, other in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks}


def _opened(block: Any, target: Target, keyring: Keyring, reasons: dict[str, None]) -> Iterable[Any]:
    """Return the blocks in place of one: itself, Claude's own out of an envelope, or none."""
    opaque = block.get("signature") or block.get("data")
    match open_envelope(opaque if isinstance(opaque, str) else "", keyring):
        case None:
            return (block,)
        case RejectedEnvelope():
            reasons[UNREADABLE] = None
            return ()
        case Envelope(model, entries):
            blocks = [to_block(entry, block) for entry in entries] if same_model(model, target.model) else []
            if not blocks or None in blocks:
                reasons[FOREIGN] = None
                return ()
            return blocks


def to_block(entry: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the Messages block of a reasoning entry in `block`; None for one that only its own server reads."""
    kind, signature, data = entry.get("type"), entry.get("signature"), entry.get("data")
    if kind == NATIVE_THINKING:
        return {**block, "signature" if "signature" in block else "data": signature}
    if kind == "reasoning.text" and signature:
        return {"type": "thinking", "thinking": entry.get("text") or "", "signature": signature}
    if kind == "reasoning.encrypted" and data:
        return {"type": "redacted_thinking", "data": data}
    return None


def sealed(part: Any, model: str, keyring: Keyring) -> Any:
    """Return a block or a delta with its signature sealed; the same object if it has none."""
    name = next((name for name in OPAQUE_FIELDS if isinstance(part, dict) and part.get(name)), None)
    if name is None or not isinstance(part[name], str):
        return part
    return {**part, name: seal([cast(Any, {"type": NATIVE_THINKING, "signature": part[name]})], model, keyring)}


def with_sealed_thinking(content: list[Any], model: str, keyring: Keyring) -> list[Any]:
    """Return a message's blocks with the signatures of its thinking sealed."""
    return [
        sealed(block, model, keyring) if isinstance(block, dict) and block.get("type") in THINKING else block
        for block in content
    ]
