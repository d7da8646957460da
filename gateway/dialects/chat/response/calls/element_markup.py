"""MiniMax-M3's markup of calls (2026-06): a mark in front of each tag, and an argument in a tag of its name.

Objects are tags within tags. Lists are tags of one name side by side: the argument's, or any within a tag for the list.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.dialects.chat.response.calls.typed_values import to_typed, types_of
from gateway.json_values import to_mapping

MARK: Final = "]<]minimax[>["
AROUND: Final = ("<tool_call>", "</tool_call>")
CALL: Final = re.compile(r'<invoke name="([^"]+)">\s*')
END_OF_CALL: Final = "</invoke>"
OPENING: Final = re.compile(r"<([\w.-]+)>")
MAX_DEPTH: Final = 32


@dataclass(slots=True, repr=False)
class Element:
    name: str
    text: str = ""
    inner: list["Element"] = field(default_factory=list)


def read_elements(text: str, schemas: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the tools and arguments of the calls that are all of a text; none for any other."""
    before, *tags = text.split(MARK)
    calls: list[Element] = []
    opened: list[Element] = []  # a call, and the arguments that are open within it
    for tag in tags if not before.strip() else ():
        call = CALL.fullmatch(tag)
        if opened and tag.rstrip() == END_OF_CALL and len(opened) == 1:
            calls.append(opened.pop())
        elif opened:
            if not _take(tag, opened):
                return []
        elif call is not None:
            opened.append(Element(call[1]))
        elif tag.strip() not in AROUND:
            return []
    if opened:
        return []
    return [(call.name, _to_members(call.inner, schemas.get(call.name, {}))) for call in calls]


def _take(tag: str, opened: list[Element]) -> bool:
    """Open or close an argument; return False for what is neither. Its end may lack the mark."""
    if len(opened) > 1 and tag.rstrip() == f"</{opened[-1].name}>":
        opened.pop()
        return True
    begun = OPENING.match(tag)
    if begun is None or opened[-1].text.strip() or len(opened) > MAX_DEPTH:
        return False
    element, end = Element(begun[1], tag[begun.end() :]), f"</{begun[1]}>"
    opened[-1].inner.append(element)
    if element.text.rstrip().endswith(end):
        element.text = element.text.rstrip().removesuffix(end)
    else:
        opened.append(element)
    return True


def _to_members(elements: Sequence[Element], schema: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, list[Element]] = {}
    for element in elements:
        named.setdefault(element.name, []).append(element)
    properties = to_mapping(schema.get("properties"))
    return {name: _to_value(same, to_mapping(properties.get(name))) for name, same in named.items()}


def _to_value(same: Sequence[Element], schema: Mapping[str, Any]) -> Any:
    """Return the value of elements of one name."""
    if len(same) > 1:
        return [_to_value([element], to_mapping(schema.get("items"))) for element in same]
    [element] = same
    if not element.inner:
        return to_typed(element.text, schema)
    if _is_list(element.inner, schema):
        return [_to_value([entry], to_mapping(schema.get("items"))) for entry in element.inner]
    return _to_members(element.inner, schema)


def _is_list(inner: Sequence[Element], schema: Mapping[str, Any]) -> bool:
    kinds = frozenset(types_of(schema))
    return "array" in kinds or (not kinds and {element.name for element in inner} == {"item"})
