"""Settings to the exchange, with all that it needs, and its reload."""

import secrets
import time
from functools import partial
from urllib.request import getproxies

from gateway.access.configured import to_client_keys, to_identity
from gateway.access.keyring import Keyring
from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.native.dialect import NativeDialect
from gateway.dialects.native.refused import RefusedThinking
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.exchange.exchange import Exchange, Observer
from gateway.exchange.relay import StreamTimeouts
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import TurnCache
from gateway.settings import Settings, passwords_in, private_hosts_of, secrets_of
from gateway.telemetry.counters import observe
from gateway.telemetry.logs import log_exchange
from gateway.telemetry.metrics import UPSTREAM_CONNECTIONS
from gateway.telemetry.redaction import Redactor
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.health.series import create_upstream_series, show_gates
from gateway.upstream.http.client import Timeouts, UpstreamClient
from gateway.upstream.http.http_client import Transport
from gateway.upstream.models.catalog import Catalog
from gateway.upstream.routes.config import to_table
from gateway.upstream.routes.reload import ConfigReload
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing


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


def build_redactor(settings: Settings, before: Settings | None = None) -> Redactor:
    """Return the redactor of the settings' secrets, and those of the environment's proxies, for upstreams' errors.

    `before`: settings that a reload has replaced.
    """
    # An error of a proxy may quote its URL with the password in it.
    proxies = [password for proxy in getproxies().values() for password in passwords_in(proxy)]
    both = [settings, *([before] if before is not None else [])]
    hidden = [secret for one in both for secret in secrets_of(one)]
    return Redactor([*hidden, *proxies], [host for one in both for host in private_hosts_of(one)])


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
            secret = exchange.keyring.keys[0][1]
            directory.configure(to_client_keys(changed, secret), to_identity(changed, secret, directory.identity))
        # Answers in flight may still show what was secret before.
        exchange.redactor = catalog.redactor = build_redactor(changed, before)
        exchange.routing.swap(table)
        create_upstream_series(table.upstreams)
        if isinstance(exchange.client, Transport):
            exchange.client.retain(one.url for one in table.upstreams)

    return ConfigReload(settings, apply, catalog.refresh)
