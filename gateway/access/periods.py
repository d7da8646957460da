"""Bounds of budget periods: calendar days, weeks from Monday and months in a time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.access.records import Period

# End of a period without end, in Unix seconds. A script's doubles represent it exactly in microseconds.
NEVER = 4_102_444_800  # 2100-01-01


def period_of(period: Period, time_zone: str, at: float) -> tuple[int, int]:
    """Return start and end of the period that contains `at`, in Unix seconds. Some days have 23 or 25 hours."""
    if period in ("total", "rolling"):
        return 0, NEVER
    zone = ZoneInfo(time_zone)
    local = datetime.fromtimestamp(at, zone)
    start = datetime(local.year, local.month, local.day)  # noqa: DTZ001 - `_to_seconds` adds the zone to each bound
    if period == "week":
        start -= timedelta(days=start.weekday())
    elif period == "month":
        start = start.replace(day=1)
    days = 32 if period == "month" else 7 if period == "week" else 1
    end = start + timedelta(days=days)
    if period == "month":
        end = end.replace(day=1)
    return _to_seconds(start, zone), _to_seconds(end, zone)


def _to_seconds(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp())
