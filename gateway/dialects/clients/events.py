"""The events of a Messages stream, read back from its bytes for clients that speak another API."""

from typing import Any

import orjson

from gateway.sse import CR, END

# Of a Messages upstream's stream as well, which may leave out the space behind it.
FIELD = b"data:"


class MessageEvents:
    """Splits the bytes of a stream, cut anywhere, into the values of its events."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail: list[bytes] = []  # pieces of an unfinished frame, which may be megabytes in small reads

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        if CR in data:  # of an upstream's own stream, which is passed on as it is
            data = data.replace(b"\r", b"")
        if END not in data and not (data[:1] == b"\n" and self._tail and self._tail[-1].endswith(b"\n")):
            if data:
                self._tail.append(data)
            return []
        *frames, rest = (b"".join((*self._tail, data)) if self._tail else data).split(END)
        self._tail = [rest] if rest else []
        values = []
        for frame in frames:
            start = frame.find(FIELD)
            if start >= 0:
                values.append(orjson.loads(frame[start + len(FIELD) :]))
        return values
