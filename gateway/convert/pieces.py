"""One chunk's delta, or a whole answer's message, taken apart into the pieces an assembly understands.

Both have the same fields (`content`, `reasoning`, `reasoning_details`, `tool_calls`, `refusal`), so one reading serves
streams and JSON. Upstreams differ in small ways that are evened out here and nowhere else. Reasoning comes first and
tool calls last, as Anthropic orders the blocks of a message.
"""

from typing import Any

import orjson

from gateway.convert.assembly import Assembly
from gateway.convert.ending import Finish
from gateway.errors import UpstreamError


def add_pieces(delta: dict[str, Any], assembly: Assembly, finish: Finish) -> None:
    """Hand on everything that `delta` brings. Raises UpstreamError where it has not the shape of a chat delta."""
    _add_reasoning(delta, assembly)
    content = delta.get("content")
    if content:
        assembly.add_text(content if isinstance(content, str) else _text_of_parts(content))
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        finish.refusal = (finish.refusal or "") + refusal
        assembly.add_text(refusal)
    for call in delta.get("tool_calls") or ():
        _add_call(call, assembly)
    legacy_call = delta.get("function_call")  # before tools there was one function call, without an id
    if isinstance(legacy_call, dict):
        _add_call({"index": 0, "function": legacy_call}, assembly)


def _add_reasoning(delta: dict[str, Any], assembly: Assembly) -> None:
    plain = delta.get("reasoning") or delta.get("reasoning_content") or ""
    entries = delta.get("reasoning_details")
    if not isinstance(plain, str) or not isinstance(entries, list | None):
        raise UpstreamError("The upstream sent reasoning of an unknown shape.")
    if plain or entries:
        assembly.add_thinking(plain, entries)


def _add_call(call: Any, assembly: Assembly) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UpstreamError("The upstream sent a tool call of an unknown shape.")
    index = call.get("index")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # Ollama's native shape
        arguments = orjson.dumps(arguments).decode()
    assembly.add_tool(
        index if isinstance(index, int) else None,
        _string(call.get("id")),
        _string(function.get("name")),
        _string(arguments),
    )


def _text_of_parts(content: Any) -> str:
    if not isinstance(content, list):
        raise UpstreamError("The upstream sent content of an unknown shape.")
    return "".join([_string(part.get("text")) for part in content if isinstance(part, dict)])


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
