"""Count archaic and aphoristic wording in the repository's English: `python -m tests.support.wording`.

Comments, docstrings and documentation are read, and in the programs the messages too. Quoted code and code blocks are
left out. `--limit N` exits with status 1 above N findings in 10,000 words.
"""

import argparse
import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT_PATHS = ("gateway", "workers", "bench", "deploy", "tests", "docs", "README.md", "CHANGELOG.md", "SECURITY.md")
# Packages with messages that users read. The strings of tests and benchmarks are mostly data.
PROGRAMS = ("gateway", "workers")
COMMENTS = {
    ".lua": "--",
    ".js": "//",
    ".mjs": "//",
    ".c": "//",
    ".toml": "#",
    ".yaml": "#",
    ".yml": "#",
    ".conf": "#",
    ".cfg": "#",
}

# Regular expressions, each with the reason or the usual word.
WORDING = {
    r"who(?:m|so)?ever": "name the subject",
    r"whatever|whichever": "name the cases, or 'any'",
    r"nobody|no one|somebody": "name the component",
    r"for ever|forever": "'indefinitely', or the limit",
    r"mend(?:s|ed|ing)?": "'fix' or 'repair'",
    r"told": "'notified', 'reported', 'given'",
    r"tells?": "'report', 'show', 'notify'",
    r"(?:is|are|was|be) wanted": "'required' or 'requested'",
    r"in hand": "'in flight' or 'held'",
    r"comes? to": "'amounts to', or the figure",
    r"wish(?:es|ed)?": "'optional', 'request'",
    r"hand(?:s|ed|ing)? on": "'pass', 'publish', 'send'",
    r"so much|so many": "give the quantity",
    r"com(?:es?|ing) up|came up": "'occurs', 'is queued'",
    r"needs? not": "'does not have to'",
    r"(?:says?|said) nothing": "'is empty', 'has no …'",
    r"amid": "'between', 'within'",
    r"departures?": "'differences', 'exceptions'",
    r"(?:of|in) what": "name the thing",
    r"whose": "'with', where it does",
    r"for want of": "'without'",
    r"off the books": "'removed'",
    r"lest": "'so that … not'",
    r"thereby|therein|thereof|hitherto|hence|herein": "archaic",
    r"nor does|nor is|nor are|nor do": "inversion",
    r"anew": "'again'",
    r"ere|save for|but for": "archaic",
    r"of its own|of their own": "'its own …', 'separate'",
    r"what (?:becomes?|became|comes?|came|goes|went)": "name the subject: 'input', 'outcome'",
    r"of no use": "'unused' or 'useless'",
    r"worth (?:it|while)": "state the condition",
    r"nothing (?:more|else|is|will)": "state what happens",
    r"is gone|are gone|went away|is away": "'unavailable', 'closed', 'deleted'",
    r"begins? with": "'starts with'",
    r"no longer": "state the present",
    r"stands? for|stands? in": "'represents', 'is sent in'",
    r"bears?|bore|borne": "'carries' or 'accepts'",
    r"as it were|as long as": "'while'",
    r"till": "'until'",
}
# An opening of a docstring that is neither a verb nor a noun.
OPENING = re.compile(
    r"(?:what|who|whose|whoever|whatever|why|how|as|for|of|where|when|unlike|only|and|by|from|in|none|nothing|once|they|"
    r"these|those|under|with|without)\b",
    re.IGNORECASE,
)
# In lower case: without regard to case, every alternative would be tried at every word.
PATTERN = re.compile(r"\b(?:" + "|".join(WORDING) + r")\b")

# A Python string, in which `#` begins no comment, or a comment. `tokenize` takes fifteen times as long.
STRING_OR_COMMENT = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|'''
    r"""'''(?:[^'\\]|\\.|'(?!''))*'''|'(?:\\.|[^'\\\n])*'|(?P<comment>#[^\n]*)""",
    re.DOTALL,
)


def python_texts(source: str, with_messages: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text and whether it is a docstring, of each docstring and comment, and of messages if asked.

    A docstring is a string that is a statement, also below a field. A message is another string of four words or more.
    """
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)) as constant):
                docstrings.add(constant)
                yield constant.lineno, inspect.cleandoc(text), True
            case ast.Constant(value=str(text)) if with_messages and text.count(" ") >= 3 and node not in docstrings:
                yield node.lineno, text, False
    for match in STRING_OR_COMMENT.finditer(source):
        comment = match["comment"]
        if comment and not comment.startswith("# noqa"):
            yield source.count("\n", 0, match.start()) + 1, comment.lstrip("# "), False


def comment_texts(source: str, mark: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the comments that a mark starts, and the lines of block comments."""
    for number, line in enumerate(source.splitlines(), 1):
        _, found, comment = f" {line}".partition(f" {mark} ")
        if found:
            yield number, comment, False
        elif line.lstrip().startswith(("/*", "* ")):
            yield number, line.strip(" */"), False


def markdown_texts(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the lines outside code blocks."""
    in_block = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_block = not in_block
        elif not in_block:
            yield number, line, False


def findings(text: str, is_docstring: bool = False) -> tuple[int, list[str]]:
    """Return the number of words of a text, and its archaic wording."""
    prose = re.sub(r"`[^`]*`", "`", text)
    found = [match.group() for match in PATTERN.finditer(" ".join(prose.lower().split()))]
    opening = OPENING.match(prose) if is_docstring else None
    if opening:
        found.append(f"{opening.group().lower()} …")
    return len(re.findall(r"[A-Za-z][\w'-]*", prose)), found


def texts_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    source = path.read_text()
    if path.suffix == ".py":
        return python_texts(source, with_messages=path.resolve().relative_to(ROOT).parts[0] in PROGRAMS)
    if path.suffix == ".md":
        return markdown_texts(source)
    return comment_texts(source, COMMENTS[path.suffix])


def room_of(path: Path) -> str:
    """Return the package that a file is counted under."""
    parent = path.resolve().relative_to(ROOT).parent
    return "/".join(parent.parts[:2]) or path.name


def measure(paths: list[Path]) -> tuple[Counter[str], Counter[str], list[str]]:
    """Return words by room, findings by room, and one line for each finding."""
    words: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for path in files_of(paths):
        room = room_of(path)
        for number, text, is_docstring in texts_of(path):
            count, found = findings(text, is_docstring)
            words[room] += count
            counts[room] += len(found)
            lines += [f"{path}:{number}: {word}" for word in found]
    return words, counts, lines


def files_of(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        else:
            yield from sorted(file for file in path.rglob("*") if file.suffix in (".py", ".md", *COMMENTS))


def main() -> int:
    parser = argparse.ArgumentParser(description="count archaic wording per 10,000 words")
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / path for path in DEFAULT_PATHS])
    parser.add_argument("--limit", type=float, help="exit with status 1 above this many in 10,000")
    parser.add_argument("--list", action="store_true", help="print each finding")
    options = parser.parse_args()
    words, counts, lines = measure(options.paths)
    if options.list:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    for room in sorted(words):
        sys.stdout.write(row(room, counts[room], words[room]))
    sys.stdout.write(row("total", counts.total(), words.total()))
    return int(options.limit is not None and rate(counts.total(), words.total()) > options.limit)


def row(name: str, count: int, words: int) -> str:
    return f"{name:32} {words:7} {count:5} {rate(count, words):6.1f}\n"


def rate(count: int, words: int) -> float:
    return 10_000 * count / max(words, 1)


if __name__ == "__main__":
    raise SystemExit(main())
