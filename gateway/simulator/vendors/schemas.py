"""Rules of simulated servers for JSON schemas: keywords, missing types, and gaps in strict ones."""

from collections.abc import Iterator
from typing import Any

from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.words import refusal_of, sentence_of

MAPS = ("properties", "$defs", "definitions", "patternProperties")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "not")

# A place in a schema, as OpenAI writes it, and the schema there.
Place = tuple[tuple[str, ...], dict[str, Any]]


def check_tool_schemas(functions: list[dict[str, Any]], row: SimulatedVendor) -> None:
    for function in functions:
        schema, name = function.get("parameters") or {}, function["name"]
        if function.get("strict") is not None and row.strict == "refused":
            raise refusal_of("strict", name=name)
        _check_words(schema, name, row)
        if row.complete_schemas:
            _check_complete(schema, name)
        if function.get("strict") and row.strict == "checked":
            _check_strict(schema, f"function '{name}'")


def check_answer_schema(wanted: dict[str, Any], row: SimulatedVendor) -> None:
    described = wanted.get("json_schema") or {}
    schema = described.get("schema") or {}
    _check_words(schema, described.get("name", "output"), row)
    if described.get("strict") and row.strict == "checked":
        _check_strict(schema, f"response_format '{described.get('name')}'")


def places(schema: Any, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Yield each schema within the schema, itself first."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key in MAPS:
        for name, inner in (schema.get(key) or {}).items():
            yield from places(inner, (*path, key, name))
    for key in LISTS:
        for index, inner in enumerate(schema.get(key) or ()):
            yield from places(inner, (*path, key, str(index)))
    for key in SINGLE:
        yield from places(schema.get(key), (*path, key))


def _check_words(schema: Any, name: str, row: SimulatedVendor) -> None:
    """Refuse all wrong keywords at once, as Google's and OpenAI's parsers do."""
    wrong: list[str] = []
    for path, place in places(schema):
        where = ".".join(path) or "parameters"
        refused = sorted(place.keys() & row.schema_refused)
        wrong += [sentence_of(row.errors, "schema_word", {"value": word, "place": where}) for word in refused]
        if row.single_types and isinstance(place.get("type"), list):
            wrong.append(sentence_of(row.errors, "schema_types", {"place": where}))
    if wrong:
        raise refusal_of("schema_words", name=name, listed="\n".join(wrong))


def _check_complete(schema: dict[str, Any], name: str) -> None:
    for path, place in places(schema):
        kinds = place.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "array" in kinds and "items" not in place and "prefixItems" not in place:
            raise refusal_of("incomplete_schema", name=name, place=path, value="array schema missing items.")
        if not path and kinds == ["object"] and "properties" not in place:
            raise refusal_of("incomplete_schema", name=name, place=path, value="object schema missing properties.")


def _check_strict(schema: dict[str, Any], name: str) -> None:
    for path, place in places(schema):
        if place.get("type") != "object":
            continue
        if place.get("additionalProperties") is not False:
            value = "'additionalProperties' is required to be supplied and to be false."
            raise refusal_of("not_strict", name=name, place=path, value=value)
        missing = sorted((place.get("properties") or {}).keys() - set(place.get("required") or ()))
        if missing:
            value = (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'."
            )
            raise refusal_of("not_strict", name=name, place=path, value=value)
