"""Reader of chat completions requests for the simulator. It refuses what a real upstream would refuse.

It is strict where providers are (roles, part types, tool results without a call), so that a wrong conversion fails here
and not only with a live key. Sampling parameters and routing preferences are accepted and have no effect.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.simulator.shapes import Json, to_tokens

ROLES = ("system", "developer", "user", "assistant", "tool")
PART_TYPES = ("text", "image_url", "input_audio", "file", "video_url")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# Schema of the answer where JSON of any form is asked for.
ANY_OBJECT: Json = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}

# Agents put these among the user's text blocks; they are not what the user said.
REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)

# A name that is not written by accident: get_weather, WebFetch, mcp__files__read.
UNMISTAKABLE = re.compile(r"[^A-Za-z]|[a-z][A-Z]")


@dataclass(frozen=True, slots=True, repr=False)
class Tool:
    name: str
    parameters: Json


@dataclass(frozen=True, slots=True, repr=False)
class SimulatedPrompt:
    """A parsed request. `results`: texts of tool results since the model's last message. `tools`: callable tools.

    `replayed`, `called`: `reasoning_details` and call ids in the model's last message. `schema`: schema of the
    structured output.
    """

    model: str
    streamed: bool
    tokens: int
    text: str = ""
    results: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_required: bool = False
    parallel: bool = True
    replayed: tuple[Json, ...] = ()
    called: tuple[str, ...] = ()
    schema: Json | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


def to_prompt(request: Any) -> SimulatedPrompt:
    """Read a parsed request body. Raises InvalidRequest if a real upstream would answer 400."""
    if not isinstance(request, dict) or not request.get("messages"):
        raise InvalidRequest('Input required: specify "prompt" or "messages"')
    messages = request["messages"]
    _check_messages(messages)
    spoken, fresh = _split_at_last_answer(messages)
    tools, required = _callable_tools(request)
    stop = request.get("stop") or ()
    texts = [text_of(message).strip() for message in messages if message["role"] == "user"]
    said = [stripped for text in texts if (stripped := REMINDER.sub("", text).strip())]
    return SimulatedPrompt(
        model=str(request.get("model") or "openrouter/auto"),
        streamed=request.get("stream") is True,
        tokens=to_tokens(orjson.dumps([messages, request.get("tools")])),
        text=(said or texts or [""])[-1],
        results=tuple(text_of(message) for message in fresh if message["role"] == "tool"),
        tools=tools,
        tool_required=required,
        parallel=request.get("parallel_tool_calls") is not False,
        replayed=tuple(spoken.get("reasoning_details") or ()),
        called=tuple(call["id"] for call in spoken.get("tool_calls") or ()),
        schema=_schema_of(request.get("response_format")),
        max_tokens=_max_tokens_of(request),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def text_of(message: Json) -> str:
    """Return the text of a message, with line ends between its parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def is_asked_for(tool: Tool, text: str) -> bool:
    """Return True if the text asks to use the tool by name.

    An unmistakable name only has to occur. A plain word (Read, Write, Bash) has to be named as a tool, since "write a
    poem" must not write a file: "use the Write tool", "call `Bash`", "the Read tool".
    """
    name = re.escape(tool.name)
    if UNMISTAKABLE.search(tool.name):
        return re.search(rf"(?<![\w-]){name}(?![\w-])", text) is not None
    verb = r"\b(?:use|using|call|calling|run|invoke|try)\s+(?:the\s+)?"
    return re.search(rf"{verb}[`'\"]?{name}(?![\w-])|\b{name}[`'\"]?\s+tool\b", text, re.IGNORECASE) is not None


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise InvalidRequest("messages: expected an array")
    asked: set[str] = set()
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise InvalidRequest(f"messages.{index}.role: expected one of {', '.join(ROLES)}")
        _check_content(f"messages.{index}.content", message.get("content"))
        asked |= {_checked_call(f"messages.{index}.tool_calls", call) for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message.get("tool_call_id") not in asked:
            raise InvalidRequest(f"messages.{index}.tool_call_id: no earlier assistant message made this call")


def _check_content(path: str, content: Any) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidRequest(f"{path}: expected a string or an array of parts")
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PART_TYPES or kind not in part:
            raise InvalidRequest(f"{path}.{index}: expected a part of type {', '.join(PART_TYPES)}, under that key")
        if kind == "text" and not isinstance(part["text"], str):
            raise InvalidRequest(f"{path}.{index}.text: expected a string")


def _checked_call(path: str, call: Any) -> str:
    try:
        arguments = orjson.loads(call["function"]["arguments"])
        if isinstance(arguments, dict) and TOOL_NAME.fullmatch(call["function"]["name"]):
            return str(call["id"])
    except (KeyError, TypeError, ValueError):
        # OpenRouter refuses such calls, so the simulator does.
        pass
    raise InvalidRequest(
        f"{path}: expected id, function.name ({TOOL_NAME.pattern}) and function.arguments (a JSON object)"
    )


def _split_at_last_answer(messages: list[Json]) -> tuple[Json, list[Json]]:
    """Return the model's last message (empty if there is none), and the messages after it."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant":
            return messages[index], messages[index + 1 :]
    return {}, messages


def _callable_tools(request: Json) -> tuple[tuple[Tool, ...], bool]:
    """Return the functions that may be called, and whether one must be."""
    tools = tuple(_functions_of(request.get("tools") or ()))
    choice = request.get("tool_choice") or "auto"
    if choice == "none":
        return (), False
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        return tuple(tool for tool in tools if tool.name == wanted), True
    return tools, choice == "required"


def _functions_of(tools: Iterable[Any]) -> Iterable[Tool]:
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            continue
        function = tool.get("function") or {}
        name = function.get("name")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            raise InvalidRequest(f"tools.{index}.function.name: expected {TOOL_NAME.pattern}")
        yield Tool(name, function.get("parameters") or {})


def _max_tokens_of(request: Json) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if (value := request.get(name)) is not None:
            if not isinstance(value, int) or value < 1:
                raise InvalidRequest(f"{name}: expected a whole number of at least 1")
            return value
    return None


def _schema_of(response_format: Any) -> Json | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return ANY_OBJECT
    if response_format.get("type") != "json_schema":
        return None
    schema = (response_format.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None
