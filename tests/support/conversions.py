"""Shared parts of the tests of request conversion: targets, a keyring, and a minimal request."""

from typing import Any, cast

from gateway.access.keyring import Keyring
from gateway.dialects.chat.request.convert import Conversion, to_chat_request
from gateway.messages.validation import check_messages_request
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER

KEYRING = Keyring.parse("k1:a-key-for-tests")

CLAUDE = to_target("anthropic/claude-sonnet-4.5", OPENROUTER)
GEMINI = to_target("google/gemini-3-pro", OPENROUTER)
GPT = to_target("openai/gpt-5.5", OPENROUTER)
DEEPSEEK = to_target("deepseek/deepseek-v4", OPENROUTER)
STRICT = to_target("some-local-model", COMPATIBLE)
OPENAI = to_target("gpt-5.5", COMPATIBLE)
OPENAI_PLAIN = to_target("gpt-4o", COMPATIBLE)

CACHED = {"type": "ephemeral", "ttl": "1h"}

HELLO = {"role": "user", "content": "Hello"}


def convert(target: Target = DEEPSEEK, *, is_checked: bool = True, **fields: Any) -> Conversion:
    """Convert a request with these fields; by default a validated one."""
    request = {"model": "any", "max_tokens": 100, "messages": [HELLO], **fields}
    if is_checked:
        check_messages_request(request, version="2023-06-01", betas=frozenset())
    return to_chat_request(cast(Any, request), target, KEYRING)


def messages_of(*messages: dict[str, Any], target: Target = DEEPSEEK, is_checked: bool = True) -> list[Any]:
    return convert(target, messages=list(messages), is_checked=is_checked).body["messages"]


def losses(conversion: Conversion) -> list[tuple[str, str]]:
    return [(note.kind, note.field) for note in conversion.notes]


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def tool_use(call_id: str = "call_1", name: str = "look", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def tool_result(call_id: str = "call_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, **fields}


def chat_call(call_id: str = "call_1", name: str = "look", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str = "look", **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **more}


def chat_tool(name: str = "look", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}, **more}
