"""Cache of the beginnings of conversations. An agent's next request repeats all messages of its last one, and adds two.

After a request has been validated, its messages up to the last answer are cached with their bytes, as far as no rule
looks at them again: media, cache breakpoints, unknown keys and system messages end what is cached. A request of the
same tenant that begins with the same bytes shares these messages: they are neither parsed nor checked again, and the
chat dialect converts and writes them once for each model. Messages of a request that its upstream validates, or of
one in the form of chat completions, are cached too, and only not parsed again. Bytes are compared, never a hash of
them. Requests with JSON that has spaces between its parts are not recognised.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from gateway.access.keyring import Keyring
from gateway.messages.system_cache import SystemCache
from gateway.messages.tools.tool_cache import FrozenList, places_of
from gateway.messages.written import Written
from gateway.schemas.anthropic import MessageParam
from gateway.upstream.models.target import Target

KEY: Final = b'"messages":['
# Of requests. What is in smaller ones is not worth looking for; larger ones hold media or are rare.
LEAST_BYTES: Final = 8 * 1024
MOST_REQUEST_BYTES: Final = 4 * 1024 * 1024
MOST_BYTES: Final = 64 * 1024 * 1024
# Memory for a byte of JSON: as it was read and as it was written, its texts, half of them of two bytes a character, and
# the objects of both forms. Measured with conversations of a coding agent.
MEMORY_PER_BYTE: Final = 6
# Conversations that start with the same bytes, as far as this, are compared one after the other.
ALIKE_BYTES: Final = 1024
MOST_ALIKE: Final = 32
MOST_PREFIXES: Final = 4096
# One conversation takes at most this part of the memory; of a longer one the beginning is cached.
MOST_SHARE: Final = 4
# Blocks of system prompts take as much again, divided by this.
SYSTEM_SHARE: Final = 8
# Upstream models for which the converted messages of one conversation are kept.
MOST_TARGETS: Final = 2
# Of the message after an answer; results have their own role in chat completions.
NEXT_ROLES: Final = ("tool", "user")
# Of messages that were not validated: these end what is cached, since the next request has them elsewhere, or they are
# large.
UNREPEATED: Final = (b'"cache_control"', b'"base64"')


@dataclass(slots=True, eq=False, repr=False)
class Prefix:
    """The first messages of a conversation, which end with an answer. They are shared by requests, and never changed.

    `written`: their JSON as it stands in requests, without brackets. `last_turn`: the message that starts the last
    turn. A dialect's conversions of them are kept for a few targets, the latest first. Those that are not `is_checked`
    have neither. `holds`: of how many messages, from the first, something is known to hold (see `all_hold`).
    """

    messages: list[MessageParam]
    written: Written
    is_checked: bool
    last_turn: int = 0
    converted: list[tuple[Target, Keyring, Any]] = field(default_factory=list)
    holds: dict[Callable[[Any], bool], int] = field(default_factory=dict)

    def converted_for(self, target: Target, keyring: Keyring) -> Any:
        """Return what was kept for this target and keyring, if anything; it may be of fewer messages."""
        for known, owner, converted in self.converted:
            if known is target and owner == keyring:
                return converted
        return None

    def keep_converted(self, target: Target, keyring: Keyring, converted: Any) -> None:
        others = [entry for entry in self.converted if entry[0] is not target or entry[1] != keyring]
        self.converted = [(target, keyring, converted), *others[: MOST_TARGETS - 1]]


@dataclass(slots=True, repr=False)
class Source:
    """The request that messages are from: the cache for it, and its bytes, in which they begin at `start`."""

    cache: "TurnCache"
    tenant: str
    body: bytes
    start: int


class CachedMessages(FrozenList):
    """A request's messages. Those of `repeated` are cached, those of `prefix` were validated before."""

    __slots__ = ("_source", "prefix", "repeated")

    def __init__(self, messages: Sequence[Any], repeated: Prefix | None, source: Source) -> None:
        super().__init__(messages)
        self.repeated = repeated
        self.prefix = repeated if repeated is not None and repeated.is_checked else None
        self._source: Source | None = source

    @property
    def known(self) -> int:
        """Return the number of messages that were validated before."""
        return 0 if self.prefix is None else len(self.prefix.messages)

    def learn(self, plain: int) -> None:
        """Cache the beginning of the conversation, after all of it was validated. `plain`: how many may be cached."""
        source, self._source = self._source, None
        if source is not None:
            self.prefix = source.cache.learn(self, source, plain)

    def learn_unchecked(self) -> None:
        """Cache the beginning of a conversation that the upstream is to validate."""
        source, self._source = self._source, None
        if source is not None:
            self.repeated = source.cache.learn_unchecked(self, source)


