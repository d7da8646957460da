"""Estimates that need no tokenizer: from bytes, with media counted for what they are."""

from typing import Any

import pytest

from gateway.messages.tokens.estimate import estimate_by_size, to_tokens
from gateway.messages.tokens.profiles import CLAUDE, GENERAL

# Tokens of an image with an unreadable size.
IMAGE_TOKENS = GENERAL.image_limit


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_are_a_token_and_a_rest_is_one_more(size: int, tokens: int) -> None:
    assert to_tokens(size) == tokens


def source(kind: str, size: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "data": "A" * size, **fields}}


# Blocks of one user message; bytes of JSON beside their data; tokens.
ROWS: dict[str, tuple[Any, int, int]] = {
    "text": ("hello", 409, 100),
    "text blocks": ([{"type": "text", "text": "hello"}], 409, 100),
    "an image": ([source("image", 1_000_000)], 409, 100 + IMAGE_TOKENS),
    "two images": ([source("image", 10), source("image", 1_000_000)], 409, 100 + 2 * IMAGE_TOKENS),
    "a PDF": ([source("document", 50_000)], 409, 100 + 2000),
    "an image in a tool result": (
        [{"type": "tool_result", "content": [source("image", 9000)]}],
        409,
        100 + IMAGE_TOKENS,
    ),
    "a tool result of text": ([{"type": "tool_result", "content": "ok"}], 409, 100),
    "an image at a URL is not fetched": ([{"type": "image", "source": {"type": "url", "url": "u"}}], 409, 100),
    "a document of text": ([{"type": "document", "source": {"type": "text", "data": "x" * 400}}], 9, 100),
    "a block without a source": ([{"type": "image"}], 409, 100),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_estimate_of(row: str) -> None:
    content, beside, tokens = ROWS[row]
    size = beside + sum(len(block.get("source", {}).get("data", "")) for block in blocks_in(content))
    request = {"messages": [{"role": "user", "content": content}]}
    assert estimate_by_size(size, request, GENERAL).tokens() == tokens


def blocks_in(content: Any) -> list[dict[str, Any]]:
    blocks = content if isinstance(content, list) else []
    return [inner for block in blocks for inner in (block, *blocks_in(block.get("content")))]


def test_the_estimate_is_never_zero_since_clients_take_that_for_missing() -> None:
    assert estimate_by_size(2, {"messages": []}, GENERAL).tokens() == 1
    assert estimate_by_size(0, {}, GENERAL).tokens() == 1


def test_a_newer_claude_makes_more_tokens_of_the_same_bytes() -> None:
    assert estimate_by_size(2600, {}, CLAUDE).tokens() == 1000
    assert estimate_by_size(2600, {}, GENERAL).tokens() == 635
