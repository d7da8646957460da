"""`python -m workers`: one worker, until SIGTERM or SIGINT; another signal a second later ends it at once.

A worker started before its Redis waits for it, alive and not ready. On a stop signal it stops claiming, turns unready,
finishes the items in flight within the drain time, releases the rest, and exits with status 0. With `--child` it also
stops when its standard input closes, which means that the parent process has ended.
"""

import asyncio
import os
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

from gateway.errors import GatewayError, StoreAway
from gateway.process.gc_tuning import settle_memory
from gateway.process.ports import cannot_listen
from gateway.process.signals import StopRequest, new_event_loop, report_ready, stop_on_signals
from gateway.process.tasks import log_loop_error
from gateway.redis.embedded import EmbeddedServerError
from gateway.settings import Settings, SettingsError, load_settings, needs_redis, needs_upstream, unknown_variables
from gateway.settings.exposure import exposed_files
from gateway.telemetry import metrics
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.logs import configure_logs
from gateway.wiring import to_guard, to_start_problem
from workers.health import admin_handler, listening
from workers.wiring import open_worker
from workers.worker import Worker

log = structlog.get_logger()

CHILD = "--child"

# The variables of the admin listener's host and port.
ADMIN = ("GATEWAY_ADMIN_HOST", "GATEWAY_WORKER_ADMIN_PORT")

# Between checks of an unavailable Redis. Recovery is noticed within this plus the time of one check, 5 s in all.
RETRY_SECONDS = 2.0


def main() -> None:
    arguments = sys.argv[1:]
    if arguments not in ([], [CHILD]):
        fail(f"a worker takes no arguments but {CHILD}; its settings are GATEWAY_ variables")
    try:
        settings = load_settings(needs_redis, needs_upstream)
    except SettingsError as error:
        fail(str(error), error.exit_status)
    output = configure_logs(settings.log_level, settings.log_format)
    for name in unknown_variables(os.environ, settings.config.file.variables):
        log.warning("unknown_variable", name=name, hint="no setting has this name")
    for line in (*settings.config.warnings, *map(": ".join, exposed_files(settings))):
        log.warning("config_doubtful", problem=line)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings, output, is_child=bool(arguments)))
    except (EmbeddedServerError, GatewayError) as error:
        fail(to_start_problem(error))
    except SettingsError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot start: {error}")


async def run(settings: Settings, output: LogWriter, *, is_child: bool = False) -> None:
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    readiness = Readiness(stop_on_signals(is_child=is_child))
    async with AsyncExitStack() as stack:
        handler, guard = admin_handler(lambda: readiness.problem), to_guard(settings)
        try:
            listener = listening(handler, settings.admin_host, settings.worker_admin_port, guard)
            address = await stack.enter_async_context(listener)
        except (OSError, UnicodeError) as error:
            raise cannot_listen(ADMIN, settings.admin_host, settings.worker_admin_port, error) from None
        admin = "{}:{}".format(*address)
        worker = await open_patiently(settings, stack, readiness, admin)
        if worker is None:
            return
        settle_memory()
        log.info("worker_started", admin=admin, slots=worker.slots, pid=os.getpid())
        output.flush()
        if is_child:
            report_ready()
        await worker.run(readiness.stop.wanted, settings.drain_seconds)
        log.info("worker_stopped")


@dataclass(slots=True)
class Readiness:
    """`away`: the reason why Redis could not be used at the last attempt to start."""

    stop: StopRequest
    worker: Worker | None = None
    away: str = "not reached yet"

    @property
    def problem(self) -> str | None:
        """Return the reason why this worker is not ready; None if it is."""
        if self.stop.wanted.is_set():
            return "draining"
        if self.worker is None:
            return f"redis: {self.away}"
        if self.worker.monitor.problem is not None:
            return f"redis: {self.worker.monitor.problem}"
        return "redis: items cannot be claimed" if self.worker.claiming.failures else None


async def open_patiently(settings: Settings, stack: AsyncExitStack, readiness: Readiness, admin: str) -> Worker | None:
    """Return a worker, closed with the stack, once its Redis answers; None if stopped before that."""
    problem = ""
    while not readiness.stop.wanted.is_set():
        try:
            readiness.worker = await stack.enter_async_context(open_worker(settings))
        except StoreAway as error:
            before, problem, readiness.away = problem, to_start_problem(error), error.reason
        else:
            return readiness.worker
        metrics.REDIS_UP.set(0)
        if problem != before:
            log.warning("redis_away", admin=admin, hint="the worker waits until it answers", problem=problem)
        await wait_for(readiness.stop.wanted, RETRY_SECONDS)
    return None


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def fail(message: str, status: int = 1) -> NoReturn:
    """Write one line per problem to stderr, if possible; exit."""
    # stderr may be closed; the exit status remains.
    with suppress(OSError):
        for line in message.splitlines():
            sys.stderr.write(f"dragoman: {line}\n")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
