"""Calls that a server left in the text of a chat answer that is passed on (see `response.written_calls`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.original.calls import to_calls
from gateway.dialects.chat.response.calls.written_calls import WrittenCalls
from gateway.dialects.chat.response.delta import REASONING_FIELDS, add_pieces
from gateway.dialects.chat.response.filters.channels import Channels, with_channels
from gateway.dialects.chat.response.images import to_image_part
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEntry
from gateway.sse import END

# What an event has to hold, as it is written, to begin markup or to open or close code; lines end with `\n`.
SIGNS = (b"<", b"`", b"~", b"\\n", b"u003")
BRACKET = b"["  # begins markup too, and lists around the text
# Fields of a delta that are texts.
TEXTS = frozenset({"content", "refusal", *REASONING_FIELDS})
TEXT_OR_NULL = (str, type(None))


def has_signs(data: bytes, brackets: int) -> bool:
    """`brackets`: their number around the text of one event."""
    if any(sign in data for sign in SIGNS):
        return True
    return data.count(BRACKET) > max(1, data.count(END)) * brackets


class PieceCollector:
    """Keeps the pieces of a choice: reasoning, text, calls and images. `prefix`: of the calls' ids."""

    __slots__ = ("_prefix", "_texts", "_thoughts", "calls", "images", "lost")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.lost: list[str] = []

    def take(self) -> tuple[str, str]:
        """Return the reasoning and the text since the last time."""
        taken = "".join(self._thoughts), "".join(self._texts)
        self._thoughts, self._texts = [], []
        return taken

    def add_text(self, text: str) -> None:
        self._texts.append(text)

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        self._thoughts.append(text)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        place = len(self.calls)
        function = {"name": name, "arguments": fragment}
        self.calls.append(
            {"index": place, "id": call_id or f"{self._prefix}{place}", "type": "function", "function": function}
        )

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None: ...

    def add_image(self, block: dict[str, Any]) -> None:
        self.images.append(to_image_part(block))

    def lose(self, what: str) -> None:
        self.lost.append(what)

    def close(self) -> None: ...


class TextOfCalls:
    """Reasoning and text of one choice. `take` returns what may be sent of them now; `end`, the rest and the calls."""

    __slots__ = ("_calls", "_filter", "_pieces")

    def __init__(self, reply: Reply, prefix: str) -> None:
        self._pieces = PieceCollector(prefix)
        self._calls = WrittenCalls(self._pieces, reply, [])
        self._filter = with_channels(self._calls, reply, [])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held back."""
        return self._calls.is_idle and not (isinstance(self._filter, Channels) and self._filter.is_held)

    def take(self, thought: str, text: str) -> tuple[str, str]:
        if thought:
            self._filter.add_thinking(thought, ())
        if text:
            self._filter.add_text(text)
        return self._pieces.take()

    def stop(self) -> tuple[str, str]:
        """Return what is held back, since the server has found a call by itself."""
        if isinstance(self._filter, Channels):
            self._filter.release()
        self._calls.release()
        return self._pieces.take()

    def end(self) -> tuple[str, str, list[dict[str, Any]]]:
        self._filter.close()
        return *self._pieces.take(), self._pieces.calls


def to_plain_delta(delta: dict[str, Any], finish: Finish, notes: list[Note]) -> dict[str, Any]:
    """Return a delta, or a message, whose content and reasoning are texts, as clients read it; the same one if it is.

    Mistral and others send lists of parts, in which thinking and calls may be parts too. Images go into `images`, where
    OpenRouter has them.
    """
    odd = [name for name in delta if name in TEXTS and not isinstance(delta[name], TEXT_OR_NULL)]
    if not odd:
        return delta
    pieces = PieceCollector("")
    add_pieces({name: delta[name] for name in odd}, pieces, finish)
    thought, text = pieces.take()
    plain = {name: value for name, value in delta.items() if name not in odd}
    if "content" in odd:
        plain["content"] = text
    if thought:
        plain[next((name for name in odd if name in REASONING_FIELDS), "reasoning_content")] = thought
    if pieces.images:
        plain["images"] = [*(delta.get("images") or ()), *pieces.images]
    if pieces.calls:  # numbered by who corrects calls
        calls = [{name: call[name] for name in ("id", "type", "function")} for call in pieces.calls]
        plain["tool_calls"] = [*to_calls(delta.get("tool_calls") or []), *calls]
    lost = [Note("dropped", "content", f"the answer's {what} could not be carried over") for what in pieces.lost]
    notes += [note for note in dict.fromkeys(lost) if note not in notes]
    return plain


def reasoning_names(delta: Mapping[str, Any]) -> list[str]:
    """Return the names under which a delta or a message has its reasoning as text; some servers use two."""
    return [name for name in REASONING_FIELDS if isinstance(delta.get(name), str) and delta[name]]
