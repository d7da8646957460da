"""Unknown keys inside known objects: blocks and their sources, messages, tools and settings.

They are left out by the conversion, and noted here; one note for all of a sort, at the first place. Objects that are
passed on whole (chat's own parameters, tools of OpenAI's and OpenRouter's) are not checked. A key with the value null
is not noted.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import derived
from gateway.schemas.anthropic import (
    IS_CLIENT,
    IS_CUSTOM,
    IS_SERVER,
    AssistantMessageParam,
    ClientTool,
    ContentBlockParam,
    ContextEdit,
    ContextManagement,
    CustomTool,
    DocumentSource,
    ImageSource,
    JsonOutputFormat,
    OutputConfig,
    PromptFields,
    ServerTool,
    SystemMessageParam,
    ThinkingConfig,
    ToolChoice,
    ToolResultContentBlock,
    UserMessageParam,
    tool_kind,
)

# A body may hold a million unknown keys; a reply header holds few.
MAX_NOTED = 20

# Names fit for a header and a log line; others are not repeated.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def _members(union: Any) -> Iterator[Any]:
    """The TypedDicts of a union, annotated or not."""
    for part in get_args(union) if get_args(union) else (union,):
        if hasattr(part, "__required_keys__"):
            yield part
        elif get_args(part):
            yield from _members(part)


def _keys(*shapes: Any) -> frozenset[str]:
    members = [member for shape in shapes for member in _members(shape)]
    return frozenset().union(*(member.__required_keys__ | member.__optional_keys__ for member in members))


def _keys_by_type(*unions: Any) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for union in unions:
        for member in _members(union):
            for name in get_args(member.__annotations__["type"]):
                found[name] = found.get(name, frozenset()) | _keys(member)
    return found


# Chat's own parts, which go upstream unchanged.
HANDED_ON = frozenset({"input_audio", "video_url"})

_BLOCKS = _keys_by_type(ContentBlockParam, ToolResultContentBlock)
BLOCK_KEYS = {kind: keys for kind, keys in _BLOCKS.items() if kind not in HANDED_ON}
SOURCE_KEYS = _keys(ImageSource, DocumentSource)
MESSAGE_KEYS = _keys(UserMessageParam, AssistantMessageParam, SystemMessageParam)
TOOL_KEYS = {IS_CUSTOM: _keys(CustomTool), IS_CLIENT: _keys(ClientTool), IS_SERVER: _keys(ServerTool)}
SETTING_KEYS = {
    "thinking": _keys(ThinkingConfig),
    "tool_choice": _keys(ToolChoice),
    "output_config": _keys(OutputConfig),
    "output_format": _keys(JsonOutputFormat),
    "context_management": _keys(ContextManagement),
}
EDIT_KEYS = _keys(ContextEdit)


class Unknown(dict[tuple[str, str], str]):
    """Unknown keys found so far: the sort of object that a key is in, and its name → the first place."""

    __slots__ = ()

    def look(self, sort: str, path: str, value: Mapping[str, Any], known: frozenset[str]) -> None:
        """Look at one object. `known`: the keys that it may have; `sort`: what objects of its kind have in common."""
        if value.keys() <= known:
            return
        for name in value:
            if name not in known and value[name] is not None and len(self) < MAX_NOTED:
                self.setdefault((sort, name), f"{path}.{name if PLAIN_NAME.fullmatch(name) else '?'}")

    def notes(self) -> list[Note]:
        return [to_note(path) for path in self.values()]


def to_note(path: str) -> Note:
    return Note("dropped", path, "no such field is known")


# Only with one of these fields is there something to be looked into, beside the messages.
LOOKED_INTO = frozenset({"system", "tools", *SETTING_KEYS})


def note_unknown(request: PromptFields, found: Unknown) -> list[Note]:
    """Notes for what is in the messages, which is `found`, and for what is beside them."""
    system = request.get("system")
    if isinstance(system, list):
        for index, block in enumerate(system):
            found.look("system", f"system.{index}", block, BLOCK_KEYS["text"])
    if not SETTING_KEYS.keys().isdisjoint(request):
        for field, known in SETTING_KEYS.items():
            value: Any = request.get(field)
            if value:
                found.look(field, field, value, known)
        schema = (request.get("output_config") or {}).get("format")
        if schema:
            found.look("schema", "output_config.format", schema, SETTING_KEYS["output_format"])
        for index, edit in enumerate((request.get("context_management") or {}).get("edits") or ()):
            found.look("edit", f"context_management.edits.{index}", edit, EDIT_KEYS)
    tools: Any = request.get("tools") or ()
    return [*found.notes(), *derived(_unknown_in_tools, tools)]


def _unknown_in_tools(tools: Sequence[Any]) -> tuple[Note, ...]:
    found = Unknown()
    for index, tool in enumerate(tools):
        kind = tool_kind(tool)
        if kind in TOOL_KEYS:
            found.look(kind, f"tools.{index}", tool, TOOL_KEYS[kind])
    return tuple(found.notes())
