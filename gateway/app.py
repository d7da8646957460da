"""Settings to a running front end. Opens every resource, passes it on, and closes all in reverse order.

Stopping loses no request: the listening sockets close first, requests that the kernel had already accepted get a moment
to come in, and those in flight may finish within the drain time.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from ssl import SSLContext

import structlog
from aiohttp import web

from gateway.access.configured import to_client_keys, to_identity
from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys
from gateway.batches.server import BatchServer
from gateway.batches.store import BatchStore
from gateway.cache.admin import CacheUpkeep
from gateway.errors import Overloaded, StoreAway
from gateway.exchange.observers import tracing, watch_activity
from gateway.exchange.sharing import share_calls, share_learned
from gateway.process.gc_tuning import settle_memory
from gateway.process.health import Health
from gateway.process.http_guard import Guard
from gateway.process.ports import cannot_listen
from gateway.process.supervisor import METRICS_DIRECTORY
from gateway.process.tasks import Repeated, background
from gateway.process.tls import to_tls
from gateway.settings import Settings
from gateway.telemetry.activity_store import LocalActivity, SharedActivity
from gateway.telemetry.counters import settle_regularly
from gateway.telemetry.metrics import CONNECTIONS_OPEN, before_scrape, merged_metrics, render_metrics
from gateway.telemetry.monitors import RedisMonitor, watch_loop
from gateway.upstream.health.shown_circuits import WRITE_SECONDS, read_states, write_states
from gateway.upstream.models.catalog import WATCH_SECONDS, Catalog
from gateway.upstream.routes.config import to_table
from gateway.upstream.routes.reload import ConfigReload
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing
from gateway.web.app_keys import AdminCache, StatusSources
from gateway.web.applications import AdminSources, Gateway, admin_app, client_app
from gateway.web.connection import Runner
from gateway.web.listener import listening, open_sockets
from gateway.web.otlp import to_otlp_relay
from gateway.wiring import (
    build_admission,
    build_client,
    build_exchange,
    build_threads,
    fill_directory,
    keep_access,
    load_keyring,
    open_access_store,
    open_cache,
    open_cache_upkeep,
    open_reload,
    open_stores,
    show_upstreams,
    to_guard,
)

log = structlog.get_logger()

# Connections that the kernel accepted before the socket closed are served within this time.
ACCEPT_GRACE = 0.3
# The upstream's list of models and its recognised vendor are part of the prompt cache's fingerprints: two equal
# requests, one before the first list and one after it, would both miss. A front end waits for both before it listens;
# requests are served without them after this time.
FIRST_LIST_SECONDS = 1.0

# The variables of the two listeners' hosts and ports.
CLIENT = ("GATEWAY_HOST", "GATEWAY_PORT")
ADMIN = ("GATEWAY_ADMIN_HOST", "GATEWAY_ADMIN_PORT")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of a front end; with port 0 in the settings, those that the system chose."""

    client: tuple[str, int]
    admin: tuple[str, int] | None


@asynccontextmanager
async def running(
    settings: Settings, *, upstream: Upstream | None = None, child: bool = False, processes: int = 1
) -> AsyncIterator[Addresses]:
    """Run a front end, listening while the context is open; leaving it drains.

    A `child` shares its port with others, `processes` in all, and leaves the admin listener to their parent.
    """
    async with AsyncExitStack() as stack:
        gateway = await _open_gateway(settings, stack, upstream, processes)
        stack.enter_context(before_scrape(partial(show_upstreams, gateway.exchange)))
        for chore in _chores(gateway, child=child, reloads=upstream is None):
            await stack.enter_async_context(background(chore))
        await gateway.catalog.wait_for_first(FIRST_LIST_SECONDS)
        assert gateway.exchange.admission is not None
        # Runs when the listeners below have drained, so that the last requests are settled too.
        stack.push_async_callback(gateway.exchange.admission.ledger.flush)
        admin, guard = None, to_guard(settings)
        if not child:
            listener = _listening(_own_admin_app(gateway), ADMIN, settings.admin_host, settings.admin_port, guard=guard)
            admin = await stack.enter_async_context(listener)
        app, drain = client_app(gateway), settings.drain_seconds
        address = await stack.enter_async_context(
            _listening(
                app, CLIENT, settings.host, settings.port, guard=guard, drain=drain, shared=child, tls=to_tls(settings)
            )
        )
        stack.callback(gateway.health.drain)
        settle_memory()  # the collector skips objects made at start
        yield Addresses(address, admin)


async def _open_gateway(
    settings: Settings, stack: AsyncExitStack, upstream: Upstream | None, processes: int
) -> Gateway:
    """Open the parts of a front end, to be closed with the stack."""
    client = build_client(settings, settings.upstream_connections)
    stack.push_async_callback(client.close)
    stores = await stack.enter_async_context(open_stores(settings))
    batch_server = stores.batches
    keyring = await load_keyring(settings, batch_server.server if batch_server else None)
    exchange = build_exchange(settings, client, keyring, upstream)
    exchange.circuits.lanes.share = 1 / processes
    await stack.enter_async_context(tracing(settings, exchange))
    access = exchange.admission = build_admission(settings, keyring, batch_server, processes=processes)
    await fill_directory(access)  # before listening: the first request of a valid key is no 503
    catalog = Catalog(client, exchange.routing, redactor=exchange.redactor)
    return Gateway(
        settings=settings,
        exchange=exchange,
        catalog=catalog,
        directory=access.directory,
        batches=BatchStore(batch_server) if batch_server else None,
        threads=build_threads(settings, batch_server),
        cache=await stack.enter_async_context(open_cache(settings, exchange, stores.cache, keyring)),
        health=Health(monitor=RedisMonitor(batch_server.server) if batch_server else None),
        reload=open_reload(settings, exchange, catalog),
        activity=watch_activity(exchange, batch_server),
        otlp=to_otlp_relay(settings, client),
    )


