"""Table from models' names to the upstreams that may answer: immutable, and replaced whole when it changes.

Precedence: an exact name, the pattern with the most literal characters, the earlier line, the built-in family names. A
name that nothing matches is refused, never replaced by another model.

Facts from the upstreams' lists of models arrive from the reader of those lists; resolving a name
never waits for it, and before the first one targets are what their names suggest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from types import MappingProxyType
from typing import Any

from gateway.errors import InvalidRequest, NotFound
from gateway.upstream.models.model_facts import essentials, refined
from gateway.upstream.models.prices import Price, is_above, price_per_million
from gateway.upstream.models.target import Target, to_slug, to_target
from gateway.upstream.routes.policy import RequestPolicy
from gateway.upstream.routes.route import CONTEXT_SUFFIX, Candidate, Route, RouteRule, Upstream, to_dialect
from gateway.upstream.vendors.registry import COMPATIBLE
from gateway.upstream.vendors.vendor import Vendor

# Resolved names. Names are client input, so the memory for them is bounded.
MAX_REMEMBERED = 1024
# Of a name in an error message, and of one that is remembered; names are client input.
MAX_QUOTED = 200

# What OpenRouter's slugs may end in: a way to choose the provider, a preset. The list has the model without it.
VARIANT = re.compile(r"[:@].*$")

Listed = Mapping[str, Mapping[str, Any]]
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class RoutingTable:
    """Upstreams, and the rules that lead to them.

    `upstreams` has one entry for each lane: an upstream with several keys occurs once for each of them. `families` are
    rules that apply where no other does. `names_upstreams`: the operator has named the upstreams, and a client may not.
    `local_stops` and `strict_fallback` are the operator's decisions for all models. `listed`: by upstream's name,
    entries of its list of models by id. Resolved names are remembered, up to MAX_REMEMBERED of them: most traffic asks
    for a handful.
    """

    upstreams: tuple[Upstream, ...]
    rules: tuple[RouteRule, ...]
    families: tuple[RouteRule, ...] = ()
    local_stops: bool = False
    strict_fallback: bool = False
    names_upstreams: bool = False
    listed: Mapping[str, Listed] = field(default_factory=dict, repr=False, compare=False)
    _remembered: dict[str, tuple[Route, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def resolve(self, model: str) -> tuple[Route, ...]:
        """Return the candidates in their order, at least one. Raises NotFound for a model that no rule matches."""
        routes = self._remembered.get(model)
        if routes is None:
            rule = self.rule_of(model)
            self._refuse_upstream(model, rule)
            if rule is None:
                raise NotFound(f"model: {model[:MAX_QUOTED]}")
            routes = tuple(self._routes(model, rule))
            if not routes:  # a ceiling of price, or the models of its upstreams
                why = " within the price that is allowed" if rule.max_price is not None else ""
                raise NotFound(f"model: {model[:MAX_QUOTED]}: no upstream serves it{why}")
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            if len(model) <= MAX_QUOTED:
                self._remembered[model] = routes
        return routes

    def serves(self, model: str) -> bool:
        """Return whether a client may ask for this name."""
        if model in self._remembered:
            return True
        rule = self.rule_of(model)
        if rule is None:
            return False
        if rule.max_price is not None:
            return next(self._routes(model, rule), None) is not None
        # As nearly always; a route takes ten times as long.
        return any(self._may_ask(one, rule, CONTEXT_SUFFIX.sub("", model)) for one in rule.candidates)

    def overflow_of(self, route: Route) -> list[Route]:
        """Return the candidates for a prompt that is too long for this route: one for each key of the upstream."""
        overflow = route.rule.overflow
        if overflow is None or overflow.upstream not in self.lanes:  # a newer table may lack the upstream
            return []
        return list(self._routes_of(overflow, len(route.rule.candidates), route.requested, route.rule))

    def rule_of(self, model: str) -> RouteRule | None:
        """Return the rule that decides for this name, None if there is none."""
        name = CONTEXT_SUFFIX.sub("", model)
        rule = self._exact.get(name)
        if rule is None:
            rule = next((rule for rule in (*self._patterns, *self.families) if rule.matches(name)), None)
        return rule

    def to_upstream_model(self, model: str) -> str:
        """Return the name of the first candidate's model; the name itself where no rule matches."""
        rule = self.rule_of(model)
        if rule is None:
            return model
        candidate = rule.candidates[0]
        return to_model(rule, candidate, self.lanes[candidate.upstream][0], CONTEXT_SUFFIX.sub("", model))

    def price_of(self, model: str, upstream: Upstream) -> Price | None:
        """Return the price of a model that a request names to the upstream itself; None if it is not known."""
        return self._target(to_slug(model) if upstream.flavor == "openrouter" else model, upstream).price

    @property
    def aliases(self) -> dict[str, str]:
        """Return the names that mean one model, each with the model of its first candidate."""
        exact = [rule for rule in (*self.rules, *self.families) if rule.is_exact]
        return {rule.pattern: self.to_upstream_model(rule.pattern) for rule in exact}

    def aliases_at(self, upstream: str) -> Iterator[tuple[str, str]]:
        """Yield each name that rules give to one model of this upstream, with the model."""
        for rule in (*self.rules, *self.families):
            named = (one.model for one in rule.candidates if one.upstream == upstream and one.model)
            yield from ((rule.pattern, model) for model in named if "*" not in model)

    @cached_property
    def lanes(self) -> Mapping[str, tuple[Upstream, ...]]:
        """Return the lanes of each upstream, by its name, in the order of the configuration."""
        lanes: dict[str, tuple[Upstream, ...]] = {}
        for upstream in self.upstreams:
            lanes[upstream.name] = (*lanes.get(upstream.name, ()), upstream)
        return lanes

    def asks_with_client_key(self, model: str) -> bool:
        """Return True if some candidate of the model is asked with the key of the caller."""
        return self.takes_client_keys and any(route.upstream.takes_client_key for route in self.resolve(model))

    @cached_property
    def takes_client_keys(self) -> bool:
        """Return True if some upstream is asked with the keys of callers."""
        return any(upstream.takes_client_key for upstream in self.upstreams)

    @cached_property
    def forward_headers(self) -> tuple[str, ...]:
        """Return the names of all headers that some upstream gets from the client."""
        return tuple(dict.fromkeys(name for upstream in self.upstreams for name in upstream.forward_headers))

    def learned(self, upstream: str, listed: Iterable[Mapping[str, Any]]) -> "RoutingTable":
        """Return a table that knows these entries of an upstream's list of models, each with its `id`."""
        known = {entry["id"]: essentials(entry) for entry in listed}
        return replace(self, listed=MappingProxyType({**self.listed, upstream: known}))

    def recognised(self, upstream: str, vendor: Vendor) -> "RoutingTable":
        """Return a table with the vendor of an upstream."""
        named = tuple(replace(one, vendor=vendor) if one.name == upstream else one for one in self.upstreams)
        return replace(self, upstreams=named)

    @cached_property
    def _allowed(self) -> Mapping[str, frozenset[str]]:
        """Return the only models that each upstream is asked for, by its name; none for any."""
        return {name: frozenset(lanes[0].models) for name, lanes in self.lanes.items()}

    @cached_property
    def _exact(self) -> Mapping[str, RouteRule]:
        return {rule.pattern: rule for rule in reversed(self.rules) if rule.is_exact}

    @cached_property
    def _patterns(self) -> tuple[RouteRule, ...]:
        """Return the patterns in the order of their precedence."""
        return tuple(sorted((rule for rule in self.rules if not rule.is_exact), key=lambda rule: -rule.literals))

    def _refuse_upstream(self, model: str, rule: RouteRule | None) -> None:
        """Raise InvalidRequest for `upstream/model` where no route has it: a client may not choose the upstream.

        OpenRouter's slugs start with an author, who may have the name of an upstream.
        """
        upstream, slash, _ = model.partition("/")
        if not (self.names_upstreams and slash and upstream in self.lanes):
            return
        if rule is None or (rule.literals == 0 and self.lanes[rule.candidates[0].upstream][0].flavor != "openrouter"):
            raise InvalidRequest(f'model: "{upstream}" is an upstream of this gateway, which its routes choose')

    def _may_ask(self, candidate: Candidate, rule: RouteRule, name: str) -> bool:
        allowed = self._allowed[candidate.upstream]
        return not allowed or to_model(rule, candidate, self.lanes[candidate.upstream][0], name) in allowed

    def _routes(self, model: str, rule: RouteRule) -> Iterator[Route]:
        for group, candidate in self._by_price(rule, CONTEXT_SUFFIX.sub("", model)):
            yield from self._routes_of(candidate, group, model, rule)

    def _routes_of(self, candidate: Candidate, group: int, model: str, rule: RouteRule) -> Iterator[Route]:
        name, lanes = CONTEXT_SUFFIX.sub("", model), self.lanes[candidate.upstream]
        for lane in lanes:
            target = self._target(to_model(rule, candidate, lane, name), lane)
            if lane.models and target.model not in self._allowed[lane.name]:
                return
            if rule.max_price is not None and not target.openrouter and is_above(target.price, rule.max_price):
                continue  # OpenRouter keeps the ceiling itself, for each provider
            share = None if candidate.share is None and len(lanes) == 1 else (candidate.share or 1) / len(lanes)
            own = lane if candidate.dialect == "auto" else replace(lane, dialect=candidate.dialect)
            yield Route(model, own, to_dialect(own, target), target, rule, group, share, candidate.policy)

    def _by_price(self, rule: RouteRule, name: str) -> Iterable[tuple[int, Candidate]]:
        """Return the candidates with their groups; sorted by price each is a group, the cheapest first."""
        if rule.sort != "price":
            return zip(rule.groups, rule.candidates, strict=True)

        def cost(candidate: Candidate) -> float:
            lane = self.lanes[candidate.upstream][0]
            price = self._target(to_model(rule, candidate, lane, name), lane).price
            return inf if price is None else price.input + price.output

        return enumerate(sorted(rule.candidates, key=cost))

    def _target(self, model: str, upstream: Upstream) -> Target:
        target = to_target(model, upstream.vendor)
        listed = self.listed.get(upstream.name, EMPTY)
        entry = listed.get(target.model) or listed.get(VARIANT.sub("", target.model))
        if entry is not None:
            target = refined(target, entry)
        if upstream.prices is not None:
            target = replace(target, price=price_per_million(*upstream.prices))
        stop_limit = 0 if self.local_stops else target.stop_limit
        return replace(target, stop_limit=stop_limit, strict_fallback=self.strict_fallback)


