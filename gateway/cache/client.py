"""Redis calls with a budget, after which the caller continues without the reply.

At most as many calls are open as there are connections; others wait for a connection within their budget. A call that
was sent is never cancelled. It runs in a separate task until redis-py's timeouts end it, and a caller that leaves or
runs out of budget only stops waiting, so that no reply stays in a connection for the next call to read.

Reads are batched: all reads of one turn of the event loop are sent together, equal ones once (one GET takes 50 to 90 µs
of CPU, one of a batch of sixteen takes 10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from gateway.errors import GatewayError
from gateway.redis.breaker import Breaker, Tolerance
from gateway.redis.connections import CACHE_CONNECTIONS
from gateway.redis.failures import NO_ANSWER, problem_of, redis_failures
from gateway.redis.patience import GRACE_TURNS
from gateway.telemetry.metrics import CACHE_ERRORS, CACHE_UP

log = structlog.get_logger()

# The budget is the configured time less this, in which replies that arrived while the loop was busy are read.
GRACE: Final = 0.01
# GRACE_TURNS turns of the loop follow. With hundreds of requests in each turn, they take longer than the budget even if
# Redis does not; they take longer than this only if the loop is busy.
BUSY_SECONDS: Final = 0.02

# A failure is a call that Redis refused or did not answer in time, never one that had to wait for a connection.
TOLERANCE: Final = Tolerance(failures=5, within=10.0, open_seconds=5.0)

Result = TypeVar("Result")
Reads = dict[str, list["asyncio.Future[bytes | None]"]]


class CacheAway(Exception):
    """Redis did not answer in time, could not be reached, or is skipped by the breaker. The argument says why."""


def cache_breaker(clock: Callable[[], float]) -> Breaker:
    CACHE_UP.set(1)
    return Breaker(clock, TOLERANCE, _note_change)


def _note_change(reason: str | None) -> None:
    CACHE_UP.set(reason is None)
    if reason is None:
        log.info("cache_redis_recovered")
        return
    log.warning("cache_redis_given_up", failures=TOLERANCE.failures, seconds=TOLERANCE.open_seconds, reason=reason)


@dataclass(slots=True)
class Verdict:
    """Report of one call to the breaker, sent once.

    `sent_at`: when it got a connection. A call without one is no evidence about Redis. A late call has failed, even if
    it succeeds later; but if this process was busy in the meantime, the end of the call decides.
    """

    breaker: Breaker
    sent_at: float | None = None
    _state: Literal["open", "late", "answered"] = "open"

    def succeeded(self) -> None:
        if self._state == "open":
            self.breaker.succeeded()
        self._state = "answered"

    def failed(self, reason: str) -> None:
        if self._state == "open":
            CACHE_ERRORS.labels("failed").inc()
        if self._state != "answered":
            self._state = "answered"
            self.breaker.failed(reason)

    def ran_out(self, overrun: float) -> None:
        """Report that the budget was used up, `overrun` seconds ago."""
        if self._state != "open":
            return
        self._state = "late"
        CACHE_ERRORS.labels("crowded" if self.sent_at is None else "late").inc()
        if self.sent_at is not None and overrun < BUSY_SECONDS:
            self._state = "answered"
            self.breaker.was_late(NO_ANSWER, self.sent_at)


@dataclass(slots=True)
class CacheClient:
    redis: Redis
    breaker: Breaker
    budget: float
    connections: int = CACHE_CONNECTIONS
    _slots: asyncio.Semaphore = field(init=False, repr=False)
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set, repr=False)
    _collected: Reads = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.connections)

    async def read(self, key: str) -> bytes | None:
        """Return the key's value. Raises CacheAway."""
        if self.breaker.state != "closed" and not self.breaker.admits():
            raise CacheAway("not asked")
        loop = asyncio.get_running_loop()
        if not self._collected:
            loop.call_soon(self._send)
        value: asyncio.Future[bytes | None] = loop.create_future()
        self._collected.setdefault(key, []).append(value)
        return await value

    async def run(self, call: Callable[[], Awaitable[Result]], budget: float | None = None) -> Result:
        """Return the call's result, waiting at most this many seconds. Raises CacheAway."""
        if not self.breaker.admits():
            raise CacheAway("not asked")
        verdict = Verdict(self.breaker)
        patience = max(0.0, self.budget if budget is None else budget)
        ends_at = asyncio.get_running_loop().time() + patience + GRACE
        task = self._start(self._in_turn(call, verdict))
        try:
            for seconds in (patience, GRACE):
                await asyncio.wait({task}, timeout=seconds)
                if task.done():
                    result: Result = task.result()
                    return result
            for _ in range(GRACE_TURNS):
                await asyncio.sleep(0)
                if task.done():
                    return task.result()  # type: ignore[no-any-return]
        finally:
            if verdict.sent_at is None:
                task.cancel()
        verdict.ran_out(asyncio.get_running_loop().time() - ends_at)
        raise CacheAway(NO_ANSWER)

    async def close(self) -> None:
        """Wait for the open calls; redis-py's timeouts end each of them soon."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _send(self) -> None:
        reads, self._collected = self._collected, {}
        self._start(self._fetch(reads))

    async def _fetch(self, reads: Reads) -> None:
        loop, verdict = asyncio.get_running_loop(), Verdict(self.breaker)
        run_out = partial(_run_out, reads, verdict, loop.time() + self.budget + GRACE)
        late = loop.call_later(self.budget, loop.call_later, GRACE, run_out, GRACE_TURNS)
        try:
            async with self._slots:
                if not _waiting(reads):
                    return  # they have given up
                values = await _settled(lambda: get_all(self.redis, list(reads)), verdict)
        except CacheAway as error:
            _give_up(reads, str(error))
            return
        late.cancel()
        for waiting, value in zip(reads.values(), values, strict=True):
            for one in waiting:
                if not one.done():
                    one.set_result(value)

    async def _in_turn(self, call: Callable[[], Awaitable[Result]], verdict: Verdict) -> Result:
        async with self._slots:
            return await _settled(call, verdict)

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
    """Make the call and report its end to the breaker. Raises CacheAway."""
    verdict.sent_at = verdict.breaker.clock()
    try:
        with redis_failures():
            result = await call()
    except (GatewayError, RedisError, OSError) as error:
        reason = problem_of(error)
        verdict.failed(reason)
        raise CacheAway(reason) from error
    verdict.succeeded()
    return result


def _run_out(reads: Reads, verdict: Verdict, ends_at: float, turns: int) -> None:
    """Give up after this many more turns of the loop."""
    if not _waiting(reads):
        return
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(_run_out, reads, verdict, ends_at, turns - 1)
        return
    verdict.ran_out(loop.time() - ends_at)
    _give_up(reads, NO_ANSWER)


def _waiting(reads: Reads) -> list["asyncio.Future[bytes | None]"]:
    return [one for each in reads.values() for one in each if not one.done()]


def _give_up(reads: Reads, reason: str) -> None:
    for one in _waiting(reads):
        one.set_exception(CacheAway(reason))
