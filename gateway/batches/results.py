"""Results of an ended batch, read in pages. Lines of items without a recorded result are built here.

Such an item was canceled, expired or stopped by the spend cap, depending on the batch's stop reason.
"""

from collections.abc import AsyncIterator
from typing import Final

from gateway.batches.chunks import WORKER_LOST, ChunkIndex, unpack_ids
from gateway.batches.lifecycle import BatchRecord, unrecorded_line, worker_lost_line
from gateway.errors import InternalError
from gateway.redis import scripts
from gateway.redis.codec import unpack
from gateway.redis.server import RedisServer

# HMGET of 256 fields streams 125,000 lines a second at constant memory; one HGETALL of a batch blocks Redis for 0.4 s.
_PAGE_ITEMS: Final = 256
# Approximate maximum of a page, packed and unpacked, so that long answers do not increase memory use.
_PAGE_BYTES: Final = 512 * 1024


async def read_results(server: RedisServer, record: BatchRecord) -> AsyncIterator[bytes]:
    """Yield pieces of whole lines, in the order of the items. Raises InternalError if some are missing.

    Give a server without a limit: once the reply has begun, a pause is better than a cut.
    """
    custom_ids = _CustomIds(server, record)
    lines: list[bytes] = []
    size = index = 0
    while index < record.total:
        for blob in await _page(server, record, index):
            line = await _line(record, custom_ids, index, blob)
            index += 1
            lines += (line, b"\n")
            size += len(line)
            if size >= _PAGE_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
    if lines:
        yield b"".join(lines)


async def _page(server: RedisServer, record: BatchRecord, start: int) -> list[bytes | None]:
    """Return at least one result, with None for an item without one."""
    arguments = (start, min(start + _PAGE_ITEMS, record.total), _PAGE_BYTES)
    reply = await server.run(scripts.RESULTS, server.keys.batch(record.id), arguments)
    # A missing result means canceled or expired only while all recorded ones exist.
    if reply[:2] != [record.succeeded, record.errored]:
        raise InternalError("Results of this batch were lost")
    blobs: list[bytes | None] = reply[2:]
    return blobs


async def _line(record: BatchRecord, custom_ids: "_CustomIds", index: int, blob: bytes | None) -> bytes:
    if blob is None:
        return unrecorded_line(record, await custom_ids.find(index))
    if blob == WORKER_LOST:
        return worker_lost_line(record, await custom_ids.find(index))
    return unpack(blob)


class _CustomIds:
    """Ids by index; keeps the chunk read last, since indices rise."""

    def __init__(self, server: RedisServer, record: BatchRecord) -> None:
        self._server = server
        self._key = server.keys.batch(record.id).ids
        self._index: ChunkIndex | None = None
        self._chunk = -1
        self._ids: list[str] = []

    async def find(self, index: int) -> str:
        if self._index is None:
            self._index = ChunkIndex.unpack(await self._read("index"))
        chunk, place = self._index.find(index)
        if chunk != self._chunk:
            self._chunk, self._ids = chunk, unpack_ids(await self._read(chunk))
        return self._ids[place]

    async def _read(self, field: str | int) -> bytes:
        [blob] = await self._server.pipeline([("HGET", self._key, field)])
        if blob is None:
            raise InternalError("Results of this batch were lost")
        content: bytes = blob
        return content
