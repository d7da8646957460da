"""Fields of a key and of rate limits in the admin API: each reader's values, and its refusals by name."""

from typing import Any

import pytest

from gateway.access.records import NANO, KeyRecord
from gateway.errors import InvalidRequest
from gateway.web.admin.key_fields import to_api_key, to_fields
from gateway.web.admin.rate_limits import TYPES, to_changes

GROUPS = ("large",)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {}),
        ({"user": "ada"}, {"user": "ada"}),
        (
            {"models": ["claude-*"], "addresses": ["10.0.0.0/8"]},
            {"models": ("claude-*",), "addresses": ("10.0.0.0/8",)},
        ),
        ({"models": [], "addresses": []}, {"models": (), "addresses": ()}),
        ({"max_tokens": 1}, {"max_tokens": 1}),
        ({"max_tokens": None}, {"max_tokens": None}),
        ({"expires_at": "1970-01-02T00:00:00Z"}, {"expires_at": 86400}),
        ({"expires_at": "1970-01-02T00:00:00"}, {"expires_at": 86400}),
        ({"not_before": "1970-01-01T01:00:00+01:00"}, {"not_before": 0}),
        ({"not_before": None}, {"not_before": None}),
        ({"batches": False, "cache": True}, {"batches": False, "cache": True}),
        ({"priority": "low"}, {"priority": "low"}),
        ({"params": {"temperature": {"max": 1}}}, {"params": {"temperature": {"max": 1}}}),
        ({"data": "any"}, {"data": ""}),
        ({"data": "zdr"}, {"data": "zdr"}),
        ({"shrink_floor": "off"}, {"shrink_floor": 0}),
        ({"shrink_floor": 64}, {"shrink_floor": 64}),
        ({"shrink_floor": None}, {"shrink_floor": None}),
    ],
)
def test_field_is_read(body: dict[str, Any], fields: dict[str, Any]) -> None:
    assert to_fields(body, GROUPS) == fields


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"budgets": []}, "budgets: there is no such field"),
        ({"user": 1}, "user: a name is required"),
        ({"user": "a b"}, "user: "),
        ({"models": "claude-*"}, "models: must be a list of patterns"),
        ({"models": [""]}, "models: must be a list of patterns"),
        ({"models": [1]}, "models: must be a list of patterns"),
        ({"addresses": "10.0.0.0/8"}, "addresses: must be a list of addresses"),
        ({"addresses": [1]}, "addresses: must be a list of addresses"),
        ({"addresses": ["10.0.0.0/99"]}, "addresses: "),
        ({"max_tokens": 0}, "max_tokens: must be a positive whole number"),
        ({"max_tokens": True}, "max_tokens: must be a positive whole number"),
        ({"max_tokens": 1.5}, "max_tokens: must be a positive whole number"),
        ({"expires_at": "soon"}, "expires_at: must be a time"),
        ({"batches": 1}, "batches: must be true or false"),
        ({"priority": "urgent"}, "priority: must be one of"),
        ({"params": []}, "params: must be an object"),
        ({"params": {"temperature": {"most": 1}}}, "params.temperature: "),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at: must be a time"),
        ({"not_before": "9999-12-31T23:59:59-01:00"}, "not_before: must be a time"),
        ({"data": "none"}, "data: must be deny, zdr or any"),
        ({"data": []}, "data: must be deny, zdr or any"),
        ({"limits": []}, None),
        ({"limits": [1]}, "limits: must be an object"),
        ({"limits": {"requests": 1}}, "limits: must be an object"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency: must be a positive whole number"),
        ({"budget": 5}, "budget: must be an object with amount_usd"),
        ({"budget": {"period": "daily"}}, "budget: must be an object with amount_usd"),
        ({"budget": {"amount_usd": "1", "every": "day"}}, "budget.every: there is no such field"),
        ({"budget": {"amount_usd": "much"}}, "budget: "),
        ({"budget": {"amount_usd": "1", "period": "yearly"}}, "budget: "),
        ({"budget": {"amount_usd": "1", "time_zone": "Nowhere/Here"}}, "budget: "),
        ({"model_groups": []}, None),
        ({"model_groups": [1]}, "model_groups: must be an object of objects"),
        ({"model_groups": {"large": 1}}, "model_groups: must be an object of objects"),
        ({"model_groups": {"huge": {}}}, "model_groups.huge: there is no such group"),
        ({"model_groups": {"large": {"models": []}}}, "model_groups.large.models: there is no such field"),
    ],
)
def test_wrong_field_is_refused_by_its_name(body: dict[str, Any], refusal: str | None) -> None:
    if refusal is None:  # an empty list is no limit
        assert to_fields(body, GROUPS)["allowance"].limits.requests is None
        return
    with pytest.raises(InvalidRequest) as raised:
        to_fields(body, GROUPS)
    assert raised.value.message.startswith(refusal)


