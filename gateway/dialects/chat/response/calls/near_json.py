r"""JSON as models write it, to JSON, while it streams: what has one meaning only is written as JSON has it.

Models forget to escape line ends and the backslashes of paths and patterns (`\d`), leave commas behind the last member,
quote as Python does and write its `True` and `None`. `NearJson` changes no valid JSON, and the division of a text into
pieces makes no difference. Ambiguous text passes unchanged, and is no JSON in the end.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

# Of a string in double quotes, what JSON allows between them. Halves of surrogate pairs are looked at one by one.
STRING = re.compile(r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+')
# Of one in single quotes, what JSON would have the same.
SINGLE = re.compile(r"""[^'"\\\x00-\x1f]*+""")
SIMPLE_ESCAPES = frozenset('"\\/bfnrt')
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
PART_OF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
CONTROL: Final[Mapping[str, str]] = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"'}
REPLACEMENT = "\\ufffd"
HIGH, LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)

# Possessive quantifiers: near-JSON of megabytes must not make them backtrack.
SPACE = re.compile(r"[ \t\n\r:]++")
NUMBER = re.compile(r"[-+.0-9eE]++")
COMMA = re.compile(r",[ \t\n\r]*+")
WORD = re.compile(r"[A-Za-z_$][\w$]*+")
WORD_AND_COLON = re.compile(r"[A-Za-z_$][\w$]*+[ \t\n\r]*+(:)?")
# By JSON's names, Python's and JavaScript's.
LITERALS: Final[Mapping[str, str]] = {
    "true": "true",
    "false": "false",
    "null": "null",
    "True": "true",
    "False": "false",
    "None": "null",
    "undefined": "null",
}
# Last characters of strings, objects and lists.
VALUE_ENDS: Final = frozenset("\"'}]")
# Noise behind a whole value: brackets too many, marks that a server's parser has left, the end of a fence.
REST = re.compile(r"(?:[\s\]},;`]|</?\w{1,40}>|<\|\w{1,40}\|>|<｜[\w▁]{1,40}｜>)*+")
MAX_REST = 64 * 1024
# What is held is read again with each piece. No name of a member has as many characters.
MAX_HELD = 1024


