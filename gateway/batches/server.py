"""Checks of the Redis server that stores batches: suitability, free memory, record versions, durability."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.batches.lifecycle import BatchRecord, Lifetimes, created_of
from gateway.errors import NotFound, Overloaded, RateLimited, StoreAway, Unavailable
from gateway.redis.keys import DATA_VERSION, STAGING_SECONDS
from gateway.redis.server import Command as Command
from gateway.redis.server import RedisServer, ServerFacts, milliseconds

Durability = Literal["process", "fsync", "replica"]


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """Storage policy. `durability`: batch creation waits for nothing, the server's disk, or a replica, at most
    `confirm_ms`. `memory_share` of its memory may be in use then; the rest is for results.

    An item is given up after `max_lost` leases lost: two beside other items, then three alone. One alone was too few:
    of 20,000 items with workers killed 50 times at random within 90 s, one harmless item was given up.
    """

    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    max_lost: int = 5
    durability: Durability = "process"
    memory_share: float = 0.7
    tenant_share: float = 0.5  # of that, for the batches of one tenant that have not ended; 1: no limit
    confirm_ms: int = 2000


class BatchServer:
    """`has_several_tenants`: whether one tenant has to leave room for others."""

    def __init__(self, server: RedisServer, policy: StoragePolicy | None = None) -> None:
        self.server = server
        self.redis, self.keys = server.redis, server.keys
        self.run, self.pipeline, self.now = server.run, server.pipeline, server.now
        self.policy = policy or StoragePolicy()
        self.has_several_tenants: Callable[[], Awaitable[bool]] = _always
        self._has_waitaof: bool | None = None
        self._is_checked = False

    async def read(self, batch_ids: Sequence[str]) -> list[BatchRecord | None]:
        """Raise Unavailable for a record stored by a newer version of the gateway."""
        replies = await self.pipeline(
            [("TIME",), *(("HGETALL", self.keys.batch_meta(batch_id)) for batch_id in batch_ids)]
        )
        now = milliseconds(replies[0])
        return [to_record(batch_id, fields, now) for batch_id, fields in zip(batch_ids, replies[1:], strict=True)]

    async def read_of(self, tenant: str, batch_id: str) -> BatchRecord:
        """Raise NotFound, with the same message for another tenant's id as for one that never existed."""
        record = (await self.read([batch_id]))[0]
        if record is None or record.tenant != tenant:
            raise NotFound("There is no message batch with this id in this workspace")
        return record

    async def check(self) -> ServerFacts | None:
        """Check the server at start. Raises Unavailable with the reason if it must not hold batches."""
        facts = await self.server.check()
        if facts is not None:
            _refuse_eviction(facts)
        if self.policy.durability == "fsync" and not await self._supports_waitaof():
            product = "does not allow it" if facts is None else f"is {facts.product}"
            raise Unavailable(
                f"The durability 'fsync' needs the command WAITAOF (Redis 7.2, Valkey); this server {product}"
            )
        if self.policy.durability == "fsync" and facts is not None and not facts.persistent:
            raise Unavailable("The durability 'fsync' needs a server with 'appendonly yes'")
        if self.policy.durability == "replica" and not await self.server.has(("WAIT", 0, 1)):
            raise Unavailable("The durability 'replica' needs the command WAIT; this server does not allow it")
        self._is_checked = True
        return facts

    async def admit(self, tenant: str, uploading: int = 0) -> None:
        """Raise Overloaded if there is no room for another batch, RateLimited if the tenant has used up its share;
        also raises as `check` does."""
        facts = await self.server.facts() if self._is_checked else await self.check()
        if facts is None:
            return  # the write itself shows whether there is room
        _refuse_eviction(facts)
        if facts.share_in_use > self.policy.memory_share:
            raise Overloaded(
                "The gateway's store has no room for more batches now. Please try again later", retry_after=60
            )
        allowed = self.policy.tenant_share * self.policy.memory_share * facts.memory_limit
        is_shared = self.policy.tenant_share < 1 and bool(facts.memory_limit) and await self.has_several_tenants()
        if is_shared and await self.held_by(tenant) + uploading > allowed:
            raise RateLimited(
                f"Batches of this workspace that have not ended may take {allowed / 1e6:.1f} MB of the store, "
                "and they do (GATEWAY_BATCH_TENANT_SHARE). Wait until some end, or cancel them",
                retry_after=60,
            )

    async def held_by(self, tenant: str) -> int:
        """Return the stored bytes of the tenant's batches that have not ended, and forget those that have."""
        key = self.keys.tenant_bytes(tenant)
        [sizes] = await self.pipeline([("HGETALL", key)])
        held = list(sizes.items()) if isinstance(sizes, dict) else list(zip(sizes[::2], sizes[1::2], strict=True))
        if not held:
            return 0
        states = await self.pipeline([("HGET", self.keys.batch_meta(batch.decode()), "st") for batch, _ in held])
        uploads_from = await self.now() - STAGING_SECONDS * 1000
        total, over = 0, []
        for (batch, size), status in zip(held, states, strict=True):
            is_over = status == b"ended" or (status is None and (created_of(batch.decode()) or 0) < uploads_from)
            if is_over:
                over.append(batch)
            else:
                total += int(size)
        if over:
            await self.pipeline([("HDEL", key, *over)])
        return total

    async def confirm(self, batch_id: str) -> bool:
        """Wait until everything written so far is as durable as the policy asks."""
        durability = self.policy.durability
        if durability == "process":
            return True
        # A connection waits for its own last write; both logs are ordered, so this covers all earlier writes.
        key = self.keys.batch_sync(batch_id)
        commands: list[Command] = [("SET", key, 1, "EX", 60)]
        if await self._supports_waitaof():
            commands.append(("WAITAOF", 1, 0, self.policy.confirm_ms))
        if durability == "replica":
            commands.append(("WAIT", 1, self.policy.confirm_ms))
        try:
            replies = await self.pipeline(commands, near=key, extra_seconds=self.policy.confirm_ms / 1000)
        except StoreAway as error:
            if error.refusal != "ERR":
                raise
            # WAITAOF without an append-only file
            raise Unavailable("The gateway's store cannot keep the promised durability") from error
        # WAITAOF replies [servers of which this is the local one, replicas], WAIT the replicas.
        return all((reply[0] if isinstance(reply, list) else reply) >= 1 for reply in replies[1:])

    async def _supports_waitaof(self) -> bool:
        if self._has_waitaof is None:
            self._has_waitaof = await self.server.has(("WAITAOF", 0, 0, 1))
        return self._has_waitaof


async def _always() -> bool:
    return True


def to_record(batch_id: str, fields: dict[bytes, bytes], now: int) -> BatchRecord | None:
    """Return None if the batch does not exist. Raises Unavailable if a newer version of the gateway stored it."""
    if b"st" not in fields:
        return None
    version = int(fields[b"v"])
    if version > DATA_VERSION:
        raise Unavailable(
            f"This batch was stored by a newer version of the gateway (data version {version}); "
            f"this process reads up to {DATA_VERSION} and has to be upgraded"
        )
    return BatchRecord.of(batch_id, fields, now)


def _refuse_eviction(facts: ServerFacts) -> None:
    if facts.eviction_policy.startswith("allkeys-"):
        raise Unavailable(
            f"The gateway's store may drop batches: its maxmemory-policy is {facts.eviction_policy}, "
            "and must be noeviction"
        )
