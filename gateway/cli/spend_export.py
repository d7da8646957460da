"""Single usage entries as JSON lines, CSV or SQL. Entries have ids, so a repeated export adds none."""

import csv
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TextIO

import orjson

# Columns of an entry, in their order, with their types in PostgreSQL.
COLUMNS: Final[Mapping[str, str]] = {
    "at": "timestamptz not null",
    "id": "text primary key",
    "adjusts": "text",
    **dict.fromkeys(("tenant", "user", "key", "session", "agent", "parent", "batch"), "text"),
    **dict.fromkeys(("model", "served", "upstream", "provider", "generation"), "text"),
    "status": "integer",
    **dict.fromkeys(("input", "cache_read", "cache_write", "output", "cost"), "bigint not null default 0"),
    "source": "text",
    "seconds": "double precision",
}
NUMBERS: Final = frozenset({"status", "input", "cache_read", "cache_write", "output", "cost", "seconds"})
TABLE: Final = "dragoman_usage"
NAMES: Final = ", ".join(f'"{name}"' for name in COLUMNS)
TYPED: Final = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
# Rows of one statement: PostgreSQL takes a hundred times as long for as many single ones, which it writes to disk each.
ROWS: Final = 500


async def write_entries(entries: AsyncIterator[dict[str, Any]], form: str, out: TextIO) -> int:
    """Write every entry in a form of FORMS. Return their number."""
    out.write(FIRST_LINES.get(form, ""))
    count, page = 0, list[dict[str, Any]]()
    async for entry in entries:
        page.append(entry)
        if len(page) == ROWS:
            count += FORMS[form](page, out)
            page.clear()
    return count + (FORMS[form](page, out) if page else 0)


def _json_lines(page: list[dict[str, Any]], out: TextIO) -> int:
    out.writelines(orjson.dumps(entry).decode() + "\n" for entry in page)
    return len(page)


def _csv(page: list[dict[str, Any]], out: TextIO) -> int:
    csv.writer(out).writerows([entry.get(name, "") for name in COLUMNS] for entry in page)
    return len(page)


def _sql(page: list[dict[str, Any]], out: TextIO) -> int:
    """Write one statement that adds all of its rows, or none if the export ends within it."""
    rows = ",\n".join(f"({', '.join(to_sql(name, entry.get(name)) for name in COLUMNS)})" for entry in page)
    out.write(f"insert into {TABLE} ({NAMES}) values\n{rows}\non conflict (id) do nothing;\n")
    return len(page)


def to_sql(name: str, value: Any) -> str:
    """Write a value as a literal: numbers as they are, text quoted, without the NUL that PostgreSQL refuses."""
    if value is None:
        return "default" if COLUMNS[name].endswith("default 0") else "null"
    if name in NUMBERS:
        return repr(float(value)) if name == "seconds" else str(int(value))
    return "'" + str(value).replace("\0", "").replace("'", "''") + "'"


FORMS: Final[Mapping[str, Callable[[list[dict[str, Any]], TextIO], int]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "sql": _sql,
}
FIRST_LINES: Final[Mapping[str, str]] = {
    "csv": ",".join(COLUMNS) + "\r\n",
    "sql": f"create table if not exists {TABLE} ({TYPED});\n",
}
