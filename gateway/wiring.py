"""Settings to the parts that front ends and workers share: upstream, routing, keys, the exchange, the batch server."""

import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog
from redis.asyncio import Redis

from gateway.access.admission import LOOK_SECONDS, RENEW_SECONDS, SWEEP_SECONDS, Admission
from gateway.access.alerts import Alerts
from gateway.access.configured import to_client_keys, to_identity
from gateway.access.directory import REFRESH_SECONDS, Directory
from gateway.access.keyring import Keyring
from gateway.access.keys import Pepper
from gateway.access.local_rates import LocalRates
from gateway.access.outage import OutageMoney
from gateway.access.records import to_nano
from gateway.access.store import AccessStore
from gateway.batches.lifecycle import Lifetimes
from gateway.batches.server import BatchServer, StoragePolicy
from gateway.cache.admin import CacheUpkeep
from gateway.cache.client import GRACE, CacheClient, cache_breaker
from gateway.cache.key import to_secret
from gateway.cache.policy import CachePolicy
from gateway.cache.store import CacheLimits, CacheStore
from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.native.dialect import NativeDialect
from gateway.dialects.native.refused import RefusedThinking
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.errors import Overloaded, StoreAway
from gateway.exchange.cached import CachedExchange
from gateway.exchange.exchange import Exchange, Observer
from gateway.exchange.reconciliation import LOOK_SECONDS as CORRECT_SECONDS
from gateway.exchange.reconciliation import Reconciliation
from gateway.exchange.relay import StreamTimeouts
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import TurnCache
from gateway.process.descriptors import descriptor_limit
from gateway.process.http_guard import Guard
from gateway.process.tasks import Repeated, background, describe
from gateway.redis.answer_limit import AnswerLimit
from gateway.redis.connections import open_connections
from gateway.redis.failures import PASSING
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from gateway.settings import Settings, passwords_in, private_hosts_of, secrets_of
from gateway.telemetry.counters import observe
from gateway.telemetry.logs import log_exchange
from gateway.telemetry.metrics import UPSTREAM_CONNECTIONS
from gateway.telemetry.redaction import Redactor
from gateway.threads.store import ThreadPolicy, ThreadStore
from gateway.threads.turns import Threads
from gateway.upstream.catalog import Catalog
from gateway.upstream.client import Timeouts, UpstreamClient
from gateway.upstream.config import to_table
from gateway.upstream.http_client import Transport
from gateway.upstream.proxy_client import AiohttpClient
from gateway.upstream.reload import ConfigReload
from gateway.upstream.retry import RetryPolicy
from gateway.upstream.routing import Upstream
from gateway.upstream.series import create_upstream_series, show_gates
from gateway.upstream.table import Routing

log = structlog.get_logger()

# The length of a SHA-256 digest: the keys are used with HMAC-SHA-256.
SECRET_BYTES = 32
# The id of a key that was not configured.
MADE_ID = "made"


def build_redactor(settings: Settings, before: Settings | None = None) -> Redactor:
    """Return the redactor of the settings' secrets, and those of the environment's proxies, for upstreams' errors.

    `before`: settings that a reload has replaced.
    """
    # An error of a proxy may quote its URL with the password in it.
    proxies = [password for proxy in getproxies().values() for password in passwords_in(proxy)]
    both = [settings, *([before] if before is not None else [])]
    hidden = [secret for one in both for secret in secrets_of(one)]
    return Redactor([*hidden, *proxies], [host for one in both for host in private_hosts_of(one)])


