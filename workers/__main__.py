"""`python -m workers`: settings to a running worker, until SIGTERM or SIGINT; a second signal ends it at once.

Told to stop, it claims nothing more and is no longer ready, finishes what is in hand within the drain time, gives the
rest back, and ends with status 0. Leases are renewed and results recorded until the last item is out of hand.
"""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from math import inf

import structlog

from gateway.batches.queue import BatchQueue
from gateway.batches.server import BatchServer
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.logs import FLUSH_SECONDS, BufferedLogger, configure_logs
from gateway.parts import build_exchange, load_keyring, open_batch_server
from gateway.redis.embedded import EmbeddedServerError
from gateway.relay import Pace
from gateway.settings import Settings, SettingsError, load_settings, unknown_variables
from gateway.tasks import Repeated, Stop, background
from gateway.upstream.retry import RetryPolicy
from gateway.upstream.transport import Transport
from workers import metrics
from workers.attempt import Attempts
from workers.gates import SHARE_SECONDS, Gates
from workers.health import admin_app, listening
from workers.holdings import Holdings
from workers.recorder import Recorder
from workers.renewal import ROUND_EVERY, LeaseKeeper
from workers.sweeper import CENSUS_SECONDS, SWEEP_SECONDS, Upkeep
from workers.worker import Worker

if sys.platform != "win32":
    import uvloop

log = structlog.get_logger()

# Set by a parent that keeps a pipe to its children: its end says that the parent is gone, however it went.
CHILD_OPTION = "--child"


@dataclass(frozen=True, slots=True)
class Parts:
    """A worker and the loops that keep it going."""

    worker: Worker
    loops: tuple[Repeated, ...]


def main() -> None:
    try:
        settings = load_settings()
        check_settings(settings)
    except SettingsError as error:
        fail(str(error))
    output = configure_logs(settings.log_level, settings.log_format)
    for name in unknown_variables(os.environ):
        log.warning("unknown_variable", name=name, hint="no setting has this name")
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings, output, watch_parent=CHILD_OPTION in sys.argv[1:]))
    except (EmbeddedServerError, GatewayError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot listen on {settings.admin_host}:{settings.worker_admin_port}: {error.strerror}")


def check_settings(settings: Settings) -> None:
    """Raises SettingsError for what a worker cannot start without."""
    if settings.redis_url is None:
        raise SettingsError("GATEWAY_REDIS_URL: a worker takes its batches from Redis; set it, as for the front ends")
    if not settings.has_upstream:
        raise SettingsError("OPENROUTER_API_KEY: no upstream is configured; set it, or GATEWAY_UPSTREAM_URL")


async def run(settings: Settings, output: BufferedLogger, *, watch_parent: bool = False) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signalled)
    if watch_parent:
        loop.add_reader(sys.stdin, parent_is_gone, loop, stop)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(background(flush_regularly(output)))
        worker = await stack.enter_async_context(working_parts(settings))
        admin = await stack.enter_async_context(
            listening(admin_app(lambda: problem_of(worker, stop)), settings.admin_host, settings.worker_admin_port)
        )
        log.info("worker_started", admin="{}:{}".format(*admin), slots=worker.slots, pid=os.getpid())
        output.flush()
        await worker.run(stop.wanted, settings.drain_seconds)
        log.info("worker_stopped")


@asynccontextmanager
async def working_parts(settings: Settings) -> AsyncIterator[Worker]:
    """A worker that is ready to run, with its loops running."""
    async with AsyncExitStack() as stack:
        client = Transport(max_connections=settings.worker_slots)
        stack.push_async_callback(client.close)
        server = await stack.enter_async_context(open_batch_server(settings))
        assert server is not None  # as check_settings has seen to
        keyring = await load_keyring(settings, server.redis)
        exchange = to_patient_exchange(build_exchange(settings, client, keyring))
        parts = assemble(settings, server, exchange)
        await stack.enter_async_context(background(exchange.pulse.run()))
        for loop in parts.loops:
            await stack.enter_async_context(background(loop.run()))
        yield parts.worker


def to_patient_exchange(exchange: Exchange) -> Exchange:
    """Without what a live client needs: retries at once, pings, an early 200."""
    pace = Pace(commit_after=inf, ping_after=inf, first_content=exchange.pace.first_content, stalled_client=inf)
    return replace(exchange, retry=RetryPolicy(max_attempts=1), pace=pace)


def assemble(settings: Settings, server: BatchServer, exchange: Exchange) -> Parts:
    lease = settings.worker_lease_seconds
    queue = BatchQueue(server, worker_name(), lease_ms=round(lease * 1000))
    gates = Gates(server, settings.worker_slots)
    recorder = Recorder(queue.done)
    holdings = Holdings()
    attempts = Attempts(queue, exchange, gates, recorder, lease)
    worker = Worker(queue, attempts, gates, holdings, exchange.table, settings.worker_slots)
    keeper = LeaseKeeper(queue.renew, holdings, lease, count_given_up)
    upkeep = Upkeep(server)
    loops = (
        Repeated("record", recorder.step),
        Repeated("renew", keeper.step, every=lease * ROUND_EVERY),
        Repeated("gates", gates.share, every=SHARE_SECONDS),
        Repeated("sweep", upkeep.sweep, every=SWEEP_SECONDS),
        Repeated("census", upkeep.count, every=CENSUS_SECONDS),
    )
    return Parts(worker, loops)


def worker_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def count_given_up(reason: str, items: int) -> None:
    metrics.LEASES_GIVEN_UP.labels(reason).inc(items)


def problem_of(worker: Worker, stop: Stop) -> str | None:
    """Why no work should be expected of this worker."""
    if stop.wanted.is_set():
        return "draining"
    return "redis is away" if worker.claiming.failures else None


def parent_is_gone(loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
    """The parent never writes: what can be read from its pipe is the end of it."""
    loop.remove_reader(sys.stdin)
    stop.signalled()


async def flush_regularly(output: BufferedLogger) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        output.flush()


def new_event_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop() if sys.platform == "win32" else uvloop.new_event_loop()


def fail(message: str) -> None:
    """One line a problem, on stderr; exit status 1."""
    for line in message.splitlines():
        sys.stderr.write(f"dragoman: {line}\n")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
