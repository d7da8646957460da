"""Token costs of images, PDFs and sounds by their size, read from their first bytes or pages without decoding.

Images by Anthropic's rule (docs, vision, 2026-11): one token for each patch of 28 by 28 pixels, after scaling down to
the model's limits. Where a size cannot be read (a URL, an unknown header), a full-sized image is assumed.
"""

import re
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from gateway.messages.tokens.profiles import Profile

# Pixels on each side of a patch, which is one token (Anthropic docs, vision, 2026-11).
PATCH = 28

# Base64 characters that hold the size: PNG, GIF and WebP say it at once, JPEG after its metadata and its thumbnail.
HEADER_LENGTH = 128
JPEG_HEADER_LENGTH = 1 << 18

# A PDF is looked through in pieces, some 1 ms each (a multiple of 4 characters); a page's mark may lie across two.
PDF_PIECE = 1 << 18
OVERLAP = 16
# Newer PDFs keep their pages compressed. A page of text and figures takes about 50 kB of base64.
LENGTH_PER_PAGE = 50_000

# Speech at usual rates: wav is 32 kB a second and mp3 16, base64 adds a third, models count 25 to 32 tokens a second.
SOUND_LENGTH_PER_TOKEN = {"wav": 1400, "pcm16": 1400}
OTHER_SOUND_LENGTH_PER_TOKEN = 700
VIDEO_TOKENS = 15_000  # a minute at 258 tokens a frame and second (Gemini docs, 2026-08); unknown for a URL

# Start-of-frame markers, which hold the size; 0xC4, 0xC8 and 0xCC are other segments (ITU T.81, table B.1).
JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
# TEM, RSTn, SOI and EOI stand alone, without a length behind them.
JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
WEBP_KINDS = re.compile(rb"RIFF....WEBP(VP8 |VP8L|VP8X)", re.DOTALL)


def image_tokens(source: Mapping[str, Any], profile: Profile) -> int:
    size = image_size(source["data"]) if source.get("type") == "base64" else None
    if size is None:
        return profile.image_limit
    width, height = size
    scale = min(1.0, profile.image_edge / max(width, height, 1))
    patches = ceil(width * scale / PATCH) * ceil(height * scale / PATCH)
    return max(1, min(profile.image_limit, patches))


def image_size(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of a base64 image; None when its header does not say."""
    head = _decoded(data[:HEADER_LENGTH])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"\xff\xd8"):
        return _jpeg_size(_decoded(data[:JPEG_HEADER_LENGTH]))
    return _webp_size(head)


def pdf_steps(data: str, profile: Profile) -> Iterator[float]:
    """Tokens of a base64 PDF, as its pages are found; by its length where none can be."""
    pages, rest = 0, b""
    for start in range(0, len(data), PDF_PIECE):
        piece = rest + _decoded(data[start : start + PDF_PIECE])
        found = _pages_in(piece) - _pages_in(rest)
        rest = piece[-OVERLAP:]
        pages += found
        yield found * profile.page
    if not pages:
        yield max(1, ceil(len(data) / LENGTH_PER_PAGE)) * profile.page


def sound_tokens(sound: Mapping[str, Any]) -> int:
    per_token = SOUND_LENGTH_PER_TOKEN.get(sound.get("format", ""), OTHER_SOUND_LENGTH_PER_TOKEN)
    return ceil(len(sound["data"]) / per_token)


def _pages_in(piece: bytes) -> int:
    """`/Type /Page` marks a page, `/Type /Pages` a list of them."""
    return sum(piece.count(mark) - piece.count(mark + b"s") for mark in (b"/Type /Page", b"/Type/Page"))


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Read the size in the frame header, behind segments that each have their length."""
    position = 2
    while position + 9 <= len(head):
        if head[position] != 0xFF:
            return None
        marker = head[position + 1]
        if marker in JPEG_SIZES:
            return int.from_bytes(head[position + 7 : position + 9]), int.from_bytes(head[position + 5 : position + 7])
        if marker == 0xFF:
            position += 1
        elif marker in JPEG_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + max(2, int.from_bytes(head[position + 2 : position + 4]))
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = WEBP_KINDS.match(head)
    if kind is None or len(head) < 30:
        return None
    match kind[1]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF


def _decoded(data: str) -> bytes:
    """Decode the complete part of the beginning; return nothing for invalid base64."""
    try:
        return a2b_base64(data[: len(data) // 4 * 4])
    except (BinasciiError, ValueError):
        return b""
