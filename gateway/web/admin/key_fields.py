"""Keys in the admin API: Anthropic's `api_key` object, and a record's fields from the body of a request."""

from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gateway.access.networks import check_networks
from gateway.access.records import PRIORITIES, Allowance, Budget, KeyRecord, Period, RateLimits, check_name, to_nano
from gateway.errors import InvalidRequest, shorten
from gateway.json_values import from_time, to_string, to_time
from gateway.upstream.routes.policy import to_policy

RATES = {
    "requests_per_minute": "requests",
    "input_tokens_per_minute": "input_tokens",
    "output_tokens_per_minute": "output_tokens",
    "concurrency": "concurrency",
}
LIMIT_FIELDS = ("limits", "budget", "model_groups")
BUDGET_FIELDS = ("amount_usd", "period", "time_zone", "window_seconds")
PERIODS: Final[Mapping[str, Period]] = {
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "total": "total",
    "rolling": "rolling",
}
DATA = {"any": "", "deny": "deny", "zdr": "zdr"}


def to_api_key(record: KeyRecord) -> dict[str, Any]:
    """Anthropic's `api_key` object; what it has no field for is in `gateway`."""
    return {
        "type": "api_key",
        "id": record.id,
        "name": record.name,
        "status": status_of(record),
        "workspace_id": record.tenant,
        "scope": {"type": "workspace", "workspace_id": record.tenant},
        "created_at": to_time(record.created_at),
        "created_by": {"id": "gateway", "type": "user"},
        "expires_at": None if record.expires_at is None else to_time(record.expires_at),
        "partial_key_hint": record.hint,
        "gateway": {
            "user": record.user or None,
            "models": list(record.models),
            "addresses": list(record.addresses),
            "max_tokens": record.max_tokens,
            "not_before": None if record.not_before is None else to_time(record.not_before),
            "batches": record.batches,
            "cache": record.cache,
            "priority": record.priority,
            "params": dict(record.params),
            "data": record.data or "any",
            "shrink_floor": "off" if record.shrink_floor == 0 else record.shrink_floor,
            **record.allowance.to_json(),
        },
    }


def status_of(record: KeyRecord) -> str:
    expired = record.status == "active" and record.is_expired(datetime.now(UTC).timestamp())
    return "expired" if expired else record.status


def to_fields(body: Mapping[str, Any], groups: Container[str], *others: str) -> dict[str, Any]:
    """Fields of a KeyRecord from a body that may also have `others`. `groups`: the model groups that exist.

    Raises InvalidRequest naming the wrong one: a key with ignored `budgets` would have no limits.
    """
    check_names(body, (*others, *READERS, *LIMIT_FIELDS))
    fields = {name: read(body, name) for name, read in READERS.items() if name in body}
    if not body.keys().isdisjoint(LIMIT_FIELDS):
        fields["allowance"] = to_allowance(body, groups)
    return fields


def check_names(body: Mapping[str, Any], known: Iterable[str], path: str = "") -> None:
    """Raises InvalidRequest for a name that is not known."""
    for name in body.keys() - set(known):
        raise InvalidRequest(f"{path}{shorten(name)}: there is no such field; there are {', '.join(sorted(known))}")


def to_allowance(body: Mapping[str, Any], groups: Container[str]) -> Allowance:
    """Read `limits` {requests_per_minute, …}, `budget` {amount_usd, …}, and the same by group in `model_groups`.

    `groups`: those that exist. Raises InvalidRequest.
    """
    allowance, wanted = _of_models(body), body.get("model_groups") or {}
    if not isinstance(wanted, dict) or not all(isinstance(one, dict) for one in wanted.values()):
        raise InvalidRequest("model_groups: must be an object of objects with limits and budget, by group")
    for group, one in wanted.items():
        path = f"model_groups.{shorten(group)}"
        if group not in groups:
            raise InvalidRequest(f"{path}: there is no such group in [model_groups] of gateway.toml")
        check_names(one, LIMIT_FIELDS[:2], f"{path}.")
        allowance = allowance.with_group(group, _of_models(one))
    return allowance


def _of_models(body: Mapping[str, Any]) -> Allowance:
    limits = body.get("limits") or {}
    if not isinstance(limits, dict) or not limits.keys() <= RATES.keys():
        raise InvalidRequest(f"limits: must be an object with some of {', '.join(RATES)}")
    rates = RateLimits(**{RATES[name]: _count(limits, name, "limits.") for name in limits})
    budget = body.get("budget")
    if budget is None:
        return Allowance(rates)
    if not isinstance(budget, dict) or "amount_usd" not in budget:
        raise InvalidRequest("budget: must be an object with amount_usd, and optionally period and time_zone")
    check_names(budget, BUDGET_FIELDS, "budget.")
    period = str(budget.get("period", "monthly"))
    try:
        amount = to_nano(budget["amount_usd"])
        zone, window = budget.get("time_zone", "UTC"), budget.get("window_seconds", 0)
        return Allowance(rates, (Budget.checked(amount, PERIODS.get(period, period), zone, int(window)),))
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"budget: {error}") from None


def to_name(body: Mapping[str, Any], name: str, otherwise: str | None = None) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a name is required")
    return checked(value, name)


def checked(text: str, what: str) -> str:
    try:
        return check_name(text, what)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def _count(body: Mapping[str, Any], name: str, path: str = "") -> int | None:
    value = body[name]
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequest(f"{path}{name}: must be a positive whole number")
    return value


def _moment(body: Mapping[str, Any], name: str) -> int | None:
    value = body[name]
    if value is None:
        return None
    try:
        return from_time(str(value))
    except ValueError:
        raise InvalidRequest(f"{name}: must be a time such as 2027-01-31T00:00:00Z") from None


def _params(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body[name]
    if not isinstance(value, dict):
        raise InvalidRequest("params: must be an object of rules by parameter")
    for parameter, rule in value.items():
        try:
            to_policy(parameter, rule)
        except ValueError as error:
            raise InvalidRequest(f"params.{parameter}: {error}") from None
    return value


def _models(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    models = body[name]
    if not isinstance(models, list) or not all(isinstance(one, str) and one for one in models):
        raise InvalidRequest(f"{name}: must be a list of patterns")
    return tuple(models)


def _addresses(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    networks = body[name]
    if not isinstance(networks, list) or not all(isinstance(one, str) for one in networks):
        raise InvalidRequest(f"{name}: must be a list of addresses or networks")
    try:
        return check_networks(networks)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}") from None


def _right(body: Mapping[str, Any], name: str) -> bool:
    if not isinstance(body[name], bool):
        raise InvalidRequest(f"{name}: must be true or false")
    return body[name] is True


def _priority(body: Mapping[str, Any], name: str) -> str:
    if body[name] not in PRIORITIES:
        raise InvalidRequest(f"{name}: must be one of {', '.join(PRIORITIES)}")
    return str(body[name])


def _shrink_floor(body: Mapping[str, Any], name: str) -> int | None:
    return 0 if body[name] == "off" else _count(body, name)


def _data(body: Mapping[str, Any], name: str) -> str:
    rule = to_string(body[name])
    if rule not in DATA:
        raise InvalidRequest(f"{name}: must be deny, zdr or any")
    return DATA[rule]


READERS: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "user": to_name,
    "models": _models,
    "addresses": _addresses,
    "max_tokens": _count,
    "expires_at": _moment,
    "not_before": _moment,
    "batches": _right,
    "cache": _right,
    "priority": _priority,
    "params": _params,
    "data": _data,
    "shrink_floor": _shrink_floor,
}
