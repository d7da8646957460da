"""Which session a request belongs to, for the candidates and keys that share sessions between them."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from gateway.context import Context
from gateway.json_values import to_mapping
from gateway.messages.claude_code import BILLING_HEADER


def session_of(context: Context, request: Mapping[str, Any]) -> bytes | None:
    """Return the session that the client names: by header, `metadata.user_id` or `prompt_cache_key`."""
    metadata = request.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    key = request.get("prompt_cache_key")
    named = context.session_id or (user if isinstance(user, str) else None) or (key if isinstance(key, str) else None)
    if named is None:
        return None
    return f"{context.tenant}\0{named}\0{context.agent_id or ''}".encode()


def conversation_of(context: Context, request: Mapping[str, Any]) -> bytes:
    """Return what the turns of one conversation have in common: tools, system and the first message."""
    system = request.get("system")
    if isinstance(system, list) and system and str(to_mapping(system[0]).get("text")).startswith(BILLING_HEADER):
        system = system[1:]
    first = (request.get("messages") or (None,))[0]
    try:
        begun = orjson.dumps((context.tenant, request.get("tools"), system, first))
    except orjson.JSONEncodeError:  # it nests too deeply to be written, and will be refused
        begun = context.tenant.encode()
    return blake2b(begun, digest_size=16).digest()


def session_key(context: Context, request: Mapping[str, Any]) -> bytes | None:
    """Return the session that the client names, else the conversation; None for one that starts with this request."""
    session = session_of(context, request)
    if session is not None or len(request.get("messages") or ()) < 2:
        return session
    return conversation_of(context, request)


def caches_long(request: Mapping[str, Any]) -> bool:
    """Return whether a part of the prompt is to be cached for an hour."""
    parts: list[Any] = [request, *_blocks(request.get("system")), *_blocks(request.get("tools"))]
    for message in _blocks(request.get("messages")):
        parts += [message, *_blocks(message.get("content"))]
    marks = [part.get("cache_control") for part in parts]
    return any(isinstance(mark, Mapping) and mark.get("ttl") == "1h" for mark in marks)


def _blocks(value: object) -> list[Any]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
