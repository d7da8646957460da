"""Limits on wrong keys at the admin listener, by address and for all addresses together.

Keys in headers and in the sign-in form count alike, within one process. An address without a wrong key in the last
minute is always heard, so that guesses from one address never lock out a correct key from another.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from gateway.errors import RateLimited
from gateway.web.addresses import keep, network_of

WINDOW_SECONDS: Final = 60.0
# Wrong keys within that time.
MOST_OF_ADDRESS: Final = 20
# Of all addresses. Beyond it each address has one wrong key a minute.
MOST_IN_ALL: Final = 200


@dataclass(slots=True)
class WrongAdminKeys:
    clock: Callable[[], float] = time.monotonic
    _all: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_IN_ALL))
    _by_address: dict[str, deque[float]] = field(default_factory=dict)  # the one with the latest wrong key is last

    def check(self, address: str | None) -> None:
        """Raises RateLimited for an address with too many wrong keys in the last minute."""
        begun = self.clock() - WINDOW_SECONDS
        times = [at for at in self._by_address.get(network_of(address), ()) if at > begun]
        most = 1 if len(self._all) == MOST_IN_ALL and self._all[0] > begun else MOST_OF_ADDRESS
        if len(times) >= most:
            wait = ceil(times[-most] - begun)
            raise RateLimited(f"Too many wrong keys. Try again in {wait} s.", retry_after=wait)

    def add(self, address: str | None) -> None:
        now, network = self.clock(), network_of(address)
        self._all.append(now)
        times = self._by_address.get(network) or deque(maxlen=MOST_OF_ADDRESS)
        times.append(now)
        keep(self._by_address, network, times, lambda those: those[-1] <= now - WINDOW_SECONDS)