def test_limits_and_budgets_are_read_for_all_models_and_by_group() -> None:
    limits = {"requests_per_minute": 60, "input_tokens_per_minute": None, "output_tokens_per_minute": 5}
    budget = {"amount_usd": "2.5", "period": "daily", "time_zone": "Europe/Paris"}
    body = {"limits": limits, "budget": budget, "model_groups": {"large": {"budget": {"amount_usd": 1}}}}
    allowance = to_fields(body, GROUPS)["allowance"]
    rates, [own], [of_group] = allowance.limits, allowance.budgets, allowance.of_group("large").budgets
    assert (rates.requests, rates.input_tokens, rates.output_tokens, rates.concurrency) == (60, None, 5, None)
    assert (own.amount, own.period, own.time_zone) == (5 * NANO // 2, "day", "Europe/Paris")
    assert (of_group.amount, of_group.period, of_group.time_zone) == (NANO, "month", "UTC")


def test_rate_limits_are_read_by_anthropics_names() -> None:
    body = {"limits": [{"type": name, "value": place} for place, name in enumerate(TYPES, 1)]}
    assert to_changes(body) == {"requests": 1, "input_tokens": 2, "output_tokens": 3, "concurrency": 4}
    assert to_changes({"limits": [{"type": "concurrency", "value": None}]}) == {"concurrency": None}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, "limits: must be a list"),
        ({"limits": []}, "limits: must be a list"),
        ({"limits": {}}, "limits: must be a list"),
        ({"limits": [], "other": 1}, "other: there is no such field"),
        ({"limits": [1]}, "limits.0.type: must be one of"),
        ({"limits": [{"type": []}]}, "limits.0.type: must be one of"),
        ({"limits": [{"type": "concurrency", "value": 1}, {"type": "requests"}]}, "limits.1.type: must be one of"),
        ({"limits": [{"type": "concurrency", "value": 0}]}, "limits.0.value: must be a positive whole number"),
        ({"limits": [{"type": "concurrency", "value": True}]}, "limits.0.value: must be a positive whole number"),
        ({"limits": [{"type": "concurrency", "value": "9"}]}, "limits.0.value: must be a positive whole number"),
    ],
)
def test_wrong_rate_limit_is_refused_by_its_place(body: dict[str, Any], refusal: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        to_changes(body)
    assert raised.value.message.startswith(refusal)


def test_key_is_shown_with_its_times_in_utc_and_its_rules() -> None:
    record = KeyRecord(
        "key_1",
        "ci",
        "acme",
        "ada",
        hint="dg-…1234",
        created_at=86_400,
        not_before=172_800,
        expires_at=4_102_444_800,
        models=("claude-*",),
        data="zdr",
        shrink_floor=0,
    )
    shown = to_api_key(record)
    assert (shown["status"], shown["workspace_id"], shown["partial_key_hint"]) == ("active", "acme", "dg-…1234")
    assert (shown["created_at"], shown["expires_at"]) == ("1970-01-02T00:00:00Z", "2100-01-01T00:00:00Z")
    own = shown["gateway"]
    assert (own["user"], own["not_before"], own["models"]) == ("ada", "1970-01-03T00:00:00Z", ["claude-*"])
    assert (own["data"], own["shrink_floor"]) == ("zdr", "off")


def test_key_without_times_and_rules_is_shown_without_them() -> None:
    shown = to_api_key(KeyRecord("key_1", "ci"))
    own = shown["gateway"]
    assert (shown["expires_at"], own["not_before"], own["user"]) == (None, None, None)
    assert (own["data"], own["shrink_floor"], own["batches"], own["cache"]) == ("any", None, True, True)


@pytest.mark.parametrize(
    ("status", "expires_at", "shown"),
    [("active", 1, "expired"), ("active", None, "active"), ("inactive", 1, "inactive"), ("archived", 1, "archived")],
)
def test_only_an_active_key_is_shown_as_expired(status: Any, expires_at: int | None, shown: str) -> None:
    assert to_api_key(KeyRecord("key_1", "ci", status=status, expires_at=expires_at))["status"] == shown
