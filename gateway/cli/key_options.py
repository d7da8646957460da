"""Options of the commands for keys and limits, and their values."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import orjson
import typer

from gateway.access.networks import check_networks
from gateway.access.records import (
    DEPLOYMENT,
    PRIORITIES,
    ROLES,
    Allowance,
    Budget,
    DataRule,
    RateLimits,
    check_name,
    to_nano,
)
from gateway.cli.console import CommandError
from gateway.upstream.routes.policy import to_policy

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Rpm = Annotated[int | None, typer.Option(min=1, help="Requests per minute.")]
InputTpm = Annotated[int | None, typer.Option("--input-tpm", min=1, help="Input tokens per minute.")]
OutputTpm = Annotated[int | None, typer.Option("--output-tpm", min=1, help="Output tokens per minute.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Requests at the same time.")]
BudgetUsd = Annotated[str | None, typer.Option("--budget-usd", help="US dollars per period.")]
PeriodOption = Annotated[str, typer.Option("--period", help="day, week, month, total or rolling.")]
Zone = Annotated[str, typer.Option("--time-zone", help="IANA name of the zone that days and months are counted in.")]
Window = Annotated[int, typer.Option("--window-seconds", min=0, help="Length of the window of a rolling budget.")]
ModelGroup = Annotated[
    str, typer.Option("--model-group", help="Limit the models of this group alone; limits of other models stay.")
]
Models = Annotated[list[str] | None, typer.Option("--model", help="Pattern of models it may use; may be repeated.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", help="Address or network it may be used from; may be repeated.")
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer.")]
Expires = Annotated[str | None, typer.Option(help="Days until it expires, or a date such as 2027-01-31.")]
NotBefore = Annotated[str | None, typer.Option("--not-before", help="Days until it is valid, or a date.")]
Batches = Annotated[bool | None, typer.Option("--batches/--no-batches", help="Whether it may create batches.")]
Cache = Annotated[bool | None, typer.Option("--cache/--no-cache", help="Whether it may use the prompt cache.")]
Priority = Annotated[
    str | None, typer.Option("--priority", help="low, normal or high: the order in which a full upstream is used.")
]
Params = Annotated[
    str | None, typer.Option("--params", help='Rules for parameters as JSON, such as \'{"temperature": {"max": 1}}\'.')
]
Role = Annotated[
    str | None, typer.Option(help="A key of the admin API instead: viewer, operator, admin, or lead of its tenant.")
]
Data = Annotated[str | None, typer.Option("--data", help="What upstreams may do with the data: deny, zdr or any.")]

ShrinkFloor = Annotated[
    str | None,
    typer.Option("--shrink-floor", help="Tokens to which a short budget may lower an answer; off to refuse instead."),
]


def rights(
    model: list[str] | None,
    max_tokens: int | None,
    expires: str | None,
    not_before: str | None,
    batches: bool | None,
    cache: bool | None,
    params: str | None,
    data: str | None,
    address: list[str] | None,
    priority: str | None,
    shrink_floor: str | None,
) -> dict[str, Any]:
    """Return the fields of a KeyRecord that were given. Raises CommandError for a value that cannot be used."""
    given = {
        "models": tuple(model) if model else None,
        "addresses": to_networks(address),
        "max_tokens": max_tokens,
        "expires_at": to_expiry(expires),
        "not_before": to_expiry(not_before),
        "batches": batches,
        "cache": cache,
        "priority": to_priority(priority),
        "params": to_params(params),
        "data": to_data(data),
        "shrink_floor": to_floor(shrink_floor),
    }
    return {name: value for name, value in given.items() if value is not None}


def to_floor(text: str | None) -> int | None:
    if text is None or text == "off":
        return None if text is None else 0
    if not text.isdecimal() or int(text) < 1:
        raise CommandError(f"--shrink-floor: {text!r} is no number of tokens", "give a number, or off")
    return int(text)


def to_networks(texts: list[str] | None) -> tuple[str, ...] | None:
    if not texts:
        return None
    try:
        return check_networks(texts)
    except ValueError as error:
        raise CommandError(f"--address: {error}") from None


def to_params(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        params = orjson.loads(text)
        for name, value in params.items():
            to_policy(name, value)
    except (ValueError, AttributeError) as error:
        hint = 'an object such as {"temperature": {"max": 1}}; docs/routing.md describes the rules'
        raise CommandError(f"--params: {error}", hint) from None
    return dict(params)


def to_priority(text: str | None) -> str | None:
    if text is not None and text not in PRIORITIES:
        raise CommandError(f"--priority: {text!r} is no priority", f"give one of {', '.join(PRIORITIES)}")
    return text


def to_role(text: str | None) -> str:
    if text is not None and text not in ROLES:
        raise CommandError(f"--role: {text!r} is no role", f"give one of {', '.join(ROLES)}")
    return text or ""


def to_data(text: str | None) -> DataRule | None:
    if text is None:
        return None
    rule = "" if text == "any" else text
    found: DataRule | None = next((one for one in get_args(DataRule) if one == rule), None)
    if found is None:
        raise CommandError(f"--data: {text!r} is no rule", "give deny, zdr or any")
    return found


def named(text: str, what: str) -> str:
    try:
        return check_name(text, what)
    except ValueError as error:
        raise CommandError(str(error)) from None


def to_scope(text: str, allowed: str = "deployment, tenant:NAME or user:NAME") -> str:
    """Read `deployment`, `tenant:NAME` or `user:NAME`. Raises CommandError, which names what is `allowed`."""
    if text == "deployment":
        return DEPLOYMENT
    kind, _, name = text.partition(":")
    if kind not in ("tenant", "user"):
        hint = f"`dragoman keys limit {name}` sets those of a key" if kind == "key" else f"give {allowed}"
        raise CommandError(f"{text!r} is no scope", hint)
    return f"{kind}:{named(name, kind)}"


def to_allowance(
    rpm: int | None,
    input_tpm: int | None,
    output_tpm: int | None,
    concurrency: int | None,
    budget_usd: str | None,
    period: str,
    time_zone: str,
    window: int,
) -> Allowance:
    rates = RateLimits(rpm, input_tpm, output_tpm, concurrency)
    if budget_usd is None:
        return Allowance(rates)
    try:
        return Allowance(rates, (Budget.checked(to_nano(budget_usd), period, time_zone, window),))
    except ValueError as error:
        raise CommandError(str(error)) from None


def to_expiry(text: str | None) -> int | None:
    """Unix seconds, from a number of days or an ISO date. Raises CommandError."""
    if text is None:
        return None
    if text.isdecimal():
        return int(time.time()) + int(text) * 86_400
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is neither a number of days nor a date such as 2027-01-31") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
