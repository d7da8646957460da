"""One Redis server or Cluster: commands, scripts, its clock, its state, and whether it accepts writes.

All reads and writes go through this module, so that a failure always becomes StoreAway or Overloaded, and connections
to a server that is not primary any more are not used again.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StoreAway, Unavailable
from gateway.redis import scripts
from gateway.redis.answer_limit import AnswerLimit
from gateway.redis.cluster import every_info, node_of
from gateway.redis.connections import leave_demoted
from gateway.redis.failures import KEYS_NOT_ALLOWED, MISSING_COMMAND, redis_failures, replies_of
from gateway.redis.keys import OLDEST_SERVER, Keys
from gateway.redis.scripts import Argument, LuaScript

log = structlog.get_logger()

Command = Sequence[str | bytes | int]

# Written every few seconds by each process (gateway.telemetry.monitors).
PROBE_MS: Final = 60_000
# Bytes per second: what a call sends adds to its limit, or a long item would never arrive.
SLOWEST_LINK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Facts from a server's INFO. `memory_limit`: its maxmemory, or all of its host's memory; 0 if it gives neither."""

    product: str
    version: tuple[int, ...]  # of the Redis that its commands match
    persistent: bool
    eviction_policy: str
    used_memory: int
    maxmemory: int
    memory_limit: int

    @property
    def share_in_use(self) -> float:
        return self.used_memory / self.memory_limit if self.memory_limit else 0.0


class RedisServer:
    """A server. `limit` limits how long each call waits; without one, redis-py's timeouts do."""

    def __init__(self, redis: Redis, keys: Keys | None = None, limit: AnswerLimit | None = None) -> None:
        self.redis = redis
        self.keys = keys or Keys()
        self._limit = limit
        self._may_ask_info = True

    @property
    def unlimited(self) -> "RedisServer":
        """The same server, for calls that may take longer than the limit."""
        return RedisServer(self.redis, self.keys)

    async def pipeline(
        self, commands: Iterable[Command], *, near: str | None = None, extra_seconds: float = 0.0
    ) -> list[Any]:
        """Return the replies, in one round trip without a transaction. Raises StoreAway or Overloaded.

        On a Cluster, commands without a key go to the node of `near`. `extra_seconds`: time that the server needs for
        the commands themselves.
        """
        all_commands = list(commands)
        values = (value for command in all_commands for value in command)
        async with self._limited(values, extra_seconds):
            return await self._send_again_if_demoted(all_commands, near)

    async def run(self, script: LuaScript, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        """Return the script's reply. Raises StoreAway or Overloaded."""
        async with self._limited(arguments):
            return await script.run(self.redis, keys, arguments)

    async def now(self) -> int:
        """Return the server's time in milliseconds. Batches use no other clock."""
        [time] = await self.pipeline([("TIME",)])
        return milliseconds(time)

    async def facts(self) -> ServerFacts | None:
        """Return the facts of the server, or of a Cluster's fullest node; None if this user may not read them."""
        if not self._may_ask_info:
            return None
        try:
            async with self._limited():
                every = await self._info()
        except StoreAway as error:
            if error.refusal not in MISSING_COMMAND:
                raise
            self._may_ask_info = False
            hint = "allow INFO to have its version, memory and eviction policy checked"
            log.warning("redis_info_refused", reason=error.reason, hint=hint)
            return None
        return max(map(_to_facts, every), key=lambda facts: facts.share_in_use)

    async def check(self) -> ServerFacts | None:
        """Raises Unavailable if the server is too old."""
        facts = await self.facts()
        if facts is not None and facts.version < OLDEST_SERVER:
            needed = ".".join(map(str, OLDEST_SERVER))
            raise Unavailable(f"Batches need Redis {needed} or newer; this server is {facts.product}")
        return facts

    async def probe(self) -> None:
        """Write by a script, which a replica, a full disk or an ACL refuses. Raises StoreAway or Overloaded."""
        try:
            await self.run(scripts.PROBE, (self.keys.probe,), (PROBE_MS,))
        except StoreAway as error:
            if error.reason == KEYS_NOT_ALLOWED:
                error.reason = f"{KEYS_NOT_ALLOWED}, which start with {self.keys.prefix} (GATEWAY_REDIS_PREFIX)"
            raise

    async def has(self, command: Command) -> bool:
        """Return True if the server has a command, and this user may run it."""
        try:
            await self.pipeline([command], near=self.keys.probe)
        except StoreAway as error:
            if error.refusal not in MISSING_COMMAND:
                raise
            return False
        return True

    def _limited(
        self, values: Iterable[str | bytes | int] = (), extra_seconds: float = 0.0
    ) -> AbstractAsyncContextManager[None]:
        if self._limit is None:
            return nullcontext()
        size = sum(len(value) for value in values if isinstance(value, bytes))
        return self._limit.call(extra_seconds + size / SLOWEST_LINK)

    async def _send_again_if_demoted(self, all_commands: Sequence[Command], near: str | None) -> list[Any]:
        with redis_failures():
            try:
                return await self._send(all_commands, near)
            except RedisError as error:
                if not await leave_demoted(self.redis, error):
                    raise
            return await self._send(all_commands, near)

    async def _send(self, commands: Sequence[Command], near: str | None) -> list[Any]:
        pipeline = self.redis.pipeline(transaction=False)
        target = {} if near is None else node_of(self.redis, near)
        for command in commands:
            pipeline.execute_command(*command, **target)
        return await replies_of(pipeline)

    async def _info(self) -> list[dict[str, Any]]:
        """Read INFO, twice if necessary: after a restart of the server, each kept connection fails once."""
        with redis_failures():
            try:
                return await every_info(self.redis)
            except (RedisConnectionError, RedisTimeoutError):
                # INFO changes nothing: once more on a new connection.
                return await every_info(self.redis)


def milliseconds(time: Sequence[Any]) -> int:
    """Convert a reply to TIME, which has seconds and microseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _to_facts(info: dict[str, Any]) -> ServerFacts:
    """Convert INFO, parts of which hosted servers leave out."""
    version = str(info.get("redis_version", ""))
    product = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {version or 'of no version'}"
    maxmemory = int(info.get("maxmemory", 0))
    return ServerFacts(
        product=product,
        version=tuple(int(part) for part in re.findall(r"\d+", version)[:2]) or OLDEST_SERVER,
        persistent=bool(info.get("aof_enabled", 0)),
        eviction_policy=str(info.get("maxmemory_policy", "")),
        used_memory=int(info.get("used_memory", 0)),
        maxmemory=maxmemory,
        memory_limit=maxmemory or int(info.get("total_system_memory", 0)),
    )
