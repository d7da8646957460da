"""Check that docs/logs.md has each log event and field of the source, and no other event.

`python -m tests.support.logs_page` prints the differences.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.architecture import Module, dotted_name, read_modules

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/logs.md"
LEVELS = frozenset({"debug", "info", "warning", "error", "log"})
# Objects in an exchange's line with fields that are logged.
RECORD = "record"
# Of functions that pass an event on, and of a logger's method in a variable.
NAMES = frozenset({"self._log", "level", "log_refusal"})


def logged() -> dict[str, set[str]]:
    """Return the events, each with the fields that its calls name."""
    found: dict[str, set[str]] = {}
    for module in read_modules().values():
        for event, fields in events_of(module):
            found.setdefault(event, set()).update(fields)
    return found


def events_of(module: Module) -> Iterator[tuple[str, set[str]]]:
    for node in module.nodes:
        if not isinstance(node, ast.Call) or not is_log_call(node.func):
            continue
        for argument in node.args[:2]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, {keyword.arg for keyword in node.keywords if keyword.arg}


def is_log_call(function: ast.expr) -> bool:
    written = dotted_name(function)
    logger, _, level = written.rpartition(".")
    return written in NAMES or (level in LEVELS and logger in ("log", "_log", "LOG", "LOG.bind()"))


def problems() -> list[str]:
    text = PAGE.read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \| (?:debug|info|warning|error)", text, re.MULTILINE))
    names, source = set(re.findall(r"`([a-z_]+)`", text)), logged()
    source["log_lines_dropped"] = {"lines"}  # written by the log's own thread
    found = [f"{event}: not documented" for event in sorted(source.keys() - documented)]
    found += [f"{event}: documented, and never logged" for event in sorted(documented - source.keys())]
    for event, fields in sorted(source.items()):
        found += [f"{event}: the field {field} is not documented" for field in sorted(fields - names - {RECORD})]
    return found


def main(_: Sequence[str] = ()) -> int:
    found = problems()
    sys.stderr.writelines(f"docs/logs.md: {problem}\n" for problem in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
