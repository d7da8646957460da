"""Protocols of a stream's destination and of its flow control."""

from typing import Protocol


class Flow(Protocol):
    """Handle with which a sink slows its source down."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sink(Protocol):
    """Destination of a stream's bytes. The first write commits the reply: status 200, and no other answer after."""

    @property
    def committed(self) -> bool: ...

    def write(self, data: bytes) -> None:
        """Write without blocking; a full buffer pauses the source. Writes to a disconnected client are ignored.

        Raises UpstreamError from a sink that reads the events, for those that it cannot read.
        """

    def attach(self, source: Flow | None) -> None:
        """Set the source of the sink; None when it has none."""

    def abort(self) -> None:
        """Close the client's connection at once."""


class NoClient:
    """The sink of a stream that is collected into one message. Never committed, so every failure is raised."""

    committed = False

    def write(self, data: bytes) -> None:
        """Do nothing: what is collected is in the converter."""

    def attach(self, source: Flow | None) -> None:
        """Do nothing: collecting is never slower than the source."""

    def abort(self) -> None:
        """Do nothing: no client is connected."""
