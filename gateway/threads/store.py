"""Threads in Redis: one hash per conversation, and a key per reply id and tenant that refers to it.

A turn writes only its additions, compressed. Continuing claims the thread by one script: if two front ends continue
from one reply at once, one gets the conversation and the other an error. A claim that is not renewed belongs to a dead
process, and expires after CLAIM_SECONDS. All keys expire some minutes after their last use; no sweep is needed.

A turn has two steps, opening and ending it, and its client waits for both: a step that exceeds the policy's patience
raises Unavailable, a full Redis Overloaded.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import Overloaded, Unavailable
from gateway.redis import scripts
from gateway.redis.cluster import every_info
from gateway.redis.codec import BrokenBlob, pack, unpack
from gateway.redis.failures import redis_failures
from gateway.redis.keys import DATA_VERSION, Keys
from gateway.redis.scripts import Argument
from gateway.threads.thread import Held, already_continued, continue_in_flight, not_found

CLAIM_SECONDS: Final = 30.0
# Lifetime of a cached reading of the server's memory.
ROOM_SECONDS: Final = 1.0
# Pause after a step that was not answered in time.
SILENCE_SECONDS: Final = 2.0
SILENT: Final = "The gateway's store does not answer"
# Packing or unpacking more than this takes over 3 ms, and runs in a thread.
INLINE_BYTES: Final = 1024 * 1024

ID_BYTES: Final = 12
# Form of a message's id; others are never looked up, since the id becomes part of a key.
MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Policy:
    """`seconds`: lifetime of a thread after its last use. `patience`: seconds for one step. `max_bytes`: of a
    conversation's JSON. `memory_share`: of the server's memory may be in use when a thread is created; the rest is for
    batches."""

    seconds: float = 300.0
    patience: float = 2.0
    max_bytes: int = 32 * 1024 * 1024
    memory_share: float = 0.7


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to add to a thread after one reply. Without a nonce the thread has not been created yet."""

    tenant: str
    thread_id: str
    message_id: str = ""
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """A finished turn: the id and stop reason of its reply, the JSON of its messages including the reply's, the
    resulting size of the conversation, and the JSON of the fields that a new thread keeps."""

    message_id: str
    stop_reason: str
    messages: bytes = field(repr=False)
    size: int
    fields: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class ThreadStore:
    redis: Redis
    policy: Policy = field(default_factory=Policy)
    keys: Keys = field(default_factory=Keys)
    clock: Callable[[], float] = time.monotonic
    _room: bool = True
    _room_read_at: float = float("-inf")
    _silent_until: float = float("-inf")

    async def create(self, tenant: str) -> Claim:
        """Return a thread that is not stored yet. Raises Overloaded when there is no room for another."""
        async with self._step():
            if self.clock() - self._room_read_at >= ROOM_SECONDS:
                self._room = await self._has_room()
                self._room_read_at = self.clock()
        if not self._room:
            raise Overloaded("The gateway's store has no room for more threads now")
        return Claim(tenant, os.urandom(ID_BYTES).hex())

    async def claim(self, tenant: str, message_id: str) -> tuple[Claim, Held]:
        """Claim the thread that ends in this reply, for one turn. Raises `not_found` and the others of `REFUSALS`."""
        if not MESSAGE_ID.fullmatch(message_id):
            raise not_found()
        async with self._step():
            pointer = self.keys.thread_of(tenant, message_id)
            thread_id = await scripts.THREAD_OF.run(self.redis, (pointer,), (self._life,))
            if thread_id is None:
                raise not_found()
            claim = Claim(tenant, thread_id.decode(), message_id, os.urandom(ID_BYTES).hex())
            status, *stored = await self._run(
                claim, "claim", message_id, claim.nonce, _milliseconds(CLAIM_SECONDS), self._life, DATA_VERSION
            )
        if status != b"claimed":
            refusal = REFUSALS[status]
            raise refusal()
        try:
            return claim, await _to_held(stored)
        except BrokenBlob:
            raise not_found() from None

    async def add(self, claim: Claim, turn: Addition) -> bool:
        """End the claim with a turn. Return False if the claim had expired and another process may have continued."""
        packed = await _packed(turn.messages)
        creation = (DATA_VERSION, await _packed(turn.fields)) if turn.fields else ()
        end = (claim.nonce, self._life, turn.message_id, turn.stop_reason, turn.size, packed, *creation)
        async with self._step():
            pointer = self.keys.thread_of(claim.tenant, turn.message_id)
            await scripts.THREAD_OF.run(self.redis, (pointer,), (self._life, claim.thread_id))
            kept = await self._run(claim, "keep", *end)
        return bool(kept == b"kept")

    async def release(self, claim: Claim) -> None:
        """End the claim without a turn: the thread can be continued from the same reply again."""
        if not claim.nonce:
            return
        async with self._step():
            await self._run(claim, "release", claim.nonce)

    async def renew(self, claim: Claim) -> None:
        """Renew the claim and the lifetime of its keys."""
        if not claim.nonce:
            return
        async with self._step():
            await self._run(claim, "hold", claim.nonce, _milliseconds(CLAIM_SECONDS), self._life)
            pointer = self.keys.thread_of(claim.tenant, claim.message_id)
            await scripts.THREAD_OF.run(self.redis, (pointer,), (self._life,))

    @asynccontextmanager
    async def _step(self) -> AsyncIterator[None]:
        """Limit waiting for a silent server to the turns of the first moment."""
        if self.clock() < self._silent_until:
            raise Unavailable(SILENT)
        try:
            async with asyncio.timeout(self.policy.patience):
                yield
        except TimeoutError as error:
            self._silent_until = self.clock() + SILENCE_SECONDS
            raise Unavailable(SILENT) from error

    async def _run(self, claim: Claim, *arguments: Argument) -> Any:
        return await scripts.THREAD.run(self.redis, (self.keys.thread(claim.thread_id),), arguments)

    @property
    def _life(self) -> int:
        return _milliseconds(self.policy.seconds)

    async def _has_room(self) -> bool:
        """Retry once: after a server restart, every kept connection fails once."""
        with redis_failures():
            try:
                infos = await every_info(self.redis)
            except (RedisConnectionError, RedisTimeoutError):
                infos = await every_info(self.redis)
        return all(_share_in_use(info) <= self.policy.memory_share for info in infos)


REFUSALS: Final = {b"missing": not_found, b"continued": already_continued, b"in_flight": continue_in_flight}


def _share_in_use(info: dict[str, Any]) -> float:
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return int(info["used_memory"]) / max(1, limit)


async def _packed(raw: bytes) -> bytes:
    return pack(raw) if len(raw) <= INLINE_BYTES else await asyncio.to_thread(pack, raw)


async def _to_held(stored: Sequence[bytes]) -> Held:
    """Unpack a value. Raises BrokenBlob."""
    stop_reason, size, *blobs = stored
    fields, *turns = _unpacked(blobs) if int(size) <= INLINE_BYTES else await asyncio.to_thread(_unpacked, blobs)
    return Held(fields, turns, stop_reason.decode(), int(size))


def _unpacked(blobs: Sequence[bytes]) -> list[Any]:
    return [orjson.loads(unpack(blob)) for blob in blobs]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
