"""Write docs/compatibility.md, and the summary that GET /status shows, from the marks of the tests.

    python -m tests.support.compatibility [--check]

A test that shows a feature carries `@pytest.mark.covers("Section · feature")`, with a second argument where the feature
is not offered: "refused" for a clear error, "noted" for what is left out with a note. A feature without such a test
is not on the page, and a mark that stands twice is an error.
"""

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "compatibility.md"
SUMMARY = ROOT / "gateway" / "web" / "admin" / "compatibility.json"

MARK = "pytest.mark.covers"
SEPARATOR = " · "
STATES = {
    "works": "works",
    "noted": "left out, with a note in `x-gateway-ignored`",
    "refused": "not offered: refused with a clear error",
}
SECTIONS = (
    *("Messages", "Models and tokens", "Thinking", "Tools", "Media", "Streams", "Errors", "Chat parameters"),
    *("OpenRouter", "Upstreams", "Routing", "Chat clients", "Responses clients", "Agents", "Batches", "Prompt cache"),
    *("Threads", "Access", "Security", "Operation"),
)
HEADER = """\
# Compatibility

The features of the gateway, each with the file of a test that shows it: the test is marked with the feature's name.
Written by `make docs`; `make check` fails if it is out of date. `GET /status` on the admin listener has the sums.

{sums}

Real coding agents and SDKs run with `make clients`, real servers with `make servers`. Their start lines, and what they
do differently, are in [clients.md](clients.md) and [upstreams.md](upstreams.md).
"""


class WrongMark(Exception):
    """A mark that the page cannot show."""


@dataclass(frozen=True, slots=True)
class Feature:
    """`test`: the file below `tests/`, and the name of the test."""

    section: str
    name: str
    state: str
    test: tuple[str, str]


def main(arguments: Sequence[str]) -> int:
    features = read_features()
    written = {PAGE: to_page(features), SUMMARY: to_summary(features)}
    if "--check" not in arguments:
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in written.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run `make docs`\n")
    return 1 if stale else 0


def read_features(root: Path = TESTS) -> list[Feature]:
    """Return the features in the order of the page. Raises WrongMark for one that is unknown or stands twice."""
    features = [feature for path in sorted(root.rglob("test_*.py")) for feature in features_of(path, root)]
    counts = Counter((feature.section, feature.name) for feature in features)
    for (section, name), count in counts.items():
        if count > 1:
            raise WrongMark(f"{section}{SEPARATOR}{name}: marked at {count} tests")
    return sorted(features, key=lambda feature: (SECTIONS.index(feature.section), feature.name.lower()))


def features_of(path: Path, root: Path = TESTS) -> Iterator[Feature]:
    source = path.read_text(encoding="utf-8")
    if MARK not in source:  # most files, and parsing takes its time
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            test = (path.relative_to(root).as_posix(), node.name)
            yield from (to_feature(words, test) for words in marks_of(node.decorator_list))


def marks_of(decorators: Iterable[ast.expr]) -> Iterator[list[str]]:
    for decorator in decorators:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == MARK:
            yield [ast.literal_eval(argument) for argument in decorator.args]


def to_feature(words: list[str], test: tuple[str, str]) -> Feature:
    marked, state = (*words, "works")[:2]
    section, separator, name = marked.partition(SEPARATOR)
    if not separator or section not in SECTIONS or state not in STATES or len(words) > 2:
        raise WrongMark(f"{test[0]}::{test[1]}: {words}: use one of {SECTIONS} and {tuple(STATES)}")
    return Feature(section, name, state, test)


def to_page(features: list[Feature]) -> str:
    counts = Counter(feature.state for feature in features)
    sums = "\n".join(f"- {counts[state]} {words}" for state, words in STATES.items() if counts[state])
    parts = [HEADER.format(sums=sums)]
    for section in SECTIONS:
        rows = [to_row(feature) for feature in features if feature.section == section]
        parts.append(f"\n## {section}\n\n| feature | state | test |\n| --- | --- | --- |\n" + "".join(rows))
    return "".join(parts)


def to_row(feature: Feature) -> str:
    path, _ = feature.test
    return f"| {feature.name} | {feature.state} | [{path}](../tests/{path}) |\n"


def to_summary(features: list[Feature]) -> str:
    """Return counts by state, as a whole and for each section, as JSON."""
    sections = {
        section: dict(sorted(Counter(one.state for one in features if one.section == section).items()))
        for section in SECTIONS
    }
    total = dict(sorted(Counter(feature.state for feature in features).items()))
    return json.dumps({**total, "sections": sections}, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
