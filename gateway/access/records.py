"""Records of keys, limits and budgets: plain values and their JSON.

Money is an integer of nano-dollars (10⁻⁹ US dollars), times are Unix seconds. Each limit or budget belongs to one
scope: the deployment (`*`), a tenant (`tenant:NAME`), a user (`user:NAME`), or a key (`key:ID`), optionally with a
model group (`key:ID/opus`). All scopes of a request apply together.
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
from gateway.errors import shorten

Status = Literal["active", "inactive", "archived"]
DataRule = Literal["", "deny", "zdr"]
KeyPriority = Literal["low", "normal", "high"]
Period = Literal["day", "week", "month", "total", "rolling"]

NANO: Final = 1_000_000_000
# Largest integer that a Lua script represents exactly.
MAX_NANO: Final = 2**53
PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month", "total", "rolling")
# In seconds. A rolling window is counted in sixty parts of whole seconds.
MIN_WINDOW: Final = 60
MAX_WINDOW: Final = 366 * 86_400
DEPLOYMENT: Final = "*"
# Roles of the admin API. A lead has the routes about keys, for its tenant only.
ROLES: Final = ("viewer", "operator", "lead", "admin")
PRIORITIES: Final[tuple[KeyPriority, ...]] = ("low", "normal", "high")
# Separates a model from one of OpenRouter's presets; also the start of the name of a preset without a model.
PRESET: Final = "@preset/"
# Names of tenants, users and keys, which appear in headers, logs and Redis keys.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
NAME_FORM: Final = "1 to 64 of A-Z a-z 0-9 _ . @ + -, starting with a letter or a digit"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits per minute, and `concurrency` at the same time; None for no limit.

    `input_tokens` excludes tokens read from a cache, as Anthropic's limits do.
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
    """Return the period of this name. Raises ValueError if there is none."""
    found = next((one for one in PERIODS if one == name), None)
    if found is None:
        raise ValueError(f"{name!r} is not a period; use one of {', '.join(PERIODS)}")
    return found


def check_time_zone(name: str) -> None:
    """Raises ValueError for a time zone that does not exist."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a time zone, such as Europe/Berlin") from None


def check_window(period: Period, window: int) -> None:
    """Raises ValueError unless a rolling budget, and no other, has a window. `window`: seconds, 0 for none."""
    if (period == "rolling") != (window != 0):
        raise ValueError("a window in seconds is required for a rolling budget, and only allowed there")
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
        """Return a validated budget. Raises ValueError for an unknown period or time zone, or a wrong window."""
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
        """Return amount and period for people, such as `$12.50 per month`."""
        amount = to_dollars(self.amount)
        if self.period == "total":
            return f"{amount} in all"
        return f"{amount} in {self.window} seconds" if self.period == "rolling" else f"{amount} per {self.period}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits and budgets of one scope. `blocked`: every credential of the user is refused.

    `model_groups`: limits and budgets for the models of a group only, by group name.
    """

    limits: RateLimits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()
    blocked: bool = False
    model_groups: Mapping[str, "Allowance"] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.limits.is_empty and not self.budgets and not self.blocked and not self.model_groups

    def of_group(self, group: str) -> "Allowance":
        """Return the limits of a model group, or those of all models if `group` is empty."""
        return self.model_groups.get(group, NO_ALLOWANCE) if group else self

    def with_group(self, group: str, allowance: "Allowance") -> "Allowance":
        """Return a copy with other limits for one model group, or for all models if `group` is empty."""
        if not group:
            return replace(self, limits=allowance.limits, budgets=allowance.budgets)
        others = {name: one for name, one in self.model_groups.items() if name != group}
        return replace(self, model_groups=others if allowance.is_empty else {**others, group: allowance})

    def without_budget(self, period: Period) -> Self:
        """Return a copy without the budgets of this period."""
        return replace(self, budgets=tuple(one for one in self.budgets if one.period != period))

    def with_budget(self, budget: Budget) -> Self:
        """Return a copy in which this budget replaces those of the same period."""
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
        """Read a stored allowance. All empty ones are the same object, since most keys have no limits."""
        groups = value.get("model_groups", {})
        if not (value.get("budgets") or value.get("limits") or value.get("blocked") or groups):
            return NO_ALLOWANCE
        budgets = [Budget(**known_fields(Budget, budget)) for budget in value.get("budgets", ())]
        limits = RateLimits(**known_fields(RateLimits, value.get("limits", {})))
        of_groups = {name: cls.of_json(one) for name, one in groups.items()}
        return cls(limits, tuple(budgets), bool(value.get("blocked")), of_groups)


NO_ALLOWANCE: Final = Allowance()
NO_PARAMS: Final[Mapping[str, Any]] = MappingProxyType({})
# Fields with values that many keys share: each value is kept in memory once.
SHARED: Final = frozenset({"tenant", "user", "status", "role", "data", "priority"})


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One client key, or a rule of identity.

    `digests`: hexadecimal digest of each value → Unix seconds until which it is valid, None for no end. `models`:
    patterns, one of which must match a request's model by its requested or its upstream name; empty for any.
    `addresses`: networks that the key may be used from; empty for all. `params`: rules for parameters, as in
    `[params]`. `data`: what upstreams may do with requests. `shrink_floor`: lowest `max_tokens` to which a short budget
    may reduce an answer; 0 to refuse such requests, None for the default. `batches`, `cache`: permission to use them.
    `priority`: order of live requests at a full upstream. `role`: role in the admin API; such a key is not accepted for
    model requests. `per_user`: a rule of identity, with limits for each user separately. `version` grows with each
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
        """Return True if requests of this key are accepted now, with any of its values."""
        begun = self.not_before is None or now >= self.not_before
        return self.status == "active" and begun and not self.is_expired(now)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def allows_model(self, *names: str) -> bool:
        """Return True if a pattern matches one of the names of a model. Matching ignores case, as upstreams do.

        A preset may use any model, so it has to be allowed in addition to the model that it is used with.
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
        """Read a stored record. Fields of a newer version are ignored."""
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
    """Return the entries of `value` that are fields of the dataclass `kind`."""
    if kind not in _NAMES:  # `fields` takes longer than reading a record
        _NAMES[kind] = frozenset(one.name for one in fields(kind))
    names = _NAMES[kind]
    return {name: one for name, one in value.items() if name in names}


_NAMES: Final[dict[type[Any], frozenset[str]]] = {}


def to_nano(dollars: str | float | Decimal) -> int:
    """Convert US dollars to nano-dollars. Raises ValueError unless it is a number from $0 to $9,007,199."""
    try:
        nano = Decimal(str(dollars)) * NANO
    except InvalidOperation:
        raise ValueError(f"{shorten(repr(dollars))} is not an amount of US dollars") from None
    if not nano.is_finite() or not 0 <= nano <= MAX_NANO:
        raise ValueError(f"{shorten(repr(dollars))} is not an amount between $0 and $9,007,199")
    return int(nano.to_integral_value())


def to_dollars(nano: int) -> str:
    """Format nano-dollars for people: `$0.0004`, `$12.50`."""
    exact = f"{Decimal(nano) / NANO:.9f}".rstrip("0")
    whole, _, part = exact.partition(".")
    return f"${int(whole):,}.{part:0<2}"


def check_name(text: str, what: str) -> str:
    """Return the name. Raises ValueError, starting with `what`, if it is not allowed in headers and Redis keys."""
    if not NAME.fullmatch(text):
        raise ValueError(f"{what}: expected {NAME_FORM}")
    return text
