"""`dragoman serve`: one front end, or several on one port, until SIGTERM or SIGINT."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import structlog
import typer

from gateway.app import Addresses, running, running_admin
from gateway.cli.console import fail, new_event_loop
from gateway.errors import GatewayError
from gateway.process.supervisor import running_front_ends
from gateway.process.tasks import log_loop_error
from gateway.redis.embedded import EmbeddedServerError
from gateway.settings import (
    Problem,
    Settings,
    SettingsError,
    load_settings,
    needs_client_keys,
    needs_upstream,
    unknown_variables,
)
from gateway.telemetry.logs import configure_logs
from gateway.wiring import to_start_problem

log = structlog.get_logger()

INSIST_SECONDS = 1.0


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (GATEWAY_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (GATEWAY_PORT).")] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Front ends on this port.")] = 1,
    child: Annotated[bool, typer.Option(hidden=True, help="One of several, started by their parent.")] = False,
) -> None:
    """Serve Anthropic's API to clients, forwarding to the configured upstream."""
    try:
        needs = (needs_upstream, needs_client_keys, *((needs_known_port,) if processes > 1 else ()))
        settings = load_settings(*needs, host=host, port=port)
    except SettingsError as error:
        fail(str(error))
    output = configure_logs(settings.log_level, settings.log_format)
    if not child:
        report_unknown_variables()

    @asynccontextmanager
    async def several() -> AsyncIterator[Addresses]:
        arguments = ("--host", settings.host, "--port", str(settings.port))
        async with (
            running_front_ends(processes, arguments, settings.drain_seconds) as directory,
            running_admin(settings, directory) as admin,
        ):
            yield Addresses((settings.host, settings.port), admin)

    start = several if processes > 1 else lambda: running(settings, child=child)

    def ready(addresses: Addresses) -> None:
        _report(addresses, settings)
        output.flush()

    run_until_stopped(start, settings, ready, watch_parent=child)


def needs_known_port(settings: Settings) -> Iterator[Problem]:
    if settings.port == 0:
        yield Problem("GATEWAY_PORT: several processes need a port that is known beforehand", ("GATEWAY_PORT",))


def report_unknown_variables() -> None:
    for name in unknown_variables(os.environ):
        log.warning("unknown_variable", name=name, hint="no setting has this name")


def run_until_stopped(
    start: Callable[[], AbstractAsyncContextManager[Addresses]],
    settings: Settings,
    ready: Callable[[Addresses], None],
    *,
    watch_parent: bool = False,
) -> None:
    """Run the context's front end until a signal; another one a second later ends the process at once."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(start, ready, watch_parent=watch_parent))
    except (EmbeddedServerError, GatewayError) as error:
        fail(to_start_problem(error))
    except OSError as error:
        client, admin = f"{settings.host}:{settings.port}", f"{settings.admin_host}:{settings.admin_port}"
        fail(f"cannot listen on {client} (admin: {admin}): {error.strerror}")


async def _run(
    start: Callable[[], AbstractAsyncContextManager[Addresses]],
    ready: Callable[[Addresses], None],
    *,
    watch_parent: bool,
) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signalled)
    if watch_parent:
        loop.add_reader(sys.stdin, _parent_is_gone, loop, stop)
    async with start() as addresses:
        ready(addresses)
        await stop.wanted.wait()
        log.info("stopping")


@dataclass(slots=True)
class Stop:
    """Whether to stop, and since when. Terminal and parent may both signal one Ctrl-C: only a later one insists."""

    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0

    def signalled(self) -> None:
        now = time.monotonic()
        if self.wanted.is_set() and now - self.since > INSIST_SECONDS:
            os._exit(1)
        self.since = self.since or now
        self.wanted.set()


def _parent_is_gone(loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
    """The parent never writes: what can be read from its pipe is the end of it."""
    loop.remove_reader(sys.stdin)
    stop.signalled()


def _report(addresses: Addresses, settings: Settings) -> None:
    client = "{}:{}".format(*addresses.client)
    if addresses.admin is None:
        log.info("front_end_started", client=client, pid=os.getpid())
        return
    admin = "{}:{}".format(*addresses.admin)
    log.info("listening", client=client, admin=admin, upstream=settings.upstream_label, auth=settings.auth)
