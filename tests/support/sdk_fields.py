"""Every field of the requests that an SDK's types describe, each in a separate request.

The types are TypedDicts. A case has a minimal value of each type around one field, and the same without that field.
"""

import collections.abc
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions

LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)
WRAPPERS = (typing_extensions.Required, typing_extensions.NotRequired, Annotated)
PNG = "iVBORw0KGgo="
FREE_TEXT = "x"
OTHER_TEXT = "y"
# Values by field where any text would be refused.
SAMPLES: dict[str, Any] = {
    "url": "https://example.com/a.png",
    "image_url": f"data:image/png;base64,{PNG}",
    "file_data": "data:application/pdf;base64,JVBERi0=",
    "call_id": "call_1",
    "tool_call_id": "call_1",
    "name": "look",
    "arguments": "{}",
}


@dataclass(frozen=True, slots=True)
class FieldCase:
    """`path`: the types and fields down to the one that is tried. `without`: None where the type needs the field."""

    path: str
    value: Any
    without: Any


def fields_of(kind: Any, name: str = "", depth: int = 3) -> Iterator[FieldCase]:
    """Yield the cases of a type: a minimal value of each alternative, and one for each of its fields, `depth` deep.

    A text that the type needs is tried with another text.
    """
    for choice in alternatives(kind):
        is_word = get_origin(choice) is Literal
        label = str(get_args(choice)[0] if is_word else getattr(choice, "__name__", choice)).removesuffix("Param")
        if is_object(choice):
            base = minimal(choice)
            yield FieldCase(label, base, None)
            yield from _inner(choice, label, base, depth)
        elif get_origin(choice) in LISTS:
            for case in fields_of(get_args(choice)[0], "", depth):
                without = None if case.without is None else [case.without]
                yield FieldCase(f"[{case.path}]", [case.value], without)
        else:
            yield FieldCase(label, minimal(choice, name), None)


def _inner(choice: Any, label: str, base: dict[str, Any], depth: int) -> Iterator[FieldCase]:
    needed = required(choice)
    for field, kind in hints(choice).items() if depth else ():
        for case in fields_of(kind, field, depth - 1):
            if field in needed and case.value == base.get(field):
                if case.value == FREE_TEXT:
                    yield FieldCase(f"{label}.{field}", {**base, field: OTHER_TEXT}, base)
                continue
            without = {**base, field: case.without} if case.without is not None else None
            if without is None and field not in needed:
                without = base
            yield FieldCase(f"{label}.{field}={case.path}", {**base, field: case.value}, without)


def minimal(kind: Any, name: str = "") -> Any:
    """Return the smallest value of the first alternative of a type."""
    choice = alternatives(kind)[0]
    if is_object(choice):
        return {field: minimal(inner, field) for field, inner in hints(choice).items() if field in required(choice)}
    if get_origin(choice) is Literal:
        return get_args(choice)[0]
    if name in SAMPLES:
        return SAMPLES[name]
    if get_origin(choice) in LISTS:
        return [minimal(get_args(choice)[0])]
    if get_origin(choice) in (dict, collections.abc.Mapping):
        return {"a": "b"}
    plain: dict[Any, Any] = {str: FREE_TEXT, bool: True, int: 2, float: 0.5}
    return plain.get(choice, {"a": 1})


def alternatives(kind: Any) -> list[Any]:
    """Return the types that a value may have, each word of a literal by itself; classes of answers are left out."""
    if get_origin(kind) in WRAPPERS:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [choice for inner in get_args(kind) if inner is not type(None) for choice in alternatives(inner)]
    if get_origin(kind) is Literal:
        return [Literal[word] for word in get_args(kind)]
    return [] if hasattr(kind, "model_fields") else [kind]


def hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def required(kind: Any) -> set[str]:
    """Return the names of the fields that a TypedDict needs; its own list ignores annotations that are texts."""
    marks = {field: get_origin(inner) for field, inner in hints(kind).items()}
    needed = {field for field, mark in marks.items() if mark is typing_extensions.Required}
    return needed | {field for field in marks if kind.__total__ and marks[field] is not typing_extensions.NotRequired}


def is_object(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__required_keys__")
