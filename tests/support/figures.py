"""Figures of the source that are looked at and not enforced; `make check` prints them.

python -m tests.support.figures

A one-caller helper is a private function or method that its module names once: a reader jumps to it and back for one
use. A comment line is one that holds nothing but a comment; docstrings do not count.
"""

import ast
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.architecture import Module, length_of, read_modules

# In h11, httpx, starlette, arq, structlog, taskiq and datasette, 3 to 12 % of the functions are one-caller helpers.
MOST_HELPERS = 0.12
FEWEST_COMMENTS = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """`helpers`: share of functions that are one-caller helpers. `comments`: comment lines in 100 lines."""

    modules: int
    functions: int
    helpers: float
    median_lines: int
    p95_lines: int
    comments: float

    def lines(self) -> list[str]:
        return [
            f"{self.modules} modules, {self.functions} functions",
            f"one-caller helpers: {self.helpers:.1%} of functions (aim: at most {MOST_HELPERS:.0%})",
            f"function length: median {self.median_lines}, 95th percentile {self.p95_lines} lines",
            f"comments: {self.comments:.1f} in 100 lines (aim: at least {FEWEST_COMMENTS:.0f})",
        ]


def one_caller_helpers(module: Module) -> list[str]:
    """Names of the private functions that the module uses once."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
    names = [function.name for function in module.functions()]
    return [name for name in names if name.startswith("_") and not name.startswith("__") and uses[name] == 1]


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def to_figures(modules: Iterable[Module]) -> Figures:
    modules = list(modules)
    lengths = [length_of(function) for module in modules for function in module.functions()]
    lines = [line.strip() for module in modules for line in module.source.splitlines()]
    return Figures(
        modules=len(modules),
        functions=len(lengths),
        helpers=sum(len(one_caller_helpers(module)) for module in modules) / len(lengths),
        median_lines=percentile(lengths, 0.5),
        p95_lines=percentile(lengths, 0.95),
        comments=100 * sum(line.startswith("#") for line in lines) / len(lines),
    )


def main() -> int:
    sys.stdout.write("\n".join(to_figures(read_modules().values()).lines()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