def build_exchange(
    settings: Settings, client: UpstreamClient, keyring: Keyring, upstream: Upstream | None = None
) -> Exchange:
    """`upstream` replaces the configured one: the simulator in development."""
    native = NativeDialect(keyring, RefusedThinking(time.monotonic), shares_files=settings.files == "shared")
    exchange = Exchange(
        client=client,
        routing=Routing(to_table(settings, upstream)),
        keyring=keyring,
        redactor=build_redactor(settings),
        dialects={"chat": ChatDialect(keyring), "messages": native, "responses": ResponsesDialect(keyring)},
        retry=RetryPolicy(max_attempts=settings.max_attempts),
        timeouts=Timeouts(
            settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout, settings.total_timeout
        ),
        stream_timeouts=StreamTimeouts(
            settings.commit_seconds, settings.ping_seconds, settings.first_byte_timeout, settings.stalled_client_timeout
        ),
        # The salt keeps one tenant from finding out by time whether another has sent a list of tools.
        tools=ToolCache(secrets.token_hex(16), settings.tool_memory_bytes),
        turns=TurnCache(secrets.token_hex(16), settings.turn_memory_bytes),
    )
    log_record: Observer = log_exchange
    if settings.log_upstream_errors == "on":
        # The redactor is replaced when secrets change, so its method cannot be bound here.
        log_record = partial(log_exchange, redact=lambda text: exchange.redactor.text(text))  # noqa: PLW0108
    exchange.observers = (log_record, observe)
    create_upstream_series(exchange.table.upstreams)
    return exchange


def show_upstreams(exchange: Exchange) -> None:
    """Set the gauges of connections and circuits."""
    for state, count in zip(("busy", "idle"), exchange.client.connections(), strict=True):
        UPSTREAM_CONNECTIONS.labels(state).set(count)
    show_gates(exchange.circuits, exchange.table.upstreams)


def open_reload(settings: Settings, exchange: Exchange, catalog: Catalog) -> ConfigReload:
    """Return the reloader that puts a changed configuration file in force for this exchange."""

    def apply(before: Settings, changed: Settings) -> None:
        table = to_table(changed)
        if exchange.admission is not None:
            directory = exchange.admission.directory
            directory.configured = to_client_keys(changed, exchange.keyring.keys[0][1])
            directory.identity = to_identity(changed, exchange.keyring.keys[0][1])
        # Answers in flight may still show what was secret before.
        exchange.redactor = catalog.redactor = build_redactor(changed, before)
        exchange.routing.swap(table)
        create_upstream_series(table.upstreams)
        if isinstance(exchange.client, Transport):
            exchange.client.retain(one.url for one in table.upstreams)

    return ConfigReload(settings, apply, catalog.models)


def build_admission(
    settings: Settings, keyring: Keyring, batches: BatchServer | None, *, processes: int = 1
) -> Admission:
    """Client keys, limits and budgets. Without Redis, only configured keys, each process with its share of a limit."""
    secret = keyring.keys[0][1]
    configured = to_client_keys(settings, secret)
    server = batches.server if batches is not None else None
    store = AccessStore(server, configured.pepper, secret) if server is not None else None
    silence = SilenceLimit(settings.limits_timeout)
    directory = Directory(configured, store, identity=to_identity(settings, secret), silence=silence)
    if batches is not None:
        batches.has_several_tenants = directory.has_several_tenants
    return Admission(
        directory,
        server,
        local=LocalRates(processes),
        money=OutageMoney(settings.budget_outage, to_nano(settings.budget_outage_usd)),
        alerts=Alerts(settings.budget_webhook.get_secret_value() if settings.budget_webhook else ""),
        unknown_price=settings.unknown_price,
    )


@asynccontextmanager
async def open_access_store(settings: Settings) -> AsyncIterator[AccessStore | None]:
    """Return the store of a process that changes keys and serves no requests; None without Redis."""
    if settings.redis_url is None:
        yield None
        return
    async with open_connections(settings.redis_url) as connections:
        server = build_batch_server(settings, connections.queue, AnswerLimit()).server
        secret = (await load_keyring(settings, server)).keys[0][1]
        yield AccessStore(server, Pepper(secret), secret)


async def fill_directory(admission: Admission) -> None:
    """Read keys and limits before the first request, if Redis is there."""
    try:
        await admission.directory.refresh()
    except (StoreAway, Overloaded) as error:
        log.warning("keys_not_read", **describe(error))


