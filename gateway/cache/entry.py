"""A stored answer: one message, from which both a JSON reply and an event stream are made.

The message's id and model differ per reply, so they are left out; the rest is stored as the JSON that goes to clients,
and sent without being parsed. The entry also holds its fingerprint, which is compared on read (a reply for another key
is never served), and the data that headers and logs report about the call that made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

import orjson

from gateway.dialects.base import Origin
from gateway.messages.replay import to_events
from gateway.redis.codec import BrokenBlob, pack, unpack

INPUT_TOKENS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
# Every message has these, in this order, before all other fields.
_OWN: Final = ("id", "type", "role", "model")


class MixedUp(Exception):
    """Redis returned an entry that was stored under another fingerprint."""


class Facts(NamedTuple):
    """Facts about the call that made an answer. Tokens are all of its input, and its output; `at`: Unix seconds."""

    at: float
    served_model: str | None = None
    provider: str | None = None
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """`rest` is the JSON of the message without the brace and the fields that differ per reply."""

    facts: Facts
    rest: bytes = field(repr=False)

    @classmethod
    def of(cls, message: Mapping[str, Any], origin: Origin, at: float, notes: tuple[str, ...] = ()) -> Self:
        usage = {name: value for name, value in message["usage"].items() if name != "cost"}
        kept = {name: value for name, value in message.items() if name not in _OWN} | {"usage": usage}
        read = sum(usage.get(name) or 0 for name in INPUT_TOKENS)  # of native servers some leave out what is zero
        output = usage.get("output_tokens") or 0
        facts = Facts(at, origin.model, origin.provider, message["stop_reason"], read, output, notes)
        return cls(facts, orjson.dumps(kept)[1:])

    def to_json(self, message_id: str, model: str) -> bytes:
        """Return the message as a new reply."""
        own = orjson.dumps({"id": message_id, "type": "message", "role": "assistant", "model": model})
        return own[:-1] + b"," + self.rest

    def to_message(self, message_id: str, model: str) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(self.to_json(message_id, model))
        return message

    def to_events(self, message_id: str, model: str) -> bytes:
        """Return the message as a stream. It has no cost, since the call was paid for once."""
        return to_events(self.to_message(message_id, model))


def to_blob(fingerprint: str, entry: CacheEntry) -> bytes:
    """Return the stored form."""
    return pack(b"\n".join((fingerprint.encode(), orjson.dumps(tuple(entry.facts)), entry.rest)))


def from_blob(fingerprint: str, blob: bytes) -> CacheEntry | None:
    """Return None for a damaged entry. Raises MixedUp."""
    try:
        name, facts, rest = unpack(blob).split(b"\n", 2)
        values = orjson.loads(facts)
        entry = CacheEntry(Facts._make([*values[:-1], tuple(values[-1])]), rest)
    except (BrokenBlob, ValueError, TypeError, LookupError):
        # Written by another version, or damaged: a miss, and the next answer replaces it.
        return None
    if name != fingerprint.encode():
        raise MixedUp
    return entry
