"""Memory of conversations with earlier thinking that the upstream refused, so that each costs one refusal only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from gateway.dialects.base import Asking

# Claude Code keeps a conversation for hours, but resends each turn within minutes.
SECONDS = 3600.0
# Of conversations. One of them is refused where a client moved it between upstreams, which is rare.
MAX_CONVERSATIONS = 1024


@dataclass(slots=True)
class RefusedThinking:
    """`clock` is in seconds."""

    clock: Callable[[], float]
    _until: dict[str, float] = field(default_factory=dict, repr=False)

    def add(self, conversation: str) -> None:
        if len(self._until) >= MAX_CONVERSATIONS:
            del self._until[next(iter(self._until))]
        self._until[conversation] = self.clock() + SECONDS

    def has(self, asking: Asking, request: Any) -> bool:
        if not self._until:
            return False
        return self._until.get(to_conversation(asking, request), 0.0) > self.clock()


def to_conversation(asking: Asking, request: Any) -> str:
    """Name a conversation by its session or, for clients that send none, by its first message."""
    messages = request.get("messages")
    first = asking.session_id or (messages[0] if isinstance(messages, list) and messages else None)
    return blake2b(orjson.dumps((asking.tenant, first)), digest_size=16).hexdigest()
