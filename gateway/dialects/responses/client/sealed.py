"""The opaque strings of a response: what a client keeps for us and sends back with its next request.

They hold a thinking block or a summary as it was, encoded and not encrypted. Reasoning is protected by the signature
within, which its author checks; a summary could as well be sent as a message.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import orjson

THINKING: Final = "gwr1."
SUMMARY: Final = "gwc1."


def seal_block(block: dict[str, Any]) -> str:
    """Return the `encrypted_content` of a reasoning item, for a block of thinking."""
    return THINKING + _encoded(orjson.dumps(block))


def open_block(sealed: str) -> dict[str, Any] | None:
    """Return the block; None for a string that is not this gateway's, or is damaged."""
    data = _decoded(sealed, THINKING)
    try:
        block = orjson.loads(data) if data is not None else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(block, dict):
        return None
    fields = ("data",) if block.get("type") == "redacted_thinking" else ("thinking", "signature")
    return block if all(isinstance(block.get(name), str) for name in fields) else None


def seal_summary(text: str) -> str:
    """Return the `encrypted_content` of a compaction item."""
    return SUMMARY + _encoded(text.encode("utf-8", "replace"))


def open_summary(sealed: str) -> str | None:
    """Return the summary; None for a string that is not this gateway's, or is damaged."""
    data = _decoded(sealed, SUMMARY)
    return data.decode("utf-8", "replace") if data is not None else None


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(sealed: str, kind: str) -> bytes | None:
    if not sealed.startswith(kind):
        return None
    data = sealed.removeprefix(kind)
    try:
        return urlsafe_b64decode(data + "=" * (-len(data) % 4))
    except ValueError:
        # Of another server: OpenAI seals its reasoning in the same field.
        return None
