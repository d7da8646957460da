"""Rewrites of the JSON schemas in a chat request, for upstreams that compile only a part of the language.

A loosened schema still describes the intended value, since descriptions and the structure stay. Schemas are copied
where they change. Keys of `properties` and other maps of schemas are names, never keywords.
"""

from collections.abc import Callable, Iterable
from typing import Any

from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten, differs, without
from gateway.messages.notes import Note
from gateway.upstream.vendors.adaptation import Adaptation

# Keywords that hold schemas by name, in a list, or one alone (JSON Schema 2020-12, and `definitions` of older drafts).
SCHEMA_MAPS = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SINGLE_SCHEMAS = frozenset(
    {
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
# Where a boolean is a setting that every server knows, not a schema.
BOOLEAN_KEYWORDS = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})
TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
# Keywords that are left of a schema as the last resort; each server that takes schemas knows these.
BARE_KEYWORDS = frozenset({"description", "enum", "items", "properties", "required", "type"})

Change = Callable[[dict[str, Any]], dict[str, Any]]


def schema_words(adaptation: Adaptation, body: Body) -> Rewritten:
    """Leave out keywords that the upstream does not know."""
    names = frozenset(adaptation.names)
    reason = f"this upstream refuses {', '.join(adaptation.names)} in a schema"
    return _rewritten(body, lambda schema: without(schema, names), reason)


def schema_formats(adaptation: Adaptation, body: Body) -> Rewritten:
    """Leave out these values of `format`; all of them, and `pattern`, when no value is named."""
    named = frozenset(adaptation.names)

    def change(schema: dict[str, Any]) -> dict[str, Any]:
        if not named:
            return without(schema, frozenset({"format", "pattern"}))
        return without(schema, frozenset({"format"})) if schema.get("format") in named else schema

    return _rewritten(body, change, "this upstream cannot hold the model to a format or pattern of a schema")


def plain_schemas(_: Adaptation, body: Body) -> Rewritten:
    """Open the places that only some compilers take: boolean schemas, references that lead nowhere, unknown types."""

    def change_all(root: Any) -> Any:
        return rewrite_schema(root, lambda schema: _plain(schema, root))

    return _rewritten_whole(body, change_all, "this upstream refuses boolean schemas, open references or unknown types")


def single_types(_: Adaptation, body: Body) -> Rewritten:
    """Send one type where a schema lists several (Gemini takes no list)."""

    def change(schema: dict[str, Any]) -> dict[str, Any]:
        types = schema.get("type")
        if not isinstance(types, list):
            return schema
        chosen = next((name for name in types if name != "null"), "string")
        return {**schema, "type": chosen, **({"nullable": True} if "null" in types else {})}

    return _rewritten(body, change, "this upstream takes one type for each place of a schema")


def narrow_schemas(_: Adaptation, body: Body) -> Rewritten:
    """Leave out of schemas what only Gemini's compiler refuses: values of `enum` that are no texts or empty, and names
    in `required` without a property. An object without properties gets one that is optional; a tool's, no schema.
    """
    tools = [_without_empty_parameters(tool) for tool in body.get("tools") or ()]
    opened = {**body, "tools": tools} if differs(tools, body.get("tools") or ()) else body
    return _rewritten(opened, _narrowed, "this upstream takes texts in enumerations and no objects without properties")


def _narrowed(schema: dict[str, Any]) -> dict[str, Any]:
    values, required, properties = schema.get("enum"), schema.get("required"), schema.get("properties")
    narrow: dict[str, Any] = {}
    if isinstance(values, list) and not all(isinstance(value, str) and value for value in values):
        narrow["enum"] = [value for value in values if isinstance(value, str) and value]
    if schema.get("type") == "object" and not properties:
        narrow["properties"] = {"value": {"type": "string"}}
    known = properties if isinstance(properties, dict) else {}
    if isinstance(required, list) and not all(isinstance(name, str) and name in known for name in required):
        narrow["required"] = [name for name in required if isinstance(name, str) and name in known]
    empty = frozenset(name for name in ("enum", "required") if narrow.get(name) == [])
    return without({**schema, **narrow}, empty) if narrow else schema


