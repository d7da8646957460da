"""Split the body of a batch creation into items while it arrives, holding at most one item.

A scanner that knows only strings, brackets and their depth finds where each value ends; orjson alone then decides
whether the value is JSON, so no second parser can read stored bytes differently. What surrounds the items (the outer
object, its commas and colons) is read strictly here. Accepts and rejects what orjson would for the whole body, with
three additional limits: depth, sizes, and no duplicate `requests` or `params` (orjson keeps the last one).

An item's `params` are only checked to be an object: errors in them fail that item alone, later.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Self

import orjson

from gateway.errors import InvalidRequest, RequestTooLarge
from gateway.json_values import MAX_VALUES, check_value_count

# Anthropic's rule for custom ids (docs, Message Batches).
CUSTOM_ID_PATTERN: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")

# Brackets open at once, the body's own included. The worker's parser and the converters are safe at this depth.
MAX_DEPTH: Final = 64
_MODEL_CHARACTERS: Final = 128
# Name of the list in the older form.
BARE: Final = "messages"
# Unknown keys: how many are reported, and how much of each.
_IGNORED_KEYS: Final = 16
_KEY_CHARACTERS: Final = 64

_QUOTE: Final = ord('"')
_OPENING: Final = b"{["
_BRACKETS: Final = b"{}[]"

# None of these can fail, so none backtracks; the atomic group keeps a string that is cut off linear.
_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]+|\\.)*', re.DOTALL)
_BETWEEN_BRACKETS: Final = re.compile(rb'(?:[^"{}\[\]]+|"(?>(?:[^"\\]+|\\.)*)")*', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^,\]}\s]*")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Anthropic's limits for a batch; `item_bytes` is that of a single Messages request."""

    items: int = 100_000
    bytes: int = 256 * 1024 * 1024
    item_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch, with its params as received.

    `model` and `prefix`, a digest of the prompt's beginning, identify items that may share an upstream prompt cache.
    """

    custom_id: str = field(repr=False)
    params: bytes = field(repr=False)
    model: str
    prefix: str = field(repr=False)

    @classmethod
    def of(cls, custom_id: str, params: bytes, body: dict[str, Any]) -> Self:
        """`body` is the parsed `params`, not yet validated."""
        model = body.get("model")
        return cls(custom_id, params, model[:_MODEL_CHARACTERS] if isinstance(model, str) else "", prefix_of(body))


def prefix_of(body: dict[str, Any]) -> str:
    """Return a digest of tools, system and all messages but the last, where requests of a batch differ."""
    messages = body.get("messages")
    start = messages[:-1] if isinstance(messages, list) else None
    text = orjson.dumps([body.get("tools"), body.get("system"), start])
    return hashlib.blake2b(text, digest_size=8).hexdigest()


class _Expect(Enum):
    """Tokens allowed for the next byte outside a value."""

    OBJECT = auto()
    KEY_OR_END = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    LIST = auto()
    ITEM_OR_END = auto()
    ITEM = auto()
    COMMA_IN_LIST = auto()
    COMMA = auto()
    NOTHING = auto()


# Punctuation: which byte leads from one expectation to the next. Values and keys are handled by their ends.
_STEPS: Final = {
    (_Expect.OBJECT, ord("{")): _Expect.KEY_OR_END,
    (_Expect.KEY_OR_END, ord("}")): _Expect.NOTHING,
    (_Expect.LIST, ord("[")): _Expect.ITEM_OR_END,
    (_Expect.ITEM_OR_END, ord("]")): _Expect.COMMA,
    (_Expect.COMMA_IN_LIST, ord(",")): _Expect.ITEM,
    (_Expect.COMMA_IN_LIST, ord("]")): _Expect.COMMA,
    (_Expect.COMMA, ord(",")): _Expect.KEY,
    (_Expect.COMMA, ord("}")): _Expect.NOTHING,
}
_KEYS: Final = (_Expect.KEY_OR_END, _Expect.KEY)
_ITEMS: Final = (_Expect.ITEM_OR_END, _Expect.ITEM)
# Brackets open around a value of the outer object, and around an item.
_BASE_DEPTHS: Final = {_Expect.KEY_OR_END: 1, _Expect.KEY: 1, _Expect.VALUE: 1, _Expect.ITEM_OR_END: 2, _Expect.ITEM: 2}


class Splitter:
    """`feed` pieces of at most 256 KiB (2.5 ms of work), then `finish`. Discard it after an error.

    `takes_bare`: the list may also be `messages`, of params without the object around them, as older gateways had it;
    their custom_ids are made from their places.
    """

    def __init__(self, limits: BatchLimits | None = None, *, takes_bare: bool = False) -> None:
        self._limits = limits or BatchLimits()
        self._takes_bare = takes_bare
        self._list = "requests"
        self._expect = _Expect.OBJECT
        self._buffer = bytearray()
        self._position = 0  # scanned up to here
        self._received = 0
        self._count = 0
        self._custom_ids: set[str] = set()
        self._key = ""
        self._seen_requests = False
        self.ignored: list[str] = []  # other keys of the outer object

        # The value being scanned: where it began (-1: none), how many brackets are open, whether in a string.
        self._start = -1
        self._base = 0
        self._depth = 0
        self._in_string = False
        # Containers directly inside the item: `params` is the only one allowed, and so the last one's span is its.
        self._inner_start = 0
        self._inner_end = 0
        self._inner_count = 0

    @property
    def count(self) -> int:
        """Items yielded so far."""
        return self._count

    @property
    def held(self) -> int:
        """Bytes of the value that has not arrived whole."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[Item]:
        """Return the items completed by this piece. Raises InvalidRequest, RequestTooLarge."""
        self._received += len(piece)
        if self._received > self._limits.bytes:
            raise RequestTooLarge(f"Request exceeds the maximum size of {self._limits.bytes} bytes for a message batch")
        self._buffer += piece
        items: list[Item] = []
        while self._advance(items):
            pass
        self._forget_scanned()
        return items

    def finish(self) -> None:
        """Finish the body. Raises InvalidRequest when it is truncated or has no items."""
        if self._expect is not _Expect.NOTHING:
            raise _not_json("unexpected end of data")
        if not self._seen_requests:
            raise InvalidRequest("requests: Field required")
        if self._count == 0:
            raise InvalidRequest(f"{self._list}: List should have at least 1 item after validation, not 0")

    def _advance(self, items: list[Item]) -> bool:
        """Scan to the next step of the outer structure; False when the piece is used up."""
        if self._start >= 0:
            if not self._scan_value():
                return False
            self._finish_value(items)
            return True
        self._position = _end(_SPACE, self._buffer, self._position)
        if self._position == len(self._buffer):
            return False
        self._take(self._buffer[self._position])
        return True

    def _take(self, byte: int) -> None:
        """Handle one byte of punctuation, or the first byte of a value."""
        step = _STEPS.get((self._expect, byte))
        if step is not None:
            self._expect = step
            self._position += 1
        elif self._expect is _Expect.COLON and byte == ord(":"):
            self._expect = self._after_colon()
            self._position += 1
        elif self._expect is _Expect.OBJECT:
            raise InvalidRequest("The request body must be a JSON object")
        elif self._expect is _Expect.LIST:
            raise InvalidRequest(f"{self._list}: Input should be a valid list")
        elif self._expect in _BASE_DEPTHS and (byte == _QUOTE or self._expect not in _KEYS):
            if self._expect in _ITEMS and self._count == self._limits.items:
                raise InvalidRequest(
                    f"{self._list}: List should have at most {self._limits.items} items after validation"
                )
            self._start = self._position
            self._base = _BASE_DEPTHS[self._expect]
            self._depth = self._base
            self._inner_count = 0
            if byte == _QUOTE:
                self._in_string = True
                self._position += 1
        else:
            raise _not_json(f"unexpected character after {self._count} requests")

    def _after_colon(self) -> _Expect:
        if self._key != "requests" and not (self._takes_bare and self._key == BARE):
            return _Expect.VALUE
        self._list = self._key
        if self._seen_requests:
            raise InvalidRequest(f"{self._list}: Given more than once")
        self._seen_requests = True
        return _Expect.LIST

    def _scan_value(self) -> bool:
        """Move to the end of the value. False when the piece ended first; scanning goes on where it stopped."""
        if self._position - self._start > self._limits.item_bytes:
            raise self._too_large()
        first = self._buffer[self._start]
        if first in _OPENING:
            ended = self._scan_container()
        elif first == _QUOTE:
            ended = self._scan_string()
        else:
            self._position = _end(_SCALAR, self._buffer, self._position)
            ended = self._position < len(self._buffer)
        if self._position - self._start > self._limits.item_bytes:
            raise self._too_large()
        return ended

    def _scan_string(self) -> bool:
        """Move past the closing quote of the current string."""
        buffer = self._buffer
        self._position = _end(_REST_OF_STRING, buffer, self._position)
        # A backslash at the cut is left for the next piece, together with what it escapes.
        if self._position == len(buffer) or buffer[self._position] != _QUOTE:
            return False
        self._in_string = False
        self._position += 1
        return True

    def _scan_container(self) -> bool:
        buffer, size = self._buffer, len(self._buffer)
        while True:
            if self._in_string and not self._scan_string():
                return False
            position = self._position
            if position < size and buffer[position] not in _BRACKETS:
                position = _end(_BETWEEN_BRACKETS, buffer, position)
            if position == size:
                self._position = position
                return False
            self._position = position + 1
            byte = buffer[position]
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPENING:
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise InvalidRequest(f"{self._where()}: JSON nested deeper than {MAX_DEPTH} levels")
                if self._depth == self._base + 2:
                    self._inner_count += 1
                    self._inner_start = position
            else:
                self._depth -= 1
                if self._depth == self._base + 1:
                    self._inner_end = position + 1
                if self._depth == self._base:
                    return True

    def _finish_value(self, items: list[Item]) -> None:
        with memoryview(self._buffer) as view, view[self._start : self._position] as text:
            if len(text) > MAX_VALUES:
                check_value_count(bytes(text), self._where())
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                raise _not_json(f"error in {self._where()}") from None
            if self._expect in _ITEMS:
                inner = slice(self._inner_start - self._start, self._inner_end - self._start)
                items.append(self._to_item(value, bytes(text if self._list == BARE else text[inner])))
        self._start = -1
        if self._expect in _KEYS:
            self._key = value
            self._expect = _Expect.COLON
        elif self._expect is _Expect.VALUE:
            if len(self.ignored) < _IGNORED_KEYS:
                self.ignored.append(self._key[:_KEY_CHARACTERS])
            self._expect = _Expect.COMMA
        else:
            self._count += 1
            self._expect = _Expect.COMMA_IN_LIST

    def _to_item(self, value: Any, params: bytes) -> Item:
        path = f"{self._list}.{self._count}"
        if not isinstance(value, dict):
            raise InvalidRequest(f"{path}: Input should be an object")
        if self._list == BARE:
            return Item.of(f"message-{self._count}", params, value)
        for key in value:
            if key not in ("custom_id", "params"):
                raise InvalidRequest(f"{path}.{key[:64]}: Extra inputs are not permitted")
        self._check_custom_id(value, f"{path}.custom_id")
        if "params" not in value:
            raise InvalidRequest(f"{path}.params: Field required")
        if not isinstance(value["params"], dict):
            raise InvalidRequest(f"{path}.params: Input should be an object")
        if self._inner_count > 1:
            raise InvalidRequest(f"{path}: A key is given more than once")
        return Item.of(value["custom_id"], params, value["params"])

    def _check_custom_id(self, value: dict[str, Any], path: str) -> None:
        if "custom_id" not in value:
            raise InvalidRequest(f"{path}: Field required")
        custom_id = value["custom_id"]
        if not isinstance(custom_id, str):
            raise InvalidRequest(f"{path}: Input should be a valid string")
        if not CUSTOM_ID_PATTERN.match(custom_id):
            raise InvalidRequest(f"{path}: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if custom_id in self._custom_ids:
            raise InvalidRequest(f"{path}: Must be unique within the batch; '{custom_id}' was given before")
        self._custom_ids.add(custom_id)

    def _forget_scanned(self) -> None:
        keep = self._start if self._start >= 0 else self._position
        if keep == 0:
            return
        del self._buffer[:keep]
        self._position -= keep
        self._inner_start -= keep
        self._inner_end -= keep
        if self._start >= 0:
            self._start = 0

    def _where(self) -> str:
        if self._expect in _ITEMS:
            return f"{self._list}.{self._count}"
        return "a key" if self._expect in _KEYS else self._key[:64]

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"{self._where()}: Exceeds the maximum size of {self._limits.item_bytes} bytes")


def _end(pattern: re.Pattern[bytes], buffer: bytearray, position: int) -> int:
    """Return the end of the match; all patterns here match at any position, possibly empty."""
    match = pattern.match(buffer, position)
    assert match is not None
    return match.end()


def _not_json(detail: str) -> InvalidRequest:
    return InvalidRequest(f"The request body is not valid JSON: {detail}")