def keep_access(exchange: Exchange) -> Iterator[Coroutine[Any, Any, None]]:
    """The loops that bring keys and limits up to date, and settle, renew, sweep and correct reservations."""
    admission = exchange.admission
    if admission is None or admission.server is None:
        return
    yield Repeated("late_costs", Reconciliation(exchange, admission.server).correct_due, CORRECT_SECONDS).run()
    yield Repeated("keys", admission.directory.refresh, REFRESH_SECONDS).run()
    yield Repeated("settle", admission.ledger.settle_waiting).run()
    yield Repeated("budgets", admission.look, LOOK_SECONDS).run()
    if admission.alerts.webhook:
        yield Repeated("budget_alerts", admission.alerts.deliver).run()
    yield Repeated("admission_leases", admission.renew, RENEW_SECONDS).run()
    yield Repeated("admission_sweep", admission.sweep, SWEEP_SECONDS).run()


def to_guard(settings: Settings) -> Guard:
    """The limits of every listener's connections."""
    per_address = settings.connections_per_address
    return Guard(
        stalled_seconds=settings.stalled_client_timeout,
        # Half of the descriptors: one address can then never take all of them from the others.
        per_address=descriptor_limit() // 2 if per_address is None else per_address,
    )


def build_client(settings: Settings, connections: int) -> UpstreamClient:
    """The fast transport; where the environment names an HTTP proxy for the upstream, the client that can use one."""
    urls = [one.base(name) for name, one in settings.upstreams.items()] or [settings.base_url]
    # A proxy for one upstream decides for all: one client keeps the pool, the bounds and the metrics in one place.
    addresses = [urlsplit(url) for url in urls]
    proxied = any(one.scheme in getproxies() and not proxy_bypass(one.hostname or "") for one in addresses)
    make = AiohttpClient if proxied else Transport
    return make(max_connections=connections)


async def load_keyring(settings: Settings, server: RedisServer | None) -> Keyring:
    """The configured secret; without one, what all processes on this Redis share; without Redis, a passing one."""
    if settings.secret is not None:
        return Keyring.parse(settings.secret.get_secret_value())
    made = secrets.token_bytes(SECRET_BYTES)
    if server is None:
        log.warning(
            "secret_is_random",
            hint="set GATEWAY_SECRET=id:key: what this process signs cannot be opened by others, nor after a restart",
        )
        return Keyring(((MADE_ID, made),))
    name = server.keys.secret
    [shared] = await server.pipeline([("GET", name)])
    if shared is None:  # a server that takes no writes now may have it all the same
        _, shared = await server.pipeline([("SET", name, made, "NX"), ("GET", name)])
    return Keyring(((MADE_ID, shared if isinstance(shared, bytes) else made),))


@asynccontextmanager
async def open_batch_server(settings: Settings) -> AsyncIterator[BatchServer | None]:
    """The Redis that holds batches, checked to be fit for them; None when none is configured.

    Raises Unavailable when it is not fit, or cannot be reached; EmbeddedServerError when it cannot be started.
    """
    if settings.redis_url is None:
        yield None
        return
    async with open_connections(settings.redis_url) as connections:
        batches = build_batch_server(settings, connections.queue)
        await check_batch_server(batches)
        yield batches


def to_start_problem(error: Exception) -> str:
    """The line with which a process ends that Redis keeps from starting; the console may show its address."""
    refused = isinstance(error, StoreAway) and error.refusal is not None
    reason = error.reason if isinstance(error, StoreAway) and refused else error.__cause__
    return f"GATEWAY_REDIS_URL: {error}" + (f" ({reason})" if reason else "")


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of a front end: None for one that is off."""

    batches: BatchServer | None = None
    cache: Redis | None = None


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores. Raises like `open_batch_server`, except for an unreachable Redis: live traffic does not need it,
    and calls that do fail until it is back. Without a configured secret, signing waits for the shared one in Redis.
    An unreachable cache does not prevent the start either.
    """
    url = settings.redis_url or settings.cache_redis_url
    if url is None:
        yield Stores()
        return
    budget = settings.cache_budget_seconds
    async with open_connections(url, settings.cache_redis_url, cache_budget=budget) as connections:
        batches = None
        if settings.redis_url is not None:
            batches = build_batch_server(settings, connections.queue, AnswerLimit())
            with _away_at_start(settings):
                await check_batch_server(batches)
        yield Stores(batches, None if settings.cache == "off" else connections.cache)


