"""`dragoman dev`: everything on one machine, in one command, without configuration.

It runs one front end, one worker, and an embedded Redis. Without an upstream's key or address, the built-in simulator
is the upstream, and is named as such on the console, in the `x-gateway-upstream` header, and in every answer.
"""

import secrets
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web
from pydantic import SecretStr

from gateway.app import Addresses, running
from gateway.cli.api import DEFAULT_URL
from gateway.cli.console import fail
from gateway.cli.serve import report_doubts, run_until_stopped
from gateway.process.ports import next_free
from gateway.process.supervisor import Supervisor
from gateway.redis.embedded import EmbeddedServer, EmbeddedServerError
from gateway.settings import Problem, Settings, SettingsError, is_loopback, load_settings
from gateway.simulator.server import application
from gateway.simulator.vendors.rows import ALL
from gateway.telemetry.logs import configure_logs
from gateway.upstream.routes.config import SIMULATOR, SIMULATOR_BASE
from gateway.upstream.routes.route import Upstream
from gateway.upstream.vendors.registry import OPENROUTER, VENDORS

# Of the admin key of one run, which its banner shows.
ADMIN_KEY_BYTES = 12

# Settings of ports, with those of their hosts.
PORTS = {"port": "host", "admin_port": "admin_host", "worker_admin_port": "admin_host"}
LABELS = {"port": "port", "admin_port": "admin port", "worker_admin_port": "worker's admin port"}
JSON_HEADERS = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on (GATEWAY_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (GATEWAY_PORT).")] = None,
    admin_port: Annotated[int | None, typer.Option(help="Port of metrics and status (GATEWAY_ADMIN_PORT).")] = None,
) -> None:
    """Run a front end and a worker for development; without an upstream, on a built-in simulator."""
    notes: list[str] = []
    try:
        loaded = load_settings(needs_access, host=host, port=port, admin_port=admin_port)
    except SettingsError as error:
        fail(str(error), error.exit_status)
    settings = with_free_ports(to_dev_settings(loaded), notes)
    configure_logs(settings.log_level, settings.log_format)
    report_doubts(settings)
    if loaded.admin_key is None:
        assert settings.admin_key is not None
        notes.append(f"admin key of this run, for the console: {settings.admin_key.get_secret_value()}")
    run_until_stopped(lambda: _running(settings, notes), lambda addresses: _welcome(addresses, settings, notes))


def needs_access(settings: Settings) -> Iterator[Problem]:
    # With GATEWAY_AUTH=keys and no configured key, those of `dragoman keys create` count: the embedded Redis has them.
    if "auth" not in settings.model_fields_set and not settings.has_keys and not is_loopback(settings.host):
        yield Problem(
            f"GATEWAY_AUTH: {settings.host} can be reached from other machines;"
            " set GATEWAY_KEYS=tenant:key, or GATEWAY_AUTH=off to let everyone in",
            ("GATEWAY_AUTH", "GATEWAY_KEYS", "GATEWAY_HOST"),
        )


def to_dev_settings(settings: Settings) -> Settings:
    """Admit everyone on this machine, unless keys or GATEWAY_AUTH are set. Make an admin key if there is none."""
    changes: dict[str, object] = {}
    if "auth" not in settings.model_fields_set and not settings.has_keys:
        changes["auth"] = "off"
    if settings.admin_key is None:
        changes["admin_key"] = SecretStr(secrets.token_urlsafe(ADMIN_KEY_BYTES))
    return settings.model_copy(update=changes)


def with_free_ports(settings: Settings, notes: list[str]) -> Settings:
    """Replace ports that are in use by the next free ones, unless they were set. `notes` receives the changes."""
    for name, host in PORTS.items():
        wanted = getattr(settings, name)
        free = wanted
        if name not in settings.model_fields_set:
            free = next_free(getattr(settings, host), wanted, {getattr(settings, other) for other in PORTS} - {wanted})
        if free != wanted:
            notes.append(f"port {wanted} is in use, so the {LABELS[name]} is {free}")
        settings = settings.model_copy(update={name: free})
    return settings


