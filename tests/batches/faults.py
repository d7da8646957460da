"""Servers that fail as servers do, for the same code to run on: replies that get lost, and writes that are cut off."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.redis import scripts
from gateway.redis.scripts import LuaScript

SHARED = tuple(scripts.load(name).source for name in ("_batch", "_scheduler"))
SCRIPTS = {
    script.sha: script
    for script in vars(scripts).values()
    if isinstance(script, LuaScript) and (script.source.startswith(SHARED) or script is scripts.LIST)
}
WRITING = {script.name for script in SCRIPTS.values()} - {"list", "results"}

# Put in front of a script: lets this many of its writes through, then fails. Earlier writes stay, as after a crash with
# a log that ends in the middle of the script.
TORN = """
local server, left = redis, %d
local READS = {TIME=1, EXISTS=1, GET=1, HGET=1, HMGET=1, HLEN=1, HEXISTS=1, ZCARD=1, ZSCORE=1, ZRANGE=1,
  ZRANGEBYSCORE=1, ZRANGEBYLEX=1}
local redis = {error_reply = server.error_reply, call = function(command, ...)
  if not READS[command] then
    if left == 0 then error('power loss') end
    left = left - 1
  end
  return server.call(command, ...)
end}
"""


class PowerLoss(Exception):
    """The server has died; its clients do not know which writes it kept."""


class TwiceRedis(Redis):
    """Runs every script twice, as when the first reply was lost, and sees that the second run changes nothing."""

    prefix: str
    repeated: set[str]

    @classmethod
    def over(cls, redis: Redis, prefix: str) -> "TwiceRedis":
        client = cls(connection_pool=redis.connection_pool)
        client.prefix, client.repeated = prefix, set()
        return client

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        script = SCRIPTS[sha]
        await super().eval(script.source, numkeys, *keys_and_args)
        before = await snapshot(self, self.prefix)
        reply = await super().evalsha(sha, numkeys, *keys_and_args)
        assert await snapshot(self, self.prefix) == before, f"the second run of {script.name} changed something"
        self.repeated.add(script.name)
        return reply


class DeafRedis(Redis):
    """Runs one script, and never hears of it: each reply to it is lost, that of the repetition too."""

    lost: LuaScript | None

    @classmethod
    def over(cls, redis: Redis, lost: LuaScript) -> "DeafRedis":
        client = cls(connection_pool=redis.connection_pool)
        client.lost = lost
        return client

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        reply = await super().eval(SCRIPTS[sha].source, numkeys, *keys_and_args)
        if self.lost is not None and sha == self.lost.sha:
            raise RedisConnectionError("the reply was lost")
        return reply


class CutRedis(Redis):
    """Cannot be reached any more once a script has run this many times."""

    script: LuaScript
    runs: int

    @classmethod
    def over(cls, redis: Redis, script: LuaScript, runs: int) -> "CutRedis":
        client = cls(connection_pool=redis.connection_pool)
        client.script, client.runs = script, runs
        return client

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        if self.runs == 0:
            raise RedisConnectionError("the connection is cut")
        self.runs -= sha == self.script.sha
        return await super().eval(SCRIPTS[sha].source, numkeys, *keys_and_args)

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        if self.runs == 0:
            raise RedisConnectionError("the connection is cut")
        return super().pipeline(*arguments, **options)


class TornRedis(Redis):
    """Loses its power during the `call`-th script, after this many `writes` of it; all before that is as usual."""

    call: int
    writes: int
    among: set[str]

    @classmethod
    def over(cls, redis: Redis, call: int, writes: int, among: set[str]) -> "TornRedis":
        """Counts the calls of scripts `among` these."""
        client = cls(connection_pool=redis.connection_pool)
        client.call, client.writes, client.among = call, writes, among
        return client

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        script = SCRIPTS[sha]
        self.call -= script.name in self.among
        if self.call != -1 or script.name not in self.among:
            return await super().eval(script.source, numkeys, *keys_and_args)
        try:
            return await super().eval(TORN % self.writes + script.source, numkeys, *keys_and_args)
        except ResponseError as error:
            if "power loss" not in str(error):
                raise
            raise PowerLoss from None


async def snapshot(redis: Redis, prefix: str) -> dict[bytes, Any]:
    """Everything under the prefix, with its end; leases and inspections without their times, which count
    from when they are set."""
    found: dict[bytes, Any] = {}
    async for key in redis.scan_iter(f"{prefix}*"):
        kind = await redis.type(key)
        if kind == b"hash":
            content: Any = await redis.hgetall(key)
        elif kind == b"zset":
            content = await redis.zrange(key, 0, -1, withscores=not key.endswith((b":lease", b":due")))
        elif kind == b"set":
            content = await redis.smembers(key)
        else:
            content = await redis.get(key)
        ends = await redis.ttl(key)
        found[key] = (content, None if ends < 0 else (ends + 500) // 1000)
    return found
