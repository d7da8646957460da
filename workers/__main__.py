"""`python -m workers`: one worker, until SIGTERM or SIGINT; another signal a second later ends it at once.

Told to stop, it claims nothing more and is no longer ready, finishes what is in hand within the drain time, gives the
rest back, and ends with status 0. With `--child` it also stops when its standard input ends: a parent holds the other
end of that pipe, and is gone then, however it went.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import structlog

from gateway.errors import GatewayError
from gateway.process.gc_tuning import settle_memory
from gateway.process.tasks import Stop, log_loop_error
from gateway.redis.embedded import EmbeddedServerError
from gateway.settings import Settings, SettingsError, load_settings, needs_redis, needs_upstream, unknown_variables
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.logs import configure_logs
from gateway.wiring import to_start_problem
from workers.health import admin_app, listening
from workers.wiring import open_worker
from workers.worker import Worker

if sys.platform != "win32":
    import uvloop

log = structlog.get_logger()

CHILD = "--child"


def main() -> None:
    arguments = sys.argv[1:]
    if arguments not in ([], [CHILD]):
        fail(f"a worker takes no arguments but {CHILD}; its settings are GATEWAY_ variables")
    try:
        settings = load_settings(needs_redis, needs_upstream)
    except SettingsError as error:
        fail(str(error))
    output = configure_logs(settings.log_level, settings.log_format)
    for name in unknown_variables(os.environ):
        log.warning("unknown_variable", name=name, hint="no setting has this name")
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings, output, watch_parent=bool(arguments)))
    except (EmbeddedServerError, GatewayError) as error:
        fail(to_start_problem(error))
    except OSError as error:
        fail(f"cannot listen on {settings.admin_host}:{settings.worker_admin_port}: {error.strerror}")


async def run(settings: Settings, output: LogWriter, *, watch_parent: bool = False) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signalled)
    if watch_parent:
        loop.add_reader(sys.stdin, parent_is_gone, loop, stop)
    async with open_worker(settings) as worker:
        app = admin_app(lambda: problem_of(worker, stop))
        async with listening(app, settings.admin_host, settings.worker_admin_port) as (host, port):
            settle_memory()
            log.info("worker_started", admin=f"{host}:{port}", slots=worker.slots, pid=os.getpid())
            output.flush()
            await worker.run(stop.wanted, settings.drain_seconds)
            log.info("worker_stopped")


def problem_of(worker: Worker, stop: Stop) -> str | None:
    """Why no work should be expected of this worker."""
    if stop.wanted.is_set():
        return "draining"
    return "redis cannot be reached" if worker.claiming.failures else None


def parent_is_gone(loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
    """The parent never writes: what can be read from its pipe is the end of it."""
    loop.remove_reader(sys.stdin)
    stop.signalled()


def new_event_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop() if sys.platform == "win32" else uvloop.new_event_loop()


def fail(message: str) -> NoReturn:
    """One line a problem, on stderr if that can be written; exit status 1."""
    with suppress(OSError):
        for line in message.splitlines():
            sys.stderr.write(f"dragoman: {line}\n")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
