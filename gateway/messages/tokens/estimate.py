"""Token estimates that cost next to nothing: from bytes, for the places where an exact count comes late or never.

Prose, code and JSON in common languages take about four bytes a token in the common vocabularies; binary data is
counted by its content, not by its base64. `prompt` reads a request in full instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from gateway.messages.tokens.media import image_tokens
from gateway.messages.tokens.profiles import Profile

# English prose and JSON; profiles of known models have measured values.
BYTES_PER_TOKEN = 4
# A PDF page takes 1,500 to 3,000 tokens and, as a rule of thumb, to 50 kB of base64.
PDF_BYTES_PER_TOKEN = 25

SOURCE_HOLDERS = frozenset({"tool_result", "image", "document"})


@dataclass(slots=True)
class TokenEstimate:
    """Tokens of a prompt. What was observed of a model's vocabulary corrects its text, and leaves its media alone."""

    text: float
    media: float = 0.0

    def tokens(self, ratio: float = 1.0) -> int:
        """Return the tokens, at least 1, since clients treat 0 as missing."""
        return max(1, ceil(self.text * ratio + self.media))


def to_tokens(size: int) -> int:
    """Estimate text of `size` bytes."""
    return -(-size // BYTES_PER_TOKEN)


def estimate_by_size(body_size: int, request: Mapping[str, Any], profile: Profile, known: int = 0) -> TokenEstimate:
    """Estimate a request with `body_size` bytes of JSON, for one sort of model. Its `known` first messages have no
    media."""
    media = 0.0
    found: list[tuple[Mapping[str, Any], str]] = []
    for message in request.get("messages", ())[known:]:
        content = message.get("content")
        if isinstance(content, list):
            _find_sources(content, found)
    for source, kind in found:
        size = len(source.get("data", ""))
        body_size -= size
        media += image_tokens(source, profile) if kind == "image" else size / PDF_BYTES_PER_TOKEN
    return TokenEstimate(max(0, body_size) / profile.bytes_per_token, media)


def _find_sources(blocks: Iterable[Mapping[str, Any]], found: list[tuple[Mapping[str, Any], str]]) -> None:
    for block in blocks:
        kind = block.get("type")
        if kind not in SOURCE_HOLDERS:
            continue
        if kind == "tool_result":
            content = block.get("content")
            if isinstance(content, list):
                _find_sources(content, found)
        else:
            source = block.get("source")
            if isinstance(source, Mapping) and source.get("type") == "base64":
                found.append((source, kind))