@contextmanager
def _away_at_start(settings: Settings) -> Iterator[None]:
    """Continue without an unreachable Redis, unless the secret has to come from it."""
    try:
        yield
    except StoreAway as error:
        if settings.secret is None and error.refusal not in PASSING:
            raise
        hint = "messages are served, batches and threads once it is back"
        log.warning("redis_away", hint=hint, **describe(error))


def build_batch_server(settings: Settings, redis: Redis, limit: AnswerLimit | None = None) -> BatchServer:
    lifetimes = Lifetimes(expiry=round(settings.batch_expiry * 1000), retention=round(settings.batch_retention * 1000))
    server = RedisServer(redis, Keys(settings.redis_prefix), limit)
    share = settings.batch_tenant_share
    return BatchServer(
        server, StoragePolicy(lifetimes=lifetimes, durability=settings.batch_durability, tenant_share=share)
    )


async def check_batch_server(batches: BatchServer) -> None:
    """Raises Unavailable for an unfit server, StoreAway for one that is unreachable or refuses writes."""
    await batches.check()
    try:
        await batches.server.probe()
    except Overloaded as error:
        log.warning("redis_full", **describe(error))


@asynccontextmanager
async def open_cache(
    settings: Settings, exchange: Exchange, redis: Redis | None, keyring: Keyring
) -> AsyncIterator[CachedExchange | None]:
    """None where answers are not cached, or cannot be."""
    if redis is None:
        yield None
        return
    policy = CachePolicy(
        settings.cache, settings.cache_routes, frozenset(settings.cache_keys), tools=settings.cache_tools == "on"
    )
    store = build_cache_store(settings, redis)
    # The scripts are loaded now, so that the first request does not spend its budget of milliseconds on it.
    await store.warm()
    cache = CachedExchange(exchange, store, policy, to_secret(keyring))
    async with background(store.run()):
        try:
            yield cache
        finally:
            # Calls without followers would outlive the front end otherwise.
            await cache.close()


def build_cache_store(settings: Settings, redis: Redis) -> CacheStore:
    limits = CacheLimits(
        ttl=settings.cache_ttl,
        entry_bytes=settings.cache_entry_bytes,
        total_bytes=settings.cache_max_bytes,
        lock=settings.cache_lock_seconds,
        wait=settings.cache_wait_seconds,
    )
    calls = CacheClient(redis, cache_breaker(time.monotonic), settings.cache_budget_seconds - GRACE)
    return CacheStore(calls, limits, Keys(settings.redis_prefix))


@asynccontextmanager
async def open_cache_upkeep(settings: Settings) -> AsyncIterator[CacheUpkeep | None]:
    """Build the cache's store for a process that manages the cache and does not use it."""
    url = settings.cache_redis_url or settings.redis_url
    if url is None or settings.cache == "off":
        yield None
        return
    async with open_connections(url, cache_budget=settings.cache_budget_seconds) as connections:
        store = build_cache_store(settings, connections.cache)
        try:
            yield CacheUpkeep(store)
        finally:
            await store.calls.close()


def build_threads(settings: Settings, server: BatchServer | None) -> Threads | None:
    """Return None where threads are off or cannot be held."""
    if server is None or settings.threads == "off":
        return None
    policy = ThreadPolicy(seconds=settings.thread_seconds, max_bytes=settings.max_body_bytes)
    return Threads(ThreadStore(server.server, policy))
