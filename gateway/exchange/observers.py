"""Observers of an exchange that a process adds to log and metrics: the console's activity, and traces."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.batches.server import BatchServer
from gateway.exchange.exchange import Exchange
from gateway.settings import Settings
from gateway.telemetry.activity import Activity
from gateway.telemetry.activity_store import LocalActivity, SharedActivity
from gateway.telemetry.tracing_setup import open_tracer


def watch_activity(exchange: Exchange, batches: BatchServer | None) -> Activity:
    """Let a front end's exchanges be seen on the console."""
    store = LocalActivity() if batches is None else SharedActivity(batches.server)
    activity = Activity(store, "front end", lambda: {"open": len(exchange.heartbeat)})
    exchange.observers += (activity.observe,)
    return activity


@asynccontextmanager
async def tracing(settings: Settings, exchange: Exchange) -> AsyncIterator[None]:
    """Trace the exchange's requests while the context is open, where the environment asks for it."""
    async with open_tracer(settings, os.environ) as tracer:
        exchange.tracer = tracer
        if tracer is not None:
            exchange.observers += (tracer.observe,)
        yield
