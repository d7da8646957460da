"""Sessions that have moved to another candidate, and stay there while their prompt is cached there.

A session's first choice needs no state (`affinity`). When it has moved, its prompt is cached at the other candidate,
and going back as soon as the first one recovers would pay for the whole prompt again. Moves are few: each process keeps
those of the last hour, and a background task exchanges them through a stream in Redis, so that no request waits.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from gateway.redis.server import RedisServer, milliseconds
from gateway.upstream.routes.route import Route

SHARE_SECONDS: Final = 1.0  # between two exchanges with the other processes
# For how long an upstream keeps a cached prompt after its last use (Anthropic's two durations, 2026).
CACHE_SECONDS: Final = 300.0
LONG_CACHE_SECONDS: Final = 3600.0
# A pin is renewed by use once this much of its time has passed.
RENEW_AFTER: Final = 0.2
MAX_PINS: Final = 20_000
# News that are read at once.
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Pin:
    """`until` and `begun` are seconds of this process's clock."""

    candidate: str
    begun: float
    until: float


@dataclass(slots=True)
class Pins:
    """Run `share` beside it, again and again."""

    server: RedisServer | None = None
    clock: Callable[[], float] = time.monotonic
    _pins: dict[str, Pin] = field(default_factory=dict, repr=False)
    _news: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _read_to: str = "0"

    def __bool__(self) -> bool:
        return bool(self._pins)

    def find(self, session: bytes) -> str | None:
        """Return the name of the candidate where the session stays."""
        name = name_of_session(session)
        pin = self._pins.get(name)
        if pin is None:
            return None
        if self.clock() >= pin.until:
            del self._pins[name]
            return None
        return pin.candidate

    def keep(self, session: bytes, route: Route, seconds: float) -> None:
        """Pin the session to this candidate until this many seconds after its last use."""
        name, candidate, now = name_of_session(session), name_of_candidate(route), self.clock()
        pin = self._pins.get(name)
        if pin is not None and pin.candidate == candidate and now < pin.begun + RENEW_AFTER * seconds:
            return
        self._hold(name, Pin(candidate, now, now + seconds))
        self._news[name] = candidate, seconds

    async def share(self) -> None:
        """Publish the moves seen by this process, and read those of the others. Raises Unavailable."""
        if self.server is None:
            return
        key, news = self.server.keys.pins, dict(self._news)
        if news:
            entries = [
                ("XADD", key, "MAXLEN", "~", MAX_PINS, "*", "s", name, "c", candidate, "t", round(seconds * 1000))
                for name, (candidate, seconds) in news.items()
            ]
            await self.server.pipeline([*entries, ("PEXPIRE", key, round(LONG_CACHE_SECONDS * 1000))])
            for name, told in news.items():
                if self._news.get(name) == told:
                    del self._news[name]
        commands = [("TIME",), ("XRANGE", key, f"({self._read_to}", "+", "COUNT", PAGE)]
        server_time, found = await self.server.pipeline(commands, near=key)
        for number, fields in found:
            self._read(number.decode(), fields, milliseconds(server_time))

    def _read(self, number: str, fields: Any, server_now: int) -> None:
        """Take over one entry of the stream. Its number starts with the time when it was added."""
        values = fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=True))
        name, candidate, milli = (values[key].decode() for key in (b"s", b"c", b"t"))
        age, now = max(0.0, (server_now - int(number.partition("-")[0])) / 1000), self.clock()
        left = int(milli) / 1000 - age
        if left > 0:
            self._hold(name, Pin(candidate, now - age, now + left))
        self._read_to = number

    def _hold(self, name: str, pin: Pin) -> None:
        self._pins.pop(name, None)
        self._pins[name] = pin
        if len(self._pins) > MAX_PINS:
            del self._pins[next(iter(self._pins))]


def name_of_session(session: bytes) -> str:
    """Return a digest: what clients name their sessions stays out of Redis."""
    return blake2b(session, digest_size=12).hexdigest()


def name_of_candidate(route: Route) -> str:
    return f"{route.upstream.circuit}/{route.target.model}"


def first_pinned(routes: tuple[Route, ...], candidate: str | None) -> tuple[Route, ...]:
    """Return the routes with the pinned one first."""
    found = [route for route in routes if name_of_candidate(route) == candidate] if candidate is not None else []
    return (*found, *(route for route in routes if route not in found)) if found else routes