@dataclass(slots=True)
class Routing:
    """The table in force. A change replaces it; a request that holds the old one finishes with it."""

    table: RoutingTable

    def resolve(self, model: str) -> tuple[Route, ...]:
        return self.table.resolve(model)

    def learn(self, upstream: str, listed: Iterable[Mapping[str, Any]]) -> None:
        self.table = self.table.learned(upstream, listed)

    def recognise(self, upstream: str, vendor: Vendor) -> None:
        self.table = self.table.recognised(upstream, vendor)

    def swap(self, table: RoutingTable) -> None:
        """Put another table in force. What was learned of an upstream stays while its name and address do."""
        old = {(one.name, one.url): one for one in self.table.upstreams}
        upstreams, listed = [], {}
        for one in table.upstreams:
            known = old.get((one.name, one.url))
            if known is not None and one.vendor is COMPATIBLE:
                one = replace(one, vendor=known.vendor)  # noqa: PLW2901
            if known is not None and one.name in self.table.listed:
                listed[one.name] = self.table.listed[one.name]
            upstreams.append(one)
        self.table = replace(table, upstreams=tuple(upstreams), listed=MappingProxyType(listed))


def one_upstream_table(
    upstream: Upstream,
    aliases: Mapping[str, str] = EMPTY,
    *,
    local_stops: bool = False,
    strict_fallback: bool = False,
    policy: RequestPolicy | None = None,
) -> RoutingTable:
    """Return the table of one upstream that takes every name; a name in `aliases` may hold `*`."""
    rules = [RouteRule(alias, (Candidate(upstream.name, model, policy=policy),)) for alias, model in aliases.items()]
    rules.append(RouteRule("*", (Candidate(upstream.name, policy=policy),)))
    return RoutingTable((upstream,), tuple(rules), local_stops=local_stops, strict_fallback=strict_fallback)


def to_model(rule: RouteRule, candidate: Candidate, upstream: Upstream, name: str) -> str:
    """Return the model that a candidate of the rule is asked for, if a client asks for this name."""
    if candidate.model is not None:
        return rule.fill(candidate.model, name)
    return to_slug(name) if upstream.flavor == "openrouter" else name
