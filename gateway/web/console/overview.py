"""The console's first page: rates of the last quarter of an hour, and problems in words with what helps."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from gateway.errors import GatewayError
from gateway.telemetry.activity import NANO
from gateway.telemetry.activity_store import SLOT_SECONDS, Counts
from gateway.telemetry.metrics import SECONDS
from gateway.web.app_keys import HEALTH, STATUS, StatusSources
from gateway.web.console.sources import CONSOLE, ConsoleSources, data_response, is_missing, now

# The tiles look at the latest complete minute.
RECENT_SLOTS: Final = 6
# A share of failures worth a look, of at least this many exchanges in five minutes.
MUCH_FAILED: Final = 0.05
ENOUGH: Final = 20
FIVE_MINUTES: Final = 30
# A process reports each second.
SILENT_SECONDS: Final = 10.0
LATE_MS: Final = 250.0


async def show_overview(request: web.Request) -> web.Response:
    return data_response(await overview_of(request.app))


async def overview_of(app: web.Application) -> dict[str, Any]:
    sources, at = app[CONSOLE], now()
    problems = [*config_problems(app[STATUS]), *redis_problems(app[HEALTH].redis_problem)]
    slots: Mapping[int, Counts] = {}
    fleet: list[dict[str, Any]] = []
    spent, waiting = None, 0
    try:
        slots, fleet = await sources.activity.slots(at), await sources.activity.fleet(at)
        spent = await spent_today(sources)
        waiting = await batches_waiting(sources)
    except GatewayError as error:
        if not is_missing(error):
            raise
        problems += redis_problems(error.message) if not problems else []
    counts = list(slots.values())
    problems += [*fleet_problems(fleet, at, waiting), *failure_problems(counts[-FIVE_MINUTES:])]
    return {
        "at": at,
        "tiles": to_tiles(counts, spent),
        "fleet": {kind: sum(1 for one in fleet if one["kind"] == kind) for kind in ("front end", "worker")},
        "open_streams": sum(one.get("open", 0) for one in fleet),
        "batches": waiting,
        "series": to_series(slots),
        "problems": problems,
    }


async def spent_today(sources: ConsoleSources) -> int | None:
    """Return nano-dollars of this UTC day; None without Redis, which keeps the sums."""
    if sources.batches is None:
        return None
    today = datetime.now(UTC).date()
    return sum(row.cost for row in await sources.spend.by_day(today, today, ()))


async def batches_waiting(sources: ConsoleSources) -> int:
    if sources.batches is None:
        return 0
    [count] = await sources.batches.pipeline([("HLEN", sources.batches.keys.scheduler.records)])
    return int(count)


def to_tiles(counts: Sequence[Counts], spent: int | None) -> dict[str, Any]:
    minute = counts[-RECENT_SLOTS - 1 : -1]  # the last slot is not complete
    total = sum(one.get("live", 0) + one.get("batch", 0) for one in minute)
    failed = sum(one.get("failed", 0) for one in minute)
    known = sum(one.get("cost", 0) for one in counts)
    return {
        "requests_per_second": round(total / (SLOT_SECONDS * max(1, len(minute))), 2),
        "failed_share": round(failed / total, 4) if total else None,
        "first_content_p95": percentile(minute, 0.95),
        "cost": (known if spent is None else spent) / NANO,
        "cost_of": "15 minutes" if spent is None else "today",
    }


def to_series(slots: Mapping[int, Counts]) -> dict[str, Any]:
    """Return one value a slot, oldest first. The last one is not complete and is left out."""
    counts = list(slots.values())[:-1]
    return {
        "start": min(slots, default=0),
        "step": SLOT_SECONDS,
        "live": [one.get("live", 0) / SLOT_SECONDS for one in counts],
        "batch": [one.get("batch", 0) / SLOT_SECONDS for one in counts],
        "failed": [one.get("failed", 0) / SLOT_SECONDS for one in counts],
        "p50": [percentile([one], 0.5) for one in counts],
        "p95": [percentile([one], 0.95) for one in counts],
        "cost": [one.get("cost", 0) / NANO for one in counts],
    }


def percentile(counts: Iterable[Counts], share: float) -> float | None:
    """Return the seconds to first content that this share stays below, by linear interpolation within a bucket."""
    buckets = [0] * (len(SECONDS) + 1)
    for one in counts:
        for number in range(len(buckets)):
            buckets[number] += one.get(f"f{number}", 0)
    rank, below = share * sum(buckets), 0
    for number, count in enumerate(buckets):
        if count and below + count >= rank:
            low = SECONDS[number - 1] if number else 0.0
            high = SECONDS[number] if number < len(SECONDS) else low
            return round(low + (high - low) * (rank - below) / count, 4)
        below += count
    return None


def redis_problems(problem: str | None) -> list[dict[str, str]]:
    if problem is None:
        return []
    return [to_problem("error", f"Redis takes no writes: {problem}", "dragoman check, and the log's redis_away lines")]


def config_problems(status: StatusSources) -> Iterable[dict[str, str]]:
    for line in status.config.problems:
        yield to_problem("error", f"The configuration file is not in force: {line}", "dragoman check")
    for name in status.config.needs_restart:
        yield to_problem("warning", f"The setting {name} has changed and needs a restart", "restart the processes")
    for circuit in status.circuits():
        name, seconds = circuit["circuit"], circuit["seconds"]
        if seconds > 0:
            yield to_problem("error", f"The circuit of {name} is open for {seconds} s more", "dragoman check")
        else:
            yield to_problem("warning", f"The circuit of {name} is open until the next request", "dragoman check")


def fleet_problems(fleet: Sequence[Mapping[str, Any]], at: float, waiting: int) -> Iterable[dict[str, str]]:
    if waiting and not any(one["kind"] == "worker" for one in fleet):
        yield to_problem("error", f"{waiting} batches wait and no worker runs", "dragoman worker")
    for one in fleet:
        name = f"{one['kind']} {one['name']}"
        if at - one["seen"] > SILENT_SECONDS:
            yield to_problem("warning", f"The {name} has not reported for {at - one['seen']:.0f} s", "look at its log")
        elif one["lag_ms"] > LATE_MS:
            yield to_problem("warning", f"The {name} is {one['lag_ms']:.0f} ms late: it is overloaded", "add processes")
    versions = sorted({one["version"] for one in fleet})
    if len(versions) > 1:
        yield to_problem("warning", f"Several versions run: {', '.join(versions)}", "finish the upgrade")


def failure_problems(counts: Sequence[Counts]) -> Iterable[dict[str, str]]:
    total = sum(one.get("live", 0) + one.get("batch", 0) for one in counts)
    failed = sum(one.get("failed", 0) for one in counts)
    if total >= ENOUGH and failed / total > MUCH_FAILED:
        yield to_problem("error", f"{failed} of {total} exchanges failed in five minutes", "see Errors")


def to_problem(severity: str, text: str, help_text: str) -> dict[str, str]:
    return {"severity": severity, "text": text, "help": help_text}
