"""Options of the commands for keys and limits, and their values."""

import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, get_args

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
from gateway.errors import shorten
from gateway.json_values import from_time, to_whole
from gateway.settings.key_sections import MAX_COUNT
from gateway.upstream.routes.policy import to_policy

# A thousand years.
MAX_DAYS: Final = 365_000

ModelGroup = Annotated[
    str, typer.Option("--model-group", help="Limit the models of this group alone; limits of other models stay.")
]
Role = Annotated[
    str | None, typer.Option(help="A key of the admin API instead: viewer, operator, admin, or lead of its tenant.")
]


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """Options for limits and a budget."""

    rpm: Annotated[int | None, typer.Option(min=1, help="Requests per minute.")] = None
    input_tpm: Annotated[int | None, typer.Option(min=1, help="Input tokens per minute.")] = None
    output_tpm: Annotated[int | None, typer.Option(min=1, help="Output tokens per minute.")] = None
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at the same time.")] = None
    budget_usd: Annotated[str | None, typer.Option(help="US dollars per period.")] = None
    period: Annotated[str, typer.Option(help="day, week, month, total or rolling.")] = "month"
    time_zone: Annotated[str, typer.Option(help="IANA name of the zone that days and months are counted in.")] = "UTC"
    window_seconds: Annotated[int, typer.Option(min=0, help="Length of the window of a rolling budget.")] = 0

    def allowance(self) -> Allowance:
        """Raises CommandError for a budget that cannot be used."""
        rates = RateLimits(self.rpm, self.input_tpm, self.output_tpm, self.concurrency)
        if self.budget_usd is None:
            given = {"--period": self.period, "--time-zone": self.time_zone, "--window-seconds": self.window_seconds}
            for name, value in given.items():
                if value not in ("month", "UTC", 0):
                    raise CommandError(f"{name}: needs --budget-usd")
            return Allowance(rates)
        try:
            budget = Budget.checked(to_nano(self.budget_usd), self.period, self.time_zone, self.window_seconds)
        except ValueError as error:
            raise CommandError(str(error)) from None
        return Allowance(rates, (budget,))


@dataclass(frozen=True, slots=True)
class RightsOptions:
    """Options for the rights of a key."""

    model: Annotated[list[str] | None, typer.Option(help="Pattern of models it may use; may be repeated.")] = None
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None
    expires: Annotated[str | None, typer.Option(help="Days until it expires, or a date such as 2027-01-31.")] = None
    not_before: Annotated[str | None, typer.Option(help="Days until it is valid, or a date.")] = None
    batches: Annotated[bool | None, typer.Option(help="Whether it may create batches.")] = None
    cache: Annotated[bool | None, typer.Option(help="Whether it may use the prompt cache.")] = None
    params: Annotated[
        str | None, typer.Option(help='Rules for parameters as JSON, such as \'{"temperature": {"max": 1}}\'.')
    ] = field(default=None, repr=False)
    data: Annotated[str | None, typer.Option(help="What upstreams may do with the data: deny, zdr or any.")] = field(
        default=None, repr=False
    )
    address: Annotated[
        list[str] | None, typer.Option(help="Address or network it may be used from; may be repeated.")
    ] = None
    priority: Annotated[
        str | None, typer.Option(help="low, normal or high: the order in which a full upstream is used.")
    ] = None
    shrink_floor: Annotated[
        str | None, typer.Option(help="Tokens to which a short budget may lower an answer; off to refuse instead.")
    ] = None

    def fields(self) -> dict[str, Any]:
        """Return the given options as fields of a KeyRecord. Raises CommandError for an invalid value."""
        given = {
            "models": tuple(self.model) if self.model else None,
            "addresses": to_networks(self.address),
            "max_tokens": self.max_tokens,
            "expires_at": to_expiry(self.expires),
            "not_before": to_expiry(self.not_before),
            "batches": self.batches,
            "cache": self.cache,
            "priority": to_priority(self.priority),
            "params": to_params(self.params),
            "data": to_data(self.data),
            "shrink_floor": to_floor(self.shrink_floor),
        }
        return {name: value for name, value in given.items() if value is not None}


def to_floor(text: str | None) -> int | None:
    if text is None or text == "off":
        return None if text is None else 0
    floor = to_whole(text, MAX_COUNT)
    if floor is None:
        raise CommandError(f"--shrink-floor: {shorten(text)!r} is no number of tokens", "give a number, or off")
    return floor


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
    """Parse `deployment`, `tenant:NAME` or `user:NAME`. Raises CommandError with the `allowed` forms."""
    if text == "deployment":
        return DEPLOYMENT
    kind, _, name = text.partition(":")
    if kind not in ("tenant", "user"):
        hint = f"`dragoman keys limit {name}` sets those of a key" if kind == "key" else f"give {allowed}"
        raise CommandError(f"{text!r} is no scope", hint)
    return f"{kind}:{named(name, kind)}"


def to_expiry(text: str | None) -> int | None:
    """Parse a number of days or an ISO date into Unix seconds. Raises CommandError."""
    if text is None:
        return None
    days = to_whole(text, MAX_DAYS, least=0)
    try:
        return from_time(text) if days is None else int(time.time()) + days * 86_400
    except ValueError:
        raise CommandError(f"{shorten(text)!r} is neither a number of days nor a date such as 2027-01-31") from None
