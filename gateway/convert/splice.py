"""The short way for a delta: its string's raw JSON text, moved from the upstream's frame into ours without a parse.

Measured: 1.1 microseconds a delta against 4 for the full way. It is taken only where it must give the same bytes: the
payload begins and ends exactly as one that went the full way, and what stands between holds no quote, backslash or
control byte and is valid UTF-8, so that it is one plain JSON string, equal in both frames.
"""

import re
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.convert.assembly import Assembly
from gateway.convert.blocks import TextRun, ToolCall
from gateway.convert.events import DELTA_END, TEXT, TOOL_INPUT, delta_prefix

PLAIN = re.compile(rb'[^"\\\x00-\x1f]+')
STRING = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)


class DeltaSink(Protocol):
    """What a splice writes to: the events of one read, and the bytes of output they hold."""

    out: list[bytes]
    output_size: int


@dataclass(frozen=True, slots=True)
class Splice:
    """The bytes around the string in the upstream's payload (`before`, `after`) and in our event (`prefix`)."""

    before: bytes
    after: bytes
    prefix: bytes
    call: ToolCall | None

    def apply(self, payload: bytes, writer: DeltaSink) -> bool:
        """Write the delta and return True, or return False when this payload must go the full way."""
        if not (payload.startswith(self.before) and payload.endswith(self.after)):
            return False
        raw = payload[len(self.before) : len(payload) - len(self.after)]
        if not PLAIN.fullmatch(raw):
            return False
        if self.call is not None or not raw.isascii():
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                return False
            if self.call is not None:
                if "{" in text and text.lstrip().startswith("{"):
                    return False  # the call may begin again, which the assembly has to look at
                self.call.fragments.append(text)
        writer.out.append(self.prefix + raw + b'"' + DELTA_END)
        writer.output_size += len(raw)
        return True

    def fits(self, payload: bytes) -> bool:
        """Whether this payload, which went the full way, differs in its string alone: then the next may be spliced."""
        end = len(payload) - len(self.after)
        framed = end >= len(self.before) and payload.startswith(self.before) and payload.endswith(self.after)
        return framed and STRING.fullmatch(payload, len(self.before), end) is not None


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
    return arguments if isinstance(arguments, str) and call.live else None
