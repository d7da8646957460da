"""Build a worker from settings, with its background loops."""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from gateway.batches.queue import BatchQueue
from gateway.batches.server import BatchServer
from gateway.exchange.exchange import Exchange
from gateway.exchange.observers import tracing
from gateway.exchange.sharing import share_calls, share_learned
from gateway.process.tasks import Repeated, background
from gateway.settings import Settings
from gateway.telemetry.activity import Activity
from gateway.telemetry.activity_store import SharedActivity
from gateway.telemetry.monitors import RedisMonitor, watch_loop
from gateway.upstream.capacity.loads import Loads
from gateway.upstream.health.circuits import SHARE_SECONDS, Circuits
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.models.catalog import WATCH_SECONDS, Catalog
from gateway.wiring import (
    build_admission,
    build_client,
    build_exchange,
    fill_directory,
    keep_access,
    load_keyring,
    open_batch_server,
    open_reload,
)
from workers import metrics
from workers.attempt import Attempts
from workers.in_flight import InFlightItems
from workers.maintenance import CENSUS_SECONDS, SWEEP_SECONDS, Maintenance
from workers.recorder import Recorder
from workers.renewal import ROUND_EVERY, LeaseKeeper
from workers.worker import Worker


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[Worker]:
    """Yield a worker to `run`; while the context is open, its leases are renewed and its results recorded.

    Raises Unavailable, or EmbeddedServerError, when there is no Redis to work on.
    """
    async with AsyncExitStack() as stack:
        client = build_client(settings, settings.worker_slots)
        stack.push_async_callback(client.close)
        server = await stack.enter_async_context(open_batch_server(settings))
        assert server is not None  # the settings name one
        keyring = await load_keyring(settings, server.server)
        exchange = to_patient_exchange(build_exchange(settings, client, keyring))
        await stack.enter_async_context(tracing(settings, exchange))
        access = exchange.admission = build_admission(settings, keyring, server)
        await fill_directory(access)
        stack.push_async_callback(access.ledger.flush)
        for chore in keep_access(exchange):
            await stack.enter_async_context(background(chore))
        worker, loops = build_worker(server, exchange, settings.worker_slots, settings.worker_lease_seconds)
        worker.most_bytes = settings.worker_bytes
        await stack.enter_async_context(background(exchange.heartbeat.run()))
        await stack.enter_async_context(background(watch_loop()))
        catalog = Catalog(client, exchange.routing, redactor=exchange.redactor)
        await stack.enter_async_context(background(Repeated("catalog", catalog.refresh, WATCH_SECONDS).run()))
        await stack.enter_async_context(background(open_reload(settings, exchange, catalog).run()))
        await stack.enter_async_context(background(worker.monitor.run()))
        await stack.enter_async_context(background(share_learned(exchange, server.server).run()))
        activity = Activity(
            SharedActivity(server.server), "worker", lambda: {"open": len(worker.in_flight), "slots": worker.slots}
        )
        exchange.observers += (activity.observe,)
        await stack.enter_async_context(background(activity.run()))
        metrics.SLOTS.set(settings.worker_slots)
        for loop in loops:
            await stack.enter_async_context(background(loop.run()))
        yield worker


def to_patient_exchange(exchange: Exchange) -> Exchange:
    """Return the exchange with one attempt a call and no total timeout: an item is retried through the queue."""
    return replace(exchange, retry=RetryPolicy(max_attempts=1), timeouts=exchange.timeouts._replace(total=None))


def build_worker(
    server: BatchServer, exchange: Exchange, slots: int, lease_seconds: float
) -> tuple[Worker, tuple[Repeated, ...]]:
    queue = BatchQueue(server, worker_name(), lease_ms=round(lease_seconds * 1000))
    circuits = Circuits(server.server, slots)
    exchange.circuits.tells_alone = False
    loads = Loads(server.server, exchange.circuits, runs_batches=True)
    exchange.observers += (lambda record: loads.observe(record, exchange.table.upstreams),)
    recorder = Recorder(queue.done)
    in_flight = InFlightItems()
    attempts = Attempts(queue, exchange, recorder)
    keeper = LeaseKeeper(queue.renew, in_flight, lease_seconds, count_given_up)
    maintenance = Maintenance(server)
    loops = (
        Repeated("record", recorder.step),
        Repeated("renew", keeper.step, every=lease_seconds * ROUND_EVERY),
        Repeated("circuits", circuits.share, every=SHARE_SECONDS),
        *share_calls(exchange, server.server, loads),
        Repeated("sweep", maintenance.sweep, every=SWEEP_SECONDS),
        Repeated("census", maintenance.count, every=CENSUS_SECONDS),
    )
    monitor = RedisMonitor(server.server)
    return Worker(queue, attempts, circuits, in_flight, exchange.routing, monitor, loads, slots), loops


def worker_name() -> str:
    """Return an id that is unique across hosts and restarts."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def count_given_up(reason: str, items: int) -> None:
    metrics.LEASES_GIVEN_UP.labels(reason).inc(items)
