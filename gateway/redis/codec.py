"""Compressed values in Redis: result lines, chunks of batch items, turns of threads, cached answers.

Each blob starts with a byte for its codec. Sizes are checked before unpacking.
"""

import threading
from typing import Final

import zstandard

# Below this a blob gains nothing from compression.
_COMPRESS_FROM: Final = 256
# Level 3 is as fast as 1 on long repetitive text, and smaller.
_LARGE_BLOB: Final = 256 * 1024
# No blob unpacks to more: the largest item and its index line, or an answer of the same size.
_MAX_UNPACKED: Final = 64 * 1024 * 1024

# First byte of a value: later codecs get other letters.
_RAW: Final = b"r"
_ZSTD: Final = b"z"


class _Codecs(threading.local):
    """Codecs of one thread. Making one costs as much as packing a result line, and threads must not share one."""

    def __init__(self) -> None:
        self.fast = zstandard.ZstdCompressor(level=1)
        self.strong = zstandard.ZstdCompressor(level=3)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs: Final = _Codecs()


class BrokenBlob(Exception):
    """Stored data that is damaged, or has an unknown codec."""


def pack(content: bytes) -> bytes:
    if len(content) < _COMPRESS_FROM:
        return _RAW + content
    compressor = _codecs.strong if len(content) > _LARGE_BLOB else _codecs.fast
    packed = compressor.compress(content)
    return _ZSTD + packed if len(packed) < len(content) else _RAW + content


def unpack(blob: bytes) -> bytes:
    """Raises BrokenBlob."""
    codec, content = blob[:1], blob[1:]
    if codec == _RAW:
        return content
    if codec != _ZSTD:
        raise BrokenBlob(f"unknown codec {codec!r}")
    try:
        if not 0 <= zstandard.frame_content_size(content) <= _MAX_UNPACKED:
            raise BrokenBlob("no size, or too large a one, in the compressed blob")
        return _codecs.decompressor.decompress(content)
    except zstandard.ZstdError as error:
        raise BrokenBlob(str(error)) from error
