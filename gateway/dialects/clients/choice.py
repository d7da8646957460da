"""The choice among the tools of a client that speaks one of OpenAI's APIs, as the `tool_choice` of a Messages request.

A choice of allowed tools leaves the others out of the request. Allowed tools that are built into OpenAI's models are
skipped, since their declaration is noted; a choice of one of them alone is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.dialects.clients.fields import to_flag, to_object, to_text
from gateway.dialects.clients.tools import DEFAULT_NAMESPACE, DeclaredTool, ToolRegistry
from gateway.errors import InvalidRequest, shorten
from gateway.messages.notes import Note

WORDS: Final = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
MODES: Final = ("auto", "required")
FUNCTIONS: Final = ("function", "custom", "tool")
NOTHING_OFFERED: Final = "no tool is offered that could be called"


def to_choice(choice: object, parallel: object, registry: ToolRegistry) -> dict[str, Any] | None:
    """Return the `tool_choice` of a Messages request, None where the client's asks for nothing.

    Raises InvalidRequest for a choice that is not possible. A choice of allowed tools takes the others from `registry`,
    and gets a note there if nothing is left to call.
    """
    is_parallel = to_flag(parallel, "parallel_tool_calls", default=True)
    wanted: dict[str, Any] = {"type": "auto"}
    if isinstance(choice, str):
        if choice not in WORDS:
            raise InvalidRequest(f"tool_choice: Input should be one of {', '.join(sorted(WORDS))} or an object")
        wanted = {"type": WORDS[choice]}
    elif choice is not None:
        wanted = _to_named_choice(to_object(choice, "tool_choice"), registry)
    if not registry.tools:
        if wanted["type"] == "any":
            registry.notes.append(Note("dropped", "tool_choice", NOTHING_OFFERED))
        return None
    if not is_parallel and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return None if wanted == {"type": "auto"} else wanted


def _to_named_choice(choice: Mapping[str, Any], registry: ToolRegistry) -> dict[str, Any]:
    kind = choice.get("type")
    if kind in FUNCTIONS:
        return {"type": "tool", "name": OfferedNames(registry.offered).find(choice, "tool_choice")}
    if kind != "allowed_tools":
        raise InvalidRequest(f"tool_choice.type: {shorten(str(kind))!r} is not available here")
    inner = choice.get(kind)
    allowed, path = (inner, f"tool_choice.{kind}") if isinstance(inner, dict) else (choice, "tool_choice")
    mode = allowed.get("mode", "auto")
    if mode not in MODES:
        raise InvalidRequest(f"{path}.mode: Input should be one of {', '.join(MODES)}")
    if not isinstance(allowed.get("tools"), list):
        raise InvalidRequest(f"{path}.tools: Input should be an array")
    names = OfferedNames(registry.offered)
    registry.keep_only(set(names.find_all(allowed["tools"], f"{path}.tools")))
    return {"type": WORDS[mode]}


class OfferedNames:
    """The flat names of offered tools, by what a choice names them."""

    def __init__(self, offered: Mapping[str, DeclaredTool]) -> None:
        self._exact = {(tool.namespace, tool.name): flat for flat, tool in offered.items()}
        self._loose: dict[str, list[str]] = {}
        self._spaces: dict[str | None, list[str]] = {}
        for flat, tool in offered.items():
            self._loose.setdefault(tool.name, []).append(flat)
            self._spaces.setdefault(tool.namespace, []).append(flat)

    def find(self, choice: Mapping[str, Any], path: str) -> str:
        """Return the flat name of a tool; its namespace may be left out where no other tool has the name.

        Raises InvalidRequest for a tool that is not offered.
        """
        inner = choice.get("custom" if choice.get("type") == "custom" else "function")
        named = inner if isinstance(inner, dict) else choice
        name, namespace = named.get("name"), named.get("namespace")
        if not isinstance(name, str) or not isinstance(namespace, str | None):
            raise InvalidRequest(f"{path}: a tool is chosen by its name")
        flat = self._exact.get((namespace, name))
        if flat is None and namespace is None:
            same = self._loose.get(name, ())
            flat = same[0] if len(same) == 1 else self._exact.get((DEFAULT_NAMESPACE, name))
        if flat is None:
            raise InvalidRequest(f"{path}: Tool {shorten(name)!r} not found in provided tools")
        return flat

    def find_all(self, allowed: list[Any], path: str) -> Iterator[str]:
        """Yield the flat names of allowed tools, without those that are built into OpenAI's models."""
        for index, tool in enumerate(allowed):
            place = f"{path}.{index}"
            kind = to_object(tool, place).get("type")
            if kind in FUNCTIONS:
                yield self.find(tool, place)
            elif kind == "namespace":
                yield from self._spaces.get(to_text(tool.get("name"), f"{place}.name"), ())
            elif kind == "tool_search":
                yield from self._loose.get(kind, ())
