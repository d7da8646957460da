"""What the subcommands share: how they fail, and the event loop they run on."""

import asyncio
import sys
from typing import NoReturn

import typer

if sys.platform != "win32":
    import uvloop


def fail(message: str) -> NoReturn:
    """One line a problem, on stderr; exit status 1."""
    for line in message.splitlines():
        typer.echo(f"dragoman: {line}", err=True)
    raise typer.Exit(1)


def new_event_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop() if sys.platform == "win32" else uvloop.new_event_loop()
