"""Results of an ended batch, read in pages and never all at once; lines that nobody wrote are made here.

An item without a recorded result was canceled, expired or cut off by the spend cap, as the batch says.
"""

from collections.abc import AsyncIterator
from typing import Final

from gateway.batches.chunks import WORKER_LOST, ChunkIndex, unpack, unpack_ids
from gateway.batches.lifecycle import BatchRecord, unrecorded_line, worker_lost_line
from gateway.batches.server import BatchServer
from gateway.errors import InternalError

_PAGE_ITEMS: Final = 256
_FIRST_PAGE: Final = 16
# A page of long answers is cut to about this much, so that memory does not grow with them.
_PAGE_BYTES: Final = 1024 * 1024


async def read_results(server: BatchServer, record: BatchRecord) -> AsyncIterator[bytes]:
    """Pieces of whole lines, in the order of the items. Raises InternalError if some have disappeared."""
    custom_ids = _CustomIds(server, record)
    start, size = 0, _FIRST_PAGE
    while start < record.total:
        stop = min(start + size, record.total)
        lines: list[bytes] = []
        for index, blob in enumerate(await _page(server, record, start, stop), start):
            if blob is None:
                lines.append(unrecorded_line(record, await custom_ids.find(index)))
            elif blob == WORKER_LOST:
                lines.append(worker_lost_line(record, await custom_ids.find(index)))
            else:
                lines.append(unpack(blob))
        lines.append(b"")
        piece = b"\n".join(lines)
        size = max(1, min(_PAGE_ITEMS, 4 * size, size * _PAGE_BYTES // len(piece)))
        start = stop
        yield piece


async def _page(server: BatchServer, record: BatchRecord, start: int, stop: int) -> list[bytes | None]:
    keys = server.keys.batch(record.id)
    indices = range(start, stop)
    blobs, ok, err = await server.pipeline([("HMGET", keys.ok, *indices), ("HLEN", keys.ok), ("HLEN", keys.err)])
    missing = [index for index, blob in zip(indices, blobs, strict=True) if blob is None]
    if missing and err:
        [errors] = await server.pipeline([("HMGET", keys.err, *missing)])
        for index, blob in zip(missing, errors, strict=True):
            blobs[index - start] = blob
    # A missing result means canceled or expired only as long as all recorded ones are there.
    if (ok, err) != (record.succeeded, record.errored):
        raise InternalError("The results of this batch are no longer complete")
    found: list[bytes | None] = blobs
    return found


class _CustomIds:
    """Ids by index; keeps the chunk read last, since indices rise."""

    def __init__(self, server: BatchServer, record: BatchRecord) -> None:
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
            raise InternalError("The results of this batch are no longer complete")
        content: bytes = blob
        return content
