"""Log lines for people on a terminal: one line an exchange, of at most LINE_WIDTH characters, other events as words.

    12:30:01 200 anthropic/claude-sonnet-4.5   1,204→310   2.1s  $0.004512 req_011CTe8n…

Colours only on a terminal that shows them, and never with NO_COLOR set (https://no-color.org).
"""

import os
import shutil
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Final

LINE_WIDTH: Final = 100
NARROWEST: Final = 60
INDENT: Final = " " * 9  # below the first word behind the time
MODEL_WIDTH: Final = 22
RESET: Final = "\x1b[0m"
COLORS: Final = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m", "error": "\x1b[31m"}
# In an exchange's line already, or useless to a person who reads along.
UNSHOWN: Final = frozenset({"level", "timestamp"})


def shows_colors(is_terminal: bool, environment: Mapping[str, str] = os.environ) -> bool:
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def terminal_width() -> int:
    return max(NARROWEST, min(shutil.get_terminal_size((LINE_WIDTH, 24)).columns, LINE_WIDTH))


def to_lines(clock: str, level: str, event: dict[str, Any], to_text: Callable[[object], str]) -> str:
    """Return the text of an event for a terminal. `to_text` makes a value printable."""
    name = str(event.pop("event", ""))
    if name == "exchange_finished":
        text = exchange_line(clock, event, to_text)
    else:
        words = [f"{key}={to_text(value)}" for key, value in event.items() if key not in UNSHOWN]
        text = " ".join([f"{clock} {level:<7} {to_text(name)}", *words])
    if len(text) <= (width := terminal_width()):
        return text
    wrapped = textwrap.wrap(text, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrapped)


def exchange_line(clock: str, event: Mapping[str, Any], to_text: Callable[[object], str]) -> str:
    """Return time, status, model, tokens in→out, seconds, dollars and id; for a failure its cause instead of tokens and
    cost."""
    model = to_text(event.get("model", ""))
    model = model if len(model) <= MODEL_WIDTH else model[: MODEL_WIDTH - 1] + "…"
    taken = f"{event.get('seconds', 0.0):.1f}s"
    start = f"{clock} {event.get('status', 0)} {model:<{MODEL_WIDTH}}"
    where = to_text(event.get("request_id", ""))
    if event.get("error") is not None:
        why = f"{event.get('cause', '')} ({event.get('origin', '')})"
        return f"{start} {why:<27} {taken:>6} {where}"[:LINE_WIDTH]
    tokens = f"{event.get('input_tokens', 0):,}→{event.get('output_tokens', 0):,}"
    return f"{start} {tokens:>16} {taken:>7} {dollars(event.get('cost')):>10} {where}"[:LINE_WIDTH]


def dollars(cost: float | None) -> str:
    """Format dollars with six decimals; empty if the cost is unknown."""
    return "" if cost is None else f"${cost:.6f}"


def colored(text: str, level: str) -> str:
    color = COLORS.get(level, "")
    return f"{color}{text}{RESET}" if color else text
