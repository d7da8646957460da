"""Refusals of Redis are 503 or 529 with `retry-after` and a reason for the operator; a mistake of ours is a 500."""

import asyncio
import errno
import socket
import ssl
from contextlib import AsyncExitStack, suppress

import pytest
from redis._parsers.base import BaseParser
from redis.asyncio import Redis
from redis.exceptions import ClusterError, InvalidResponse, MaxConnectionsError, RedisClusterException, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import Overloaded, StoreAway
from gateway.redis.connections import queue_client
from gateway.redis.failures import code_of, reason_of, redis_failures, replies_of
from tests.redis.servers import open_server

# As servers send them: Redis 7.0, 6.2 within a script, Valkey 9.1.
REFUSALS: dict[str, str | None] = {
    "LOADING Redis is loading the dataset in memory": "LOADING",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "MASTERDOWN",
    "READONLY You can't write against a read only replica.": "READONLY",
    "READONLY You can't write against a read only replica. script: ab12, on @user_script:1.": "READONLY",
    "ERR Error running script (call to f_ab12): @user_script:3: @user_script: 3: -READONLY You can't write": "READONLY",
    "NOREPLICAS Not enough good replicas to write.": "NOREPLICAS",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": "MISCONF",
    "MISCONF Errors writing to the AOF file: No space left on device": "MISCONF",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "BUSY",
    "TRYAGAIN Multiple keys request during rehashing of slot": "TRYAGAIN",
    "CLUSTERDOWN The cluster is down": "CLUSTERDOWN",
    "CROSSSLOT Keys in request don't hash to the same slot": "CROSSSLOT",
    "MOVED 3999 10.0.0.1:6381": "MOVED",
    "ASK 3999 10.0.0.1:6381": "ASK",
    "NOAUTH Authentication required.": "NOAUTH",
    "WRONGPASS invalid username-password pair or user is disabled.": "WRONGPASS",
    "NOPERM User app has no permissions to run the 'info' command": "NOPERM",
    "NOPERM this user has no permissions to access one of the keys used as arguments": "NOPERM",
    "ERR ACL failure in script: User app has no permissions to run the 'set' command script: on": "NOPERM",
    "ERR The user executing the script can't run this command or subcommand script: ab12, on @user_script:1.": "NOPERM",
    "DENIED Redis is running in protected mode because protected mode is enabled": "DENIED",
    "WRONGTYPE Operation against a key holding the wrong kind of value": "WRONGTYPE",
    "ERR unknown command 'EVALSHA', with args beginning with: 'ab12' '1' 'gw:b:canary'": "UNKNOWN",
    "ERR Unknown Redis command called from script script: ab12, on @user_script:1.": "UNKNOWN",
    "ERR max daily request limit exceeded. Limit: 10000": "ERR",
    "ERR DB index is out of range": "ERR",
    "no upstream host": "ERR",  # a proxy's
    "ERR max number of clients reached": None,
}


@pytest.mark.parametrize(("reply", "code"), REFUSALS.items(), ids=REFUSALS)
async def test_a_refusal_is_a_503_with_its_code_and_no_argument_in_the_reason(reply: str, code: str | None) -> None:
    with pytest.raises(StoreAway) as raised, redis_failures():
        raise BaseParser.parse_error(reply)
    error = raised.value
    assert (error.refusal, error.status, error.retry_after) == (code, 503, 2)
    assert error.reason.startswith(code or "no connection")
    for secret in ("canary", "10.0.0.1", "ab12", "app"):
        assert secret not in error.reason
        assert secret not in error.message


async def test_a_full_server_is_overloaded() -> None:
    with pytest.raises(Overloaded) as raised, redis_failures():
        raise BaseParser.parse_error("OOM command not allowed when used memory > 'maxmemory'.")
    assert raised.value.retry_after == 30


async def test_no_descriptors_left_for_a_connection_is_overload_of_the_gateway() -> None:
    with pytest.raises(Overloaded, match="descriptors") as raised, redis_failures():
        raise caused(RedisConnectionError("Error 24 connecting to 10.0.0.1:6379."), OSError(errno.EMFILE, "no"))
    assert raised.value.retry_after == 1


OUR_MISTAKES = (
    "ERR wrong number of arguments for 'get' command",
    "ERR Wrong number of args calling Redis command from script script: ab12, on @user_script:1.",
    "ERR syntax error",
    "ERR value is not an integer or out of range",
    "ERR no such item in the batch",
    "ERR user_script:1: Script attempted to access nonexistent global variable 'nosuch' script: ab12.",
    "ERR Error running script (call to f_ab12): @user_script:3: user_script:3: attempt to index a nil value",
    "ERR Error compiling script (new function): user_script:1: '=' expected near 'x'",
)


