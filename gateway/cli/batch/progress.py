"""Progress of a long command: a bar on a terminal, occasional lines elsewhere, JSON objects with --json."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import rich.console
import rich.markup
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gateway.cli.console import Console, printable

# Without a terminal, something is printed each time this share of the whole has been done.
LINE_SHARE: Final = 0.1
EVENT_SHARE: Final = 0.01


class Meter:
    """A progress bar, restarted with every label. Without a terminal it prints lines."""

    def __init__(self, console: Console, bars: Progress | None) -> None:
        self._console = console
        self._bars = bars
        self._task: TaskID | None = None
        self._label = ""
        self._shown = ("", 0)
        self._state: TaskID | None = None  # a state that lasts, such as an outage
        self._lasts = False

    def show(self, label: str, done: int, total: int) -> None:
        if self._bars is not None:
            if self._task is None or label != self._label:
                if self._task is not None:
                    self._bars.remove_task(self._task)
                self._task, self._label = self._bars.add_task(label, total=total), label
            self._bars.update(self._task, completed=done, total=total)
        elif self._is_worth_a_line(label, done, total):
            self._shown = label, done
            text = f"{label}: {done:,} of {total:,}"
            self._console.event("progress", text, label=label, done=done, total=total)

    def note(self, text: str, event: str, **fields: object) -> None:
        """Report an event, in a line above the bar."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._console.event(event, text, **fields)

    def keep(self, text: str, event: str, **fields: object) -> None:
        """Show a lasting state in one line that is replaced; without a terminal only once."""
        if self._bars is not None:
            if self._state is None:
                self._state = self._bars.add_task("", total=None)
            self._bars.update(self._state, description=rich.markup.escape(printable(text)))
        elif self._console.json or not self._lasts:
            self._lasts = True
            self._console.event(event, text, **fields)

    def clear(self, text: str, event: str, **fields: object) -> None:
        """Replace the line of a lasting state by one about its end."""
        if self._bars is not None and self._state is not None:
            self._bars.remove_task(self._state)
            self._state = None
        self._lasts = False
        self.note(text, event, **fields)

    def _is_worth_a_line(self, label: str, done: int, total: int) -> bool:
        shown_label, shown = self._shown
        if label != shown_label:
            return True
        share = EVENT_SHARE if self._console.json else LINE_SHARE
        return done != shown and (done == total or done - shown >= share * total)


@contextmanager
def metering(console: Console) -> Iterator[Meter]:
    screen = rich.console.Console(stderr=True)
    if console.json or not screen.is_terminal or screen.is_dumb_terminal:
        yield Meter(console, None)
        return
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, TimeElapsedColumn(), TimeRemainingColumn(compact=True), console=screen) as bars:
        yield Meter(console, bars)
