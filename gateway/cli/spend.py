"""`dragoman spend` for spend reports, and `dragoman audit` for the audit record. Both read the gateway's Redis."""

import csv
import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import orjson
import typer

from gateway.access.records import NANO, to_dollars
from gateway.access.spend import COUNTS, DIMENSIONS, OF_ENTRIES, SpendRow, SpendStore
from gateway.cli.console import CommandError, Console, Exit
from gateway.cli.options import Json
from gateway.cli.spend_export import FORMS, write_entries
from gateway.cli.store import on_store
from gateway.errors import shorten
from gateway.json_values import to_mapping, to_time

audit = typer.Typer(help="The record of every change of keys, limits and budgets.", no_args_is_help=True)

LAST_SECOND: Final = 253_402_300_799  # of the year 9999, the last that datetime knows
# Number and hash of an entry.
HEAD: Final = re.compile(r"[1-9]\d*+ [0-9a-f]{64}", re.ASCII)
GROUPS: Final = (*DIMENSIONS, "day", *OF_ENTRIES)


def spend(
    by: Annotated[str, typer.Option(help=f"{', '.join(GROUPS)}; or a,b.")] = "tenant,model",
    since: Annotated[str | None, typer.Option("--from", help="First UTC day, such as 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last UTC day; today by default.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    entries: Annotated[
        str | None, typer.Option(help="Write the single requests instead: jsonl, csv, or sql for PostgreSQL.")
    ] = None,
    json: Json = False,
) -> None:
    """Show requests, tokens and US dollars; of this month unless said otherwise."""
    console = Console(json)
    with console.failing_clearly():
        first, last = days_of(since, until)
        if entries is not None:
            export(entries, first, last)
            return
        names = [one.strip() for one in by.split(",") if one.strip()]
        unknown = [one for one in names if one not in GROUPS]
        if unknown or not names:
            raise CommandError(
                f"--by: {', '.join(unknown) or 'nothing'} is no group", f"choose from {', '.join(GROUPS)}"
            )
        single = any(one in OF_ENTRIES for one in names)
        if single and "day" in names:
            raise CommandError("--by: day does not go with session, agent, batch or upstream")
        rows = on_store(
            lambda store: (
                SpendStore(store.server).by_entries(names, first, last)
                if single
                else SpendStore(store.server).by_day(first, last, names)
            )
        )
        if as_csv:
            write_csv(names, rows)
        elif json:
            console.emit(
                {"from": first.isoformat(), "to": last.isoformat(), "data": [to_json(names, row) for row in rows]}
            )
        else:
            console.answer(None, to_table(names, rows))


def days_of(since: str | None, until: str | None) -> tuple[date, date]:
    """Return the first and the last day; without either, this month so far. Raises CommandError."""
    last = to_day(until, "--to") if until else datetime.now(UTC).date()
    first = to_day(since, "--from") if since else last.replace(day=1)
    if first > last or last - first > timedelta(days=400):
        raise CommandError("--from: must be before --to, and at most 400 days")
    return first, last


def export(form: str, first: date, last: date) -> None:
    if form not in FORMS:
        raise CommandError(f"--entries: {form!r} is no form", f"give one of {', '.join(FORMS)}")
    on_store(lambda store: write_entries(SpendStore(store.server).entries(first, last), form, sys.stdout))


@audit.command("list")
def list_audit(json: Json = False) -> None:
    """List every change, oldest first. With --json each line is a whole entry."""
    console = Console(json)
    with console.failing_clearly():
        entries = [to_entry(entry) for entry in on_store(lambda store: store.audit())]
        if not json:
            console.answer(None, in_columns([to_line(entry) for entry in entries]) or "There are no entries.")
            return
        for entry in entries:
            console.emit(entry)


@audit.command("verify")
def verify_audit(
    anchor: Annotated[str, typer.Option(help='A head noted earlier, "<number> <hash>", that must be there.')] = "",
    json: Json = False,
) -> None:
    """Check that no entry was altered, removed or added. Status 1 names the first such entry."""
    console = Console(json)
    with console.failing_clearly():
        if anchor and HEAD.fullmatch(anchor) is None:
            raise CommandError(
                f"--anchor: {shorten(anchor)!r} is no head", 'give what `audit verify` printed: "<number> <hash>"'
            )
        problem, head = on_store(lambda store: store.verify_audit(anchor))
        if problem is not None:
            raise CommandError(problem, "someone wrote to Redis beside the gateway", status=Exit.FAILED)
        console.answer({"ok": True, "head": head}, f"sound; head: {head or 'empty'}")


def to_entry(raw: bytes) -> Mapping[str, Any]:
    try:
        return to_mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        hint = "`dragoman audit verify` names the first entry that someone has altered"
        raise CommandError("an entry is not readable", hint, status=Exit.FAILED) from None


def to_line(entry: Mapping[str, Any]) -> list[str]:
    """Return what people read of an entry: who changed what, when, and the name of a new key."""
    actor, details = to_mapping(entry.get("actor")), to_mapping(entry.get("details"))
    author = " ".join([str(actor[name]) for name in ("type", "id") if actor.get(name)])
    name, at = details.get("name"), entry.get("at")
    when = to_time(at) if isinstance(at, int) and 0 < at < LAST_SECOND else ""
    parts = (entry.get("seq"), when, author, entry.get("action"), entry.get("target"))
    return [*[str(part or "–") for part in parts], name if isinstance(name, str) else ""]


def to_day(text: str, what: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{what}: {text!r} is no date such as 2026-11-01") from None


def to_json(names: list[str], row: SpendRow) -> dict[str, str | int]:
    counts: dict[str, str | int] = {"requests": row.requests, "input_tokens": row.input, "output_tokens": row.output}
    return {**dict(zip(names, row.group, strict=True)), **counts, "cost_usd": exact(row.cost)}


def write_csv(names: list[str], rows: list[SpendRow]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow([*names, "requests", "input_tokens", "output_tokens", "cost_usd"])
    writer.writerows([*row.group, row.requests, row.input, row.output, exact(row.cost)] for row in rows)


def exact(nano: int) -> str:
    return f"{Decimal(nano) / NANO:.9f}"


def to_table(names: list[str], rows: list[SpendRow]) -> str:
    sums = [sum(getattr(row, one) for row in rows) for one in COUNTS]
    total = SpendRow(("total", *[""] * (len(names) - 1)), *sums)
    lines = [[*names, "requests", "input", "output", "cost"]]
    for row in [*rows, total]:
        counts = [f"{number:,}" for number in (row.requests, row.input, row.output)]
        lines.append([*(part or "–" for part in row.group), *counts, to_dollars(row.cost)])
    return in_columns(lines)


def in_columns(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)
