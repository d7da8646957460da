"""Figures of the source that are looked at and not enforced; `make check` prints them.

python -m tests.support.figures

A one-caller helper is a private function or method that one statement of its module calls: a reader jumps to it and
back for one use, and its lines could stand there instead. What cannot stand there does not count: functions passed on
as values (tables, callbacks), decorated functions, generators, coroutines that become tasks, calls inside a lambda or
a comprehension, methods that several classes define or that call their parent's, and functions that return early,
unless the caller returns their result. Comments count behind code too, where a reason stands at the very line;
docstrings and directives to tools do not.
"""

import ast
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.architecture import Function, Module, length_of, read_modules

# In h11, httpx, starlette, arq, structlog, taskiq and datasette, 0.2 to 3.1 % of the functions are one-caller helpers;
# their median function has 4 to 9 lines, and their longest tenth many times as many as the 40 that are allowed here.
MOST_HELPERS = 0.05
FEWEST_COMMENTS = 3.0
DIRECTIVE = re.compile(r"#\s*(?:noqa|type:|pragma|fmt:)")
# A comment has a line to itself, or two blanks before it, as the formatter writes it.
COMMENT = re.compile(r"(?:^\s*|  )(# .*|#!.*)$")
# Expressions with inner calls that cannot become statements.
EXPRESSION_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Figures:
    """`helpers`: share of functions that are one-caller helpers. `comments`: comments in 100 lines."""

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
    """Return the private functions that the module uses once, in a call that their lines could replace."""
    parents = {child: node for node in module.nodes for child in ast.iter_child_nodes(node)}
    uses: defaultdict[str, list[ast.Name | ast.Attribute]] = defaultdict(list)
    for node in module.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            uses[node.id if isinstance(node, ast.Name) else node.attr].append(node)
    defined = Counter(function.name for function in module.functions())
    return [
        function.name
        for function in module.functions()
        if function.name.startswith("_")
        and defined[function.name] == 1
        and not function.name.startswith("__")
        and len(uses[function.name]) == 1
        and could_stand_in_place(function, uses[function.name][0], parents)
    ]


def could_stand_in_place(function: Function, use: ast.Name | ast.Attribute, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Return True if the lines of a function could replace its only use."""
    call = parents[use]
    if not isinstance(call, ast.Call) or call.func is not use or function.decorator_list:
        return False
    if isinstance(use, ast.Attribute) and isinstance(use.value, ast.Call) and ast.unparse(use.value.func) == "super":
        return False
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)):
        return False
    if isinstance(function, ast.AsyncFunctionDef) and not isinstance(parents[call], ast.Await):
        return False
    whole = parents[parents[call]] if isinstance(parents[call], ast.Await) else parents[call]
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    if not isinstance(whole, ast.Return) and any(node is not function.body[-1] for node in returns):
        return False
    around: ast.AST = call
    while not isinstance(around, ast.stmt):
        if isinstance(around, EXPRESSION_SCOPES):
            return False
        around = parents[around]
    return True


def comments_of(module: Module) -> list[str]:
    """Yield the comments, each from its mark to the end of its line. Five times as fast as reading tokens."""
    strings = [node for node in module.nodes if isinstance(node, ast.Constant | ast.JoinedStr)]
    inside = {
        line
        for node in strings
        if node.end_lineno is not None and node.lineno < node.end_lineno
        for line in range(node.lineno, node.end_lineno)
    }
    lines = module.source.splitlines()
    found = [COMMENT.search(line) for number, line in enumerate(lines, 1) if number not in inside]
    return [match[1] for match in found if match is not None and not DIRECTIVE.match(match[1])]


def percentile(values: Sequence[int], share: float) -> int:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def to_figures(modules: Iterable[Module]) -> Figures:
    modules = list(modules)
    lengths = [length_of(function) for module in modules for function in module.functions()]
    return Figures(
        modules=len(modules),
        functions=len(lengths),
        helpers=sum(len(one_caller_helpers(module)) for module in modules) / len(lengths),
        median_lines=percentile(lengths, 0.5),
        p95_lines=percentile(lengths, 0.95),
        comments=100
        * sum(len(comments_of(module)) for module in modules)
        / sum(len(module.source.splitlines()) for module in modules),
    )


def main() -> int:
    sys.stdout.write("\n".join(to_figures(read_modules().values()).lines()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
