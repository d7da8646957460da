"""Bounds of budget periods, over changes to and from daylight-saving time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.access.periods import NEVER, period_of
from gateway.access.records import Period


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp())


@pytest.mark.parametrize(
    ("period", "zone", "moment", "start", "end"),
    [
        ("day", "UTC", "2026-11-29T12:00", "2026-11-29", "2026-11-30"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29", "2026-03-30"),
        ("day", "Europe/Berlin", "2026-10-25T23:59", "2026-10-25", "2026-10-26"),
        ("week", "UTC", "2026-11-29T23:59", "2026-11-23", "2026-11-30"),
        ("month", "America/New_York", "2028-02-29T23:59", "2028-02-01", "2028-03-01"),
        ("month", "Asia/Kolkata", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
    ],
)
def test_bounds_are_local_midnights(period: Period, zone: str, moment: str, start: str, end: str) -> None:
    assert period_of(period, zone, at(moment, zone)) == (at(start, zone), at(end, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-29", 24)])
def test_days_have_23_or_25_hours_where_clocks_change(day: str, hours: int) -> None:
    start, end = period_of("day", "Europe/Berlin", at(f"{day}T12:00", "Europe/Berlin"))
    assert end - start == hours * 3600


def test_total_never_ends() -> None:
    assert period_of("total", "UTC", 1) == (0, NEVER)