class NearJson:
    """Reads one object. `is_over` once its last bracket has come; what follows is not written.

    `again`: the rest of a piece from a brace behind a value on, where an object may begin again: not read further.
    `is_changed`: whether what was written differs from what was read. `is_in_string`: whether text without quotes,
    backslashes and control characters passes as it is, and changes nothing.
    """

    __slots__ = (
        "_depth",
        "_held",
        "_is_number",
        "_quote",
        "_rest",
        "_rest_size",
        "_tail",
        "again",
        "is_changed",
        "is_in_string",
        "is_over",
    )

    def __init__(self) -> None:
        self._depth = 0
        self._held = ""  # what may be read in two ways until more has come
        self._is_number = False  # whether a number may go on
        self._quote = ""  # of the string that is open
        self._tail = ""  # the last character in front of the text that is being read, but for white space
        self.again = ""
        self.is_changed = False
        self.is_in_string = False
        self.is_over = False
        self._rest: list[str] = []  # behind the object
        self._rest_size = 0

    @property
    def is_inside(self) -> bool:
        """Whether the object has begun and not ended."""
        return self._depth > 0 and not self.is_over

    def feed(self, text: str) -> str:
        if self._held:
            text, self._held = self._held + text, ""
        if self._quote == '"' and STRING.fullmatch(text):
            self.is_in_string = True
            return text  # most pieces are part of one string
        if self.again:
            return ""
        written: list[str] = []
        at, end = 0, len(text)
        while at < end and not self.is_over:
            at = (self._in_string if self._quote else self._between_strings)(text, at, written.append)
        if at < end:
            self._add_rest(text[at:], written.append)
        elif not self._quote:
            self._tail = text.rstrip()[-1:] or self._tail
        self.is_in_string = self._quote == '"' and not self._held
        return "".join(written)

    def _add_rest(self, text: str, write: Callable[[str], None]) -> None:
        """Pass white space behind the object; keep the text behind that while it can be noise."""
        if not self._rest:
            rest = text.lstrip()
            write(text[: len(text) - len(rest)])
            text = rest
        if text:
            self.is_changed = True
            self._rest_size += len(text)
            self._rest.append(text if self._rest_size <= MAX_REST else "")

    def end(self) -> str:
        """Write what was held at the end of the text, in JSON's words as far as it goes."""
        held, self._held = self._held, ""
        if self._quote or not WORD.fullmatch(held):
            return held
        literal = next((literal for literal in LITERALS if literal.startswith(held)), None)
        written = f'"{held}' if literal is None else LITERALS[literal][: len(held)]
        self.is_changed = self.is_changed or written != held
        return written

    @property
    def is_rest_meaningless(self) -> bool:
        """Whether what follows the object is nothing, or what servers leave there."""
        return self._rest_size <= MAX_REST and REST.fullmatch(self.rest) is not None

    @property
    def rest(self) -> str:
        """Return the text after the object, up to a limit."""
        return "".join(self._rest)

    def _in_string(self, text: str, at: int, write: Callable[[str], None]) -> int:
        run = (STRING if self._quote == '"' else SINGLE).match(text, at)
        assert run is not None  # it may be empty
        if run.end() > at:
            write(run[0])
            return run.end()
        character = text[at]
        if character == self._quote:
            self._quote = ""
            write('"')
        elif character == "\\":
            return self._escape(text, at, write)
        else:
            self.is_changed = True
            write(CONTROL.get(character) or f"\\u{ord(character):04x}")
        return at + 1

    def _escape(self, text: str, at: int, write: Callable[[str], None]) -> int:
        """A backslash: of an escape, or of itself where JSON has none for what follows."""
        following = text[at + 1 : at + 2]
        if PART_OF_ESCAPE.fullmatch(text, at):
            return self._hold(text, at, write)
        if following in SIMPLE_ESCAPES:
            write(text[at : at + 2])
            return at + 2
        found = ESCAPE.match(text, at)
        if found is not None:
            return self._surrogate(text, at, int(found[1], 16), write)
        self.is_changed = True
        if following == "'":  # in JavaScript and Python the quote alone
            write("'")
            return at + 2
        write("\\\\")
        return at + 1

    def _surrogate(self, text: str, at: int, code: int, write: Callable[[str], None]) -> int:
        """An escape; half a pair without the other is no character, and JSON parsers differ on it."""
        end = at + 6
        if code in HIGH:
            other = ESCAPE.match(text, end)
            if other is not None and int(other[1], 16) in LOW:
                write(text[at : end + 6])
                return end + 6
            if end == len(text) or PART_OF_ESCAPE.fullmatch(text, end):
                return self._hold(text, at, write)
        if code in HIGH or code in LOW:
            self.is_changed = True
            write(REPLACEMENT)
        else:
            write(text[at:end])
        return end

    def _between_strings(self, text: str, at: int, write: Callable[[str], None]) -> int:
        character = text[at]
        number, self._is_number = self._is_number, False
        if character in "-0123456789" or (number and character in ".+eE"):
            self._is_number = True
            return self._pass(NUMBER, text, at, write)
        if character in " \t\n\r:":
            return self._pass(SPACE, text, at, write)
        if character == ",":
            return self._comma(text, at, write)
        if character in "\"'":
            self._quote = character
            self.is_changed = self.is_changed or character == "'"
            write('"')
            return at + 1
        if character in "{[":
            if character == "{" and self._depth and self._is_behind_value(text, at):
                self.again = text[at:]
                return len(text)
            self._depth += 1
        elif character in "]}":
            self._depth -= 1
            self.is_over = self._depth == 0
        elif WORD.match(text, at):
            return self._word(text, at, write)
        elif character.isspace():  # as JSON has none
            self.is_changed = True
            character = " "
        write(character)
        return at + 1

    def _is_behind_value(self, text: str, at: int) -> bool:
        while at and text[at - 1].isspace():
            at -= 1
        last = text[at - 1] if at else self._tail
        return last in VALUE_ENDS or last.isalnum()

    def _comma(self, text: str, at: int, write: Callable[[str], None]) -> int:
        found = COMMA.match(text, at)
        assert found is not None
        if found.end() == len(text):
            return self._hold(text, at, write)
        if text[found.end()] in "]}":
            self.is_changed = True
            write(found[0][1:])
        else:
            write(found[0])
        return found.end()

    def _word(self, text: str, at: int, write: Callable[[str], None]) -> int:
        """A literal, by Python's name too, or the name of a member without its quotes."""
        found = WORD_AND_COLON.match(text, at)
        assert found is not None
        if found.end() == len(text) and not found[1]:
            return self._hold(text, at, write)
        word = found[0].rstrip(": \t\n\r")
        written = f'"{word}"' if found[1] else LITERALS.get(word, word)
        self.is_changed = self.is_changed or written != word
        write(written)
        return at + len(word)

    def _hold(self, text: str, at: int, write: Callable[[str], None]) -> int:
        if len(text) - at > MAX_HELD:
            write(text[at:])
        else:
            self._held = text[at:]
        return len(text)

    @staticmethod
    def _pass(pattern: re.Pattern[str], text: str, at: int, write: Callable[[str], None]) -> int:
        found = pattern.match(text, at)
        assert found is not None
        write(found[0])
        return found.end()


def repaired(text: str) -> str:
    """Repair a whole text; noise behind the object is left out."""
    reader = NearJson()
    written = reader.feed(text) + reader.end()
    return written if reader.is_rest_meaningless and not reader.again else text
