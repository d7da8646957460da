"""docs/conversion.md: the conversion of each field, every line with the tests that prove it.

The lines are in `conversion_rows`; the tests are read from their source, and named on the page in their own words. A
line with a missing test is an error, and so is a tested rule (`O19 an image`) or a field of a request without a line.

    python -m tests.support.conversion_page [--check]
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gateway.schemas.anthropic import MessagesRequest
from tests.support.conversion_rows import INTRODUCTION, SECTIONS, Row

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ROOMS = ("dialects", "messages", "upstream", "telemetry")
PAGE = ROOT / "docs" / "conversion.md"
LINK = "../tests/"
GOLDEN = "dialects/chat/"

# The rule that a case or a test belongs to, at the start of its name.
RULE = re.compile(r"([OR]\d+) ((?:[OR]\d+ ?)*)", re.IGNORECASE)

# A line with more cases than this names their tests, and how many cases they have.
MAX_CASES = 3
HEADER = "| what the client sends | what the upstream gets | note | tests |\n|---|---|---|---|\n"
ANSWER_HEADER = "| what the upstream sends | what the client gets | note | tests |\n|---|---|---|---|\n"


class Stale(Exception):
    """The lines and the tests do not belong together."""


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence about what a test shows, less the rules at its start."""

    test: str
    file: str
    words: str
    rules: frozenset[str]

    @property
    def key(self) -> str:
        return f"{PurePosixPath(self.file).stem[5:]}.{self.test[5:]}"

    @classmethod
    def of(cls, test: str, file: str, name: str) -> "Case":
        found = RULE.match(name)
        rules = frozenset(found[0].upper().split()) if found else frozenset()
        return cls(test, file, (name[found.end() :] if found else name).strip(), rules)


@dataclass(slots=True)
class Suite:
    """Cases by test, `usage.the_parts_add_up`, and by rule."""

    names: dict[str, Case] = field(default_factory=dict)
    rules: dict[str, list[Case]] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        for rule in case.rules:
            self.rules.setdefault(rule, []).append(case)


def read_tests(folder: Path = TESTS, rooms: Sequence[str] = ROOMS) -> Suite:
    tests = Suite()
    for path in sorted(path for room in rooms for path in (folder / room).rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        tables = {
            target.id: list(_ids(node.value))
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                _read_test(node, tables, path.relative_to(folder).as_posix(), tests)
    return tests


def _read_test(node: ast.FunctionDef, tables: dict[str, list[str]], file: str, tests: Suite) -> None:
    case = Case.of(node.name, file, node.name.removeprefix("test_").replace("_", " "))
    tests.names[case.key] = case
    tests.add(case)
    for decorator in node.decorator_list:
        named = [name for part in ast.walk(decorator) if isinstance(part, ast.Name) for name in tables.get(part.id, ())]
        for words in (*named, *_ids(decorator)):
            tests.add(Case.of(node.name, file, words))


def _ids(tree: ast.expr) -> Iterator[str]:
    """The `id` of every `pytest.param`, in order; what is computed in one is left as `…`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "id":
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)


def to_page(tests: Suite) -> str:
    _check_complete(tests)
    parts = [INTRODUCTION]
    for section in SECTIONS:
        header = ANSWER_HEADER if section.is_answer else HEADER
        lines = "".join(_to_line(row, tests) for row in section.rows)
        parts.append("\n\n".join(part for part in (f"## {section.title}", section.text, header + lines) if part))
    return "\n".join(parts)


def _check_complete(tests: Suite) -> None:
    """Every rule that a test names, and every field of a request, has its line."""
    rows = [row for section in SECTIONS for row in section.rows]
    untold = sorted(tests.rules.keys() - {name for row in rows for name in row.tests})
    if untold:
        raise Stale(f"no line tells of {untold[0]}, {tests.rules[untold[0]][0].words}")
    told = {name for row in rows for name in re.findall(r"`(\w+)", row.given)}
    missing = sorted((MessagesRequest.__required_keys__ | MessagesRequest.__optional_keys__) - told)
    if missing:
        raise Stale(f"no line begins with {', '.join(missing)}")


def _to_line(row: Row, tests: Suite) -> str:
    cases = [case for name in row.tests if not name.startswith("golden/") for case in _cases(name, tests)]
    golden = [_golden_link(name) for name in row.tests if name.startswith("golden/")]
    return f"| {row.given} | {row.made} | {row.note} | {'; '.join(_case_links(cases, tests) + golden)} |\n"


def _cases(name: str, tests: Suite) -> list[Case]:
    if name in tests.names:
        return [tests.names[name]]
    if name not in tests.rules:
        raise Stale(f"there is no test {name}")
    return tests.rules[name]


def _golden_link(name: str) -> str:
    if not (TESTS / GOLDEN / name).is_dir():
        raise Stale(f"there is no {name}")
    return _link(name.removeprefix("golden/").replace("_", " "), GOLDEN + name)


def _case_links(cases: Sequence[Case], tests: Suite) -> list[str]:
    if len(cases) <= MAX_CASES:
        return [_link(case.words or tests.names[case.key].words, case.file) for case in cases]
    counts = Counter(case.key for case in cases)
    return [
        _link(tests.names[key].words + (f" ({count} cases)" if count > 1 else ""), tests.names[key].file)
        for key, count in counts.items()
    ]


def _link(words: str, path: str) -> str:
    escaped = words.replace("|", "\\|").replace("<", "&lt;")
    return f"[{escaped}]({LINK}{path})"


def main(arguments: Sequence[str]) -> int:
    try:
        page = to_page(read_tests())
    except Stale as stale:
        sys.stderr.write(f"tests/support/conversion_rows.py: {stale}\n")
        return 1
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write("docs/conversion.md is older than the tests: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
