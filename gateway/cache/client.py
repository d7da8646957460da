"""Redis calls with a budget, after which the caller continues without the reply.

A call is never cancelled. It runs in a separate task until redis-py's timeouts end it, and a caller that leaves or
runs out of budget only stops waiting, so that no reply stays in a connection for the next call to read.

Reads are batched: all reads of one turn of the event loop are sent together, equal ones once (one GET takes 50 to 90 µs
of CPU, one of a batch of sixteen takes 10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from gateway.cache.breaker import Breaker
from gateway.errors import GatewayError
from gateway.redis.failures import redis_failures
from gateway.telemetry.metrics import CACHE_ERRORS

# The budget is the configured time less this, in which replies that arrived while the loop was busy are read.
GRACE: Final = 0.01
# Also in turns of the event loop. A reply takes several of them, and some more if a connection must be opened first;
# with hundreds of requests in each turn, they take longer than the budget even if Redis does not. With an idle loop
# they take a fraction of a millisecond.
GRACE_TURNS: Final = 30

Result = TypeVar("Result")
Reads = dict[str, list["asyncio.Future[bytes | None]"]]


class CacheAway(Exception):
    """Redis did not answer in time, could not be reached, or is skipped by the breaker."""


@dataclass(slots=True)
class Verdict:
    """Report of one call to the breaker, sent once: a late call has failed, even if it succeeds later."""

    breaker: Breaker
    _is_told: bool = False

    def succeeded(self) -> None:
        if not self._is_told:
            self._is_told = True
            self.breaker.succeeded()

    def failed(self, kind: Literal["late", "failed"]) -> None:
        if not self._is_told:
            self._is_told = True
            CACHE_ERRORS.labels(kind).inc()
            self.breaker.failed()


@dataclass(slots=True)
class Calls:
    redis: Redis
    breaker: Breaker
    budget: float
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set, repr=False)
    _collected: Reads = field(default_factory=dict, repr=False)

    async def read(self, key: str) -> bytes | None:
        """Return the key's value. Raises CacheAway."""
        if self.breaker.state != "closed" and not self.breaker.admits():
            raise CacheAway
        loop = asyncio.get_running_loop()
        if not self._collected:
            loop.call_soon(self._send)
        value: asyncio.Future[bytes | None] = loop.create_future()
        self._collected.setdefault(key, []).append(value)
        return await value

    async def run(self, call: Callable[[], Awaitable[Result]], budget: float | None = None) -> Result:
        """Return the call's result, waiting at most so many seconds. Raises CacheAway."""
        if not self.breaker.admits():
            raise CacheAway
        verdict = Verdict(self.breaker)
        task = self._start(_settled(call, verdict))
        for patience in (self.budget if budget is None else budget, GRACE):
            await asyncio.wait({task}, timeout=max(0.0, patience))
            if task.done():
                result: Result = task.result()
                return result
        for _ in range(GRACE_TURNS):
            await asyncio.sleep(0)
            if task.done():
                return task.result()  # type: ignore[no-any-return]  # of a task whose result is this call's
        verdict.failed("late")
        raise CacheAway

    async def close(self) -> None:
        """Wait for the open calls; redis-py's timeouts end each of them soon."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _send(self) -> None:
        reads, self._collected = self._collected, {}
        self._start(self._fetch(reads))

    async def _fetch(self, reads: Reads) -> None:
        loop, verdict = asyncio.get_running_loop(), Verdict(self.breaker)
        late = loop.call_later(self.budget, loop.call_later, GRACE, _run_out, reads, verdict, GRACE_TURNS)
        try:
            values = await _settled(lambda: get_all(self.redis, list(reads)), verdict)
        except CacheAway:
            _give_up(reads, verdict)
            return
        finally:
            late.cancel()
        for waiting, value in zip(reads.values(), values, strict=True):
            for one in waiting:
                if not one.done():
                    one.set_result(value)

    def _start(self, coroutine: Any) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have stopped waiting


async def get_all(redis: Redis | RedisCluster, keys: Sequence[str]) -> Sequence[bytes | None]:
    """Return their values: by one MGET, or on a Cluster by one pipeline of GETs per node."""
    client: Any = redis  # redis-py declares one result type for its sync and its async client
    if not isinstance(redis, RedisCluster):
        return list(await client.mget(keys))
    pipeline = client.pipeline()
    for key in keys:
        pipeline.get(key)
    return list(await pipeline.execute())


async def _settled(call: Callable[[], Awaitable[Result]], verdict: Verdict) -> Result:
    """Report the end to the breaker. Raises CacheAway."""
    try:
        with redis_failures():
            result = await call()
    except (GatewayError, RedisError, OSError) as error:
        verdict.failed("failed")
        raise CacheAway from error
    verdict.succeeded()
    return result


def _run_out(reads: Reads, verdict: Verdict, turns: int) -> None:
    """Give up after this many more turns of the loop."""
    if turns == 0:
        _give_up(reads, verdict)
    elif any(not one.done() for each in reads.values() for one in each):
        asyncio.get_running_loop().call_soon(_run_out, reads, verdict, turns - 1)


def _give_up(reads: Reads, verdict: Verdict) -> None:
    waiting = [one for each in reads.values() for one in each if not one.done()]
    if waiting:
        verdict.failed("late")
    for one in waiting:
        one.set_exception(CacheAway())
