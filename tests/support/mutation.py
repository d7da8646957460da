"""Mutation testing: plant small faults in the source, one at a time, and report those that no test notices.

    python -m tests.support.mutation [ROOM …] [--sample N] [--seed S] [--timeout SECONDS] [--list]

Faults are planted in a copy of the project, so that the work tree is never touched. A room's tests must pass there
without a fault before the first is planted; otherwise every fault would seem to be noticed. Python is changed by its
syntax tree, Lua by its tokens. The tests named like the module run first; a run that exceeds the timeout counts as
noticed. Exits with status 1 when less than 90 % of the faults are noticed.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
AIM = 0.9
COPIED = ("gateway", "workers", "tests", "bench", "deploy", "docs", "pyproject.toml", "README.md", "Makefile")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True)
class MutatedRoom:
    """Modules in which faults are planted (glob patterns), and the tests that have to notice them."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    "access": MutatedRoom(("gateway/access/*.py",), ("tests/access", "tests/e2e/test_auth.py")),
    "batches": MutatedRoom(("gateway/batches/*.py",), ("tests/batches", "tests/e2e/test_batches.py")),
    "scripts": MutatedRoom(
        ("gateway/redis/scripts/*.lua",), ("tests/batches", "tests/redis", "tests/upstream", "tests/access")
    ),
    "web": MutatedRoom(("gateway/web/**/*.py",), ("tests/web", "tests/console", "tests/e2e")),
    "workers": MutatedRoom(("workers/*.py",), ("tests/workers",)),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault: `old` at `start` of a file becomes `new`."""

    path: Path
    line: int
    start: int
    old: str
    new: str

    def planted(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.start + len(self.old) :]

    def __str__(self) -> str:
        old = " ".join(self.old.split())
        return f"{self.path}:{self.line}: {old[:80]} → {self.new[:80] or 'nothing'}"


# Python

COMPARISONS = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
Replacement = tuple[ast.expr | ast.stmt, str]


def python_mutants(path: Path, source: str) -> Iterator[Mutant]:
    starts = line_starts(source)
    for node in code_of(ast.parse(source)):
        for changed, new in replacements(node, source):
            start = starts[changed.lineno - 1] + offset(source, starts, changed.lineno, changed.col_offset)
            end = starts[(changed.end_lineno or 0) - 1] + offset(
                source, starts, changed.end_lineno or 0, changed.end_col_offset or 0
            )
            yield Mutant(path, changed.lineno, start, source[start:end], new)


def code_of(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield every node except those of decorators and of constants at the top: other tuning values are not wrong."""
    constants = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    decorators = [decorator for node in ast.walk(tree) for decorator in getattr(node, "decorator_list", ())]
    left_out = {inner for node in (*constants, *decorators) for inner in ast.walk(node)}
    return (node for node in ast.walk(tree) if node not in left_out)


