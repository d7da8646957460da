"""From the model a client names to the upstream that answers: one immutable table, swapped whole when it changes.

Precedence: an exact alias, a wildcard alias (the longest pattern first), the built-in family names, a bare `claude-…`
name, which becomes OpenRouter's slug, and last the name as it is. A name is never silently replaced by another model.

What the upstream's list says of its models is learned from whoever reads that list now and then; resolving a name never
waits for it, and before the first one targets are what their names suggest.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from gateway.upstream.model_facts import essentials, refined
from gateway.upstream.target import Target, to_slug, to_target
from gateway.upstream.vendor import Flavor, Vendor
from gateway.upstream.vendors import OPENROUTER

MAX_REMEMBERED = 1024

Dialect = Literal["chat", "messages"]
DialectChoice = Literal["auto", "chat", "messages"]

# Claude Code appends this to a model's name to ask for the long context window.
CONTEXT_SUFFIX = re.compile(r"\[1m\]$")

# What OpenRouter's slugs may end in: a way to choose the provider, a preset. The list has the model without it.
VARIANT = re.compile(r"[:@].*$")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server. `url` is its v1 base, without a slash at the end; `name` stands in headers, logs and metrics."""

    name: str
    url: str = field(repr=False)
    api_key: str = field(default="", repr=False)
    vendor: Vendor = OPENROUTER
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dialect: DialectChoice = "auto"

    @property
    def flavor(self) -> Flavor:
        return self.vendor.flavor


@dataclass(frozen=True, slots=True)
class Route:
    """`requested` is echoed to the client; `target.model` goes upstream."""

    requested: str
    upstream: Upstream
    dialect: Dialect
    target: Target


def to_dialect(upstream: Upstream, target: Target) -> Dialect:
    """The operator's choice; `auto` is Messages where the vendor's own answers it, and chat elsewhere.

    Compatible servers leave out more of a Messages request than the conversion to chat does, often without an error.
    """
    if upstream.dialect != "auto":
        return upstream.dialect
    address = urlsplit(upstream.url)
    if "anthropic" in address.path.split("/"):  # of Azure, Bedrock, DeepSeek, Z.ai and others: they serve nothing else
        return "messages"
    preferred = upstream.vendor.messages.preferred
    if preferred == "claude" and target.claude:
        return "messages" if upstream.vendor.has_host(address.hostname or "") else "chat"
    return "messages" if preferred == "all" else "chat"


@dataclass(slots=True)
class RoutingTable:
    """Resolved names are remembered, up to MAX_REMEMBERED of them: most traffic asks for a handful.

    A list that is learned, and a vendor that is recognised, replace what was known before, and what was resolved by it.
    `local_stops` and `strict_fallback` are the operator's decisions, whatever the model.
    """

    upstream: Upstream
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    local_stops: bool = False
    strict_fallback: bool = False
    _routes: dict[str, Route] = field(default_factory=dict, init=False, repr=False, compare=False)
    _listed: dict[str, Mapping[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def learn(self, listed: Iterable[Mapping[str, Any]]) -> None:
        """Entries of the upstream's list of models, each with its `id`."""
        known = {entry["id"]: essentials(entry) for entry in listed}
        self._listed.clear()
        self._listed.update(known)
        self._routes.clear()

    def recognise(self, vendor: Vendor) -> None:
        """The server turned out to be this vendor's."""
        self.upstream = replace(self.upstream, vendor=vendor)
        self._routes.clear()

    def resolve(self, model: str) -> Route:
        route = self._routes.get(model)
        if route is None:
            if len(self._routes) >= MAX_REMEMBERED:
                self._routes.clear()
            target = to_target(self.to_upstream_model(model), self.upstream.vendor)
            listed = self._listed.get(target.model) or self._listed.get(VARIANT.sub("", target.model))
            if listed is not None:
                target = refined(target, listed)
            route = self._routes[model] = Route(
                model, self.upstream, to_dialect(self.upstream, target), self._as_decided(target)
            )
        return route

    def to_upstream_model(self, model: str) -> str:
        name = CONTEXT_SUFFIX.sub("", model)
        alias = self.aliases.get(name) or self._wildcard(name)
        if alias is not None:
            return alias
        return to_slug(name) if self.upstream.flavor == "openrouter" else name

    def _as_decided(self, target: Target) -> Target:
        stop_limit = 0 if self.local_stops else target.stop_limit
        return replace(target, stop_limit=stop_limit, strict_fallback=self.strict_fallback)

    def _wildcard(self, name: str) -> str | None:
        patterns = [alias for alias in self.aliases if alias.endswith("*") and name.startswith(alias[:-1])]
        return self.aliases[max(patterns, key=len)] if patterns else None
