"""Values that fit a JSON schema: arguments of simulated tool calls, and structured outputs.

Only required properties are filled in. Strings are taken from the user's texts in backticks, in order, so that "use the
Bash tool to run `ls`" runs ls; otherwise they are the word "simulated". Patterns are not solved.
"""

from collections.abc import Iterator
from typing import Any

# Schemas may refer to themselves; no tool's required arguments are nested as deeply as this.
MAX_DEPTH = 12
FILLER = "simulated"

FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def to_sample(schema: Any, words: Iterator[str]) -> Any:
    """Return a value for the schema. Its plain strings consume `words`."""
    return _sample(schema, schema, words, 0)


def _sample(schema: Any, root: Any, words: Iterator[str], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    if (given := _given(schema)) is not None:
        return given[0]
    for variants in ("anyOf", "oneOf"):
        if schema.get(variants):
            return _sample(schema[variants][0], root, words, depth + 1)
    if "$ref" in schema:
        return _sample(_resolve(schema["$ref"], root), root, words, depth + 1)
    if schema.get("allOf"):
        return _merged(schema["allOf"], root, words, depth)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    match str(kind[0] if isinstance(kind, list) else kind):
        case "object":
            properties = schema.get("properties", {})
            required = schema.get("required", [])
            return {name: _sample(properties[name], root, words, depth + 1) for name in properties if name in required}
        case "array":
            return [_sample(schema.get("items", {}), root, words, depth + 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            return _string(schema, words)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _given(schema: dict[str, Any]) -> list[Any] | None:
    """Return a list that starts with a value that the schema itself gives."""
    for key in ("const", "default"):
        if key in schema:
            return [schema[key]]
    return schema.get("enum") or schema.get("examples") or None


def _merged(schemas: list[Any], root: Any, words: Iterator[str], depth: int) -> Any:
    samples = [_sample(schema, root, words, depth + 1) for schema in schemas]
    merged: dict[str, Any] = {}
    for sample in samples:
        if not isinstance(sample, dict):
            return sample
        merged |= sample
    return merged


def _string(schema: dict[str, Any], words: Iterator[str]) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    word = next(words, FILLER)
    return word.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _number(schema: dict[str, Any]) -> int | float:
    """Return the lowest allowed number that is at least 1, or else the highest allowed one."""
    least = max(1, schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    greatest = schema.get("maximum", schema.get("exclusiveMaximum", least + 1) - 1)
    step = schema.get("multipleOf", 0)
    value: int | float = min(least, greatest)
    return -(-value // step) * step if step else value


def _resolve(reference: str, root: Any) -> Any:
    """Follow a pointer within the document. Return None if it leads nowhere."""
    target = root
    for name in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(target, dict):
            return None
        target = target.get(name.replace("~1", "/").replace("~0", "~"))
    return target
