"""A stored answer on its way to a client."""

from dataclasses import dataclass
from typing import Any

from gateway.cache.entry import CacheEntry
from gateway.exchange.sink import Sink
from gateway.messages import events
from gateway.upstream.routes.route import Route


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored answer; its reply gets a new id and new notes. `age`: seconds."""

    entry: CacheEntry
    age: int
    fingerprint: str
    route: Route
    message_id: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return self.entry.to_json(self.message_id, self.route.requested)

    def to_message(self) -> dict[str, Any]:
        return self.entry.to_message(self.message_id, self.route.requested)

    async def stream(self, sink: Sink) -> None:
        data = self.entry.to_events(self.message_id, self.route.requested)
        sink.write(events.without_start(data) if sink.committed else data)
