"""Limits of upstreams that hold over all processes: calls at once, and calls and tokens a minute (`lane`).

A call to a limited upstream asks Redis before it begins, since counts that are exchanged later are exceeded meanwhile.
Without an answer in time this process decides by its own calls, with its part of the limit. Calls in flight have
a lease, so that those of a process that died end too. An upstream without limits costs nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from operator import attrgetter
from typing import Final

import structlog

from gateway.errors import GatewayError, UpstreamFull
from gateway.redis import scripts
from gateway.redis.server import RedisServer
from gateway.redis.silence import AWAY_SECONDS, SilenceLimit
from gateway.upstream.capacity.lane import FULL_SECONDS, LaneCall, LaneLimits, LaneUse
from gateway.upstream.routes.route import Upstream

log = structlog.get_logger()

# The calls of a dead process end with their lease; a living one misses two renewals before it loses a lease.
LEASE_SECONDS: Final = 60.0
RENEW_SECONDS: Final = 20.0
# The last candidate is waited for: a client that waits longer is better off with a 529 and `retry-after`.
QUEUE_SECONDS: Final = 1.0
# Calls of other processes end without a word to this one.
POLL_SECONDS: Final = 0.1
# Of the calls at once, as many may wait.
QUEUE_SHARE: Final = 0.1
# Calls a second by which a batch grows after a refusal.
GROWTH: Final = 8.0
# Ends of calls that wait for Redis. Beyond them leases end the calls.
MAX_ENDED: Final = 10_000

LIMITS: Final = {
    "concurrency": "calls at once",
    "batch": "calls of batches at once",
    "rpm": "calls a minute",
    "tpm": "tokens a minute",
}


NORMAL: Final = 1


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """Needs of a call. `tokens`: the prompt's. `waits`: no candidate is left. `used`: counts tokens at its end.

    `priority` of a live call: 0 low, 1 normal, 2 high.
    """

    tokens: int
    is_batch: bool
    waits: bool
    used: Callable[[], int] = field(repr=False)
    priority: int = NORMAL


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for a place. `is_refused`: one of a higher priority has taken its place in the queue."""

    priority: int
    wakes: asyncio.Event = field(default_factory=asyncio.Event)
    is_refused: bool = False


