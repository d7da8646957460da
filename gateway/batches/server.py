"""The Redis server as batches need it: its clock, whether it is fit to hold them, room for more, and durability.

Whatever is read or written goes through here or through a script, so that a failure of Redis always becomes Unavailable
or Overloaded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchRecord, Lifetimes
from gateway.errors import NotFound, Overloaded, StoreAway, Unavailable
from gateway.redis.cluster import beside, every_info
from gateway.redis.failures import MISSING_COMMAND, redis_failures, replies_of
from gateway.redis.keys import DATA_VERSION, Keys

Durability = Literal["process", "fsync", "replica"]
Command = Sequence[str | bytes | int]

_OLDEST: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class Policy:
    """How batches are kept. `durability` is what creating a batch waits for, at most `confirm_ms`: nothing, the
    server's disk, or a replica. `memory_share` of its memory may be in use then; the rest is for results.

    An item is given up after `max_lost` leases lost: two beside other items, then three alone. One alone was too few:
    of 20,000 items whose workers were killed 50 times at random within 90 s, one was given up that had done nothing.
    """

    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    max_lost: int = 5
    durability: Durability = "process"
    memory_share: float = 0.7
    confirm_ms: int = 2000


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What an operator should know of the server, and may want as metrics."""

    product: str
    version: str  # of Redis, whose commands it has
    persistent: bool
    eviction_policy: str
    used_memory: int
    memory_limit: int


class BatchServer:
    def __init__(self, redis: Redis, keys: Keys | None = None, policy: Policy | None = None) -> None:
        self.redis = redis
        self.keys = keys or Keys()
        self.policy = policy or Policy()
        self._has_waitaof: bool | None = None
        self._is_checked = False

    async def pipeline(self, commands: Iterable[Command]) -> list[Any]:
        """Their replies, in one round trip; no transaction."""
        pipeline = self.redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with redis_failures():
            return await replies_of(pipeline)

    async def now(self) -> int:
        """Milliseconds, by the server's clock: the only one batches go by."""
        return _milliseconds((await self.pipeline([("TIME",)]))[0])

    async def read(self, batch_ids: Sequence[str]) -> list[BatchRecord | None]:
        """Raises Unavailable for one that a newer version of the gateway has stored."""
        replies = await self.pipeline(
            [("TIME",), *(("HGETALL", self.keys.batch_meta(batch_id)) for batch_id in batch_ids)]
        )
        now = _milliseconds(replies[0])
        return [to_record(batch_id, fields, now) for batch_id, fields in zip(batch_ids, replies[1:], strict=True)]

    async def read_of(self, tenant: str, batch_id: str) -> BatchRecord:
        """Raises NotFound, in the same words for an id of another tenant as for one that never was."""
        record = (await self.read([batch_id]))[0]
        if record is None or record.tenant != tenant:
            raise NotFound("There is no message batch with this id in this workspace")
        return record

    async def check(self) -> ServerFacts:
        """To be asked at start. Raises Unavailable when this server must not hold batches; the message says why."""
        facts = await self._facts()
        if tuple(int(part) for part in facts.version.split(".")[:2]) < _OLDEST:
            raise Unavailable(f"Batches need Redis {_OLDEST[0]}.{_OLDEST[1]} or newer; this server is {facts.product}")
        _refuse_eviction(facts)
        if self.policy.durability == "fsync" and not await self._supports_waitaof():
            raise Unavailable(
                f"The durability 'fsync' needs the command WAITAOF (Redis 7.2, Valkey); this server is {facts.product}"
            )
        if self.policy.durability == "fsync" and not facts.persistent:
            raise Unavailable("The durability 'fsync' needs a server with 'appendonly yes'")
        self._is_checked = True
        return facts

    async def admit(self) -> None:
        """Is there room for another batch? Raises Overloaded; as `check` when this server must not hold batches."""
        facts = await self._facts() if self._is_checked else await self.check()
        _refuse_eviction(facts)
        if facts.used_memory > self.policy.memory_share * facts.memory_limit:
            raise Overloaded(
                "The gateway's store has no room for more batches now. Please try again later", retry_after=60
            )

    async def confirm(self, batch_id: str) -> bool:
        """Wait until everything written so far is as durable as the policy asks."""
        durability = self.policy.durability
        if durability == "process":
            return True
        waits: list[Command] = []
        if await self._supports_waitaof():
            waits.append(("WAITAOF", 1, 0, self.policy.confirm_ms))
        if durability == "replica":
            waits.append(("WAIT", 1, self.policy.confirm_ms))
        # A connection waits for its own last write; both logs are in order, so that covers all before it.
        key = self.keys.batch_sync(batch_id)
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.execute_command("SET", key, 1, "EX", 60)
        for command in waits:
            pipeline.execute_command(*command, **beside(self.redis, key))
        try:
            with redis_failures():
                replies = await replies_of(pipeline)
        except StoreAway as error:
            if error.refusal != "ERR":
                raise
            # WAITAOF without an append-only file
            raise Unavailable("The gateway's store cannot keep the promised durability") from error
        # WAITAOF tells [servers of which this is the local one, replicas], WAIT the replicas.
        return all((reply[0] if isinstance(reply, list) else reply) >= 1 for reply in replies[1:])

    async def _facts(self) -> ServerFacts:
        """Of a Cluster: those of its fullest node."""
        with redis_failures():
            every = [_to_facts(info) for info in await every_info(self.redis)]
        return max(every, key=lambda facts: facts.used_memory / max(1, facts.memory_limit))

    async def _supports_waitaof(self) -> bool:
        if self._has_waitaof is None:
            try:
                await self.pipeline([("WAITAOF", 0, 0, 1)])
                self._has_waitaof = True
            except StoreAway as error:
                if error.refusal not in MISSING_COMMAND:
                    raise
                self._has_waitaof = False
        return self._has_waitaof


def _to_facts(info: dict[str, Any]) -> ServerFacts:
    product, version = ("valkey", "valkey_version") if "valkey_version" in info else ("redis", "redis_version")
    return ServerFacts(
        product=f"{product} {info[version]}",
        version=str(info["redis_version"]),
        persistent=bool(info.get("aof_enabled", 0)),
        eviction_policy=str(info.get("maxmemory_policy", "")),
        used_memory=int(info["used_memory"]),
        memory_limit=int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0)),
    )


def to_record(batch_id: str, fields: dict[bytes, bytes], now: int) -> BatchRecord | None:
    """None for a batch that is not there. Raises Unavailable for one that a newer version of the gateway has stored."""
    if b"st" not in fields:
        return None
    version = int(fields[b"v"])
    if version > DATA_VERSION:
        raise Unavailable(
            f"This batch was stored by a newer version of the gateway (data version {version}); "
            f"this process reads up to {DATA_VERSION} and has to be upgraded"
        )
    return BatchRecord.of(batch_id, fields, now)


def _milliseconds(time: Sequence[Any]) -> int:
    """Of a reply to TIME: seconds and microseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _refuse_eviction(facts: ServerFacts) -> None:
    if facts.eviction_policy.startswith("allkeys-"):
        raise Unavailable(
            f"The gateway's store may drop batches: its maxmemory-policy is {facts.eviction_policy}, "
            "and must be noeviction"
        )