def _without_empty_parameters(tool: Any) -> Any:
    function = tool.get("function") or {}
    schema = function.get("parameters")
    if not isinstance(schema, dict) or schema.get("properties") or schema.keys() & {"$ref", *SCHEMA_LISTS}:
        return tool
    return {**tool, "function": without(function, frozenset({"parameters"}))}


def typed_schemas(_: Adaptation, body: Body) -> Rewritten:
    """Spell out what a schema may leave out: `properties` of objects, `items` of arrays, which OpenAI insists on."""
    return _rewritten(body, completed, "")


def completed(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind == "object" and "properties" not in schema:
        return {**schema, "properties": {}}
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in schema:
        return schema if "prefixItems" in schema else {**schema, "items": {}}
    return schema


def complete_strict(_: Adaptation, body: Body) -> Rewritten:
    """Require every property where a schema is strict, as OpenAI demands; one that was optional may then be null.

    An object that does not mention other properties allows none. One that explicitly allows them keeps them.
    """
    forced: list[bool] = []

    def change(schema: dict[str, Any]) -> dict[str, Any]:
        complete, has_forced = _with_all_required(schema)
        forced.append(has_forced)
        return complete

    rewritten, notes = _rewritten_whole(
        body,
        lambda schema: rewrite_schema(schema, change),
        "this upstream requires each property; an optional one may be null",
        only_strict=True,
    )
    return rewritten, notes if any(forced) else ()


def _with_all_required(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The object schema with each property required; whether any had to become nullable for that."""
    if schema.get("type") != "object":
        return schema, False
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    missing = [name for name in properties if name not in required]
    if not missing and schema.get("additionalProperties") is not None:
        return schema, False
    loose = [name for name in missing if not _takes_null(properties[name])]
    nullable = {name: {"anyOf": [properties[name], {"type": "null"}]} for name in loose}
    complete = {
        **schema,
        "properties": {**properties, **nullable},
        "required": [*required, *missing],
        "additionalProperties": schema.get("additionalProperties", False),
    }
    return complete, bool(loose)


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return True
    types = schema.get("type")
    if types == "null" or (isinstance(types, list) and "null" in types) or None in (schema.get("enum") or ()):
        return True
    return any(_takes_null(variant) for key in ("anyOf", "oneOf") for variant in schema.get(key) or ())


def bare_schemas(_: Adaptation, body: Body) -> Rewritten:
    """Reduce schemas to types, properties and enumerations, where the upstream does not say what it refuses."""

    def change(schema: dict[str, Any]) -> dict[str, Any]:
        return (
            {key: value for key, value in schema.items() if key in BARE_KEYWORDS}
            if schema.keys() - BARE_KEYWORDS
            else schema
        )

    return _rewritten(body, change, "this upstream refuses the schema; only its types and properties are sent")


def not_strict(_: Adaptation, body: Body) -> Rewritten:
    """Keep the schemas, and give up that the model is held to them. Some servers do not even know `strict` on tools."""
    changes: dict[str, Any] = {}
    notes: list[Note] = []
    tools: list[Any] = list(body.get("tools") or ())
    if any((tool.get("function") or {}).get("strict") for tool in tools):
        changes["tools"] = [_loosened(tool) for tool in tools]
        reason = "the upstream could not hold the model to the schemas of its tools"
        notes.append(Note("dropped", "tools.strict", reason))
    wanted: Any = body.get("response_format") or {}
    schema = wanted.get("json_schema") or {}
    if schema.get("strict"):
        changes["response_format"] = {**wanted, "json_schema": {**schema, "strict": False}}
        reason = "the upstream could not hold the model to the schema"
        notes.append(Note("changed", "response_format.strict", reason))
    return ({**body, **changes}, tuple(notes)) if changes else (body, ())


def rewrite_schema(schema: Any, change: Change) -> Any:
    """The schema with `change` applied to each of its object schemas, inner ones first; itself if nothing changed."""
    if not isinstance(schema, dict):
        return schema
    inner: dict[str, Any] = {}
    for key, value in schema.items():
        if key in SCHEMA_MAPS and isinstance(value, dict):
            changed = {name: rewrite_schema(part, change) for name, part in value.items()}
            new: Any = changed if any(changed[name] is not value[name] for name in value) else value
        elif isinstance(value, list) and (key in SCHEMA_LISTS or key == "items"):
            new = [rewrite_schema(part, change) for part in value]
            new = new if differs(new, value) else value
        elif key in SINGLE_SCHEMAS:
            new = rewrite_schema(value, change)
        else:
            continue
        if new is not value:
            inner[key] = new
    return change({**schema, **inner} if inner else schema)


def schema_keywords(body: Body) -> set[str]:
    """The keywords that the body's schemas use."""
    used: set[str] = set()

    def collect(schema: dict[str, Any]) -> dict[str, Any]:
        used.update(schema)
        return schema

    for schema in _schemas(body):
        rewrite_schema(schema, collect)
    return used


def _plain(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    opened: dict[str, Any] = {}
    for key, value in schema.items():
        if key in SINGLE_SCHEMAS - BOOLEAN_KEYWORDS and isinstance(value, bool):
            opened[key] = {}
        elif key in SCHEMA_MAPS and isinstance(value, dict) and any(isinstance(part, bool) for part in value.values()):
            opened[key] = {name: {} if isinstance(part, bool) else part for name, part in value.items()}
        elif key in SCHEMA_LISTS and isinstance(value, list) and any(isinstance(part, bool) for part in value):
            opened[key] = [{} if isinstance(part, bool) else part for part in value]
    plain = {**schema, **opened} if opened else schema
    if "$ref" in plain and not _resolves(plain["$ref"], root):
        plain = without(plain, frozenset({"$ref"}))
    if isinstance(plain.get("type"), str) and plain["type"] not in TYPES:
        plain = without(plain, frozenset({"type"}))
    return plain


def _resolves(reference: Any, root: Any) -> bool:
    """Return whether a reference leads to a part of the same schema: servers refuse one to the whole."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return False
    place = root
    for step in reference[2:].split("/"):
        if not isinstance(place, dict) or step not in place:
            return False
        place = place[step]
    return True


def _schemas(body: Body) -> Iterable[Any]:
    for tool in body.get("tools") or ():
        yield (tool.get("function") or {}).get("parameters")
    yield ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")


def _rewritten(body: Body, change: Change, reason: str) -> Rewritten:
    return _rewritten_whole(body, lambda schema: rewrite_schema(schema, change), reason)


def _rewritten_whole(body: Body, change: Callable[[Any], Any], reason: str, *, only_strict: bool = False) -> Rewritten:
    """`reason` may be empty for changes that lose nothing."""
    changes: dict[str, Any] = {}
    notes: list[Note] = []
    tools = [
        _with_parameters(tool, change) if not only_strict or _is_strict(tool.get("function")) else tool
        for tool in body.get("tools") or ()
    ]
    if differs(tools, body.get("tools") or ()):
        changes["tools"] = tools
        notes.append(Note("changed", "tools.input_schema", reason))
    wanted = body.get("response_format") or {}
    described = wanted.get("json_schema") or {}
    schema = described.get("schema") if only_strict and not _is_strict(described) else change(described.get("schema"))
    if schema is not described.get("schema"):
        changes["response_format"] = {**wanted, "json_schema": {**described, "schema": schema}}
        notes.append(Note("changed", "output_config.format", reason))
    return ({**body, **changes}, tuple(notes) if reason else ()) if changes else (body, ())


def _with_parameters(tool: Any, change: Callable[[Any], Any]) -> Any:
    function = tool.get("function") or {}
    schema = function.get("parameters")
    changed = change(schema)
    return tool if changed is schema else {**tool, "function": {**function, "parameters": changed}}


def _is_strict(described: Any) -> bool:
    """`described`: a function or a named schema."""
    return bool((described or {}).get("strict"))


def _loosened(tool: Any) -> Any:
    function = tool.get("function") or {}
    if "strict" not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
