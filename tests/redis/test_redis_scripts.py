"""Scripts are found, loaded when the server has forgotten them, repeated once, and keep to what every server knows."""

import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import Unavailable
from gateway.redis import scripts
from gateway.redis.connections import open_connections
from gateway.redis.scripts import LuaScript, load

FOLDER = Path(scripts.__file__).parent / "scripts"
FILES = sorted(path.stem for path in FOLDER.glob("*.lua"))
LOADED = {script.name: script for script in vars(scripts).values() if isinstance(script, LuaScript)}

# Known to Redis 6.2, the oldest server that is supported; none of them looks at a whole key of unbounded size.
# HGETALL reads one field for each process that calls an upstream.
COMMANDS = """
    TIME GET SET DEL UNLINK EXISTS PERSIST PEXPIREAT PEXPIRE EXPIRE HGET HMGET HSET HSETNX HDEL HLEN HEXISTS HINCRBY
    INCR XADD ZADD ZREM ZCARD ZSCORE ZCOUNT ZINCRBY ZRANGE ZREVRANGE ZREVRANK ZRANGEBYSCORE ZRANGEBYLEX
    ZREMRANGEBYSCORE HGETALL
"""


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    with tempfile.TemporaryDirectory(prefix="dg-") as name:
        async with open_connections("embedded", directory=Path(name) / "state") as connections:
            yield connections.queue


class Failing(Redis):
    """Fails a number of times before it answers."""

    failures: int

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        self.failures -= 1
        if self.failures >= 0:
            raise (RedisConnectionError, RedisTimeoutError)[self.failures % 2]
        return await super().evalsha(sha, numkeys, *keys_and_args)


ECHO = LuaScript("echo", "return {KEYS[1], ARGV[1], ARGV[2]}", "0" * 40)


async def test_a_script_the_server_does_not_know_is_sent_whole(redis: Redis) -> None:
    await redis.script_flush()
    reply = await scripts.LIST.run(redis, ["nobody"], (5, "start", "", 0))
    assert reply == []
    assert await redis.script_exists(scripts.LIST.sha) == [True], "and is known from then on"
    assert await ECHO.run(redis, ["key"], (b"\xff", 7)) == [b"key", b"\xff", b"7"]


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_lost_connection_is_tried_once_more(redis: Redis, failures: int) -> None:
    client = Failing(connection_pool=redis.connection_pool)
    client.failures = failures
    assert await ECHO.run(client, ["key"], ("a", "b")) == [b"key", b"a", b"b"]


async def test_a_second_failure_is_reported(redis: Redis) -> None:
    client = Failing(connection_pool=redis.connection_pool)
    client.failures = 2
    with pytest.raises(Unavailable):
        await ECHO.run(client, ["key"], ("a", "b"))


async def test_a_scripts_own_error_is_not_tried_again(redis: Redis) -> None:
    failing = LuaScript(
        "failing", "redis.call('INCR', KEYS[1]); return redis.error_reply('ERR no such item in the batch')", "1" * 40
    )
    with pytest.raises(ResponseError, match="no such item"):
        await failing.run(redis, ["runs"])
    assert await redis.get("runs") == b"1"


def test_every_file_is_loaded_or_shared() -> None:
    assert {name for name in FILES if not name.startswith("_")} == set(LOADED)


@pytest.mark.parametrize("name", FILES)
def test_a_script_says_what_it_does(name: str) -> None:
    lines = (FOLDER / f"{name}.lua").read_text().splitlines()
    comments = [line for line in lines[:3] if line.startswith("-- ") and not line.startswith("-- include: ")]
    assert comments


@pytest.mark.parametrize("name", FILES)
def test_a_script_uses_only_what_every_supported_server_knows(name: str) -> None:
    used = set(re.findall(r"redis\.call\(\s*'(\w+)'", (FOLDER / f"{name}.lua").read_text()))
    assert used <= set(COMMANDS.split())


@pytest.mark.parametrize("name", LOADED)
def test_includes_of_a_script_are_in_front_of_it_once(name: str) -> None:
    own = (FOLDER / f"{name}.lua").read_text()
    included = re.match(r"-- include: (\w+)\n", own)
    assert load(name).source == (load(included[1]).source if included else "") + own
    functions = re.findall(r"^local function (\w+)", load(name).source, re.MULTILINE)
    assert len(functions) == len(set(functions))
