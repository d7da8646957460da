"""Settings, or the sections of gateway.toml, to upstreams and the routing table."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from gateway.settings import Settings
from gateway.settings.sections import DATA_RULES, CandidateSection, Prices, RouteSection, UpstreamSection
from gateway.simulator.vendors.rows import ALL, SIMULATED_NAMES, VENDOR_ROWS
from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.routes.policy import ParameterPolicy, RequestPolicy, combined, to_policy
from gateway.upstream.routes.route import Candidate, RouteRule, Upstream, UpstreamTimeouts
from gateway.upstream.routes.table import RoutingTable, one_upstream_table
from gateway.upstream.vendors.registry import VENDORS
from gateway.upstream.vendors.vendor import Vendor

# Name of the built-in simulator as an upstream, and its base for OpenRouter's API.
SIMULATOR = "simulator"
SIMULATOR_BASE = "/api/v1"
# For lists of models; a request carries its client's version.
ANTHROPIC_VERSION = ("anthropic-version", "2023-06-01")
# Names that Claude clients use, by the setting of the model that each of them means.
FAMILIES = {"model_big": ("big", "sonnet", "opus"), "model_small": ("small", "haiku")}


def to_upstream(settings: Settings) -> Upstream:
    """The one upstream of the settings."""
    vendor = settings.vendor
    key = settings.upstream_api_key.get_secret_value() if settings.upstream_api_key else ""
    headers = to_headers(settings, vendor, vendor.auth, key)
    timeouts = UpstreamTimeouts(
        settings.connect_timeout, None, None, idle=settings.idle_timeout, total=settings.total_timeout
    )
    return Upstream(
        settings.upstream_label, settings.base_url, key, vendor, headers, settings.dialect, timeouts=timeouts
    )


def to_headers(settings: Settings, vendor: Vendor, auth: str, key: str) -> tuple[tuple[str, str], ...]:
    headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
    if key and auth == "bearer":
        headers.append(("authorization", f"Bearer {key}"))
    elif key and auth not in ("none", "client"):
        headers.append((auth, key))
    if auth == "x-api-key":
        headers.append(ANTHROPIC_VERSION)
    if vendor.flavor == "openrouter":
        headers.append(("x-title", settings.app_title))
        if settings.app_url:
            headers.append(("http-referer", settings.app_url))
    return tuple(headers)


def to_table(settings: Settings, upstream: Upstream | None = None) -> RoutingTable:
    """Return the table of the file's sections, or of one upstream: the settings', unless `upstream` replaces it."""
    if upstream is not None or not settings.upstreams:
        one = upstream or to_upstream(settings)
        table = _table_of_one(settings, one, dict(settings.aliases))
        plays_all = settings.simulator == ALL and one.name == SIMULATOR
        return _with_simulated_servers(table, one) if plays_all else table
    sections = settings.config.sections
    upstreams = tuple(lane for name in settings.upstreams for lane in to_lanes(settings, name))
    policies = {name: to_policies(settings, name) for name in settings.upstreams}
    if not sections.routes and len(settings.upstreams) == 1:
        table = _table_of_one(settings, upstreams[0], {})
        return RoutingTable(
            upstreams,
            table.rules,
            local_stops=table.local_stops,
            strict_fallback=table.strict_fallback,
            names_upstreams=True,
        )
    return RoutingTable(
        upstreams,
        tuple(to_rule(settings, pattern, route, policies) for pattern, route in sections.routes.items()),
        tuple(_families(settings, upstreams)),
        local_stops=settings.stop_sequences == "gateway",
        strict_fallback=settings.strict_fallback == "on",
        names_upstreams=True,
    )


def to_lanes(settings: Settings, name: str) -> Iterator[Upstream]:
    """Yield the upstream of a table, once for each of its keys."""
    section = settings.upstreams[name]
    vendor = section.row(name)
    auth = section.auth or vendor.auth
    timeouts = UpstreamTimeouts(
        connect=section.connect_timeout or settings.connect_timeout,
        header=section.header_timeout,
        first_content=section.first_content_timeout,
        idle=section.idle_timeout or settings.idle_timeout,
        total=section.total_timeout or settings.total_timeout,
    )
    limits = LaneLimits(section.concurrency, section.batch, section.rpm, section.tpm)
    for lane, secret in enumerate(section.key or (None,)):
        key = secret.get_secret_value() if secret is not None else ""
        headers = dict(to_headers(settings, vendor, auth, key)) | section.headers
        yield Upstream(
            name,
            section.base(name),
            key,
            vendor,
            tuple(headers.items()),
            section.dialect or settings.dialect,
            lane,
            timeouts,
            limits=None if limits == LaneLimits() else limits,
            has_own_auth=section.auth is not None,
            takes_client_key=section.auth == "client",
            forward_headers=section.forward_headers,
            prices=_to_prices(section.prices),
            region=section.region,
            data=section.data,
            models=section.models,
        )


def to_rule(
    settings: Settings, pattern: str, route: RouteSection, policies: Mapping[str, RequestPolicy | None]
) -> RouteRule:
    """Return the rule of a line of `[routes]`. Candidates without what it requires are left out.

    `policies`: those of the upstreams, which apply where neither the route nor the candidate has more.
    """
    config = settings.config
    asks = bool(route.params or route.sort or route.max_price or route.require)

    def to_candidate(section: CandidateSection) -> Candidate:
        is_own = asks or bool(section.params)
        policy = to_policies(settings, section.upstream, route, section) if is_own else policies[section.upstream]
        return Candidate(section.upstream, section.model, section.share, section.dialect, policy)

    return RouteRule(
        pattern,
        tuple([to_candidate(one) for one in route.to if _meets(one, route, config.sections.upstreams)]),
        config.file.line_of(("routes", pattern)),
        sticky=route.sticky,
        hedge=route.hedge,
        on_refusal=route.on_refusal,
        sort=route.sort,
        max_price=_to_prices(route.max_price),
        overflow=None if route.overflow is None else to_candidate(route.overflow),
        description=route.description,
    )


def to_policies(
    settings: Settings, upstream: str, route: RouteSection | None = None, candidate: CandidateSection | None = None
) -> RequestPolicy | None:
    """Return what governs the requests of a candidate: for all, its upstream, its route, itself; None for nothing."""
    sections = settings.config.sections
    section = settings.upstreams.get(upstream)
    tables = [sections.params, section.params if section is not None else {}]
    tables += [one.params for one in (route, candidate) if one is not None]
    layers = [{name: to_policy(name, value) for name, value in table.items()} for table in tables]
    vendor = settings.vendor if section is None else section.row(upstream)
    if vendor.keeps_stored and all("store" not in layer for layer in layers):
        layers.insert(0, {"store": ParameterPolicy(deny="drop")})
    if route is not None and vendor.flavor == "openrouter":  # what the route asks of OpenRouter's routing
        data = DATA_RULES.get(route.require.get("data", ""))
        prices = {} if route.max_price is None else route.max_price.model_dump(exclude_none=True)
        provider = ParameterPolicy(
            default=None if route.sort is None else {"sort": route.sort},
            lock=dict(data) if data is not None else None,
            ceilings=prices or None,
        )
        if provider != ParameterPolicy():
            layers.insert(2, {"provider": provider})
    policy = RequestPolicy(
        combined(layers),
        frozenset(name for name, is_on in sections.features.items() if not is_on),
        section is not None and section.unsupported == "refuse",
    )
    return None if policy == RequestPolicy() else policy


def _table_of_one(settings: Settings, upstream: Upstream, aliases: Mapping[str, str]) -> RoutingTable:
    """`big` and `small`, and the family names that Claude clients use for them, unless the aliases say otherwise.

    Their defaults are OpenRouter's slugs: another server gets such a name only if the operator has set its model.
    """
    means_something = upstream.vendor.flavor == "openrouter"
    families = {
        alias: getattr(settings, name)
        for name, names in FAMILIES.items()
        if means_something or name in settings.model_fields_set
        for alias in names
    }
    return one_upstream_table(
        upstream,
        {**families, **aliases},
        local_stops=settings.stop_sequences == "gateway",
        strict_fallback=settings.strict_fallback == "on",
        policy=to_policies(settings, upstream.name),
    )


def _with_simulated_servers(table: RoutingTable, simulator: Upstream) -> RoutingTable:
    """Add the servers that the simulator plays: models with a server's name as prefix go to it."""
    root = simulator.url.removesuffix(SIMULATOR_BASE)
    lanes = [replace(simulator, name=name, url=f"{root}/named/{name}/v1", vendor=VENDORS[name]) for name in VENDOR_ROWS]
    rules = [RouteRule(f"{name}/*", (Candidate(row),)) for name, row in SIMULATED_NAMES.items()]
    return replace(table, upstreams=(*table.upstreams, *lanes), rules=(*rules, *table.rules))


def _families(settings: Settings, upstreams: tuple[Upstream, ...]) -> Iterator[RouteRule]:
    """Names that mean something to a vendor itself: the first upstream of such a vendor takes them."""
    openrouter = next((one for one in upstreams if one.flavor == "openrouter"), None)
    if openrouter is not None:
        for name, names in FAMILIES.items():
            for family in names:
                policy = to_policies(settings, openrouter.name)
                yield RouteRule(family, (Candidate(openrouter.name, getattr(settings, name), policy=policy),))
    claude = next((one for one in upstreams if one.flavor == "openrouter" or one.vendor.name == "anthropic"), None)
    if claude is not None:
        policy = to_policies(settings, claude.name)
        yield RouteRule("claude-*", (Candidate(claude.name, policy=policy),))


def _meets(candidate: CandidateSection, route: RouteSection, upstreams: Mapping[str, UpstreamSection]) -> bool:
    return upstreams[candidate.upstream].has_labels(candidate.upstream, route.labels)


def _to_prices(prices: Prices | None) -> tuple[float | None, float | None] | None:
    return None if prices is None else (prices.prompt, prices.completion)
