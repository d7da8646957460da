"""The Lua scripts: loaded from `scripts/*.lua`, run by digest, and sent in full if the server does not have them.

Every script is idempotent, takes all its keys in KEYS and reads the server's clock, so a script with a lost reply is
simply run again. That is the only retry on the queue's connection: the client's own retries are off, since they would
repeat any command.

The first line of a script, `-- include: _batch`, names a file that is put in front of it. That file may include another
one.
"""

import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.redis.connections import leave_demoted
from gateway.redis.failures import redis_failures

_FOLDER: Final = Path(__file__).parent / "scripts"
_INCLUDE: Final = "-- include: "

Argument = str | bytes | int


class Evaluating(Protocol):
    """The part of a client that runs scripts."""

    def evalsha(self, sha: str, numkeys: int, /, *values: Any) -> Awaitable[Any]: ...

    def eval(self, script: str, numkeys: int, /, *values: Any) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class LuaScript:
    name: str
    source: str
    sha: str

    async def run(self, client: Redis, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        """Return the script's reply. Raises StoreAway or Overloaded (`redis_failures`)."""
        with redis_failures():
            try:
                return await self.evaluate(client, keys, arguments)
            except (RedisConnectionError, RedisTimeoutError):
                # The script may have run: all are safe to repeat, so the call is simply made again below.
                pass
            except ResponseError as error:
                if not await leave_demoted(client, error):
                    raise
            # A restarted or demoted server or a broken connection is met once; later attempts are the caller's.
            return await self.evaluate(client, keys, arguments)

    async def evaluate(self, client: Evaluating, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the script's reply to one call. Raises RedisError."""
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # A server that was restarted or has failed over does not know the script yet; EVAL also loads it.
            return await client.eval(self.source, len(keys), *keys, *arguments)


def load(name: str) -> LuaScript:
    """Load `scripts/<name>.lua`, with its includes."""
    source = _source_of(name)
    return LuaScript(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _source_of(name: str) -> str:
    source = (_FOLDER / f"{name}.lua").read_text("utf-8")
    first_line = source.partition("\n")[0]
    if not first_line.startswith(_INCLUDE):
        return source
    return _source_of(first_line.removeprefix(_INCLUDE).strip()) + source


COMMIT: Final = load("commit")
DISCARD: Final = load("discard")
CLAIM: Final = load("claim")
RENEW: Final = load("renew")
DONE: Final = load("done")
RELEASE: Final = load("release")
CANCEL: Final = load("cancel")
SETTLE: Final = load("settle")
DELETE: Final = load("delete")
RESULTS: Final = load("results")
LIST: Final = load("list")

SCHEDULE: Final = load("schedule")
PICK: Final = load("pick")
PARK: Final = load("park")
WAKE: Final = load("wake")
INSPECT: Final = load("inspect")
DUE: Final = load("due")
DROP: Final = load("drop")

CIRCUIT: Final = load("circuit")
LANE: Final = load("lane")
LOAD: Final = load("load")

PROBE: Final = load("probe")

THREAD: Final = load("thread")
THREAD_OF: Final = load("thread_of")

CACHE_KEEP: Final = load("cache_keep")
CACHE_FORGET: Final = load("cache_forget")
CACHE_LOCK: Final = load("cache_lock")
CACHE_PURGE: Final = load("cache_purge")

ADMIT: Final = load("admit")
ACCOUNT: Final = load("account")
ENTER: Final = load("enter")
ACCESS_WRITE: Final = load("access_write")
