"""Threads in Redis: one hash per conversation, and a key per reply id and tenant that refers to it.

A turn writes only its additions, compressed. Continuing claims the thread by one script: if two front ends continue
from one reply at once, one gets the conversation and the other an error. A claim that is not renewed belongs to a dead
process, and expires after CLAIM_SECONDS. All keys expire some minutes after their last use; no sweep is needed.

A turn has two steps, opening and ending it, and its client waits for both: a call that exceeds the server's limit
raises StoreAway, a full Redis Overloaded.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.errors import Overloaded, RequestTooLarge
from gateway.json_values import check_value_count
from gateway.redis import scripts
from gateway.redis.codec import BrokenBlob, pack, unpack
from gateway.redis.keys import DATA_VERSION
from gateway.redis.scripts import Argument
from gateway.redis.server import RedisServer
from gateway.threads.thread import Held, already_continued, continue_in_flight, not_found, too_long

# Renewed while a turn runs. If its front end dies, the thread can be continued after this time.
CLAIM_SECONDS: Final = 30.0
# Lifetime of a cached reading of the server's memory.
ROOM_SECONDS: Final = 1.0
# Packing or unpacking more than this takes over 3 ms, and runs in a thread.
INLINE_BYTES: Final = 1024 * 1024

# 96 random bits: ids cannot be guessed.
ID_BYTES: Final = 12
# Form of a message's id; others are never looked up, since the id becomes part of a key.
MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class ThreadPolicy:
    """`seconds`: lifetime of a thread after its last use. `max_bytes`: of a conversation's JSON. `memory_share`: of the
    server's memory may be in use when a thread is created; the rest is for batches."""

    seconds: float = 300.0
    max_bytes: int = 32 * 1024 * 1024
    memory_share: float = 0.7


@dataclass(frozen=True, slots=True)
class ThreadClaim:
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
    server: RedisServer
    policy: ThreadPolicy = field(default_factory=ThreadPolicy)
    clock: Callable[[], float] = time.monotonic
    _room: bool = True
    _room_read_at: float = float("-inf")

    async def create(self, tenant: str) -> ThreadClaim:
        """Return a thread that is not stored yet. Raises Overloaded when there is no room for another."""
        if self.clock() - self._room_read_at >= ROOM_SECONDS:
            await self.server.probe()  # INFO may be forbidden, and a server that refuses writes may answer it
            facts = await self.server.facts()
            self._room = facts is None or facts.share_in_use <= self.policy.memory_share
            self._room_read_at = self.clock()
        if not self._room:
            raise Overloaded("The gateway's store has no room for more threads now")
        return ThreadClaim(tenant, os.urandom(ID_BYTES).hex())

    async def claim(self, tenant: str, message_id: str) -> tuple[ThreadClaim, Held]:
        """Claim the thread that ends in this reply, for one turn. Raises `not_found` and the others of `REFUSALS`."""
        if not MESSAGE_ID.fullmatch(message_id):
            raise not_found()
        thread_id = await self._run_of(tenant, message_id)
        if thread_id is None:
            raise not_found()
        claim = ThreadClaim(tenant, thread_id.decode(), message_id, os.urandom(ID_BYTES).hex())
        status, *stored = await self._run(
            claim, "claim", message_id, claim.nonce, _milliseconds(CLAIM_SECONDS), self._life, DATA_VERSION
        )
        if status != b"claimed":
            refusal = REFUSALS[status]
            raise refusal()
        try:
            stop_reason, size, *blobs = stored
            is_small = int(size) <= INLINE_BYTES
            fields, *turns = _unpacked(blobs) if is_small else await asyncio.to_thread(_unpacked, blobs)
            return claim, Held(fields, turns, stop_reason.decode(), int(size))
        except BrokenBlob:
            raise not_found() from None
        except RequestTooLarge:
            await self.release(claim)
            raise too_long() from None

    async def add(self, claim: ThreadClaim, turn: Addition) -> bool:
        """End the claim with a turn. Return False if the claim had expired and another process may have continued."""
        packed = await _packed(turn.messages)
        creation = (DATA_VERSION, await _packed(turn.fields)) if turn.fields else ()
        end = (claim.nonce, self._life, turn.message_id, turn.stop_reason, turn.size, packed, *creation)
        await self._run_of(claim.tenant, turn.message_id, claim.thread_id)
        kept = await self._run(claim, "keep", *end)
        return bool(kept == b"kept")

    async def release(self, claim: ThreadClaim) -> None:
        """End the claim without a turn: the thread can be continued from the same reply again."""
        if not claim.nonce:
            return
        await self._run(claim, "release", claim.nonce)

    async def renew(self, claim: ThreadClaim) -> None:
        """Renew the claim and the lifetime of its keys."""
        if not claim.nonce:
            return
        await self._run(claim, "hold", claim.nonce, _milliseconds(CLAIM_SECONDS), self._life)
        await self._run_of(claim.tenant, claim.message_id)

    async def _run(self, claim: ThreadClaim, *arguments: Argument) -> Any:
        return await self.server.run(scripts.THREAD, (self.server.keys.thread(claim.thread_id),), arguments)

    async def _run_of(self, tenant: str, message_id: str, *thread_id: str) -> Any:
        """Return the thread that a reply belongs to, or note it."""
        pointer = self.server.keys.thread_of(tenant, message_id)
        return await self.server.run(scripts.THREAD_OF, (pointer,), (self._life, *thread_id))

    @property
    def _life(self) -> int:
        return _milliseconds(self.policy.seconds)


REFUSALS: Final = {b"missing": not_found, b"continued": already_continued, b"in_flight": continue_in_flight}


async def _packed(raw: bytes) -> bytes:
    return pack(raw) if len(raw) <= INLINE_BYTES else await asyncio.to_thread(pack, raw)


def _unpacked(blobs: Sequence[bytes]) -> list[Any]:
    unpacked = [unpack(blob) for blob in blobs]
    check_value_count(b"".join(unpacked))
    return [orjson.loads(raw) for raw in unpacked]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
