"""State shared by the parts of one request's conversion: target, keys for envelopes, names and notes."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from gateway.access.keyring import Keyring
from gateway.dialects.chat.call_ids import to_upstream_id
from gateway.messages.notes import Note
from gateway.messages.openai_breakpoints import OPENAI_BREAKPOINT
from gateway.schemas.openai import ContentPart, FunctionTool
from gateway.upstream.models.target import Target

# Hexadecimal digits: among the tools of one request, two names clash once in 4 billion.
HASH_LENGTH = 8


class ToolNames:
    """Names as the upstream takes them, and the way back. The same name gives the same result in every request."""

    __slots__ = ("_limit", "originals", "toolsets")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.originals: dict[str, str] = {}
        self.toolsets: dict[str, str] = {}

    def to_chat(self, name: str, toolset: str | None = None) -> str:
        if toolset is None and len(name) <= self._limit:
            return name
        full = name if toolset is None else f"{toolset}_{name}"
        chat_name = full
        if len(full) > self._limit:
            digest = hashlib.sha256(full.encode()).hexdigest()[:HASH_LENGTH]
            chat_name = f"{full[: self._limit - HASH_LENGTH - 1]}_{digest}"
        self.originals[chat_name] = name
        if toolset is not None:
            self.toolsets[chat_name] = toolset
        return chat_name


@dataclass(slots=True)
class Scope:
    """`used_call_ids`: those of the conversation's tool calls, as the client knows them.

    `keeps_deferred`: the upstream itself keeps tools back until the model looks for them."""

    target: Target
    keyring: Keyring
    names: ToolNames
    keeps_deferred: bool = False
    notes: list[Note] = field(default_factory=list)
    used_call_ids: list[str] = field(default_factory=list)

    def note(self, kind: Literal["dropped", "changed", "emulated"], path: str, reason: str) -> None:
        self.notes.append(Note(kind, path, reason))

    def to_call_id(self, client_id: str) -> str:
        """The upstream's own id of a call. Claude gets the client's: it takes no others, and no id twice."""
        return client_id if self.target.claude else to_upstream_id(client_id)

    def mark_cached(self, part: ContentPart | FunctionTool, block: Any, path: str) -> None:
        """Put the block's cache breakpoint on the part that ends it, where the upstream knows breakpoints."""
        for name in ("cache_control", OPENAI_BREAKPOINT):
            if not block.get(name):
                continue
            if self.target.cache_control if name == "cache_control" else self.target.takes_breakpoints:
                cast(dict[str, Any], part)[name] = block[name]
            else:
                self.note("dropped", f"{path}.{name}", "this upstream has no cache breakpoints of this form")
