"""JSON schemas of tools without what strict upstreams refuse, though it constrains nothing.

Seen from coding agents (2026-11): `$schema` and bounds of ±(2^53-1) from opencode and Qwen Code, which generate schemas
from TypeScript; `encrypted: true` on parameters from Codex 0.171.0.
"""

from typing import Any, Final

from gateway.dialects.clients.fields import to_object

BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
# The largest integer that a JavaScript number holds exactly: as a bound it is no bound.
MAX_SAFE: Final = 2**53 - 1
LABELS: Final = frozenset({"$schema", "encrypted"})
# Members that hold schemas by name, so that a key among them is a property and no keyword.
NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
# Deeper schemas are passed on as they are; validation refuses a body that nests deeper than it can be written.
MAX_DEPTH: Final = 64


def to_input_schema(schema: object, path: str) -> dict[str, Any]:
    """Return the schema of a tool's input, which is an object. Absent: a tool without parameters."""
    if schema is None:
        return {"type": "object", "properties": {}}
    cleaned: dict[str, Any] = _cleaned(to_object(schema, path), MAX_DEPTH)
    if "type" not in cleaned:
        return {"type": "object", **cleaned}
    return cleaned


def _cleaned(schema: Any, depth: int) -> Any:
    if isinstance(schema, list):
        return [_cleaned(item, depth - 1) for item in schema] if depth else schema
    if not isinstance(schema, dict) or not depth:
        return schema
    kept = {}
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            kept[key] = {name: _cleaned(part, depth - 1) for name, part in value.items()}
        elif not _is_idle(key, value):
            kept[key] = _cleaned(value, depth - 1) if isinstance(value, dict | list) else value
    return kept


def _is_idle(key: str, value: Any) -> bool:
    """Return True for a member that constrains nothing."""
    if key in BOUNDS:
        return isinstance(value, int | float) and abs(value) >= MAX_SAFE
    return key in LABELS and isinstance(value, str | bool)
