"""Build the stores in Redis from settings: the batch server, the connections of a front end, and the shared secret."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from gateway.access.keyring import Keyring
from gateway.batches.lifecycle import Lifetimes
from gateway.batches.server import BatchServer, StoragePolicy
from gateway.errors import Overloaded, StoreAway
from gateway.process.tasks import describe
from gateway.redis.answer_limit import AnswerLimit
from gateway.redis.connections import open_connections
from gateway.redis.failures import PASSING
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.settings import Settings

log = structlog.get_logger()

# The length of a SHA-256 digest: the keys are used with HMAC-SHA-256.
SECRET_BYTES = 32
# The id of a key that was not configured.
MADE_ID = "made"


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of a front end; None for those that are off."""

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


@asynccontextmanager
async def open_batch_server(settings: Settings) -> AsyncIterator[BatchServer | None]:
    """Yield the checked Redis for batches; None if none is configured.

    Raises Unavailable if it is unsuitable or cannot be reached, and EmbeddedServerError if it cannot be started.
    """
    if settings.redis_url is None:
        yield None
        return
    async with open_connections(settings.redis_url) as connections:
        batches = build_batch_server(settings, connections.queue)
        await check_batch_server(batches)
        yield batches


def build_batch_server(settings: Settings, redis: Redis, limit: AnswerLimit | None = None) -> BatchServer:
    lifetimes = Lifetimes(expiry=round(settings.batch_expiry * 1000), retention=round(settings.batch_retention * 1000))
    server = RedisServer(redis, Keys(settings.redis_prefix), limit)
    share = settings.batch_tenant_share
    return BatchServer(
        server, StoragePolicy(lifetimes=lifetimes, durability=settings.batch_durability, tenant_share=share)
    )


async def check_batch_server(batches: BatchServer) -> None:
    """Raises Unavailable for an unsuitable server, and StoreAway for one that is unreachable or refuses writes."""
    await batches.check()
    try:
        await batches.server.probe()
    except Overloaded as error:
        log.warning("redis_full", **describe(error))


async def load_keyring(settings: Settings, server: RedisServer | None) -> Keyring:
    """Return the configured secret; without one, the secret that all processes on this Redis share; without Redis, a
    random one."""
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


def to_start_problem(error: Exception) -> str:
    """Return the line for a process that Redis keeps from starting. The console may show its address."""
    refused = isinstance(error, StoreAway) and error.refusal is not None
    reason = error.reason if isinstance(error, StoreAway) and refused else error.__cause__
    return f"GATEWAY_REDIS_URL: {error}" + (f" ({reason})" if reason else "")
