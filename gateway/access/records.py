"""Records of keys, limits and budgets: plain values and their JSON.

Money is a whole number of nano-dollars (10⁻⁹ US dollars), times are Unix seconds. A limit or a budget belongs to one
scope: the deployment (`*`), a tenant (`tenant:NAME`), a user (`user:NAME`), or a key (`key:ID`), each also with a model
group (`key:ID/opus`). All that apply to a request apply at once.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from sys import intern
from types import MappingProxyType
from typing import Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.access.networks import is_within

Status = Literal["active", "inactive", "archived"]
DataRule = Literal["", "deny", "zdr"]
KeyPriority = Literal["low", "normal", "high"]
Period = Literal["day", "week", "month", "total", "rolling"]

NANO: Final = 1_000_000_000
# Integers that a script's doubles hold exactly.
MAX_NANO: Final = 2**53
PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month", "total", "rolling")
# A rolling window is counted in sixty parts of whole seconds.
MIN_WINDOW: Final = 60
MAX_WINDOW: Final = 366 * 86_400
DEPLOYMENT: Final = "*"
# Of the admin API. A lead has those routes of it that are about the keys of its own tenant.
ROLES: Final = ("viewer", "operator", "lead", "admin")
PRIORITIES: Final[tuple[KeyPriority, ...]] = ("low", "normal", "high")
# Separates a model from one of OpenRouter's presets, and begins the name of a preset alone.
PRESET: Final = "@preset/"
# Of tenants, users and keys' names: they appear in headers, logs and names of Redis keys.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
NAME_FORM: Final = "1 to 64 of A-Z a-z 0-9 _ . @ + -, beginning with a letter or a digit"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Per minute, `concurrency` at a time; None where there is no limit.

    `input_tokens` counts what was not read from a cache, as Anthropic's limits do.
    """

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == NO_LIMITS


NO_LIMITS: Final = RateLimits()


def to_period(name: str) -> Period:
    """Raises ValueError for a period that does not exist."""
    found = next((one for one in PERIODS if one == name), None)
    if found is None:
        raise ValueError(f"{name!r} is no period; use one of {', '.join(PERIODS)}")
    return found


