"""Calls that a server left in the text of a chat answer that is passed on (see `response.written_calls`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.delta import REASONING_FIELDS
from gateway.dialects.chat.response.written_calls import WrittenCalls
from gateway.dialects.reply import Reply
from gateway.schemas.openai import ReasoningEntry
from gateway.sse import END

# What an event has to hold, as it is written, to begin markup or to open or close code; lines end with `\n`.
SIGNS = (b"<", b"`", b"~", b"\\n", b"u003")
BRACKET = b"["  # begins markup too, and lists around the text


def has_signs(data: bytes, brackets: int) -> bool:
    """`brackets`: their number around the text of one event."""
    if any(sign in data for sign in SIGNS):
        return True
    return data.count(BRACKET) > max(1, data.count(END)) * brackets


class TextOfCalls:
    """Reasoning and text of one choice. `take` returns what may be sent of them now; `end`, the rest and the calls."""

    __slots__ = ("_calls", "_filter", "_prefix", "_texts", "_thoughts")

    def __init__(self, reply: Reply, prefix: str) -> None:
        self._prefix = prefix  # of the calls' ids
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._filter = WrittenCalls(self, reply, [])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held back."""
        return self._filter.is_idle

    def take(self, thought: str, text: str) -> tuple[str, str]:
        if thought:
            self._filter.add_thinking(thought, ())
        if text:
            self._filter.add_text(text)
        return self._sent()

    def stop(self) -> tuple[str, str]:
        """Return what is held back, since the server has found a call by itself."""
        self._filter.release()
        return self._sent()

    def end(self) -> tuple[str, str, list[dict[str, Any]]]:
        self._filter.close()
        return *self._sent(), self._calls

    def _sent(self) -> tuple[str, str]:
        sent = "".join(self._thoughts), "".join(self._texts)
        self._thoughts, self._texts = [], []
        return sent

    def add_text(self, text: str) -> None:
        self._texts.append(text)

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        self._thoughts.append(text)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        place = len(self._calls)
        function = {"name": name, "arguments": fragment}
        self._calls.append(
            {"index": place, "id": call_id or f"{self._prefix}{place}", "type": "function", "function": function}
        )

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None: ...

    def add_image(self, block: dict[str, Any]) -> None: ...

    def lose(self, what: str) -> None: ...

    def close(self) -> None: ...


def reasoning_names(delta: Mapping[str, Any]) -> list[str]:
    """Return the names under which a delta or a message has its reasoning as text; some servers use two."""
    return [name for name in REASONING_FIELDS if isinstance(delta.get(name), str) and delta[name]]
