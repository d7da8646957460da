"""Find regular expressions with quadratic running time, by measuring them.

`tests/support/growth` counts the steps of Python loops, but not those inside the regular expression engine. Here, every
pattern of the gateway and the workers is run as its module uses it, on long texts made of the pattern's characters.
Patterns for files of the operator are left out.

    python -m tests.support.patterns
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterator
from re import _parser  # type: ignore[attr-defined] # the standard library's own, to find what a pattern is made of
from types import ModuleType
from typing import Any

import gateway
import workers

SMALL, LARGE = 3000, 12_000
# Four times the text takes four times the time, or sixteen times where the work is quadratic.
MOST = 9.0
SLOW = 0.004  # seconds; below it the clock shows nothing
ENGINE_WAYS = ("match", "fullmatch", "search")
WAYS = {"sub": "search", "finditer": "search", "split": "search"} | dict(zip(ENGINE_WAYS, ENGINE_WAYS, strict=True))
COMMON = (" ", "\n", "a", "A", "1", ".", "_", "-", "<", "{", "\\")
FILES = ("gateway.cli.", "gateway.settings.")
MAX_PARTS = 24
DEPTH = 3

Pattern = re.Pattern[Any]


def patterns() -> Iterator[tuple[str, Pattern, set[str]]]:
    """Yield the place, the pattern and the ways in which it is used; of a pattern in a table, all ways."""
    for package in (gateway, workers):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if found.name.endswith("__main__") or found.name.startswith(FILES):
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                for pattern in _within(value, DEPTH):
                    used = _methods(module, name) if isinstance(value, re.Pattern) else set(ENGINE_WAYS)
                    yield f"{found.name}.{name}", pattern, used


def slow_text(pattern: Pattern, method: str) -> tuple[str, float] | None:
    """Return a text for which the work is quadratic in its length, and the growth; None if there is none."""
    run: Callable[[Any], Any] = getattr(pattern, method)
    for before, part in _texts(pattern):
        small = _seconds(run, pattern, before + part * (SMALL // len(part)))
        if small > SLOW and (grown := _seconds(run, pattern, before + part * (LARGE // len(part))) / small) > MOST:
            return before + part, grown
    return None


def _within(value: Any, depth: int) -> Iterator[Pattern]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _within(one, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _within([*value.values()], depth)
    elif depth and not isinstance(value, type | ModuleType):
        for name in getattr(value, "__dataclass_fields__", ()):
            yield from _within(getattr(value, name, None), depth - 1)


def _methods(module: ModuleType, name: str) -> set[str]:
    tree = ast.parse(inspect.getsource(module))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {WAYS[node.attr] for node in nodes if node.value.id == name and node.attr in WAYS}


def _texts(pattern: Pattern) -> Iterator[tuple[str, str]]:
    """Yield beginnings, and what is repeated behind them."""
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    parts = sorted(_literals(_parser.parse(pattern.pattern, flags)))[:MAX_PARTS]
    repeated = {*COMMON, *parts, *(part + more for part in parts for more in (" ", "a", "1"))}
    for part in sorted(repeated):
        for before in ("", *parts[:4]):
            yield before, part


def _literals(tree: Any) -> set[str]:
    """Return the texts of which a parsed pattern is made."""
    found, run = set(), ""
    for kind, value in tree:
        if str(kind) == "LITERAL":
            run += chr(value)
            continue
        found.add(run)
        run = ""
        for inner in value if isinstance(value, tuple | list) else [value]:
            for branch in inner if isinstance(inner, list) else [inner]:
                if isinstance(branch, _parser.SubPattern):
                    found |= _literals(branch)
                elif isinstance(branch, tuple) and str(branch[0]) == "LITERAL":
                    found.add(chr(branch[1]))
    return {*found, run} - {""}


def _seconds(run: Callable[[Any], Any], pattern: Pattern, text: str) -> float:
    """Run it on the text with an end that matches nothing."""
    subject = (text + "\x01").encode("latin-1", "ignore") if isinstance(pattern.pattern, bytes) else text + "\x01"
    begun = time.process_time()
    run(subject)
    return time.process_time() - begun


def main() -> int:
    faults = count = 0
    for place, pattern, methods in patterns():
        for method in sorted(methods):
            count += 1
            if (found := slow_text(pattern, method)) is not None:
                faults += 1
                sys.stdout.write(f"{place}.{method}: four times {found[0][:40]!r} takes {found[1]:.0f} times as long\n")
    sys.stdout.write(f"{count} uses of patterns, {faults} of them quadratic\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
