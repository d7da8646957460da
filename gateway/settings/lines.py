"""Lines of the keys in a TOML file, which the standard library gives for errors of syntax alone.

Walks the statements of text that is known to be valid: headers and `key = value`. The keys of an inline table have the
line of its statement. A table of a list is named by its place in it: `keys`, `0`, `name`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

Location = tuple[str, ...]

KEY: Final = re.compile(r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*""")
# What a value consists of, as far as its end depends on it: strings, comments, brackets.
TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?!")'
    r"|'''.*?'''(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
DEPTH: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def lines_of(text: str) -> Mapping[Location, int]:
    """Return the line of each table and key. `text` is valid TOML."""
    found: dict[Location, int] = {}
    table: Location = ()
    latest: dict[Location, int] = {}  # the place of the latest table in each list of tables
    line, counted = 1, 0
    for start, statement in _statements(text):
        line, counted = line + text.count("\n", counted, start), start
        keys = _keys(statement.lstrip("["))
        if statement.startswith("["):
            table = _table_of(keys, latest, is_listed=statement.startswith("[["))
        whole = table if statement.startswith("[") else (*table, *keys)
        for length in range(1, len(whole) + 1):
            found.setdefault(whole[:length], line)
    return found


def _table_of(keys: Location, latest: dict[Location, int], *, is_listed: bool) -> Location:
    """Return the table that a header begins. `is_listed`: it is another one of its list, which `latest` then has."""
    table: Location = ()
    for number, key in enumerate(keys, 1):
        table = (*table, key)
        if is_listed and number == len(keys):
            latest[table] = latest.get(table, -1) + 1
        if table in latest:
            table = (*table, str(latest[table]))
    return table


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Return each statement with its position. One ends with a line, unless a bracket is open."""
    start, depth = 0, 0
    for token in TOKEN.finditer(text + "\n"):
        if token[0] == "\n" and depth == 0:
            statement = text[start : token.start()]
            if statement.strip() and not statement.lstrip().startswith("#"):
                yield start + len(statement) - len(statement.lstrip()), statement.strip()
            start = token.end()
        else:
            depth += DEPTH.get(token[0], 0)


def _keys(statement: str) -> Location:
    """Return the parts of a statement's leading dotted key."""
    keys: list[str] = []
    at = 0
    while (found := KEY.match(statement, at)) is not None:
        double, single, bare = found.groups()
        keys.append(double if double is not None else single if single is not None else bare)
        at = found.end()
        if statement[at : at + 1] != ".":
            break
        at += 1
    return tuple(keys)
