"""`dragoman check`: the effective configuration, reachable servers, disabled or degraded features, and remedies.

It runs where the gateway runs, with the same environment, before a start or beside a running gateway.
"""

import asyncio
import os
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from gateway import __version__
from gateway.cli.console import CommandError, Console, Exit, printable, run_async
from gateway.cli.options import Json
from gateway.cli.probes import (
    Finding,
    Level,
    look_at_ports,
    look_at_redis,
    look_at_settings,
    look_at_upstreams,
    look_at_worker,
)
from gateway.cli.shown_routes import (
    to_explanation_lines,
    to_lines,
    to_plain_explanation,
    to_plain_routes,
    to_plain_upstreams,
)
from gateway.errors import GatewayError
from gateway.process.build import describe_version
from gateway.settings import Settings, SettingsError, load_settings
from gateway.settings.effective import DEFAULT, Setting, config_file, effective, misspelt
from gateway.upstream.routes.config import to_table
from gateway.upstream.routes.explain import explain as explain_route
from gateway.upstream.routes.table import Routing

MARKS: Final[dict[Level, tuple[str, str | None]]] = {
    "ok": ("ok", typer.colors.GREEN),
    "off": ("off", typer.colors.BLUE),
    "warning": ("warning", typer.colors.YELLOW),
    "error": ("error", typer.colors.RED),
}
HINT_INDENT: Final = " " * 28


def check(
    every: Annotated[bool, typer.Option("--all", help="Show settings that have their default too.")] = False,
    explain: Annotated[str | None, typer.Option(metavar="MODEL", help="Show which route takes this model.")] = None,
    json: Json = False,
) -> None:
    """Show the configuration, the routes, reachable servers, and degraded features. Status 1 for warnings, 2 for
    errors."""
    console = Console(json)
    with console.failing_clearly():
        settings = _settings()
        if explain is not None:
            if not settings.has_upstream:
                raise CommandError("no upstream is configured", "see docs/routing.md", status=Exit.USAGE)
            table = to_table(settings)
            try:
                found = explain_route(table, explain)
            except GatewayError as error:
                raise CommandError(error.message, "see docs/routing.md", status=Exit.FAILED) from None
            console.answer(to_plain_explanation(table, found), "\n".join(to_explanation_lines(settings, found)))
            if found.winner is None:
                raise typer.Exit(Exit.FAILED)
            return
        routing = Routing(to_table(settings)) if settings.has_upstream else None
        shown = effective(settings)
        findings = look_at_settings(settings, misspelt(os.environ, settings.config.file.variables)) + run_async(
            lambda: _look(settings, routing)
        )
    levels = {finding.level for finding in findings}
    if json:
        answer: dict[str, Any] = {"version": __version__, "ok": "error" not in levels, "file": config_file()}
        answer |= {"hash": settings.config.file.digest}
        answer["upstreams"] = [] if routing is None else to_plain_upstreams(settings, routing.table)
        answer["routes"] = [] if routing is None else to_plain_routes(routing.table)
        listed = {"settings": [asdict(one) for one in shown], "findings": [asdict(one) for one in findings]}
        console.emit(answer | listed)
    else:
        _print(shown, [] if routing is None else list(to_lines(settings, routing.table)), findings, every=every)
    if levels & {"error", "warning"}:
        raise typer.Exit(Exit.USAGE if "error" in levels else Exit.FAILED)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(str(error), "docs/configuration.md lists every setting", status=Exit.USAGE) from None


async def _look(settings: Settings, routing: Routing | None) -> list[Finding]:
    probes = (look_at_redis, look_at_worker, look_at_ports)
    found = await asyncio.gather(look_at_upstreams(settings, routing), *(probe(settings) for probe in probes))
    return [finding for findings in found for finding in findings]


def _print(shown: list[Setting], routes: list[str], findings: list[Finding], *, every: bool) -> None:
    file = config_file()
    typer.echo(f"Dragoman {describe_version()}, settings from the environment" + (f" and {file}" if file else ""))
    for one in shown:
        if every or one.source != DEFAULT:
            origin = "" if one.source == one.variable else f"  ({one.source})"
            typer.echo(f"  {one.variable}={one.text}{origin}")
    if not every:
        left_out = sum(one.source == DEFAULT for one in shown)
        typer.echo(f"  {left_out} others have their default; --all shows them")
    for line in routes:
        typer.echo(printable(line))
    for finding in findings:
        mark, colour = MARKS[finding.level]
        typer.echo(typer.style(f"{mark:>9}", fg=colour) + f"  {finding.subject:<15}  {printable(finding.text)}")
        if finding.hint and finding.level != "ok":
            typer.echo(f"{HINT_INDENT}→ {finding.hint}")
