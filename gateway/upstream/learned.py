"""Adaptations that upstream models turned out to need, kept so that only the first request pays for finding out.

Kept in memory, for each server and model, and forgotten after a day: servers are updated, and an adaptation that is no
longer needed costs quality. Reading them never waits for anything.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.upstream.adaptation import Adaptation
from gateway.upstream.routing import Route

LIFETIME_SECONDS = 24 * 3600.0
# Of models, and of adaptations for each. A deployment uses a handful of models; more is a client trying names.
MAX_MODELS = 256
MAX_ADAPTATIONS = 16

Key = tuple[str, str]


@dataclass(slots=True)
class LearnedAdaptations:
    """`clock` is wall time in seconds."""

    clock: Callable[[], float] = time.time
    _until: dict[Key, dict[Adaptation, float]] = field(default_factory=dict)

    def known(self, route: Route) -> tuple[Adaptation, ...]:
        """In the order in which they were learned, since later ones may follow from earlier ones."""
        if not self._until:
            return ()
        learned = self._until.get(_key(route))
        if learned is None:
            return ()
        now = self.clock()
        return tuple(adaptation for adaptation, until in learned.items() if until > now)

    def learn(self, route: Route, adaptations: Iterable[Adaptation]) -> None:
        """Remember those that concern more than one request. Their time runs from the first success with them."""
        lasting = [adaptation for adaptation in adaptations if adaptation.lasting]
        if not lasting:
            return
        key, now = _key(route), self.clock()
        learned = {adaptation: until for adaptation, until in self._until.pop(key, {}).items() if until > now}
        for adaptation in lasting:
            learned.setdefault(adaptation, now + LIFETIME_SECONDS)
        while len(learned) > MAX_ADAPTATIONS:
            del learned[next(iter(learned))]
        while len(self._until) >= MAX_MODELS:
            del self._until[next(iter(self._until))]
        self._until[key] = learned


def _key(route: Route) -> Key:
    return route.upstream.url, route.target.model
