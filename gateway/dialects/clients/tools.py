"""Tools of clients that speak OpenAI's APIs, as tools of a Messages request, and their calls back.

A Messages tool is a function with a flat name. A tool in a namespace gets the name `namespace__name`, a custom tool a
schema with one string `input`, since few upstreams know either; the first tool of a namespace has the namespace's
description in front of its own. Names that are too long, hold other characters or clash get a hash. `ToolRegistry` maps
each name to its tool, so that calls are restored as the client declared them. Tools that are built into OpenAI's models
are left out with a note: Codex sends one with every request.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from gateway.dialects.clients.fields import to_list, to_object, to_text
from gateway.dialects.clients.schemas import to_input_schema
from gateway.errors import InvalidRequest
from gateway.messages.notes import Note

ToolKind = Literal["function", "custom", "tool_search"]

# Names of tools may have these characters only, in Messages and in chat alike.
ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_-]")
# OpenAI's limit, and that of the strictest upstreams.
MAX_NAME: Final = 64
HASH_LENGTH: Final = 8
# Codex' own namespace; its calls may leave it out (0.171.0).
DEFAULT_NAMESPACE: Final = "functions"
DECLARED_TWICE = "two different tools have this name, and the last one is offered"
HOSTED = "the tool is built into models of OpenAI and is not available here"

# Fields of tools that reach no upstream.
UNREAD: Final = {
    "allowed_callers": "programs that run at OpenAI are not available here",
    "async": "each result is waited for",
    "defer_loading": "the tool is offered from the start",
    "output_schema": "no upstream takes it",
}
INPUT_DESCRIPTION: Final = "The whole input of the tool as plain text: no JSON, no quotes or code fence around it."


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A tool under the name that its client knows."""

    kind: ToolKind
    name: str
    namespace: str | None = None


@dataclass(slots=True, repr=False)
class ToolRegistry:
    """The tools of one request: flat name → tool.

    `takes_grammars`: the upstream takes custom tools as they are.
    """

    takes_grammars: bool = False
    notes: list[Note] = field(default_factory=list)
    _by_flat: dict[str, DeclaredTool] = field(default_factory=dict)
    _flat: dict[tuple[str | None, str], str] = field(default_factory=dict)
    _offered: dict[str, dict[str, Any]] = field(default_factory=dict)
    _descriptions: dict[str, str] = field(default_factory=dict)  # of namespaces

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Return the tools to offer, in the order in which they were declared last, each name once."""
        tools, left = [], dict(self._descriptions)
        for flat, tool in self._offered.items():
            namespace = self._by_flat[flat].namespace
            text = left.pop(namespace, "") if namespace is not None else ""
            tools.append(with_introduction(tool, f"All tools of {namespace}: {text}") if text else tool)
        return tools

    @property
    def offered(self) -> dict[str, DeclaredTool]:
        """Return the tools that are offered, by their flat names."""
        return {flat: self._by_flat[flat] for flat in self._offered}

    def declare_all(self, tools: object, path: str, namespace: str | None = None) -> None:
        """Add a list of tools. A tool declared twice is offered once, as it was declared last."""
        for index, tool in enumerate(to_list(tools, path)):
            self._declare(to_object(tool, f"{path}.{index}"), f"{path}.{index}", namespace)

    def flat_name(self, kind: ToolKind, name: str, namespace: str | None = None) -> str:
        """Return the name in the Messages request, also for a call to a tool that is not declared any more."""
        if namespace is None and (None, name) not in self._flat and (DEFAULT_NAMESPACE, name) in self._flat:
            namespace = DEFAULT_NAMESPACE
        key = namespace, name
        if key in self._flat:
            return self._flat[key]
        wanted = f"{namespace}__{name}" if namespace else name
        flat = begin = ILLEGAL.sub("_", wanted)
        if flat != wanted or len(flat) > MAX_NAME or flat in self._by_flat:
            begin = begin[: MAX_NAME - HASH_LENGTH - 1]
            flat = with_hash(begin, wanted)
        while flat in self._by_flat:
            wanted += "_"
            flat = with_hash(begin, wanted)
        self._flat[key] = flat
        self._by_flat[flat] = DeclaredTool(kind, name, namespace)
        return flat

    def find(self, flat: str) -> DeclaredTool:
        """Return the tool that a call is for. A name that the model invented is a function's."""
        return self._by_flat.get(flat) or DeclaredTool("function", flat)

    def keep_only(self, flat_names: set[str]) -> None:
        """Offer only these tools (`allowed_tools`)."""
        self._offered = {flat: tool for flat, tool in self._offered.items() if flat in flat_names}

    def _declare(self, tool: Mapping[str, Any], path: str, namespace: str | None) -> None:
        kind = tool.get("type", "function")
        if kind == "namespace":
            name = to_text(tool.get("name"), f"{path}.name")
            self._descriptions[name] = to_text(tool.get("description") or "", f"{path}.description")
            self.declare_all(tool.get("tools"), f"{path}.tools", name)
            return
        if kind == "tool_search" and tool.get("execution") == "client":
            tool = {"name": "tool_search", **tool}
        elif kind not in ("function", "custom"):
            self.notes.append(Note("dropped", f"{path}.{ILLEGAL.sub('_', str(kind))[:MAX_NAME]}", HOSTED))
            return
        definition = to_object(tool.get(kind, tool), f"{path}.{kind}")  # chat nests it, Responses does not
        name = to_text(definition.get("name"), f"{path}.name")
        if not name:
            raise InvalidRequest(f"{path}.name: String should have at least 1 character")
        flat = self.flat_name(kind, name, namespace)
        self._by_flat[flat] = DeclaredTool(kind, name, self._by_flat[flat].namespace)
        unread = [field for field in UNREAD if definition.get(field)]
        self.notes += [Note("dropped", f"{path}.{field}", UNREAD[field]) for field in unread]
        if kind != "custom":
            offered = to_function(definition, flat, path)
        elif self.takes_grammars:
            offered = {"type": "custom", "custom": {**to_grammar_fields(definition), "name": flat}}
        else:
            offered = to_custom(definition, flat)
        control = tool.get("cache_control") or definition.get("cache_control")
        if control and "custom" not in offered:
            offered["cache_control"] = control
        if self._offered.pop(flat, offered) != offered:
            self.notes.append(Note("changed", f"{path}.name", DECLARED_TWICE))
        self._offered[flat] = offered


