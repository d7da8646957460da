"""Where a stream's bytes go, and what slows their source down."""

from typing import Protocol


class Flow(Protocol):
    """What a sink holds to slow its source down."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sink(Protocol):
    """Where a stream's bytes go. The first write commits the reply: status 200, and no other answer from then on."""

    @property
    def committed(self) -> bool: ...

    def write(self, data: bytes) -> None:
        """Never blocks; a sink whose buffer is full pauses its source. Writes to a client that has gone are ignored."""

    def attach(self, source: Flow | None) -> None:
        """Who feeds the sink from now on; None when nobody does."""

    def abort(self) -> None:
        """Close the client's connection at once."""
