"""`dragoman check`: the effective configuration, what can be reached, what is off or degraded, and what to do.

To be run where the gateway runs, with its environment; before a start or beside one.
"""

import asyncio
import os
from dataclasses import asdict
from typing import Annotated, Final

import typer

from gateway import __version__
from gateway.cli.configuration import DEFAULT, Setting, config_file, effective, misspelt
from gateway.cli.console import CommandError, Console, Exit, printable, run_async
from gateway.cli.probes import (
    Finding,
    Level,
    look_at_ports,
    look_at_redis,
    look_at_settings,
    look_at_upstream,
    look_at_worker,
)
from gateway.settings import Settings, SettingsError, load_settings

MARKS: Final[dict[Level, tuple[str, str | None]]] = {
    "ok": ("ok", typer.colors.GREEN),
    "off": ("off", typer.colors.BLUE),
    "warning": ("warning", typer.colors.YELLOW),
    "error": ("error", typer.colors.RED),
}
HINT_INDENT: Final = " " * 28


def check(
    every: Annotated[bool, typer.Option("--all", help="Show settings that have their default too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show the effective configuration, what can be reached, and what is degraded. Status 1 when something is wrong."""
    console = Console(json)
    with console.failing_clearly():
        settings = _settings()
        shown = effective(settings)
        findings = look_at_settings(settings, misspelt(os.environ)) + run_async(lambda: _look(settings))
    broken = any(finding.level == "error" for finding in findings)
    if json:
        told = {"version": __version__, "ok": not broken, "file": config_file()}
        listed = {"settings": [asdict(one) for one in shown], "findings": [asdict(one) for one in findings]}
        console.emit(told | listed)
    else:
        _print(shown, findings, every=every)
    if broken:
        raise typer.Exit(Exit.FAILED)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(str(error), "docs/configuration.md lists every setting", status=Exit.FAILED) from None


async def _look(settings: Settings) -> list[Finding]:
    probes = (look_at_upstream, look_at_redis, look_at_worker, look_at_ports)
    found = await asyncio.gather(*(probe(settings) for probe in probes))
    return [finding for findings in found for finding in findings]


def _print(shown: list[Setting], findings: list[Finding], *, every: bool) -> None:
    file = config_file()
    typer.echo(f"Dragoman {__version__}, settings from the environment" + (f" and {file}" if file else ""))
    for one in shown:
        if every or one.source != DEFAULT:
            origin = "" if one.source == one.variable else f"  ({one.source})"
            typer.echo(f"  {one.variable}={one.text}{origin}")
    if not every:
        left_out = sum(one.source == DEFAULT for one in shown)
        typer.echo(f"  {left_out} others have their default; --all shows them")
    for finding in findings:
        mark, colour = MARKS[finding.level]
        typer.echo(typer.style(f"{mark:>9}", fg=colour) + f"  {finding.subject:<15}  {printable(finding.text)}")
        if finding.hint and finding.level != "ok":
            typer.echo(f"{HINT_INDENT}→ {finding.hint}")