def with_hash(begin: str, wanted: str) -> str:
    digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]
    return f"{begin}_{digest}"


def to_function(definition: Mapping[str, Any], flat: str, path: str) -> dict[str, Any]:
    """Return a Messages tool. Only `strict: true` is passed on: several servers refuse the field."""
    schema = definition.get("parameters", definition.get("input_schema"))
    tool: dict[str, Any] = {"name": flat}
    if definition.get("description"):
        tool["description"] = to_text(definition["description"], f"{path}.description")
    tool["input_schema"] = to_input_schema(schema, f"{path}.parameters")
    if definition.get("strict") is True:
        tool["strict"] = True
    return tool


def name_of(tool: Mapping[str, Any]) -> Any:
    """Return the flat name of a Messages tool; a custom one that is passed on has it one level deeper."""
    return tool["custom"]["name"] if "custom" in tool else tool["name"]


def with_introduction(tool: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the tool with a text in front of its description."""
    if "custom" in tool:
        return {**tool, "custom": with_introduction(tool["custom"], text)}
    described = tool.get("description")
    return {**tool, "description": f"{text}\n\n{described}" if described else text}


def to_grammar_fields(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return description and format of a custom tool in the form of Responses, which has no inner `grammar`."""
    fields = {name: definition[name] for name in ("description", "format") if definition.get(name)}
    inner = fields.get("format", {}).get("grammar") if isinstance(fields.get("format", {}), dict) else None
    return fields | ({"format": {"type": "grammar", **inner}} if isinstance(inner, dict) else {})


def to_custom(definition: Mapping[str, Any], flat: str) -> dict[str, Any]:
    """Return a Messages tool with one string `input`; its description holds the grammar."""
    description = str(definition.get("description") or "")
    grammar = definition.get("format")
    if isinstance(grammar, dict):
        grammar = grammar.get("grammar", grammar)
    if isinstance(grammar, dict) and isinstance(grammar.get("definition"), str):
        syntax = grammar.get("syntax", "lark")
        description += f"\n\nThe input must match this {syntax} grammar:\n{grammar['definition']}"
    schema = {
        "type": "object",
        "properties": {"input": {"type": "string", "description": INPUT_DESCRIPTION}},
        "required": ["input"],
        "additionalProperties": False,
    }
    return {"name": flat, "description": description.strip() or INPUT_DESCRIPTION, "input_schema": schema}


def to_custom_input(arguments: Mapping[str, Any]) -> str:
    """Return the text of a custom tool's call. The model may have given its one argument another name."""
    value = arguments.get("input")
    if isinstance(value, str):
        return value
    texts = [text for text in arguments.values() if isinstance(text, str)]
    return texts[0] if len(texts) == len(arguments) == 1 else orjson.dumps(arguments).decode()
