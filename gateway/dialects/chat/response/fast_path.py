"""The short way for a delta: its string's raw JSON text, moved from the upstream's frame into ours without a parse.

Measured: 1.1 microseconds a delta against 4 for the full way. It is taken only where it must give the same bytes: the
payload begins and ends exactly as one that went the full way, and what stands between is valid UTF-8 without a quote,
backslash or control byte, so that it is one plain JSON string, equal in both frames. Of a tool's arguments it is taken
inside their strings, where the escapes of JSON within JSON are equal in both frames too.
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.blocks import TextRun, ToolCall
from gateway.dialects.chat.response.writers import EventWriter, MessageWriter
from gateway.messages.events import DELTA_END, TEXT, TOOL_INPUT, delta_prefix
from gateway.sse import DATA, END

PLAIN = re.compile(rb'[^"\\\x00-\x1f]+')
# Of arguments, part of a string: also what JSON escapes in it by one letter, as it is escaped again in a frame.
IN_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\\\(?:[bfnrt/]|\\["\\]))++')
STRING_END = b'"' + DELTA_END
STRING = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)


class Frame:
    """The bytes around the string in the upstream's payload: `before` and `after`.

    `call`: whose arguments the string is part of; None for text. Each subclass has a writer of its own.
    """

    __slots__ = ("_event_end", "_event_start", "call", "index", "is_one_line")

    def __init__(self, before: bytes, after: bytes, index: int, call: ToolCall | None) -> None:
        self.index = index  # of the block
        self.call = call
        self.is_one_line = b"\n" not in before and b"\n" not in after
        self._event_start = DATA + before
        self._event_end = after + END

    @property
    def before(self) -> bytes:
        return self._event_start[len(DATA) :]

    @property
    def after(self) -> bytes:
        return self._event_end[: -len(END)]

    def apply(self, payloads: Sequence[bytes], index: int, writer: Any) -> int:
        """Write the deltas from `index` on. Returns the index of the first that must go the full way."""
        strings = self._strings(payloads, index)
        text = b"".join(strings)
        if self.call is None and text.isascii() and PLAIN.fullmatch(text):
            # What holds of all together holds of each, and one write of them costs half of what each by itself does.
            self._write_plain(strings, text, writer)
            return index + len(strings)
        for string in strings:
            if not self._apply(string, writer):
                break
            index += 1
        return index

    def apply_event(self, piece: bytes, writer: Any) -> bool:
        """As `apply`, for a piece of the stream that begins where an event does and may be just that event.

        It is, if it has the payload's frame in an event's: a plain string has no line ends, and the frame, if it is
        one line, has none either. So the piece need not be taken apart first, which costs as much as the rest.
        """
        start, end = self._event_start, self._event_end
        if not (self.is_one_line and piece.startswith(start) and piece.endswith(end)):
            return False
        return self._apply(piece[len(start) : len(piece) - len(end)], writer)

    def _strings(self, payloads: Sequence[bytes], index: int) -> list[bytes]:
        """What stands in the frame, of the payloads from `index` on that have the frame and say something."""
        strings = []
        before, after = self.before, self.after
        start, end = len(before), len(after)
        for payload in payloads[index:] if index else payloads:
            string = payload[start : len(payload) - end]
            if not (string and payload.startswith(before) and payload.endswith(after)):
                break
            strings.append(string)
        return strings

    def _write_plain(self, strings: Sequence[bytes], text: bytes, writer: Any) -> None:
        """Write strings of ASCII; `text` is all of them joined."""
        raise NotImplementedError

    def _apply(self, string: bytes, writer: Any) -> bool:
        """Write one string, unless it has to go the full way."""
        raise NotImplementedError

    def fits(self, payload: bytes) -> bool:
        """Whether this payload, which went the full way, differs in its string alone: then the next may be spliced."""
        before, after = self.before, self.after
        end = len(payload) - len(after)
        framed = end >= len(before) and payload.startswith(before) and payload.endswith(after)
        return framed and STRING.fullmatch(payload, len(before), end) is not None


class Splice(Frame):
    """For streams: `prefix` is our event up to the string."""

    __slots__ = ("prefix",)

    def __init__(self, before: bytes, after: bytes, index: int, call: ToolCall | None) -> None:
        super().__init__(before, after, index, call)
        self.prefix = delta_prefix(index, TEXT if call is None else TOOL_INPUT) + b'"'

    def _write_plain(self, strings: Sequence[bytes], text: bytes, writer: EventWriter) -> None:
        writer.out.append(self.prefix + (STRING_END + self.prefix).join(strings) + STRING_END)
        writer.output_size += len(text)

    def _apply(self, string: bytes, writer: EventWriter) -> bool:
        if self.call is None:
            if not PLAIN.fullmatch(string) or not (string.isascii() or _to_text(string)):
                return False
            writer.output_size += len(string)
        else:
            fragment = _take_fragment(self.call, string)
            if fragment is None:
                return False
            writer.output_size += len(fragment) if fragment.isascii() else len(fragment.encode())
        writer.out.append(self.prefix + string + STRING_END)
        return True


class Gathering(Frame):
    """For collected messages: the strings are decoded and added to the open block."""

    __slots__ = ()

    def _write_plain(self, strings: Sequence[bytes], text: bytes, writer: MessageWriter) -> None:
        writer.delta(self.index, TEXT, text.decode())

    def _apply(self, string: bytes, writer: MessageWriter) -> bool:
        if self.call is None:
            text = _to_text(string) if PLAIN.fullmatch(string) else None
        else:
            text = _take_fragment(self.call, string)
        if text is None:
            return False
        writer.delta(self.index, TEXT if self.call is None else TOOL_INPUT, text)
        return True


def _take_fragment(call: ToolCall, string: bytes) -> str | None:
    """Add a string to a call's arguments if it lies inside one of their strings; else return None."""
    fragment = _to_text(string) if call.reader.is_in_string and IN_STRING.fullmatch(string) else None
    if fragment is not None:
        call.fragments.append(fragment)
    return fragment


