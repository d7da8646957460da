"""JSON values: a limit of them, counted before a body or an answer is parsed, lenient access, and the form of times.

A body of 30 MB may hold ten million empty lists, which take gigabytes once parsed. Commas and opening brackets outside
strings are counted instead of values: each takes a byte, so that a small body needs no look.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gateway.errors import RequestTooLarge, UpstreamError

# 100,000 messages of one text block each have 600,000: parsed, checked and converted they took 90 MB and 0.8 s, ten
# million empty lists 900 MB (2026-11).
MAX_VALUES: Final = 1_000_000

# The years 1 and 9999 in UTC, which `datetime` ends at.
FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_799
MAX_DIGITS: Final = 20

TOO_DEEP: Final = "The upstream sent an answer that nests too deeply."

_MARKS: Final = b',[{"'
# `bytes.translate` deletes these at C speed, which leaves only the marks to count.
_OTHERS: Final = bytes(set(range(256)) - set(_MARKS))
_FEW: Final = 1000
# Marks that are split at once: the pieces take up to 50 times as much.
_WINDOW: Final = 64 * 1024


def check_value_count(body: bytes, where: str = "Request") -> None:
    """Raises RequestTooLarge for a body with more than MAX_VALUES values. Bytes that are not JSON are counted too."""
    if has_too_many_values(body):
        raise RequestTooLarge(f"{where} exceeds the maximum of {MAX_VALUES} JSON values.", should_retry=False)


def check_answer_values(payload: bytes) -> None:
    """Raises UpstreamError for an answer, or an event of one, with more than MAX_VALUES values."""
    if has_too_many_values(payload):
        message = f"The upstream sent an answer of more than {MAX_VALUES} JSON values."
        raise UpstreamError(message, should_retry=False)


def has_too_many_values(data: bytes) -> bool:
    if len(data) <= MAX_VALUES or all(_has_few(data, mark) for mark in (b",", b"[", b"{")):
        return False
    if data.count(b",") + data.count(b"[") + data.count(b"{") <= MAX_VALUES:
        return False  # with those in strings: 2 ms a megabyte
    return count_values(data) > MAX_VALUES


def _has_few(data: bytes, mark: bytes) -> bool:
    """Return True for less than a thousand marks, as in a body that is mostly media: `find` leaps over the rest."""
    place = -1
    for _ in range(_FEW):
        place = data.find(mark, place + 1)
        if place < 0:
            return True
    return False


def count_values(body: bytes) -> int:
    """Return the number of commas and opening brackets outside strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes in a row are an empty string, or join two strings: without them the others mean the same.
    marks = body.translate(None, _OTHERS).replace(b'""', b"")
    count = in_string = 0
    for start in range(0, len(marks), _WINDOW):
        pieces = marks[start : start + _WINDOW].split(b'"')
        count += sum(map(len, pieces[in_string::2]))
        in_string ^= (len(pieces) - 1) & 1
    return count


def to_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def to_mappings(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON list; none for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def to_string(value: object) -> str:
    """Return a JSON string; an empty one for any other value."""
    return value if isinstance(value, str) else ""


def to_time(seconds: float) -> str:
    """Return seconds since 1970 in the form of JSON, RFC 3339 in UTC."""
    return to_datetime(seconds).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def to_datetime(seconds: float) -> datetime:
    """Return seconds since 1970 as a time in UTC; the nearest one that can be written if there is none."""
    return datetime.fromtimestamp(min(max(seconds, FIRST_SECOND), LAST_SECOND), UTC)


def from_time(text: str) -> int:
    """Return an ISO time as seconds since 1970. Raises ValueError for other texts, and as `from_datetime` does."""
    return from_datetime(datetime.fromisoformat(text))


def from_datetime(at: datetime) -> int:
    """Return seconds since 1970 of a time, in UTC unless it has a zone. Raises ValueError if it has none in UTC."""
    seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise ValueError("expected a time in the years 1 to 9999")
    return seconds


def to_whole(text: str, most: int, least: int = 1) -> int | None:
    """Return the number from `least` to `most` that a text writes in digits, None for any other text."""
    if not text.isdecimal() or len(text) > MAX_DIGITS:  # `int` refuses thousands of digits
        return None
    number = int(text)
    return number if least <= number <= most else None
