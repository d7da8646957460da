"""Tool arguments as models write them: JSON text that may be missing, quoted twice, or cut off.

A client must always read an object. What can be mended without guessing a value is mended, and said; anything else is
an error, never a silent `{}`.
"""

from typing import Any

import orjson

# Endings that can complete a cut-off value, in the order tried, before the brackets are closed.
ENDINGS = ("", "null", ":null", '"":null', "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l", "0")
# Inside a string, before its quote: an escape may be cut off too, or the second half of a surrogate pair.
ESCAPE_ENDINGS = ("", "\\", "0", "00", "000", "0020", "c00", "dc00", "udc00", "\\udc00", "0\\udc00", "00\\udc00")
STRING_ENDINGS = tuple(escape + quote for quote in ('"', '":null') for escape in ESCAPE_ENDINGS)
CLOSERS = {"{": "}", "[": "]"}
# Validation allows 64 levels, so a client could not send a deeper input back.
MAX_DEPTH = 64


def is_object(text: str) -> bool:
    """Whether `text` is one complete JSON object, of a depth that a client can give back."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and (text.count("{") + text.count("[") <= MAX_DEPTH or _depth(value) <= MAX_DEPTH)


def closing_suffix(text: str) -> str | None:
    """What to append to a cut-off object so that it parses; None where no appended text can help."""
    stack, in_string = _open_brackets(text)
    if not stack:
        return None
    close = "".join(CLOSERS[bracket] for bracket in reversed(stack))
    suffixes = (ending + close for ending in (STRING_ENDINGS if in_string else ENDINGS))
    return next((suffix for suffix in suffixes if is_object(text + suffix)), None)


def unwrapped(text: str) -> str | None:
    """Arguments that are no object but mean one: nothing, `null`, or an object inside a JSON string."""
    stripped = text.strip()
    if stripped in ("", "null", '""'):
        return "{}"
    try:
        inner = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return None
    return inner if isinstance(inner, str) and is_object(inner) else None


def _open_brackets(text: str) -> tuple[list[str], bool]:
    """The brackets still open at the end of `text`, and whether it ends inside a string."""
    stack: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in CLOSERS:
            stack.append(character)
        elif character in "}]" and stack:
            stack.pop()
    return stack, in_string


def _depth(value: Any) -> int:
    """Levels of objects and arrays in one another."""
    depth, level = 0, [value]
    while level:
        depth += 1
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for group in children for child in group if isinstance(child, (dict, list))]
    return depth
