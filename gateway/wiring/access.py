"""Build client keys, limits and budgets from settings, with their background loops."""

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

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
from gateway.batches.server import BatchServer
from gateway.errors import Overloaded, StoreAway
from gateway.exchange.exchange import Exchange
from gateway.exchange.reconciliation import LOOK_SECONDS as CORRECT_SECONDS
from gateway.exchange.reconciliation import Reconciliation
from gateway.process.tasks import Repeated, describe
from gateway.redis.answer_limit import AnswerLimit
from gateway.redis.connections import open_connections
from gateway.redis.silence import SilenceLimit
from gateway.settings import Settings
from gateway.wiring.stores import build_batch_server, load_keyring

log = structlog.get_logger()


def build_admission(
    settings: Settings, keyring: Keyring, batches: BatchServer | None, *, processes: int = 1
) -> Admission:
    """Build admission with its directory of keys. Without Redis, it has only configured keys, and each process has its
    share of a limit."""
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
    """Read keys and limits, and connect, ahead of the first request. An unavailable Redis is logged."""
    try:
        await admission.directory.refresh()
        await admission.connect()
    except (StoreAway, Overloaded) as error:
        log.warning("keys_not_read", **describe(error))


def keep_access(exchange: Exchange) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield the loops that refresh keys and limits, and that settle, renew, sweep and correct reservations."""
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
