"""Shared parts of the subcommands: output, failures, and the event loop.

Standard output has only results, so that it can be piped; everything else goes to standard error. With `--json` every
line of standard output is one JSON object, including errors.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import orjson
import typer

from gateway.process.signals import new_event_loop

Result = TypeVar("Result")


class Exit(IntEnum):
    """Exit statuses. docs/cli.md has their meaning for each command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


class CommandError(Exception):
    """Failure of a command: the problem, the remedy, and the exit status."""

    def __init__(self, message: str, hint: str = "", *, status: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


@dataclass(frozen=True, slots=True)
class Console:
    json: bool = False

    def event(self, event: str, text: str, **fields: Any) -> None:
        """Report an event: a line on standard error, or an object on standard output."""
        if self.json:
            self.emit({"event": event, **fields})
        else:
            typer.echo(printable(text), err=True)

    def answer(self, value: object, text: str) -> None:
        """Print the result on standard output."""
        if self.json:
            self.emit(value)
        else:
            typer.echo(printable(text))

    def note(self, text: str) -> None:
        """Print a line for people on standard error; nothing with `--json`."""
        if not self.json:
            typer.echo(printable(text), err=True)

    def emit(self, value: object) -> None:
        sys.stdout.write(orjson.dumps(value).decode() + "\n")
        sys.stdout.flush()

    @contextmanager
    def failing_clearly(self) -> Iterator[None]:
        """End the process with the error's status, after printing the error and its remedy."""
        try:
            yield
        except CommandError as error:
            self._report(error)
            raise typer.Exit(error.status) from None
        except BrokenPipeError:  # `… | head`: the reader has closed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.FAILED) from None

    def _report(self, error: CommandError) -> None:
        if self.json:
            self.emit({"event": "error", "message": error.message, "hint": error.hint, "status": int(error.status)})
            return
        for line in error.message.split("\n"):
            typer.echo(f"dragoman: {printable(line)}", err=True)
        if error.hint:
            typer.echo(f"  → {printable(error.hint)}", err=True)


def printable(text: str) -> str:
    """Return text that is safe for a terminal: it cannot move the cursor, change colours or reverse its direction."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text])


def run_async(main: Callable[[], Awaitable[Result]], *, on_interrupt: str = "") -> Result:
    """Run to the end. Ctrl-C cancels the task and becomes a CommandError with the hint `on_interrupt`."""

    async def started() -> Result:
        return await main()

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(started())
    except KeyboardInterrupt:
        raise CommandError("interrupted", on_interrupt, status=Exit.INTERRUPTED) from None


def fail(message: str, status: int = Exit.FAILED) -> NoReturn:
    """Write one line per problem to stderr, if possible, and exit."""
    with suppress(OSError):
        for line in message.splitlines():
            typer.echo(f"dragoman: {line}", err=True)
    raise typer.Exit(status)
