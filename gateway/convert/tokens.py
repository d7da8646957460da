"""Token estimates that cost next to nothing: from bytes, for the places where an exact count comes late or never.

Prose, code and JSON in the languages models are used in come to about four bytes a token in the common vocabularies;
binary data is counted by what it stands for, not by its base64.
"""

from collections.abc import Iterable, Mapping
from typing import Any

BYTES_PER_TOKEN = 4
# Anthropic scales an image to at most about 1.15 megapixels and counts width x height / 750.
IMAGE_TOKENS = 1500
# A PDF page comes to 1,500 to 3,000 tokens and, as a rule of thumb, to 50 kB of base64.
PDF_BYTES_PER_TOKEN = 25


def to_tokens(size: int) -> int:
    """Of text of `size` bytes."""
    return -(-size // BYTES_PER_TOKEN)


def estimate_input_tokens(body_size: int, request: Mapping[str, Any]) -> int:
    """Of a request whose JSON has `body_size` bytes; at least 1, since clients treat 0 as missing."""
    tokens = 0
    for message in request.get("messages", ()):
        content = message.get("content")
        for source, kind in _binary_sources(content if isinstance(content, list) else ()):
            size = len(source.get("data", ""))
            body_size -= size
            tokens += IMAGE_TOKENS if kind == "image" else size // PDF_BYTES_PER_TOKEN
    return max(1, tokens + body_size // BYTES_PER_TOKEN)


def _binary_sources(blocks: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, Any], str]]:
    for block in blocks:
        kind = block.get("type")
        if kind == "tool_result" and isinstance(block.get("content"), list):
            yield from _binary_sources(block["content"])
        elif kind in ("image", "document"):
            source = block.get("source")
            if isinstance(source, Mapping) and source.get("type") == "base64":
                yield source, kind
