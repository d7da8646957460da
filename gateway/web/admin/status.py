"""GET /status: upstreams, routes, open circuits, the configuration in force, and how many features tests show.

No key, address or tenant is shown.
"""

from dataclasses import asdict
from functools import lru_cache
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

from gateway import __version__
from gateway.upstream.routes.route import RouteRule
from gateway.upstream.routes.table import RoutingTable
from gateway.web.app_keys import HEALTH, STATUS
from gateway.web.reply import json_response


async def show_status(request: web.Request) -> web.Response:
    return json_response(status_of(request.app))


def status_of(app: web.Application) -> dict[str, Any]:
    sources, health = app[STATUS], app[HEALTH]
    table = sources.routing.table
    problem = health.problem
    return {
        "version": __version__,
        "status": "ready" if problem is None else problem,
        "redis": health.redis_problem,
        "config": sources.config.to_plain(),
        "upstreams": [to_plain_upstream(table, name) for name in table.lanes],
        "routes": [to_plain_rule(table, rule) for rule in table.rules],
        "families": [to_plain_rule(table, rule) for rule in table.families],
        "circuits": sources.circuits(),
        "compatibility": compatibility(),
    }


@lru_cache(maxsize=1)
def compatibility() -> dict[str, Any]:
    """Return how many features of docs/compatibility.md are in each state; `make docs` writes both."""
    written = resources.files("gateway.web.admin").joinpath("compatibility.json").read_bytes()
    summary: dict[str, Any] = orjson.loads(written)
    return summary


def to_plain_upstream(table: RoutingTable, name: str) -> dict[str, Any]:
    first, *_ = lanes = table.lanes[name]
    return {
        "name": name,
        "vendor": first.vendor.name,
        "dialect": first.dialect,
        "keys": sum(1 for lane in lanes if lane.api_key),
        "models": len(table.listed[name]) if name in table.listed else None,
        "limits": None if first.limits is None else asdict(first.limits),
        "region": first.region or None,
    }


def to_plain_rule(table: RoutingTable, rule: RouteRule) -> dict[str, Any]:
    return {
        "pattern": rule.pattern,
        "line": rule.line or None,
        "description": rule.description or None,
        "candidates": [
            {
                "upstream": one.upstream,
                "model": one.model,
                "share": one.share,
                "vendor": table.lanes[one.upstream][0].vendor.name,
            }
            for one in rule.candidates
        ],
    }
