"""Budget of memory for request bodies that have not arrived whole.

A client may send 31 of 32 MB and then take minutes for the rest, on as many connections as an address may have: 40 of
them took a front end from 80 MB to 1.2 GB (2026-11). Bodies that come with their header, as small ones do, are not
counted, so that ordinary requests go on while the budget is used up.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from gateway.errors import Overloaded, RateLimited
from gateway.web.auth import CONTEXT

# Of bodies as large as one may be (GATEWAY_MAX_BODY_BYTES).
BODIES: Final = 8
BODIES_OF_A_TENANT: Final = 4
RETRY_AFTER: Final = 2.0


class Arrivals:
    """Bytes held now, of all tenants and of each."""

    def __init__(self, body_bytes: int) -> None:
        self._limit = BODIES * body_bytes
        self._tenant_limit = BODIES_OF_A_TENANT * body_bytes
        self._held: Counter[str] = Counter()
        self.total = 0

    def add(self, tenant: str, size: int) -> None:
        """Raises RateLimited if the tenant holds too much already, Overloaded if all together do."""
        if size > 0 and self._held[tenant] + size > self._tenant_limit:
            message = "Too many large requests of this workspace are arriving at once. Please try again later."
            raise RateLimited(message, retry_after=RETRY_AFTER)
        if size > 0 and self.total + size > self._limit:
            message = "Too many large requests are arriving at once. Please try again later."
            raise Overloaded(message, retry_after=RETRY_AFTER)
        self.total += size
        self._held[tenant] += size
        if not self._held[tenant]:
            del self._held[tenant]


ARRIVALS = web.AppKey("arrivals", Arrivals)


@contextmanager
def held_bytes(request: web.Request) -> Iterator[Callable[[int], None]]:
    """Yield a function to report the number of body bytes of this request that are held now; none are at the end."""
    arrivals = request.app[ARRIVALS]
    context = request.get(CONTEXT)
    tenant = "" if context is None else context.tenant
    held = 0

    def hold(size: int) -> None:
        nonlocal held
        arrivals.add(tenant, size - held)
        held = size

    try:
        yield hold
    finally:
        arrivals.add(tenant, -held)
