"""The short way for a delta: its string's raw JSON text, moved from the upstream's frame into ours without a parse.

Measured: 1.1 microseconds a delta against 4 for the full way. It is taken only where it must give the same bytes: the
payload begins and ends exactly as one that went the full way, and what stands between is valid UTF-8 without a quote,
backslash or control byte, so that it is one plain JSON string, equal in both frames. Of a tool's arguments it is taken
inside their strings, where the escapes of JSON within JSON are equal in both frames too.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.blocks import TextRun, ToolCall
from gateway.messages.events import DELTA_END, TEXT, TOOL_INPUT, delta_prefix
from gateway.sse import DATA, END

PLAIN = re.compile(rb'[^"\\\x00-\x1f]+')
# Of arguments, part of a string: also what JSON escapes in it by one letter, as it is escaped again in a frame.
IN_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\\\(?:[bfnrt/]|\\["\\]))++')
STRING_END = b'"' + DELTA_END
STRING = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)


class DeltaSink(Protocol):
    """What a splice writes to: the events of one read, and the bytes of output they hold."""

    out: list[bytes]
    output_size: int


class Splice:
    """The bytes around the string in the upstream's payload (`before`, `after`) and in our event (`prefix`)."""

    __slots__ = ("_event_end", "_event_start", "call", "is_one_line", "prefix")

    def __init__(self, before: bytes, after: bytes, prefix: bytes, call: ToolCall | None) -> None:
        self.prefix = prefix
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

    def apply(self, payloads: Sequence[bytes], index: int, writer: DeltaSink) -> int:
        """Write the deltas from `index` on. Returns the index of the first that must go the full way."""
        strings = self._strings(payloads, index)
        text = b"".join(strings)
        if self.call is None and text.isascii() and PLAIN.fullmatch(text):
            # What holds of all together holds of each, and one write of them costs half of what each by itself does.
            writer.out.append(self.prefix + (STRING_END + self.prefix).join(strings) + STRING_END)
            writer.output_size += len(text)
            return index + len(strings)
        for string in strings:
            if not self._apply(string, writer):
                break
            index += 1
        return index

    def apply_event(self, piece: bytes, writer: DeltaSink) -> bool:
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

    def _apply(self, string: bytes, writer: DeltaSink) -> bool:
        if self.call is None:
            if not PLAIN.fullmatch(string) or not (string.isascii() or _to_text(string)):
                return False
            writer.output_size += len(string)
        else:
            fragment = _to_text(string) if self.call.reader.is_in_string and IN_STRING.fullmatch(string) else None
            if fragment is None:
                return False
            self.call.fragments.append(fragment)
            writer.output_size += len(fragment) if fragment.isascii() else len(fragment.encode())
        writer.out.append(self.prefix + string + STRING_END)
        return True

    def fits(self, payload: bytes) -> bool:
        """Whether this payload, which went the full way, differs in its string alone: then the next may be spliced."""
        before, after = self.before, self.after
        end = len(payload) - len(after)
        framed = end >= len(before) and payload.startswith(before) and payload.endswith(after)
        return framed and STRING.fullmatch(payload, len(before), end) is not None


def derive_splice(payload: bytes, delta: dict[str, Any], assembly: Assembly) -> Splice | None:
    """From a delta that went the full way and only lengthened the open block; None where it did anything else.

    The string stands where its key stands. A payload without a backslash spells every key out, so a key that occurs
    once, as a key or otherwise, is the one that was read.
    """
    call: ToolCall | None = None
    match assembly.open:
        case ToolCall() as call:
            text, key, kind = _only_fragment(delta, call), b'"arguments"', TOOL_INPUT
        case TextRun(is_ended=False):
            text, key, kind = _only_text(delta), b'"content"', TEXT
        case _:
            return None
    if not text or not assembly.is_direct or b"\\" in payload or payload.count(key) != 1:
        return None
    raw = text.encode()
    for joint in (b':"', b': "'):
        start = payload.find(key + joint + raw + b'"')
        if start >= 0:
            start += len(key + joint)
            return Splice(payload[:start], payload[start + len(raw) :], delta_prefix(assembly.index, kind) + b'"', call)
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
