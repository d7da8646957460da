"""How items and result lines are laid out in Redis: many items to a compressed chunk, one line to a result.

Items of a batch repeat each other's system prompt and tools, so 64 of them compress 8 times better than each alone. A
codec byte leads every blob; sizes are checked before anything is unpacked.

A chunk of items is one JSON line `[[custom_id, model, prefix, length], …]` and then the params, byte for byte as they
came. The custom_ids are kept once more, apart, since they outlive the params.
"""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import orjson
import zstandard

from gateway.batches.splitter import Item

CHUNK_ITEMS: Final = 64
CHUNK_BYTES: Final = 128 * 1024
# Below this a blob gains nothing from compression.
_COMPRESS_FROM: Final = 256
# One item alone may fill a chunk past CHUNK_BYTES; level 3 is as fast as 1 on such long repetitive text, and smaller.
_LARGE_BLOB: Final = 256 * 1024
# No blob unpacks to more: the largest item and its index line, or an answer of the same size.
_MAX_UNPACKED: Final = 64 * 1024 * 1024

_RAW: Final = b"r"
_ZSTD: Final = b"z"
# Stands for the result of an item whose worker was lost too often; the line is made when it is read.
WORKER_LOST: Final = b"L"


class _Codecs(threading.local):
    """Making one costs as much as using it on a result line, and none may be used by two threads at once."""

    def __init__(self) -> None:
        self.fast = zstandard.ZstdCompressor(level=1)
        self.strong = zstandard.ZstdCompressor(level=3)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs: Final = _Codecs()


class BrokenBlob(Exception):
    """What is stored is not what was written: another codec, or damaged."""


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


def pack_items(items: Sequence[Item]) -> bytes:
    index = orjson.dumps([[item.custom_id, item.model, item.prefix, len(item.params)] for item in items])
    return pack(b"".join([index, b"\n", *(item.params for item in items)]))


def unpack_items(blob: bytes) -> list[Item]:
    """Raises BrokenBlob."""
    index, _, bodies = unpack(blob).partition(b"\n")
    items: list[Item] = []
    start = 0
    try:
        for custom_id, model, prefix, length in orjson.loads(index):
            items.append(Item(custom_id, bodies[start : start + length], model, prefix))
            start += length
    except (ValueError, TypeError) as error:
        raise BrokenBlob("unreadable index of a chunk") from error
    if start != len(bodies):
        raise BrokenBlob("a chunk is cut short")
    return items


def pack_ids(items: Sequence[Item]) -> bytes:
    return pack("\n".join(item.custom_id for item in items).encode())


def unpack_ids(blob: bytes) -> list[str]:
    return unpack(blob).decode().split("\n")


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """Which chunk an item is in: the index of the first item of each chunk."""

    starts: tuple[int, ...]

    @classmethod
    def of(cls, starts: Sequence[int]) -> Self:
        return cls(tuple(starts))

    def pack(self) -> bytes:
        return b"".join(start.to_bytes(4, "big") for start in self.starts)

    @classmethod
    def unpack(cls, blob: bytes) -> Self:
        return cls.of([int.from_bytes(blob[at : at + 4], "big") for at in range(0, len(blob), 4)])

    def find(self, index: int) -> tuple[int, int]:
        """Number of the chunk, and the item's place in it."""
        chunk = bisect_right(self.starts, index) - 1
        return chunk, index - self.starts[chunk]