def _own_admin_app(gateway: Gateway) -> web.Application:
    """The admin listener of a front end that has no parent."""
    routing, caching = gateway.exchange.routing, gateway.cache
    cache = None if caching is None else AdminCache(CacheUpkeep(caching.store), routing)
    status = StatusSources(routing, gateway.reload, gateway.exchange.circuits.states)
    directory = gateway.directory
    batches = None if directory.store is None else BatchServer(directory.store.server)
    sources = AdminSources(gateway.health, render_metrics, cache, status, directory, gateway.activity.store, batches)
    return admin_app(gateway.settings, sources)


def _chores(gateway: Gateway, *, child: bool, reloads: bool) -> Iterator[Coroutine[None, None, None]]:
    """Yield the loops that run while requests are served."""
    if reloads:
        yield gateway.reload.run()
    yield gateway.exchange.heartbeat.run()
    yield watch_loop()
    yield gateway.activity.run()
    if gateway.otlp is not None:
        yield gateway.otlp.run()
    yield Repeated("catalog", gateway.catalog.refresh, WATCH_SECONDS).run()
    # A parent reads the metrics of its children from files, which they write regularly.
    if child:
        yield settle_regularly()
        yield from _shown_to_parent(gateway)
    if gateway.health.monitor is not None:
        yield gateway.health.monitor.run()
        yield share_learned(gateway.exchange, gateway.health.monitor.server).run()
        yield from (loop.run() for loop in share_calls(gateway.exchange, gateway.health.monitor.server))
    yield from keep_access(gateway.exchange)
    if gateway.batches is not None:
        yield gateway.batches.run()
    if gateway.threads is not None:
        yield gateway.threads.run()


def _shown_to_parent(gateway: Gateway) -> Iterator[Coroutine[None, None, None]]:
    """Leave the circuits where the parent of several front ends looks for them."""
    directory = os.environ.get(METRICS_DIRECTORY)
    if directory is None:
        return

    async def write() -> None:
        write_states(Path(directory), gateway.exchange.circuits.states())

    yield Repeated("circuits_shown", write, WRITE_SECONDS).run()


@asynccontextmanager
async def running_admin(
    settings: Settings, health: Health, directory: Path, pids: Mapping[str, int]
) -> AsyncIterator[tuple[str, int]]:
    """The admin listener of a parent, with the metrics that its children leave in `directory`.

    `pids`: the children by their places.
    """
    async with AsyncExitStack() as stack:
        upkeep = await stack.enter_async_context(open_cache_upkeep(settings))
        access = None
        with suppress(StoreAway, Overloaded):  # the front ends say what is wrong, and this one why keys are not managed
            access = await stack.enter_async_context(open_access_store(settings))
        routing = Routing(to_table(settings))
        cache = AdminCache(upkeep, routing) if upkeep is not None else None
        known = Directory(ClientKeys(None, b""), access)
        _put_in_force(settings, routing, known)
        reload = ConfigReload(settings, lambda _, changed: _put_in_force(changed, routing, known))
        status = StatusSources(routing, reload, lambda: read_states(directory))
        batches = None if access is None else BatchServer(access.server)
        activity = LocalActivity() if access is None else SharedActivity(access.server)
        metrics = partial(merged_metrics, str(directory), pids)
        sources = AdminSources(health, metrics, cache, status, known, activity, batches)
        app = admin_app(settings, sources)
        await stack.enter_async_context(background(reload.run()))
        guard = to_guard(settings)
        async with _listening(app, ADMIN, settings.admin_host, settings.admin_port, guard=guard) as address:
            yield address


def _put_in_force(settings: Settings, routing: Routing, directory: Directory) -> None:
    """Put in force what a parent of front ends reads from the file: routes, and who its clients are."""
    secret = b"" if directory.store is None else directory.store.secret
    routing.swap(to_table(settings))
    identity = to_identity(settings, secret, directory.identity) if secret else None
    directory.configure(to_client_keys(settings, secret), identity)


@asynccontextmanager
async def _listening(
    app: web.Application,
    names: tuple[str, str],
    host: str,
    port: int,
    *,
    guard: Guard,
    drain: float = 0.0,
    shared: bool = False,
    tls: SSLContext | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """`names` are the variables of host and port. Raises SettingsError where it cannot listen there."""
    runner = Runner(app, shutdown_timeout=drain, guard=guard)
    await runner.setup()
    try:
        assert runner.server is not None
        try:
            sockets = await open_sockets(host, port, shared=shared)
        except (OSError, UnicodeError) as error:
            raise cannot_listen(names, host, port, error) from None
        with before_scrape(partial(_count_connections, runner.server)) if names == CLIENT else nullcontext():
            async with listening(runner.server, sockets, tls) as listener:
                yield listener.address
        if drain:
            # Connections in the accept queue of the kernel when the listener closed.
            await asyncio.sleep(ACCEPT_GRACE)
    finally:
        await runner.cleanup()


def _count_connections(server: web.Server) -> None:
    CONNECTIONS_OPEN.set(len(server.connections))