@dataclass(slots=True)
class Lanes:
    """`share`: this process's part of a limit where it decides alone. Run `send_ended` and `renew` beside it."""

    server: RedisServer | None = None
    share: float = 1.0
    clock: Callable[[], float] = time.monotonic
    silence: SilenceLimit = field(default_factory=SilenceLimit)
    _uses: dict[str, LaneUse] = field(default_factory=dict)
    _queues: dict[str, list[Waiter]] = field(default_factory=dict)
    _refused: dict[str, tuple[float, int]] = field(default_factory=dict)  # batches: when, and how many calls they had
    _ended: list[tuple[LaneCall, int]] = field(default_factory=list)
    _wakes: asyncio.Event = field(default_factory=asyncio.Event)
    _name: str = field(default_factory=lambda: secrets.token_hex(8))
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def are_used(self) -> bool:
        """Whether any upstream with limits has been called."""
        return bool(self._uses)

    async def enter(self, upstream: Upstream, limits: LaneLimits, demand: LaneDemand) -> LaneCall:
        """Begin a call, to be ended by `leave`. Raises UpstreamFull."""
        limits = limits.of_call(is_batch=demand.is_batch, is_low=demand.priority < NORMAL)
        if limits.tpm is not None and demand.tokens > limits.tpm:
            raise UpstreamFull(
                f"The prompt has about {demand.tokens} tokens; {upstream.name} takes {limits.tpm} a minute at most.",
                should_retry=False,
            )
        name = f"{self._name}:{next(self._numbers)}"
        call = LaneCall(upstream.circuit, name, demand.tokens, demand.is_batch)
        wait, reached = await self._ask(call, limits)
        if demand.waits and 0 < wait <= QUEUE_SECONDS:
            wait, reached = await self._queue(call, limits, demand.priority, wait, reached)
        if wait > 0:
            if demand.is_batch:
                self._refused[call.lane] = self.clock(), self._uses[call.lane].batches
            limit = getattr(limits, reached)
            text = f"{upstream.name} has reached the limit of {limit} {LIMITS[reached]} that this gateway keeps."
            raise UpstreamFull(text, retry_after=ceil(wait))
        return call

    def leave(self, call: LaneCall, used: int) -> None:
        """End a call that has used `used` tokens."""
        self._uses[call.lane].leave(call, used, self.clock())
        self._end(call, used)
        queue = self._queues.get(call.lane)
        if queue:
            next_of(queue).wakes.set()

    def is_full(self, upstream: Upstream) -> bool:
        """Return whether this process alone has reached a limit."""
        use = self._uses.get(upstream.circuit)
        if use is None or upstream.limits is None:
            return False
        return use.wait(upstream.limits.of_call(is_batch=False), 1, self.clock())[0] > 0

    def room_for_batch(self, upstream: Upstream) -> int | None:
        """Return the number of calls that batches may begin, by the count of this process; None for any number.

        Live requests of other processes take places too: after a refusal, the number of calls grows again from those
        that were in flight then.
        """
        most = None if upstream.limits is None else upstream.limits.of_call(is_batch=True).batch
        if most is None:
            return None
        use, refused = self._uses.get(upstream.circuit), self._refused.get(upstream.circuit)
        if refused is not None:
            at, batches = refused
            most = min(most, batches + int(GROWTH * (self.clock() - at)))
        return max(0, most - (0 if use is None else use.batches))

    async def send_ended(self) -> None:
        """Report calls that have ended; to be called again and again. Raises StoreAway, and keeps what was not sent."""
        await self._wakes.wait()
        while self._ended and self.server is not None:
            call, used = self._ended[0]
            await self.server.run(
                scripts.LANE, self.server.keys.lane(call.lane), ("leave", call.id, call.tokens, max(0, used))
            )
            self._ended.pop(0)
        self._wakes.clear()

    async def renew(self) -> None:
        """Extend the leases of the calls in flight."""
        for lane, use in list(self._uses.items()):
            if use.running and self.server is not None:
                arguments: list[str | int] = ["renew", round(LEASE_SECONDS * 1000), *use.running]
                await self.server.run(scripts.LANE, self.server.keys.lane(lane), arguments)

    async def _queue(
        self, call: LaneCall, limits: LaneLimits, priority: int, wait: float, reached: str
    ) -> tuple[float, str]:
        """Wait for a place in a queue of limited length, which the calls of the lowest priority leave first."""
        queue, gives_up = self._queues.setdefault(call.lane, []), self.clock() + QUEUE_SECONDS
        if len(queue) >= max(1, round(QUEUE_SHARE * (limits.concurrency or 0))):
            last = min(queue, key=attrgetter("priority"))
            if last.priority >= priority:
                return wait, reached
            last.is_refused = True
            last.wakes.set()
            queue.remove(last)
        waiter = Waiter(priority)
        queue.append(waiter)
        try:
            while wait > 0 and (left := gives_up - self.clock()) > 0:
                await _pause(waiter.wakes, min(left, POLL_SECONDS))
                waiter.wakes.clear()
                if waiter.is_refused:
                    break
                wait, reached = await self._ask(call, limits)
            return wait, reached
        finally:
            if not waiter.is_refused:
                queue.remove(waiter)

    async def _ask(self, call: LaneCall, limits: LaneLimits) -> tuple[float, str]:
        """Return the seconds to wait and the limit that is reached; 0 once the call has begun."""
        use = self._uses.setdefault(call.lane, LaneUse())
        answer = await self._ask_server(call, limits)
        if answer is None and call.is_batch and self.server is not None:
            # Batches can wait, and would take what live requests of other processes need.
            return FULL_SECONDS, next(name for name in LIMITS if getattr(limits, name) is not None)
        now = self.clock()
        wait, reached = use.wait(limits.shared(self.share), call.tokens, now) if answer is None else answer
        if wait == 0:
            use.enter(call, now)
        return wait, reached

    async def _ask_server(self, call: LaneCall, limits: LaneLimits) -> tuple[float, str] | None:
        """Return the script's answer, None without one."""
        if self.server is None or self.silence.is_away:
            return None
        arguments: list[str | int] = ["take", call.id, round(LEASE_SECONDS * 1000), limits.concurrency or 0]
        arguments += [-1 if limits.batch is None else limits.batch, limits.rpm or 0, limits.tpm or 0, call.tokens]
        try:
            async with self.silence.call():
                wait, reached = await self.server.run(scripts.LANE, self.server.keys.lane(call.lane), arguments)
        except asyncio.CancelledError:
            self._end(call, 0)  # it may be let in all the same
            raise
        except GatewayError:
            log.warning("limits_local", circuit=call.lane, seconds=AWAY_SECONDS)
            return None
        return wait / 1000, reached.decode()

    def _end(self, call: LaneCall, used: int) -> None:
        if self.server is not None and len(self._ended) < MAX_ENDED:
            self._ended.append((call, used))
            self._wakes.set()


def next_of(queue: Sequence[Waiter]) -> Waiter:
    """Return the call to wake: of the highest priority the newest, since clients give up the oldest first."""
    return max(reversed(queue), key=attrgetter("priority"))


async def _pause(wakes: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wakes.wait()
    except TimeoutError:
        return