@pytest.mark.parametrize("reply", OUR_MISTAKES)
async def test_a_mistake_of_ours_is_no_failure_of_redis(reply: str) -> None:
    with pytest.raises(ResponseError), redis_failures():
        raise BaseParser.parse_error(reply)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = RedisConnectionError("Error 111 connecting to 10.0.0.1:6379. Connection refused.")
WITHOUT_A_CODE: dict[str, tuple[Exception, str]] = {
    "refused": (
        caused(REFUSED, ConnectionRefusedError(111, "('10.0.0.1', 6379)")),
        "no connection: Connection refused",
    ),
    "unknown host": (
        caused(RedisConnectionError("Error -2 connecting to secret.host"), socket.gaierror(-2, "Name not known")),
        "no connection: Name not known",
    ),
    "TLS to a plain port": (
        caused(RedisConnectionError("…"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
        "no connection: TLS failed",
    ),
    "closed": (RedisConnectionError("Connection closed by server."), "no connection: closed by the server"),
    "no free connection": (MaxConnectionsError("Too many connections"), "no connection: all of them are in use"),
    "no free connection in time": (
        caused(RedisConnectionError("No connection available."), TimeoutError()),
        "no connection: all of them are in use",
    ),
    "silence": (RedisTimeoutError("Timeout reading from 10.0.0.1:6379"), "no answer in time"),
    "another protocol": (InvalidResponse('Protocol error, got "H"'), "the answer is not in the protocol of Redis"),
    "a slot on the move": (ClusterError("TTL exhausted."), "the Cluster redirected the call too often"),
    "no node of a Cluster": (
        caused(RedisClusterException("Redis Cluster cannot be connected. … 10.0.0.1"), REFUSED),
        "no connection: Connection refused",
    ),
    "a Cluster that is none": (
        caused(
            RedisClusterException("Redis Cluster cannot be connected. … Cluster mode is not enabled on this node"),
            RedisClusterException("Cluster mode is not enabled on this node"),
        ),
        "Cluster mode is not enabled on this node",
    ),
}


@pytest.mark.parametrize(("error", "reason"), WITHOUT_A_CODE.values(), ids=WITHOUT_A_CODE)
async def test_failure_without_words_of_a_server_is_a_503_with_the_reason(error: Exception, reason: str) -> None:
    with pytest.raises(StoreAway) as raised, redis_failures():
        raise error
    assert raised.value.reason.startswith(reason)
    assert raised.value.refusal is None
    assert "10.0.0.1" not in raised.value.reason
    assert "secret.host" not in raised.value.reason


# On a real server


async def refusal(client: Redis, *command: str) -> str | None:
    """The code with which a command is refused, alone, in a script and in a pipeline alike."""
    script = f"return redis.call({', '.join(repr(word) for word in command)})"
    pipeline = client.pipeline(transaction=False).execute_command(*command)
    codes = set()
    for attempt in (client.execute_command(*command), client.eval(script, 0), replies_of(pipeline)):
        with pytest.raises(ResponseError) as raised:
            await attempt
        codes.add(code_of(raised.value))
        assert "canary" not in reason_of(raised.value)
    assert len(codes) == 1, codes
    return codes.pop()


WRITE = ("SET", "key", "canary")


async def test_the_refusals_of_a_real_server_are_known_by_their_codes() -> None:
    async with open_server() as server, AsyncExitStack() as stack:
        client = await stack.enter_async_context(server.client())
        assert await refusal(client, "NOSUCH", "canary") == "UNKNOWN"
        await client.hset("hash", "field", "value")
        assert await refusal(client, "INCR", "hash") == "WRONGTYPE"
        await client.config_set("min-replicas-to-write", 1)
        assert await refusal(client, *WRITE) == "NOREPLICAS"
        await client.config_set("min-replicas-to-write", 0)
        await client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-set")
        limited = await stack.enter_async_context(queue_client(server.url.replace("unix://", "unix://app:secret@")))
        assert await refusal(limited, *WRITE) == "NOPERM"
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await refusal(client, *WRITE) == "READONLY"


async def test_cancellation_that_the_library_swallows_goes_on() -> None:
    async def call() -> str:
        with redis_failures(), suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "went on"

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_call_after_an_earlier_cancellation_returns() -> None:
    async def call() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with redis_failures():
                await asyncio.sleep(0)
        return "cleaned up"

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned up"
