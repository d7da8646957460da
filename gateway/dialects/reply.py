"""Facts of a request that the conversion of its answer needs: one value, made before the upstream is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.access.keyring import Keyring


@dataclass(slots=True, repr=False)
class Reply:
    """`model` is what the client asked for and reads back; `upstream_model` is what answers. `tool_names` restores
    names that were changed for the upstream, `toolsets` the toolset a name belongs to. `input_estimate` (tokens)
    is sent in message_start; the upstream's count follows at the end. `cache_ttl` says to which TTL written
    cache tokens belong. `stop_sequences` are those to match here; `sent_stop_sequences` those that went upstream.
    `tools` as the upstream got them, and `offered`, their names. `forbids_calls`: the client allowed no calls.
    `shows_images`: the client asked for images. `is_seeded`: it sent a seed, and wants to know what answered it.
    `think_tags`: the upstream may leave `<think>` in the text; `leaks_channels`: gpt-oss' channels, without marks.
    `context_length`: the tokens that the model reads at most, where they are known.
    `max_tokens`: the tokens that the upstream was asked to write at most.
    `prefill`: the text that the answer continues, for upstreams that may repeat it.
    `used_call_ids`: those of the conversation's tool calls, as the client knows them.
    `applied_edits`: what the gateway did for the request's `context_management`; None when it asked for nothing.
    """

    message_id: str
    request_id: str
    model: str
    upstream_model: str
    keyring: Keyring
    input_estimate: int = 1
    tool_names: Mapping[str, str] = field(default_factory=dict)
    toolsets: Mapping[str, str] = field(default_factory=dict)
    offered: frozenset[str] = frozenset()
    tools: Sequence[Any] = ()
    forbids_calls: bool = False
    show_thinking: bool = True
    shows_images: bool = False
    is_seeded: bool = False
    cache_ttl: Literal["5m", "1h"] = "5m"
    stop_sequences: tuple[str, ...] = ()
    sent_stop_sequences: tuple[str, ...] = ()
    think_tags: bool = False
    leaks_channels: bool = False
    context_length: int | None = None
    max_tokens: int | None = None
    prefill: str = ""
    used_call_ids: frozenset[str] = frozenset()
    applied_edits: tuple[dict[str, Any], ...] | None = None


def empty_message(reply: Reply, usage: Mapping[str, Any]) -> dict[str, Any]:
    """A message before its content: what message_start carries, and what a JSON answer is filled into."""
    message: dict[str, Any] = {
        "id": reply.message_id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": usage,
    }
    if reply.applied_edits is not None:
        message["context_management"] = {"applied_edits": list(reply.applied_edits)}
    return message