def remember(messages: object) -> None:
    """Cache the beginning of a conversation that was parsed by a cache and not validated."""
    if isinstance(messages, CachedMessages):
        messages.learn_unchecked()


def known_messages(messages: Sequence[Any]) -> int:
    """Return the number of messages that were validated before, and hold nothing but text, calls and their results."""
    return messages.known if isinstance(messages, CachedMessages) else 0


def all_hold(predicate: Callable[[Any], bool], messages: Sequence[Any]) -> bool:
    """Return whether the predicate holds for each message. Those of a cached beginning are asked once."""
    prefix = messages.repeated if isinstance(messages, CachedMessages) else None
    if prefix is None:
        return all(map(predicate, messages))
    if not all(map(predicate, messages[prefix.holds.get(predicate, 0) :])):
        return False
    prefix.holds[predicate] = len(prefix.messages)
    return True


class TurnCache:
    """Parse requests, with the messages of earlier ones. `most_bytes`: memory of all prefixes; 0 disables the cache.

    `stand_in`: text in the place of known messages while the rest is parsed. Random, so that no client can have sent
    it.
    """

    def __init__(self, stand_in: str, most_bytes: int = MOST_BYTES) -> None:
        self._stand_in = stand_in
        self._written_stand_in = orjson.dumps(stand_in)
        self._most_json = most_bytes // MEMORY_PER_BYTE
        self._json = self._count = 0
        self._systems = SystemCache(stand_in, self._most_json // SYSTEM_SHARE)
        # By tenant and first bytes, the latest last; the prefixes of each with the latest first.
        self._alike: OrderedDict[tuple[str, bytes], list[Prefix]] = OrderedDict()

    def parse(self, body: bytes, tenant: str) -> object:
        """Parse a body; the result equals that of orjson.loads, but messages may be shared. Raises JSONDecodeError."""
        if not self._most_json or not LEAST_BYTES <= len(body) <= MOST_REQUEST_BYTES:
            return orjson.loads(body)
        place = -1
        for start in places_of(KEY, body):
            prefix = self._find(body, start, tenant)
            if prefix is not None:
                recalled = self._recall(body, start, tenant, prefix)
                if recalled is not None:
                    return recalled
            place = start if place < 0 else place
        parsed = self._systems.parse(body, tenant)
        if place >= 0 and isinstance(parsed, dict) and isinstance(parsed.get("messages"), list):
            parsed["messages"] = CachedMessages(parsed["messages"], None, Source(self, tenant, body, place))
        return parsed

    def learn(self, messages: CachedMessages, source: Source, plain: int) -> Prefix | None:
        """Return the longest prefix that is now cached; None if there is none."""
        return self._learn(messages, source, messages.prefix, plain, ())

    def learn_unchecked(self, messages: CachedMessages, source: Source) -> Prefix | None:
        objects = next((index for index, one in enumerate(messages) if not isinstance(one, dict)), len(messages))
        return self._learn(messages, source, messages.repeated, objects - 1, UNREPEATED)

    def _learn(
        self, messages: CachedMessages, source: Source, old: Prefix | None, most: int, ends: tuple[bytes, ...]
    ) -> Prefix | None:
        """Cache up to `most` messages, before the first that holds one of `ends`."""
        body, start = source.body, source.start
        known = 0 if old is None else len(old.messages)
        begins_at = start if old is None else start + len(old.written.json) + 1
        last_byte, end, ends_at = start + self._most_json // MOST_SHARE, known, 0
        for index in range(known, min(most, len(messages) - 1)):
            written = _written(messages[index])
            behind = begins_at + len(written)
            if not written or behind > last_byte or not body.startswith(written, begins_at):
                break
            if any(text in written for text in ends):
                break
            if messages[index].get("role") == "assistant" and messages[index + 1].get("role") in NEXT_ROLES:
                end, ends_at = index + 1, behind
            begins_at = behind + 1
        if end == known or ends_at - start < ALIKE_BYTES:
            return old
        first = cast(list[MessageParam], messages[:end])
        text = Written(body[start:ends_at], None if old is None else old.written)
        prefix = Prefix(first, text, is_checked=not ends, holds={} if old is None else dict(old.holds))
        if prefix.is_checked:
            prefix.last_turn, prefix.converted = _last_turn(first), [] if old is None else old.converted
        self._replace(source, old if old is not None and old.is_checked == prefix.is_checked else None, prefix)
        return prefix

    def _find(self, body: bytes, start: int, tenant: str) -> Prefix | None:
        key = tenant, body[start : start + ALIKE_BYTES]
        alike = self._alike.get(key)
        if alike is None:
            return None
        for prefix in alike:
            if body.startswith(prefix.written.json, start):
                self._alike.move_to_end(key)
                if prefix is not alike[0]:
                    alike.remove(prefix)
                    alike.insert(0, prefix)
                return prefix
        return None

    def _recall(self, body: bytes, start: int, tenant: str, prefix: Prefix) -> dict[str, Any] | None:
        """Return the request if the prefix is the beginning of the request's own messages."""
        rest = body[start + len(prefix.written.json) :]
        try:
            parsed = self._systems.parse(b"".join((body[:start], self._written_stand_in, rest)), tenant)
        except orjson.JSONDecodeError:
            return None  # the full parse finds the position of the error
        messages = parsed.get("messages") if isinstance(parsed, dict) else None
        if not isinstance(messages, list) or messages[:1] != [self._stand_in]:
            return None
        source = Source(self, tenant, body, start)
        parsed["messages"] = CachedMessages([*prefix.messages, *messages[1:]], prefix, source)
        return cast(dict[str, Any], parsed)

    def _replace(self, source: Source, old: Prefix | None, new: Prefix) -> None:
        """Put a longer prefix in the place of the one that it starts with."""
        key = source.tenant, new.written.json[:ALIKE_BYTES]
        alike = self._alike.setdefault(key, [])
        self._alike.move_to_end(key)
        if old is not None and old in alike:
            alike.remove(old)
            self._forgot(old)
        alike.insert(0, new)
        self._json += len(new.written.json)
        self._count += 1
        if len(alike) > MOST_ALIKE:
            self._forgot(alike.pop())
        while self._json > self._most_json or self._count > MOST_PREFIXES:
            oldest = next(iter(self._alike))
            self._forgot(self._alike[oldest].pop())
            if not self._alike[oldest]:
                del self._alike[oldest]

    def _forgot(self, prefix: Prefix) -> None:
        self._json -= len(prefix.written.json)
        self._count -= 1


def _written(message: Any) -> bytes:
    """Return the message as most clients write it; nothing if it cannot be written."""
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError:
        return b""  # nested too deeply for orjson; the encoding of the request reports it


def _last_turn(messages: Sequence[Any]) -> int:
    """Return the index at which the answer begins that the messages end with."""
    index = len(messages) - 1
    while index > 0 and messages[index - 1]["role"] == "assistant":
        index -= 1
    return index
