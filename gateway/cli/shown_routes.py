"""Upstreams and routes for `dragoman check`, as text and as plain data, without keys and addresses."""

from collections.abc import Iterator
from typing import Any

from gateway.settings import Settings
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.explain import Explanation
from gateway.upstream.routes.route import Candidate, RouteRule, to_dialect
from gateway.upstream.routes.table import RoutingTable, to_model
from gateway.upstream.vendors.registry import COMPATIBLE


def to_plain_upstreams(settings: Settings, table: RoutingTable) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "vendor": lanes[0].vendor.name,
            "recognised": _recognised(settings, table, name),
            "dialect": lanes[0].dialect,
            "keys": sum(1 for lane in lanes if lane.api_key),
            "models": len(table.listed[name]) if name in table.listed else None,
            "region": lanes[0].region or None,
            "prices": _prices(table, name),
        }
        for name, lanes in table.lanes.items()
    ]


def to_plain_routes(table: RoutingTable) -> list[dict[str, Any]]:
    return [to_plain_rule(table, rule) for rule in (*table.rules, *table.families)]


def to_plain_rule(table: RoutingTable, rule: RouteRule) -> dict[str, Any]:
    candidates = [_to_plain_candidate(table, one, rule) for one in rule.candidates]
    built_in = rule in table.families
    return {
        "pattern": rule.pattern,
        "line": rule.line or None,
        "built_in": built_in,
        "description": rule.description or None,
        "candidates": candidates,
    }


def to_plain_explanation(table: RoutingTable, found: Explanation) -> dict[str, Any]:
    return {
        "model": found.model,
        "winner": None if found.winner is None else to_plain_rule(table, found.winner),
        "candidates": [
            {
                "upstream": route.upstream.name,
                "key": route.upstream.lane + 1,
                "model": route.target.model,
                "dialect": route.dialect,
                "vendor": route.upstream.vendor.name,
                "share": route.share,
            }
            for route in found.routes
        ],
        "lost": [{"pattern": rule.pattern, "line": rule.line or None, "reason": reason} for rule, reason in found.lost],
    }


def to_lines(settings: Settings, table: RoutingTable) -> Iterator[str]:
    """Yield the tables of upstreams and routes, in columns."""
    upstreams = to_plain_upstreams(settings, table)
    rows: list[tuple[str, ...]] = [
        (
            one["name"],
            f"{one['vendor']} ({one['recognised']})",
            one["dialect"],
            f"{one['keys']} key{'' if one['keys'] == 1 else 's'}" if one["keys"] else "no key",
            f"prices: {one['prices']}",
        )
        for one in upstreams
    ]
    yield from ("upstreams", *_in_columns(rows), "routes")
    rows = []
    for rule in to_plain_routes(table):
        place = f"line {rule['line']}" if rule["line"] else ("built in" if rule["built_in"] else "settings")
        shown = [_candidate(one) for one in rule["candidates"]]
        rows.append((rule["pattern"], "→ " + ", ".join(shown), place, rule["description"] or ""))
    yield from _in_columns(rows)


def to_explanation_lines(settings: Settings, found: Explanation) -> Iterator[str]:
    path = settings.config.file.path
    if found.winner is None:
        yield f"{found.model}: no route matches; clients get 404 not_found_error"
        return
    place = f" ({path}:{found.winner.line})" if found.winner.line else ""
    yield f'{found.model}: "{found.winner.pattern}"{place}'
    for number, route in enumerate(found.routes, 1):
        key = f" key {route.upstream.lane + 1}" if route.upstream.lane or route.share is not None else ""
        share = "" if route.share is None else f", share {route.share:g}"
        yield (
            f"  {number}. {route.upstream.name}/{route.target.model}{key}"
            f"  {route.dialect}, {route.upstream.vendor.name}{share}"
        )
    for rule, reason in found.lost:
        line = f" at line {rule.line}" if rule.line else ""
        yield f'  lost: "{rule.pattern}"{line}: {reason}'


def _recognised(settings: Settings, table: RoutingTable, name: str) -> str:
    """Return how the vendor was recognised."""
    if table.lanes[name][0].vendor is COMPATIBLE:
        return "unknown: strict"
    section = settings.upstreams.get(name)
    if section is None:
        return "by settings or host" if settings.vendor is not COMPATIBLE else "by what it shows"
    if section.vendor != "auto":
        return "as set"
    if section.row(name) is COMPATIBLE:
        return "by what it shows"
    return "by name" if section.is_named_after_vendor else "by host"


def _prices(table: RoutingTable, name: str) -> str:
    if table.lanes[name][0].prices is not None:
        return "set"
    listed = table.listed.get(name, {})
    return "listed" if any("pricing" in entry for entry in listed.values()) else "unknown"


def _to_plain_candidate(table: RoutingTable, candidate: Candidate, rule: RouteRule) -> dict[str, Any]:
    lane = table.lanes[candidate.upstream][0]
    target = to_target(to_model(rule, candidate, lane, rule.pattern), lane.vendor)
    dialect = to_dialect(lane, target) if candidate.dialect == "auto" else candidate.dialect
    return {
        "upstream": candidate.upstream,
        "model": candidate.model,
        "share": candidate.share,
        "dialect": dialect,
        "vendor": lane.vendor.name,
    }


def _candidate(one: dict[str, Any]) -> str:
    name = one["upstream"] if one["model"] is None else f"{one['upstream']}/{one['model']}"
    share = "" if one["share"] is None else f" {one['share']:g}"
    return f"{name}{share} [{one['dialect']}, {one['vendor']}]"


def _in_columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
