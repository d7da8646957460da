"""Values of tool arguments that came as text without a type: the type is that of the tool's schema."""

from collections.abc import Iterator
from typing import Any

import orjson

ALTERNATIVES = ("anyOf", "oneOf", "allOf")
# Words of Python for those of JSON, which models write in tags.
WORDS = {"True": "true", "False": "false", "None": "null"}


def to_typed(text: str, schema: Any) -> Any:
    """Return the value of a type that the schema allows; the text where it allows text, or no other type fits."""
    types = frozenset(types_of(schema))
    written = text.strip()
    try:
        value = orjson.loads(WORDS.get(written, written))
    except orjson.JSONDecodeError:
        return text
    kind = _type_of(value)
    if not types:  # nothing is known: only what can hardly be meant as text
        return value if kind in ("array", "object") else text
    if kind == "null" and "null" in types:
        return None
    if "string" in types:
        return text
    fits = kind in types or (kind == "integer" and "number" in types)
    if kind == "number" and not fits and "integer" in types and value.is_integer():
        return int(value)
    return value if fits else text


def types_of(schema: Any, depth: int = 0) -> Iterator[str]:
    """Yield the types of JSON that a schema allows."""
    if not isinstance(schema, dict) or depth > 4:
        return
    kind = schema.get("type")
    yield from [word for word in (kind if isinstance(kind, list) else [kind]) if isinstance(word, str)]
    for name in ALTERNATIVES:
        branches = schema.get(name)
        for branch in branches if isinstance(branches, list) else ():
            yield from types_of(branch, depth + 1)
    if kind is None and isinstance(schema.get("enum"), list):
        yield from map(_type_of, schema["enum"])


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