def replacements(node: ast.AST, source: str) -> Iterator[Replacement]:
    def text(part: ast.AST) -> str:
        return f"({ast.get_source_segment(source, part)})"

    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield node, f"{text(left)} {COMPARISONS[type(operator)]} {text(right)}"
        case ast.BoolOp(op=operator, values=[first, *others]):
            word = " or " if isinstance(operator, ast.And) else " and "
            yield node, word.join([text(first), *map(text, others)])
            yield node, text(first)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            yield node, f"{text(left)} {OPERATORS[type(operator)]} {text(right)}"
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, f"not {text(test)}"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, text(operand)
        case ast.Constant(value=bool() as value):
            yield node, str(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, f"{value + 1}"
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield node, "pass"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.Raise() | ast.Continue():
            yield node, "pass"


def line_starts(source: str) -> list[int]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def offset(source: str, starts: Sequence[int], line: int, column: int) -> int:
    """Return the number of characters before a column, which the syntax tree counts in bytes."""
    text = source[starts[line - 1] : starts[line]]
    return len(text.encode()[:column].decode())


# Lua

LUA_COMMENT = re.compile(r"--[^\n]*")
LUA_STRING = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
LUA_CHANGES = (
    (re.compile(r"=="), "~="),
    (re.compile(r"~="), "=="),
    (re.compile(r"<(?!=)"), "<="),
    (re.compile(r"<="), "<"),
    (re.compile(r">(?!=)"), ">="),
    (re.compile(r">="), ">"),
    (re.compile(r"\band\b"), "or"),
    (re.compile(r"\bor\b"), "and"),
    (re.compile(r"\bnot "), ""),
    (re.compile(r"(?<= )\+(?= )"), "-"),
    (re.compile(r"(?<= )-(?= )"), "+"),
    (re.compile(r"\btrue\b"), "false"),
    (re.compile(r"\bfalse\b"), "true"),
)
LUA_NUMBER = re.compile(r"(?<![\w.\[])\d+\b")
LUA_CONSTANT = re.compile(r"(?m)^local [A-Z_]+ = \d+")
# A whole line that only changes something.
LUA_CALL = re.compile(r"(?m)^ *(?:redis\.call|[a-z_]+)\([^\n]*\)$")


def lua_mutants(path: Path, source: str) -> Iterator[Mutant]:
    code = LUA_COMMENT.sub(lambda found: " " * len(found[0]), source)
    code = LUA_CONSTANT.sub(lambda found: " " * len(found[0]), code)
    bare = LUA_STRING.sub(lambda found: "'" * len(found[0]), code)
    changes = [(found, new) for pattern, new in LUA_CHANGES for found in pattern.finditer(bare)]
    changes += [(found, str(int(found[0]) + 1)) for found in LUA_NUMBER.finditer(bare)]
    changes += [(found, "") for found in LUA_CALL.finditer(code)]
    for found, new in changes:
        yield Mutant(
            path, source.count("\n", 0, found.start()) + 1, found.start(), source[found.start() : found.end()], new
        )


# The run


def mutants_of(room: MutatedRoom, root: Path = ROOT) -> list[Mutant]:
    found: list[Mutant] = []
    for path in sorted({path for pattern in room.sources for path in root.glob(pattern)}):
        source = path.read_text(encoding="utf-8")
        make = lua_mutants if path.suffix == ".lua" else python_mutants
        found += [mutant for mutant in make(path.relative_to(root), source) if is_valid(mutant, source)]
    return found


def is_valid(mutant: Mutant, source: str) -> bool:
    if mutant.path.suffix != ".py":
        return True
    try:
        ast.parse(mutant.planted(source))
    except SyntaxError:
        return False
    return True


def select_tests(mutant: Mutant, room: MutatedRoom, copy: Path) -> list[list[str]]:
    """Return the tests named like the module, then the room's: the first run collects in a second what the second run
    takes ten seconds for, and notices most faults.
    """
    own = sorted(path for test in room.tests for path in (copy / test).glob(f"test_*{mutant.path.stem.strip('_')}*.py"))
    return [tests for tests in ([str(path.relative_to(copy)) for path in own], [*room.tests]) if tests]


def is_noticed(mutant: Mutant, room: MutatedRoom, copy: Path, timeout: float) -> bool:
    """Return True if a test fails with the fault, or the tests do not end."""
    path = copy / mutant.path
    source = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(source), encoding="utf-8")
    try:
        return any(run_tests(tests, copy, timeout) != 0 for tests in select_tests(mutant, room, copy))
    finally:
        path.write_text(source, encoding="utf-8")


def run_tests(tests: Sequence[str], copy: Path, timeout: float) -> int | None:
    """Return pytest's exit status, or None when its process group was killed at the timeout."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    with subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None


def copy_project(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=LEFT_OUT)
        elif source.exists():
            shutil.copy2(source, target / name)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    planted = noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_project(copy)
        for name in options.rooms or ROOMS:
            chosen = choose(name, options.sample, options.seed)
            if options.list:
                say("".join(f"  {mutant}\n" for mutant in chosen))
                continue
            if run_tests(ROOMS[name].tests, copy, options.timeout) != 0:
                say(f"{name}: its tests fail without a fault, or take longer than the timeout")
                return 2
            for mutant in chosen:
                found = is_noticed(mutant, ROOMS[name], copy, options.timeout)
                planted, noticed = planted + 1, noticed + found
                say(f"  {'noticed ' if found else 'SURVIVED'} {mutant}")
    if not planted:
        return 0
    say(f"{noticed} of {planted} faults noticed ({noticed / planted:.0%}; aim: {AIM:.0%})")
    return int(noticed < AIM * planted)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="plant small faults, and report those that no test notices")
    parser.add_argument("rooms", nargs="*", choices=[*ROOMS, []], help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--sample", type=int, default=20, help="faults of each room (20)")
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other faults")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for the tests of one fault")
    parser.add_argument("--list", action="store_true", help="print the faults of the sample, and run nothing")
    return parser.parse_args(arguments)


def choose(name: str, sample: int, seed: int) -> list[Mutant]:
    """Return a sample of a room's faults, which is the same for the same seed and source."""
    mutants = mutants_of(ROOMS[name])
    chosen = random.Random(seed).sample(mutants, min(sample, len(mutants)))
    say(f"{name}: {len(chosen)} of {len(mutants)} faults")
    return chosen


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
