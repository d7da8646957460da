"""`dragoman serve`: one front end, or several on one port, until SIGTERM or SIGINT."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import structlog
import typer

from gateway.app import CLIENT, Addresses, running, running_admin
from gateway.cli.console import fail
from gateway.errors import GatewayError
from gateway.process.health import Health
from gateway.process.ports import cannot_listen, claimed
from gateway.process.signals import new_event_loop, on_hangup, report_ready, stop_on_signals
from gateway.process.supervisor import StartFailed, front_ends
from gateway.process.tasks import log_loop_error
from gateway.redis.embedded import EmbeddedServerError
from gateway.settings import (
    Problem,
    Settings,
    SettingsError,
    load_settings,
    needs_client_keys,
    needs_own_keys,
    needs_redis_for_budgets,
    needs_upstream,
    unknown_variables,
)
from gateway.settings.exposure import exposed_files
from gateway.telemetry.logs import configure_logs
from gateway.wiring import to_start_problem

log = structlog.get_logger()


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (GATEWAY_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (GATEWAY_PORT).")] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Front ends on this port.")] = 1,
    child: Annotated[bool, typer.Option(hidden=True, help="One of several, started by their parent.")] = False,
) -> None:
    """Serve Anthropic's API to clients, forwarding to the configured upstream."""
    try:
        needs = (
            needs_upstream,
            needs_client_keys,
            needs_own_keys,
            needs_redis_for_budgets,
            *((needs_known_port,) if processes > 1 else ()),
        )
        settings = load_settings(*needs, host=host, port=port)
    except SettingsError as error:
        fail(str(error), error.exit_status)
    output = configure_logs(settings.log_level, settings.log_format)
    if not child:
        report_doubts(settings)

    def start() -> AbstractAsyncContextManager[Addresses]:
        if processes > 1 and not child:
            return several(settings, processes)
        return running(settings, child=child, processes=processes)

    def ready(addresses: Addresses) -> None:
        _report(addresses, settings)
        output.flush()
        if child:
            report_ready()

    run_until_stopped(start, ready, is_child=child)


@asynccontextmanager
async def several(settings: Settings, processes: int) -> AsyncIterator[Addresses]:
    """Run front ends on one port; the context starts when all of them listen. Raises SettingsError, or StartFailed."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dragoman-metrics-")))
        arguments = ("--host", settings.host, "--port", str(settings.port), "--processes", str(processes))
        children = front_ends(processes, arguments, settings.drain_seconds, directory)
        health = Health(listening=lambda: children.ready)
        admin = await stack.enter_async_context(running_admin(settings, health, directory, children.pids))
        claim = stack.enter_context(ExitStack())
        try:
            claim.enter_context(claimed(settings.host, settings.port))
        except (OSError, UnicodeError) as error:
            raise cannot_listen(CLIENT, settings.host, settings.port, error) from None
        await stack.enter_async_context(children.started())
        claim.close()
        stack.enter_context(on_hangup(children.hang_up))
        stack.callback(health.drain)
        yield Addresses((settings.host, settings.port), admin)


def needs_known_port(settings: Settings) -> Iterator[Problem]:
    if settings.port == 0:
        yield Problem("GATEWAY_PORT: several processes need a port that is known beforehand", ("GATEWAY_PORT",))


def report_doubts(settings: Settings) -> None:
    """Log usable values that were probably meant otherwise."""
    for name in unknown_variables(os.environ, settings.config.file.variables):
        log.warning("unknown_variable", name=name, hint="no setting has this name")
    for line in (*settings.config.warnings, *map(": ".join, exposed_files(settings))):
        log.warning("config_doubtful", problem=line)


def run_until_stopped(
    start: Callable[[], AbstractAsyncContextManager[Addresses]],
    ready: Callable[[Addresses], None],
    *,
    is_child: bool = False,
) -> None:
    """Run the context's front end until a signal. A second signal, a second later, ends the process at once."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(start, ready, is_child=is_child))
    except (SettingsError, StartFailed) as error:
        fail(str(error))
    except (EmbeddedServerError, GatewayError) as error:
        fail(to_start_problem(error))
    except OSError as error:
        fail(f"cannot start: {error}")


async def _run(
    start: Callable[[], AbstractAsyncContextManager[Addresses]],
    ready: Callable[[Addresses], None],
    *,
    is_child: bool,
) -> None:
    stop = stop_on_signals(is_child=is_child)
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    async with start() as addresses:
        ready(addresses)
        await stop.wanted.wait()
        log.info("stopping")


def _report(addresses: Addresses, settings: Settings) -> None:
    client = "{}:{}".format(*addresses.client)
    if addresses.admin is None:
        log.info("front_end_started", client=client, pid=os.getpid())
        return
    admin = "{}:{}".format(*addresses.admin)
    log.info("listening", client=client, admin=admin, upstream=settings.upstream_label, auth=settings.auth)
