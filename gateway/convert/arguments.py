"""Tool arguments as models write them: JSON text that may be missing, quoted twice, or cut off.

A client must always read an object. What can be mended without guessing a value is mended, and said; anything else is
an error, never a silent `{}`.
"""

import orjson

# Endings that can complete a cut-off value, in the order tried, before the brackets are closed.
ENDINGS = ("", '"', "null", '":null', ":null", '"":null', "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l", "0")
CLOSERS = {"{": "}", "[": "]"}


def is_object(text: str) -> bool:
    """Whether `text` is one complete JSON object."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def closing_suffix(text: str) -> str | None:
    """What to append to a cut-off object so that it parses; None where no appended text can help."""
    stack, in_string = _open_brackets(text)
    if not stack and not in_string:
        return None
    close = "".join(CLOSERS[bracket] for bracket in reversed(stack))
    for cut in ("", "\\") if in_string else ("",):
        for ending in ENDINGS:
            suffix = cut + ending + close
            if is_object(text + suffix):
                return suffix
    return None


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
