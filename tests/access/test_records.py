"""Records of access: money, patterns of models, validity, and their JSON."""

import orjson
import pytest

from gateway.access.records import (
    MAX_WINDOW,
    MIN_WINDOW,
    NANO,
    Allowance,
    Budget,
    KeyRecord,
    RateLimits,
    check_name,
    to_dollars,
    to_nano,
)


@pytest.mark.parametrize(
    ("dollars", "nano", "written"),
    [
        ("25", 25_000_000_000, "$25.00"),
        (0.0000002, 200, "$0.0000002"),
        ("0", 0, "$0.00"),
        ("1234.5", 1_234_500_000_000, "$1,234.50"),
        ("9007199.254740992", 2**53, "$9,007,199.254740992"),
    ],
)
def test_money_is_exact(dollars: str | float, nano: int, written: str) -> None:
    assert to_nano(dollars) == nano
    assert to_dollars(nano) == written


@pytest.mark.parametrize("dollars", ["-1", "ten", "nan", "inf", "1e12", "", "9007199.254740993"])
def test_other_amounts_are_refused(dollars: str) -> None:
    with pytest.raises(ValueError, match=r"amount"):
        to_nano(dollars)


def test_record_survives_its_json_and_ignores_fields_of_newer_versions() -> None:
    allowance = Allowance(RateLimits(60, concurrency=4), (Budget(5, "day", "Europe/Berlin"),))
    record = KeyRecord(
        "key_a", "ci", "red", "ann", digests={"d": None, "e": 9}, models=("claude-*",), allowance=allowance
    )
    assert KeyRecord.of_json(record.to_json() | {"later": 1}) == record


@pytest.mark.parametrize(
    ("fields", "now", "valid"),
    [
        ({}, 100, True),
        ({"not_before": 100}, 100, True),
        ({"status": "inactive"}, 100, False),
        ({"status": "archived"}, 100, False),
        ({"not_before": 101}, 100, False),
        ({"expires_at": 100}, 100, False),
        ({"expires_at": 101}, 100, True),
        ({"digests": {"other": None}}, 100, False),
        ({"digests": {"d": 100}}, 100, False),
        ({"digests": {"d": 101}}, 100, True),
    ],
)
def test_validity_of_a_key(fields: dict[str, object], now: int, valid: bool) -> None:
    record = KeyRecord(**{"id": "k", "name": "n", "digests": {"d": None}, **fields})  # type: ignore[arg-type]
    assert record.is_valid("d", now) is valid


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (("claude-opus-4-5",), True),
        (("CLAUDE-OPUS",), True),
        (("fast", "anthropic/claude-x"), False),
        (("gpt-5",), False),
    ],
)
def test_models_are_matched_by_any_of_their_names_in_any_case(names: tuple[str, ...], allowed: bool) -> None:
    assert KeyRecord("k", "n", models=("claude-*",)).allows_model(*names) is allowed


@pytest.mark.parametrize(
    ("patterns", "name", "allowed"),
    [
        (("m/*",), "m/a@preset/x", False),
        (("m/*",), "@preset/x", False),
        (("*",), "m/a@preset/x", True),
        (("@preset/*",), "@Preset/X", True),
        (("@preset/*",), "m/a@preset/x", False),
        (("m/*", "@preset/x"), "m/A@preset/x", True),
        (("m/*", "@preset/x"), "m/a@preset/y", False),
        (("m/a@preset/x",), "m/a@preset/x", True),
        (("m/a@preset/x",), "m/b@preset/x", False),
        (("m/a@preset/x",), "@preset/x", False),
    ],
)
def test_preset_is_allowed_beside_the_model_that_it_is_used_with(
    patterns: tuple[str, ...], name: str, allowed: bool
) -> None:
    assert KeyRecord("k", "n", models=patterns).allows_model(name) is allowed


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "-a", "x" * 65, "a/b", "a|b"])
def test_names_that_could_break_out_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^name: "):
        check_name(name, "name")


def test_name_of_allowed_characters_is_returned() -> None:
    assert check_name("a.B_1@c+d-e", "name") == "a.B_1@c+d-e"


def test_budget_of_an_unknown_period_or_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a period"):
        Budget.checked(1, "year", "UTC")
    with pytest.raises(ValueError, match="is not a time zone"):
        Budget.checked(1, "day", "Mars/Base")


@pytest.mark.parametrize(
    ("period", "zone", "window", "words"),
    [
        ("year", "UTC", 0, "'year' is not a period; use one of day, week, month, total, rolling"),
        ("day", "Mars/Base", 0, "'Mars/Base' is not a time zone"),
        ("day", "../UTC", 0, "is not a time zone"),
        ("rolling", "UTC", 0, "a window in seconds is required for a rolling budget"),
        ("day", "UTC", 3600, "a window in seconds is required for a rolling budget"),
        ("rolling", "UTC", MIN_WINDOW - 1, "must be 60 to 31622400 seconds"),
        ("rolling", "UTC", MAX_WINDOW + 1, "must be 60 to 31622400 seconds"),
    ],
)
def test_budget_that_cannot_be_counted_is_refused(period: str, zone: str, window: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Budget.checked(5, period, zone, window)


@pytest.mark.parametrize("window", [MIN_WINDOW, MAX_WINDOW])
def test_rolling_budget_has_a_window_within_its_bounds(window: int) -> None:
    budget = Budget.checked(NANO, "rolling", "UTC", window)
    assert (budget.name, budget.described) == (f"rolling/{window}", f"$1.00 in {window} seconds")
    calendar = Budget.checked(NANO, "week", "Europe/Berlin")
    assert (calendar.name, calendar.described) == ("week/Europe/Berlin", "$1.00 per week")


def test_rights_of_a_key_survive_its_json() -> None:
    record = KeyRecord("key_a", "ci", params={"temperature": {"max": 1}}, addresses=("10.0.0.0/8",), models=("m",))
    read = KeyRecord.of_json(orjson.loads(orjson.dumps(record.to_json())))
    assert (read.params, read.addresses, read.models) == (record.params, record.addresses, record.models)
    assert KeyRecord.of_json({"id": "key_a", "name": "ci"}) == KeyRecord("key_a", "ci")


def test_limits_of_one_period_replace_each_other() -> None:
    day, other, month = Budget(1, "day"), Budget(2, "day", "Europe/Berlin"), Budget(3)
    assert Allowance(budgets=(day, month)).with_budget(other).budgets == (month, other)
    assert Allowance(budgets=(day, month)).without_budget("month").budgets == (day,)
    for empty in ({}, {"limits": {}, "budgets": []}):
        assert Allowance.of_json(empty).is_empty
    for one in (Allowance(blocked=True), Allowance(RateLimits(concurrency=1)), Allowance(budgets=(day,))):
        assert not one.is_empty
        assert Allowance.of_json(one.to_json()) == one
