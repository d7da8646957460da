"""Sources that the console reads, and what all its handlers share."""

import time
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.access.spend import SpendStore
from gateway.batches.server import BatchServer
from gateway.batches.store import BatchStore
from gateway.errors import GatewayError, InvalidRequest, Unavailable
from gateway.settings import Settings
from gateway.telemetry.activity_store import AnyActivity
from gateway.web.reply import NO_STORE, json_response

# Data of one moment, for one person.
DATA_HEADERS: Final = (*NO_STORE, ("x-content-type-options", "nosniff"))
NO_REDIS: Final = "This gateway runs without Redis, which holds batches, keys and spend: set GATEWAY_REDIS_URL."
FILTERS: Final = ("tenant", "key", "model", "status", "session", "upstream", "user", "batch", "error")
LONGEST_FILTER: Final = 256


@dataclass(frozen=True, slots=True)
class ConsoleSources:
    """`batches` is None without Redis."""

    settings: Settings
    activity: AnyActivity
    batches: BatchServer | None = None

    @property
    def batch_server(self) -> BatchServer:
        """Raises Unavailable without Redis."""
        if self.batches is None:
            raise Unavailable(NO_REDIS, should_retry=False)
        return self.batches

    @property
    def batch_store(self) -> BatchStore:
        return BatchStore(self.batch_server)

    @property
    def spend(self) -> SpendStore:
        return SpendStore(self.batch_server.server)


CONSOLE = web.AppKey("console", ConsoleSources)


def data_response(value: Any) -> web.Response:
    return json_response(value, headers=DATA_HEADERS)


def filters_of(request: web.Request) -> dict[str, str]:
    """Return the query's filters; the list and the live events take the same ones. Raises InvalidRequest."""
    wanted = {name: request.query[name] for name in FILTERS if request.query.get(name)}
    for name, value in wanted.items():
        if len(value) > LONGEST_FILTER:
            raise InvalidRequest(f"{name}: must have at most {LONGEST_FILTER} characters")
    return wanted


def seconds_of(request: web.Request, name: str) -> float:
    """Return a query's Unix time, 0 without one. Raises InvalidRequest."""
    text = request.query.get(name, "0")
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"{name}: must be a time in Unix seconds") from None


def now() -> float:
    return time.time()


def is_missing(error: GatewayError) -> bool:
    """Return True for data that cannot be read now, beside which the rest of a page is still of use."""
    return error.status >= 500
