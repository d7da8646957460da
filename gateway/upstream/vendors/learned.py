"""Adaptations that upstream models turned out to need, kept so that only the first request pays for finding out.

Kept in memory, for each server and model, and forgotten after a day: servers are updated, and a needless
adaptation costs quality. Reading them never waits for anything; `learned_store` shares them with other processes.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.upstream.routes.route import Route
from gateway.upstream.vendors.adaptation import Adaptation

# A server that was upgraded is asked for the full form again after a day.
LIFETIME_SECONDS = 24 * 3600.0
# Of models, and of adaptations for each. A deployment uses a handful of models; more is a client trying names.
MAX_MODELS = 256
MAX_ADAPTATIONS = 16
DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Learned:
    """An adaptation for one model of one server, until a wall time in seconds. `server`: a digest of its address."""

    server: str
    model: str
    adaptation: Adaptation
    until: float


@dataclass(slots=True)
class LearnedAdaptations:
    """`clock` is wall time in seconds."""

    clock: Callable[[], float] = time.time
    _until: dict[tuple[str, str], dict[Adaptation, float]] = field(default_factory=dict)
    _new: list[Learned] = field(default_factory=list)

    def known(self, route: Route) -> tuple[Adaptation, ...]:
        """Return adaptations in the order in which they were learned, since later ones may follow from earlier ones."""
        if not self._until:
            return ()
        learned = self._until.get((_digest(route.upstream.url), route.target.model))
        if learned is None:
            return ()
        now = self.clock()
        return tuple(adaptation for adaptation, until in learned.items() if until > now)

    def learn(self, route: Route, adaptations: Iterable[Adaptation]) -> None:
        """Remember those that concern more than one request. Their time runs from the first success with them."""
        until = self.clock() + LIFETIME_SECONDS
        for adaptation in adaptations:
            learned = Learned(_digest(route.upstream.url), route.target.model, adaptation, until)
            if adaptation.lasting and self._add(learned):
                self._new.append(learned)
        del self._new[:-MAX_MODELS]

    def take_new(self) -> list[Learned]:
        """Return what this process has learned since the last call."""
        new, self._new = self._new, []
        return new

    def put_back(self, new: list[Learned]) -> None:
        """Put back adaptations that could not be shared, to share them later."""
        self._new[:0] = new

    def merge(self, others: Iterable[Learned]) -> None:
        """Add what other processes have learned. A clock that is far ahead prolongs nothing."""
        latest = self.clock() + LIFETIME_SECONDS
        for learned in others:
            if learned.until <= latest:
                self._add(learned)

    def _add(self, learned: Learned) -> bool:
        """Add one. Return True if it was not known before."""
        key, now = (learned.server, learned.model), self.clock()
        known = {adaptation: until for adaptation, until in self._until.pop(key, {}).items() if until > now}
        is_new = learned.until > now and learned.adaptation not in known
        if is_new:
            known[learned.adaptation] = learned.until
        while len(known) > MAX_ADAPTATIONS:
            del known[next(iter(known))]
        while len(self._until) >= MAX_MODELS:
            del self._until[next(iter(self._until))]
        self._until[key] = known
        return is_new


@lru_cache(maxsize=64)
def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:DIGEST_LENGTH]
