"""Limit on wrong client keys by address, which bounds how often a client makes the gateway look up keys in Redis.

An address beyond its limit gets 429 for a wrong key, and only keys that this process knows are compared: a correct one
that was used before is accepted all the same, also from an address that others share.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from aiohttp import web

from gateway.errors import RateLimited
from gateway.web.addresses import keep, network_of

PER_MINUTE: Final = 30
# A client whose key has expired tries a few times, and several clients may share an address.
AT_ONCE: Final = 60
EMISSION: Final = 60.0 / PER_MINUTE


@dataclass(slots=True)
class WrongClientKeys:
    """A virtual clock for each address, as for the limits of keys."""

    clock: Callable[[], float] = time.monotonic
    _clocks: dict[str, float] = field(default_factory=dict)  # the latest wrong key is last

    def __bool__(self) -> bool:
        """Return whether any address has sent a wrong key lately."""
        return bool(self._clocks)

    def is_over(self, address: str) -> bool:
        """Return whether an address has used up its wrong keys."""
        return self._wait(network_of(address)) > 0

    def note(self, address: str) -> None:
        """Count a wrong key. Raises RateLimited if the address has none left."""
        network = network_of(address)
        wait = self._wait(network)
        if wait > 0:
            seconds = ceil(wait)
            raise RateLimited(f"Too many wrong keys from this address. Try again in {seconds} s.", retry_after=seconds)
        now = self.clock()
        until = max(now, self._clocks.get(network, 0.0)) + EMISSION
        keep(self._clocks, network, until, lambda clock: clock <= now)

    def _wait(self, network: str) -> float:
        return self._clocks.get(network, 0.0) + EMISSION - self.clock() - AT_ONCE * EMISSION


WRONG_CLIENT_KEYS = web.AppKey("wrong_client_keys", WrongClientKeys)
