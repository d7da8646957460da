"""Live calls of tests, entered as by an exchange."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.upstream.health.live_circuits import LiveCall


@asynccontextmanager
async def entered(call: LiveCall) -> AsyncIterator[LiveCall]:
    """Raises CircuitOpen or UpstreamFull."""
    with call:
        await call.take_turn()
        yield call
