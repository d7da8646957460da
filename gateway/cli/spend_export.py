"""Single entries of usage as JSON lines, CSV or SQL. Each has an id, so that a repeated export adds none."""

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


async def write_entries(entries: AsyncIterator[dict[str, Any]], form: str, out: TextIO) -> int:
    """Write every entry in a form of FORMS. Return how many there were."""
    write = FORMS[form](out)
    count = 0
    async for entry in entries:
        write(entry)
        count += 1
    return count


def _json_lines(out: TextIO) -> Callable[[dict[str, Any]], None]:
    return lambda entry: _print(out, orjson.dumps(entry).decode())


def _csv(out: TextIO) -> Callable[[dict[str, Any]], None]:
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    return lambda entry: _ignore(writer.writerow([entry.get(name, "") for name in COLUMNS]))


def _sql(out: TextIO) -> Callable[[dict[str, Any]], None]:
    """Statements for PostgreSQL: `dragoman spend --entries --sql | psql`."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    _print(out, f"create table if not exists {TABLE} ({columns});")
    names = ", ".join(f'"{name}"' for name in COLUMNS)

    def write(entry: dict[str, Any]) -> None:
        values = ", ".join(to_sql(name, entry.get(name)) for name in COLUMNS)
        row = f"({names}) values ({values})"
        _print(out, f"insert into {TABLE} {row} on conflict (id) do nothing;")

    return write


def to_sql(name: str, value: Any) -> str:
    """Write a value as a literal: numbers as they are, text quoted, without the NUL that PostgreSQL refuses."""
    if value is None:
        return "default" if COLUMNS[name].endswith("default 0") else "null"
    if name in NUMBERS:
        return repr(float(value)) if name == "seconds" else str(int(value))
    return "'" + str(value).replace("\0", "").replace("'", "''") + "'"


def _print(out: TextIO, line: str) -> None:
    out.write(line + "\n")


def _ignore(_: object) -> None:
    return None


FORMS: Final[Mapping[str, Callable[[TextIO], Callable[[dict[str, Any]], None]]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "sql": _sql,
}