def derive_splice(
    payload: bytes, delta: dict[str, Any], assembly: Assembly, writer: EventWriter | MessageWriter
) -> Frame | None:
    """From a delta that went the full way and only lengthened the open block; None where it did anything else.

    The string stands where its key stands. A payload without a backslash spells every key out, so a key that occurs
    once, as a key or otherwise, is the one that was read.
    """
    call: ToolCall | None = None
    match assembly.open:
        case ToolCall() as call:
            text, key = _only_fragment(delta, call), b'"arguments"'
        case TextRun(is_ended=False):
            text, key = _only_text(delta), b'"content"'
        case _:
            return None
    if not text or not assembly.is_direct or b"\\" in payload or payload.count(key) != 1:
        return None
    raw = text.encode()
    for joint in (b':"', b': "'):
        start = payload.find(key + joint + raw + b'"')
        if start >= 0:
            start += len(key + joint)
            kind = Splice if isinstance(writer, EventWriter) else Gathering
            return kind(payload[:start], payload[start + len(raw) :], assembly.index, call)
    return None


def _to_text(string: bytes) -> str | None:
    """What a string in a frame says; None where it is no UTF-8."""
    try:
        return string.decode() if b"\\" not in string else str(orjson.loads(b'"%b"' % string))
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        return None


def _only_text(delta: dict[str, Any]) -> str | None:
    content = delta.get("content")
    others = any(value for name, value in delta.items() if name not in ("content", "role"))
    return content if isinstance(content, str) and not others else None


def _only_fragment(delta: dict[str, Any], call: ToolCall) -> str | None:
    calls = delta.get("tool_calls")
    others = any(value for name, value in delta.items() if name not in ("tool_calls", "role"))
    if others or not isinstance(calls, list) or len(calls) != 1:
        return None
    arguments = calls[0]["function"].get("arguments")
    return arguments if isinstance(arguments, str) and call.begun else None
