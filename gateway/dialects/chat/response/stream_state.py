"""The state of one stream's conversion."""

from enum import Enum, auto


class StreamState(Enum):
    """UNKNOWN until the first byte shows a stream of EVENTS or one whole BODY of JSON; the other three are final.

    ABANDONED: the answer was complete before the upstream's stream; the rest is ignored. FAILED: see `failure`.
    """

    UNKNOWN = auto()
    EVENTS = auto()
    BODY = auto()
    DONE = auto()
    ABANDONED = auto()
    FAILED = auto()

    @property
    def is_final(self) -> bool:
        return self in (DONE, ABANDONED, FAILED)


UNKNOWN, EVENTS, BODY = StreamState.UNKNOWN, StreamState.EVENTS, StreamState.BODY
DONE, ABANDONED, FAILED = StreamState.DONE, StreamState.ABANDONED, StreamState.FAILED