def is_simulated(settings: Settings) -> bool:
    """Return True if the simulator answers: without an upstream, or if GATEWAY_SIMULATOR names one."""
    return bool(settings.simulator) or not settings.has_upstream


@asynccontextmanager
async def _running(settings: Settings, notes: list[str]) -> AsyncIterator[Addresses]:
    async with AsyncExitStack() as stack:
        upstream = None
        environment: dict[str, str] = {}
        if is_simulated(settings):
            settings = settings.model_copy(update={"simulator": settings.simulator or ALL})
            plays_all = settings.simulator == ALL
            base = SIMULATOR_BASE if plays_all else f"/{settings.simulator}/v1"
            url = await stack.enter_async_context(_simulator()) + base
            vendor = OPENROUTER if plays_all else VENDORS[settings.simulator]
            dialect = settings.dialect if "dialect" in settings.model_fields_set else "chat"
            upstream = Upstream(SIMULATOR, url, vendor=vendor, headers=JSON_HEADERS, dialect=dialect)
            environment |= {"GATEWAY_UPSTREAM_URL": url, "GATEWAY_UPSTREAM_FLAVOR": vendor.name}
            environment |= {"GATEWAY_UPSTREAM_NAME": upstream.name, "GATEWAY_DIALECT": upstream.dialect}
            environment["GATEWAY_SIMULATOR"] = settings.simulator
        if settings.redis_url is None:
            settings = await _with_redis(settings, stack, notes)
        addresses = await stack.enter_async_context(running(settings, upstream=upstream))
        if settings.redis_url is not None:
            environment["GATEWAY_REDIS_URL"] = settings.redis_url
            environment["GATEWAY_WORKER_ADMIN_PORT"] = str(settings.worker_admin_port)
            worker = Supervisor((sys.executable, "-m", "workers", "--child"), 1, settings.drain_seconds, environment)
            await stack.enter_async_context(worker.running())
        yield addresses


async def _with_redis(settings: Settings, stack: AsyncExitStack, notes: list[str]) -> Settings:
    """Return the settings with an embedded server's address. Without one, only live traffic works (see `notes`)."""
    try:
        server = await stack.enter_async_context(EmbeddedServer())
    except EmbeddedServerError as error:
        notes.append(f"batches are off: {error}")
        return settings
    notes.append(f"state: {server.directory}, kept by an embedded Redis")
    return settings.model_copy(update={"redis_url": server.url})


@asynccontextmanager
async def _simulator() -> AsyncIterator[str]:
    """Run the simulator on a separate port, and yield its origin."""
    runner = web.AppRunner(
        application(other_apis=True), access_log=None, handler_cancellation=True, shutdown_timeout=0.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _welcome(addresses: Addresses, settings: Settings, notes: list[str]) -> None:
    url = "http://{}:{}".format(*addresses.client)
    served = "upstream: " + settings.upstream_label
    if settings.simulator not in ("", ALL):
        served = f"upstream: a SIMULATOR that behaves like {VENDORS[settings.simulator].title} (GATEWAY_SIMULATOR)"
    elif not settings.has_upstream:
        served = "upstream: none configured, so a SIMULATOR answers; set OPENROUTER_API_KEY for real models"
    elif settings.simulator:
        served = "upstream: a SIMULATOR that behaves like many servers (GATEWAY_SIMULATOR)"
    access = "clients need a key" if settings.auth == "keys" else "no client key needed on this machine"
    lines = [f"Dragoman listens on {url} ({access})", served, *notes]
    if addresses.admin is not None:
        lines.append("console: http://{}:{}/".format(*addresses.admin))
        lines.append("metrics: http://{}:{}/metrics".format(*addresses.admin))
    where = "" if url == DEFAULT_URL else f" --url {url}"
    lines.append(f'try: eval "$({own_command(sys.argv[0])} claude{where})" && claude')
    with suppress(OSError):  # it runs all the same where nothing can be printed
        typer.echo("\n".join(lines))


def own_command(started: str) -> str:
    """Return `dragoman` if it is on the PATH, or else the path that it was started with, as in a clone."""
    on_path = shutil.which("dragoman") is not None or Path(started).name != "dragoman"
    return "dragoman" if on_path else shlex.quote(started)
