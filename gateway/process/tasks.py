"""Background tasks of a process: tasks that end with their owner, and steps that are repeated after any failure."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.errors import GatewayError, StoreAway

log = structlog.get_logger()

# After a failed step. At most 2 s: waiters for Redis continue within 5 s of its return, its timeouts included.
FIRST_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 2.0

# A library may swallow one cancellation; the task is cancelled again until it ends.
CANCEL_AGAIN_SECONDS: Final = 0.5

# "Exception in callback <bound method …", "Task exception was never retrieved"
BEFORE_REPR: Final = re.compile("[A-Za-z ]*")

Sleep = Callable[[float], Awaitable[object]]


@asynccontextmanager
async def background(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a task while the context is open, and await its end."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        await end([task])
        if not task.cancelled():
            task.result()


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they are done, however they end."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        # Again if need be: before Python 3.12 `wait_for`, by which redis-py sends, can swallow a cancellation.
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)


@dataclass(slots=True)
class Repeated:
    """Runs `step` again and again, `every` seconds apart. A step that fails never ends the loop, only delays it.

    A series of failures is logged when it begins and when it is over; at debug where Redis gives no answer, of which
    `redis_away` is the one line. `sleep` may return early: then it is time to look at `until`.
    """

    name: str
    step: Callable[[], Awaitable[object]]
    every: float = 0.0
    sleep: Sleep = asyncio.sleep
    failures: int = 0
    _is_outage: bool = False

    async def run(self) -> None:
        while True:
            await self.once()

    async def run_until(self, until: asyncio.Event) -> None:
        """Run like `run`, but start no step once `until` is set."""
        while not until.is_set():
            await self.once()

    async def once(self) -> None:
        try:
            await self.step()
        except Exception as error:  # noqa: BLE001 - the boundary: a loop outlives whatever one of its steps raises
            if self.failures == 0:
                self._is_outage = isinstance(error, StoreAway) and error.refusal is None
                level = log.debug if self._is_outage else log.warning
                level("loop_failed", loop=self.name, **describe(error))
            backoff = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(self.failures, 16))
            self.failures += 1
            await self.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            return
        if self.failures:
            level = log.debug if self._is_outage else log.info
            level("loop_recovered", loop=self.name, failures=self.failures)
            self.failures = 0
        await self.sleep(self.every)


def log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what an event loop reports: a callback that raised, a task with an error that was never read.

    To be set as the loop's exception handler. The one of asyncio prints the reprs of callbacks and their arguments, and
    the error's message, to standard error. Of the loop's own message only the words before the first repr are kept.
    """
    error = context.get("exception")
    problem = BEFORE_REPR.match(context.get("message", ""))
    found = {} if error is None else describe(error)
    log.error("event_loop_error", problem=problem[0].strip() if problem else "", **found)


def describe(error: BaseException) -> dict[str, object]:
    """Describe an error for a log line; an unexpected one only by type and place: its text could quote a prompt."""
    if isinstance(error, StoreAway):
        return {"error": error.type, "message": error.message, "reason": error.reason}
    if isinstance(error, GatewayError):
        return {"error": error.type, "message": error.message}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "unknown" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return {"error": type(error).__name__, "where": where}
