"""The applications of both listeners: the parts that handlers reach, the middlewares and the routes."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.access.directory import Directory
from gateway.batches.server import BatchServer
from gateway.batches.store import BatchStore
from gateway.exchange.cached import CachedExchange
from gateway.exchange.exchange import Exchange
from gateway.process.health import Health
from gateway.settings import Settings, is_loopback
from gateway.telemetry.activity import Activity
from gateway.telemetry.activity_store import AnyActivity
from gateway.threads.turns import Threads
from gateway.upstream.models.catalog import Catalog
from gateway.upstream.routes.reload import ConfigReload
from gateway.web.addresses import TRUSTED_PROXIES
from gateway.web.admin.authorization import (
    ADMIN_KEYS,
    LEAD_ROUTES,
    OTHER_CALLERS,
    ROLES,
    SESSIONS,
    WRONG_ADMIN_KEYS,
    OtherCallers,
    authorize,
    to_admin_keys,
)
from gateway.web.admin.sessions import Sessions
from gateway.web.admin.wrong_keys import WrongAdminKeys
from gateway.web.app_keys import (
    ADMIN_CACHE,
    BATCHES,
    CACHE,
    CATALOG,
    DIRECTORY,
    EXCHANGE,
    HEALTH,
    METRICS,
    OPEN,
    SETTINGS,
    STATUS,
    THREADS,
    AdminCache,
    StatusSources,
)
from gateway.web.arrivals import ARRIVALS, Arrivals
from gateway.web.auth import OPEN_PATHS, authenticate, show_key_expiry
from gateway.web.browsers import refuse_foreign_pages
from gateway.web.console.exchanges import FEED
from gateway.web.console.feed import Feed
from gateway.web.console.overview import overview_of
from gateway.web.console.sources import CONSOLE, ConsoleSources
from gateway.web.cors import allow_origins
from gateway.web.middleware import envelope
from gateway.web.otlp import OTLP, OtlpRelay
from gateway.web.prefixes import paths_with, with_prefixes
from gateway.web.routes import ADMIN_LEAD_ROUTES, ADMIN_ROLES, ADMIN_ROUTES, CLIENT_ROUTES
from gateway.web.switched_off import without_features
from gateway.web.tracing import trace_requests
from gateway.web.wrong_keys import WRONG_CLIENT_KEYS, WrongClientKeys


@dataclass(slots=True)
class Gateway:
    """The parts of one front end."""

    settings: Settings
    exchange: Exchange
    catalog: Catalog
    directory: Directory
    batches: BatchStore | None
    threads: Threads | None
    cache: CachedExchange | None
    health: Health
    reload: ConfigReload
    activity: Activity
    otlp: OtlpRelay | None = None


def client_app(gateway: Gateway) -> web.Application:
    app = web.Application(middlewares=[envelope, authenticate])
    app.on_response_prepare.append(show_key_expiry)
    if gateway.exchange.tracer is not None:
        trace_requests(app, gateway.exchange.tracer, gateway.settings.path_prefix)
    app[SETTINGS] = gateway.settings
    app[TRUSTED_PROXIES] = gateway.settings.trusted_proxies
    app[ARRIVALS] = Arrivals(gateway.settings.max_body_bytes)
    app[WRONG_CLIENT_KEYS] = WrongClientKeys()
    app[EXCHANGE] = gateway.exchange
    app[CATALOG] = gateway.catalog
    app[DIRECTORY] = gateway.directory
    app[BATCHES] = gateway.batches
    app[THREADS] = gateway.threads
    app[CACHE] = gateway.cache
    app[OTLP] = gateway.otlp
    app[HEALTH] = gateway.health
    prefix = gateway.settings.path_prefix
    app[OPEN] = paths_with(OPEN_PATHS, prefix)
    app.add_routes(with_prefixes(without_features(CLIENT_ROUTES, gateway.settings.offers), prefix))
    settings = gateway.settings
    if settings.auth == "off" and is_loopback(settings.host):
        refuse_foreign_pages(app, settings.cors_origins, str(settings.public_url or ""))
    if settings.cors_origins or settings.auth != "off":  # without keys a page would have what its user may do
        allow_origins(app, settings.cors_origins)
    return app


@dataclass(frozen=True, slots=True)
class AdminSources:
    """Parts that the admin listener shows and changes. `batches` is None without Redis."""

    health: Health
    metrics: Callable[[], bytes]
    cache: AdminCache | None
    status: StatusSources
    directory: Directory
    activity: AnyActivity
    batches: BatchServer | None


def admin_app(settings: Settings, sources: AdminSources) -> web.Application:
    app = web.Application(middlewares=[envelope, authorize])
    app[ARRIVALS] = Arrivals(settings.max_body_bytes)
    app[STATUS] = sources.status
    app[HEALTH] = sources.health
    app[METRICS] = sources.metrics
    app[ADMIN_KEYS] = to_admin_keys(settings)
    app[TRUSTED_PROXIES] = settings.trusted_proxies
    app[ADMIN_CACHE] = sources.cache
    app[DIRECTORY] = sources.directory
    app[SESSIONS] = Sessions(None if sources.batches is None else sources.batches.server)
    app[WRONG_ADMIN_KEYS] = WrongAdminKeys()
    app[CONSOLE] = ConsoleSources(settings, sources.activity, sources.batches)
    app[FEED] = Feed(sources.activity, lambda: overview_of(app))
    app[ROLES], app[LEAD_ROUTES] = ADMIN_ROLES, ADMIN_LEAD_ROUTES
    app[OTHER_CALLERS] = OtherCallers(sources.directory)
    app.add_routes(ADMIN_ROUTES)
    return app