def check_time_zone(name: str) -> None:
    """Raises ValueError for a time zone that does not exist."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is no time zone; one looks like Europe/Berlin") from None


def check_window(period: Period, window: int) -> None:
    """Raises ValueError for a window that is missing, or that the period does not have. `window`: seconds, or 0."""
    if (period == "rolling") != (window != 0):
        raise ValueError("a rolling budget, and no other, has a window in seconds")
    if window and not MIN_WINDOW <= window <= MAX_WINDOW:
        raise ValueError(f"the window must be {MIN_WINDOW} to {MAX_WINDOW} seconds")


@dataclass(frozen=True, slots=True)
class Budget:
    """`amount`: nano-dollars per calendar `period` in `time_zone` (an IANA name), or in the last `window` seconds."""

    amount: int
    period: Period = "month"
    time_zone: str = "UTC"
    window: int = 0

    @classmethod
    def checked(cls, amount: int, period: str, time_zone: str, window: int = 0) -> Self:
        """Raises ValueError for a period or a time zone that does not exist, or a window that is missing."""
        found = to_period(period)
        check_time_zone(time_zone)
        check_window(found, window)
        return cls(amount, found, time_zone, window)

    @property
    def name(self) -> str:
        """Return its name among the budgets of a scope."""
        return f"rolling/{self.window}" if self.period == "rolling" else f"{self.period}/{self.time_zone}"

    @property
    def described(self) -> str:
        """Return the amount and the period as people read them."""
        amount = to_dollars(self.amount)
        if self.period == "total":
            return f"{amount} in all"
        return f"{amount} in {self.window} seconds" if self.period == "rolling" else f"{amount} per {self.period}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits and budgets of one scope. `blocked`: a user with no accepted credential.

    `model_groups`: limits and budgets that count requests for the models of a group alone, by its name.
    """

    limits: RateLimits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()
    blocked: bool = False
    model_groups: Mapping[str, "Allowance"] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.limits.is_empty and not self.budgets and not self.blocked and not self.model_groups

    def of_group(self, group: str) -> "Allowance":
        """Return the limits for a model group; those for all models if `group` is empty."""
        return self.model_groups.get(group, NO_ALLOWANCE) if group else self

    def with_group(self, group: str, allowance: "Allowance") -> "Allowance":
        """Return these limits with others for one model group, or for all models together if `group` is empty."""
        if not group:
            return replace(self, limits=allowance.limits, budgets=allowance.budgets)
        others = {name: one for name, one in self.model_groups.items() if name != group}
        return replace(self, model_groups=others if allowance.is_empty else {**others, group: allowance})

    def without_budget(self, period: Period) -> Self:
        """Return the allowance without its budgets of this period."""
        return replace(self, budgets=tuple(one for one in self.budgets if one.period != period))

    def with_budget(self, budget: Budget) -> Self:
        """Return the allowance with this budget in place of those of the same period."""
        others = self.without_budget(budget.period)
        return replace(others, budgets=(*others.budgets, budget))

    def to_json(self) -> dict[str, Any]:
        limits = {name: value for name, value in asdict(self.limits).items() if value is not None}
        groups = {name: one.to_json() for name, one in self.model_groups.items()}
        return {
            "limits": limits,
            "budgets": [asdict(budget) for budget in self.budgets],
            **({"blocked": True} if self.blocked else {}),
            **({"model_groups": groups} if groups else {}),
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "Allowance":
        """Return the same object for all without limits: most keys have none."""
        groups = value.get("model_groups", {})
        if not (value.get("budgets") or value.get("limits") or value.get("blocked") or groups):
            return NO_ALLOWANCE
        budgets = [Budget(**known_fields(Budget, budget)) for budget in value.get("budgets", ())]
        limits = RateLimits(**known_fields(RateLimits, value.get("limits", {})))
        of_groups = {name: cls.of_json(one) for name, one in groups.items()}
        return cls(limits, tuple(budgets), bool(value.get("blocked")), of_groups)


NO_ALLOWANCE: Final = Allowance()
NO_PARAMS: Final[Mapping[str, Any]] = MappingProxyType({})
# Texts that many keys have in common, held once.
SHARED: Final = frozenset({"tenant", "user", "status", "role", "data", "priority"})


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One client key. `digests`: hexadecimal digest → Unix seconds until which it is valid, None for always.

    `models`: patterns of which a request's model has to match one, by its requested or its upstream name; empty for
    any. `addresses`: networks that it may be used from; empty for all. `params`: rules for parameters, as in
    `[params]`; `data`: what upstreams may do with the requests. `shrink_floor`: tokens to which a short budget may
    lower an answer, 0 to refuse instead, None for the usual. `batches` and `cache`: whether it may use them.
    `priority`: of its live requests where an upstream is full. `role`: of the admin API, which makes it no key for
    models. `per_user`: a rule of identity with limits that apply to each user separately. `version` grows with each
    change.
    """

    id: str
    name: str
    tenant: str = "default"
    user: str = ""
    status: Status = "active"
    hint: str = ""
    created_at: int = 0
    not_before: int | None = None
    expires_at: int | None = None
    digests: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    models: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    max_tokens: int | None = None
    batches: bool = True
    cache: bool = True
    priority: KeyPriority = "normal"
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data: DataRule = ""
    shrink_floor: int | None = None
    role: str = ""
    per_user: bool = False
    allowance: Allowance = field(default_factory=Allowance)
    version: int = 1

    def is_valid(self, digest: str, now: float) -> bool:
        if digest not in self.digests:
            return False
        until = self.digests[digest]
        return self.is_usable(now) and (until is None or now < until)

    def is_usable(self, now: float) -> bool:
        """Return whether requests of this key are accepted now, with any of its values."""
        begun = self.not_before is None or now >= self.not_before
        return self.status == "active" and begun and not self.is_expired(now)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def allows_model(self, *names: str) -> bool:
        """Case does not count: upstreams take names in any.

        A preset may ask any model, so it has to be allowed beside the model that it is used with.
        """
        patterns = [pattern.lower() for pattern in self.models]
        return not patterns or any(_allow(patterns, name.lower()) for name in names)

    def allows_address(self, address: str) -> bool:
        return not self.addresses or is_within(address, self.addresses)

    def to_json(self) -> dict[str, Any]:
        value = {one.name: getattr(self, one.name) for one in fields(self)}
        lists = {"digests": dict(self.digests), "models": list(self.models), "addresses": list(self.addresses)}
        return value | lists | {"params": dict(self.params), "allowance": self.allowance.to_json()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Fields of a newer version are ignored."""
        known = known_fields(cls, value)
        for name in ("models", "addresses"):
            known[name] = tuple(known.get(name, ()))
        for name in SHARED & known.keys():
            known[name] = intern(known[name])
        known["params"] = known.get("params") or NO_PARAMS
        known["allowance"] = Allowance.of_json(known.get("allowance", {}))
        return cls(**known)


def _allow(patterns: Sequence[str], name: str) -> bool:
    def matches(text: str) -> bool:
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)

    model, mark, preset = name.partition(PRESET)
    if not mark:
        return matches(name)
    if any(PRESET in pattern and fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
        return True
    return matches(mark + preset) and (not model or matches(model))


def known_fields(kind: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass; those of a newer version are left out."""
    if kind not in _NAMES:  # looking at them takes longer than reading a record
        _NAMES[kind] = frozenset(one.name for one in fields(kind))
    names = _NAMES[kind]
    return {name: one for name, one in value.items() if name in names}


_NAMES: Final[dict[type[Any], frozenset[str]]] = {}


def to_nano(dollars: str | float | Decimal) -> int:
    """Convert US dollars. Raises ValueError for no number, less than zero, or more than $9 million."""
    try:
        nano = Decimal(str(dollars)) * NANO
    except InvalidOperation:
        raise ValueError(f"{dollars!r} is no amount of US dollars") from None
    if not nano.is_finite() or not 0 <= nano <= MAX_NANO:
        raise ValueError(f"{dollars!r} is no amount between $0 and $9,007,199")
    return int(nano.to_integral_value())


def to_dollars(nano: int) -> str:
    """Write an amount as people read it: `$0.0004`, `$12.50`."""
    exact = f"{Decimal(nano) / NANO:.9f}".rstrip("0")
    whole, _, part = exact.partition(".")
    return f"${int(whole):,}.{part:0<2}"


def check_name(text: str, what: str) -> str:
    """Return the name. Raises ValueError for one that cannot be used in a header or in the name of a Redis key."""
    if not NAME.fullmatch(text):
        raise ValueError(f"{what}: expected {NAME_FORM}")
    return text
