"""Values of the options of `dragoman keys` and `dragoman limits`."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.access.records import KeyRecord
from gateway.cli.console import CommandError
from gateway.cli.key_options import LimitOptions, to_expiry, to_floor
from gateway.cli.keys import summary


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (to_expiry, "soon", "'soon' is neither a number of days nor a date"),
        (to_expiry, "9" * 5000, "… is neither a number of days nor a date"),
        (to_expiry, "99999999", "'99999999' is neither a number of days nor a date"),
        (to_expiry, "9999-12-31T23:59:59-01:00", "is neither a number of days nor a date"),
        (to_floor, "few", "--shrink-floor: 'few' is no number of tokens"),
        (to_floor, "0", "--shrink-floor: '0' is no number of tokens"),
        (to_floor, "9" * 5000, "… is no number of tokens"),
    ],
)
def test_value_that_cannot_be_read_is_refused(read: Callable[[str], Any], text: str, words: str) -> None:
    with pytest.raises(CommandError) as refused:
        read(text)
    assert words.replace("…", "…'") in str(refused.value)
    assert len(str(refused.value)) < 200


def test_long_amount_is_shown_cut() -> None:
    with pytest.raises(CommandError, match="… is not an amount between") as refused:
        LimitOptions(budget_usd="9" * 5000).allowance()
    assert len(str(refused.value)) < 200


def test_expiry_is_a_number_of_days_or_a_date() -> None:
    assert to_expiry("1970-01-02") == 86_400
    assert to_expiry("2") == pytest.approx(time.time() + 2 * 86_400, abs=60)
    assert to_expiry("0") == pytest.approx(time.time(), abs=60)
    assert to_expiry(None) is None


def test_key_that_an_earlier_version_gave_a_time_beyond_the_calendar_is_shown() -> None:
    shown = summary(KeyRecord("key_1", "ci", expires_at=10**15, not_before=-(10**15)))
    assert "expires 9999-12-31 23:59 UTC  valid from 1-01-01 00:00 UTC" in shown


@pytest.mark.parametrize("options", [{"time_zone": "Europe/Berlin"}, {"period": "day"}, {"window_seconds": 600}])
def test_option_of_a_budget_without_one_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=f"--{next(iter(options)).replace('_', '-')}: needs --budget-usd"):
        LimitOptions(**options).allowance()
