"""Every query of docs/metrics.md and of Grafana's boards, put to Prometheus while it scrapes the cluster.

Each must have an answer.
"""

import asyncio
import re
import time
from typing import Any

from deploy.dashboards import queries
from tests.cluster.load import Say
from tests.cluster.programs import ROOT, Prometheus

# Rates need two scrapes, and rules that build on rules another round.
PATIENCE_SECONDS = 30.0
SHOWN = 3
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$tenant": ".*", "$instance": ".*"}


def documented_queries() -> list[tuple[str, str]]:
    """Return the documented queries, in words and in PromQL."""
    section = (ROOT / "docs/metrics.md").read_text().split("## Queries\n")[1].split("\n## ")[0]
    return re.findall(r"^\| ([^|`]+?) \| `(.+)` \|$", section, re.MULTILINE)


def board_queries() -> list[tuple[str, str]]:
    """Return the queries of the boards, with all their variables chosen."""
    return [(words, chosen(query)) for words, query in queries()]


def chosen(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


async def ask_all(prometheus: Prometheus, say: Say) -> list[str]:
    failures = []
    for words, query in documented_queries() + board_queries():
        try:
            found = await answer(prometheus, query)
        except ValueError as error:
            failures.append(f"{query}: {error}")
            continue
        if not found:
            failures.append(f"{query}: no answer")
        say(f"    {words}\n      {query}\n      {shown(found)}")
    return failures


async def answer(prometheus: Prometheus, query: str) -> list[Any]:
    """Raises ValueError with Prometheus' own words."""
    begun = time.monotonic()
    while True:
        found: list[Any] = (await prometheus.ask("query", query=query))["result"]
        if found or time.monotonic() - begun > PATIENCE_SECONDS:
            return found
        await asyncio.sleep(0.5)


def shown(found: list[Any]) -> str:
    parts = [f"{labels_of(one['metric'])} {float(one['value'][1]):.4g}".strip() for one in found[:SHOWN]]
    more = f"; {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "= " + "; ".join(parts) + more if parts else "= nothing"


def labels_of(metric: dict[str, str]) -> str:
    hidden = ("__name__", "instance")
    return ",".join(f"{name}={value}" for name, value in metric.items() if name not in hidden)
