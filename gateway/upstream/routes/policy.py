"""Rules of the operator for the parameters of requests: defaults, bounds, choices, locks and prohibitions.

Layers are combined from the outermost (all upstreams) to the innermost (one candidate of a route). An inner layer may
narrow what an outer one allows and never widen it; of defaults the innermost counts. Pure values and their combination;
`dialects.parameter_policy` applies them to a request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

# From least to most: efforts of reasoning, and verbosity, which are words of the same order.
ORDERED_WORDS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
WORDS: Final = ("default", "min", "max", "in", "lock", "deny", "max_price")
# Parameters that are objects: a table of theirs without one of WORDS is a default.
OBJECTS: Final = frozenset(
    {
        *("audio", "chat_template_kwargs", "image_config", "logit_bias", "metadata", "output_config", "prediction"),
        *("prompt_cache_options", "provider", "reasoning", "response_format", "thinking", "web_search_options"),
    }
)


@dataclass(frozen=True, slots=True)
class ParameterPolicy:
    """Rules of one parameter. None: no such rule. `ceilings`: most dollars for a million tokens, by unit.

    `fills_in`: the parameter is set where a request lacks it.
    """

    default: Any = field(default=None, repr=False)
    minimum: float | str | None = None
    maximum: float | str | None = None
    choices: tuple[Any, ...] | None = field(default=None, repr=False)
    lock: Any = field(default=None, repr=False)
    deny: Literal["refuse", "drop"] | None = None
    ceilings: Mapping[str, float] | None = None
    fills_in: bool = field(init=False, repr=False)
    _low: "float | WordRank | None" = field(init=False, repr=False)
    _high: "float | WordRank | None" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fills_in = self.default is not None or self.lock is not None or self.ceilings is not None
        object.__setattr__(self, "fills_in", fills_in)
        object.__setattr__(self, "_low", _rank(self.minimum))
        object.__setattr__(self, "_high", _rank(self.maximum))

    def clamped(self, value: Any) -> Any:
        """Return the value, or the bound that it exceeds. What cannot be compared is left as it is."""
        rank = _rank(value)
        if rank is None:
            return value
        if type(self._high) is type(rank) and rank > self._high:
            return self.maximum
        if type(self._low) is type(rank) and rank < self._low:
            return self.minimum
        return value


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """Rules that govern the requests of one candidate. `off`: features that are switched off.

    `refuses_losses`: a parameter that could not be carried over is answered with 400. `names`: of the parameters.
    `denied` and `allowed` are the two kinds of `parameters`. `concerns_all`: requests without any of the parameters are
    governed too.
    """

    parameters: Mapping[str, ParameterPolicy] = field(default_factory=dict, repr=False)
    off: frozenset[str] = frozenset()
    refuses_losses: bool = False
    names: frozenset[str] = field(init=False, repr=False)
    denied: Mapping[str, ParameterPolicy] = field(init=False, repr=False)
    allowed: Mapping[str, ParameterPolicy] = field(init=False, repr=False)
    concerns_all: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rules = self.parameters.items()
        object.__setattr__(self, "names", frozenset(self.parameters))
        object.__setattr__(self, "denied", {name: rule for name, rule in rules if rule.deny is not None})
        object.__setattr__(self, "allowed", {name: rule for name, rule in rules if rule.deny is None})
        object.__setattr__(self, "concerns_all", bool(self.off) or any(rule.fills_in for _, rule in rules))

    @property
    def described(self) -> str:
        """Return a text that differs between policies that differ, the same in every process."""
        rules = [(name, _plain(rule)) for name, rule in sorted(self.parameters.items())]
        return repr((rules, sorted(self.off), self.refuses_losses))


def to_policy(name: str, value: Any) -> ParameterPolicy:
    """Read the policy of a parameter; a plain value is its default. Raises ValueError for a wrong form."""
    if not isinstance(value, Mapping) or (name in OBJECTS and not set(WORDS) & value.keys()):
        return ParameterPolicy(default=value)
    unknown = sorted(value.keys() - set(WORDS))
    if unknown:
        raise ValueError(f'unknown key "{unknown[0]}"; a parameter has {", ".join(WORDS[:-1])}')
    if not isinstance(value.get("in", []), list):
        raise ValueError("in: expected a list of values")
    deny = value.get("deny", False)
    if deny not in (True, False, "drop"):
        raise ValueError('deny: expected true, false or "drop"')
    for bound in ("min", "max"):
        if bound in value and _rank(value[bound]) is None:
            raise ValueError(f"{bound}: expected a number, or one of {', '.join(ORDERED_WORDS)}")
    policy = ParameterPolicy(
        value.get("default"),
        value.get("min"),
        value.get("max"),
        tuple(value["in"]) if "in" in value else None,
        value.get("lock"),
        "drop" if deny == "drop" else "refuse" if deny else None,
        dict(value["max_price"]) if "max_price" in value else None,
    )
    low, high = _rank(policy.minimum), _rank(policy.maximum)
    if low is not None and high is not None and (type(low) is not type(high) or low > high):
        raise ValueError("min is above max")
    return policy


def combined(layers: Iterable[Mapping[str, ParameterPolicy]]) -> dict[str, ParameterPolicy]:
    """Combine the layers, the outermost first."""
    found: dict[str, ParameterPolicy] = {}
    for layer in layers:
        for name, inner in layer.items():
            outer = found.get(name)
            found[name] = inner if outer is None else narrowed(outer, inner)
    return found


def narrowed(outer: ParameterPolicy, inner: ParameterPolicy) -> ParameterPolicy:
    choices = inner.choices
    if outer.choices is not None:
        choices = outer.choices if choices is None else tuple(one for one in outer.choices if one in choices)
    return ParameterPolicy(
        default=outer.default if inner.default is None else inner.default,
        minimum=_bound(outer.minimum, outer.clamped(inner.minimum), highest=True),
        maximum=_bound(outer.maximum, outer.clamped(inner.maximum), highest=False),
        choices=choices,
        lock=merged(inner.lock, outer.lock) if outer.lock is not None else inner.lock,
        deny="refuse" if "refuse" in (outer.deny, inner.deny) else outer.deny or inner.deny,
        ceilings=lowest(outer.ceilings, inner.ceilings),
    )


def merged(value: Any, lock: Any) -> Any:
    """Return a value in which the lock's leaves win. Lists narrow: `only` is cut to what is locked, `ignore` grows."""
    if value is None or not isinstance(lock, Mapping) or not isinstance(value, Mapping):
        return lock
    result = dict(value)
    for key, locked in lock.items():
        own = value.get(key)
        if key == "only" and isinstance(own, list) and isinstance(locked, list):
            result[key] = [one for one in locked if one in own] or locked
        elif key == "ignore" and isinstance(own, list) and isinstance(locked, list):
            result[key] = [*locked, *(one for one in own if one not in locked)]
        else:
            result[key] = merged(own, locked)
    return result


def lowest(one: Mapping[str, float] | None, other: Mapping[str, float] | None) -> Mapping[str, float] | None:
    if one is None or other is None:
        return other if one is None else one
    return {unit: min(prices[unit] for prices in (one, other) if unit in prices) for unit in {**one, **other}}


def _bound(outer: Any, inner: Any, *, highest: bool) -> Any:
    if outer is None or inner is None:
        return inner if outer is None else outer
    first, second = _rank(outer), _rank(inner)
    if first is None or second is None or type(first) is not type(second):
        return outer
    return outer if (first > second) is highest else inner


class WordRank(int):
    """The place of a word among ORDERED_WORDS: not to be compared with a number."""


RANKS: Final = {word: WordRank(place) for place, word in enumerate(ORDERED_WORDS)}


def _rank(value: Any) -> float | WordRank | None:
    if isinstance(value, str):
        return RANKS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _plain(rule: ParameterPolicy) -> tuple[Any, ...]:
    return tuple(
        sorted(value.items()) if isinstance(value, Mapping) else value
        for value in (rule.default, rule.minimum, rule.maximum, rule.choices, rule.lock, rule.deny, rule.ceilings)
    )
