"""Use of Anthropic's own tools in earlier turns, as text for a model that has no such tools.

A conversation that began at Claude may hold web searches, code runs and MCP calls. Any of them reads well enough as a
note in the assistant's text, so none is ever refused. Opaque parts, which only Anthropic could open, are left out; of
those that the gateway sealed itself, when it was another upstream that searched, the model reads the beginning.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.chat.citations import excerpt_of

OPAQUE_KEYS = frozenset(
    {"encrypted_content", "encrypted_stdout", "encrypted_index", "signature", "cache_control", "caller"}
)

# No published result nests deeper; deeper ones are cut.
MAX_DEPTH = 32

RESULT_SUFFIX = "_tool_result"


def to_transcript(block: Mapping[str, Any], keyring: Keyring) -> str:
    """A server-side block in brackets; "" for one without meaning for a model. Never fails on a validated block."""
    kind: str = block["type"]
    match kind:
        case "server_tool_use" if not block["input"]:
            return ""
        case "server_tool_use":
            return f"[{block['name']} was called with {_to_json(block['input'])}]"
        case "mcp_tool_use":
            return f"[{block['name']} of {block['server_name']} was called with {_to_json(block['input'])}]"
        case "mcp_tool_listing":
            names = ", ".join(str(tool.get("name")) for tool in block["tools"])
            return f"[tools of {block['mcp_server_name']}: {names}]"
        case "web_search_tool_result":
            return _to_search_list(block.get("content"), keyring)
        case "container_upload":
            return f"[file {block['file_id']} in the container]"
        case _ if kind.endswith(RESULT_SUFFIX):
            label = "failed" if block.get("is_error") else "result"
            return f"[{kind.removesuffix(RESULT_SUFFIX)} {label}: {_to_plain(block.get('content'))}]"
        case _:
            return ""


def _to_search_list(content: Any, keyring: Keyring) -> str:
    if not isinstance(content, list):
        return f"[web_search failed: {_to_plain(content)}]"
    lines = ["[web_search results]"]
    for result in content:
        if isinstance(result, Mapping):
            lines.append(f"- {result.get('title')}: {result.get('url')}")
            excerpt = excerpt_of(result, keyring)
            if excerpt:
                lines.append(f"  {excerpt}")
    return "\n".join(lines)


def _to_plain(content: Any) -> str:
    """Text as it is, lists of text blocks joined, everything else as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content):
        return "\n".join(str(part["text"]) for part in content)
    return _to_json(content)


def _to_json(value: Any) -> str:
    return orjson.dumps(_readable(value, 0)).decode()


def _readable(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [_readable(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    is_binary = value.get("type") == "base64"
    hidden = OPAQUE_KEYS | {"data"} if is_binary else OPAQUE_KEYS
    return {key: _readable(item, depth + 1) for key, item in value.items() if key not in hidden}
