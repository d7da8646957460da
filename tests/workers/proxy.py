"""A proxy before Redis that can be cut: connections break, and new ones are refused until it is joined again."""

import asyncio
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PIECE = 64 * 1024


@dataclass(slots=True)
class RedisProxy:
    """`async with RedisProxy(url) as proxy`, then connect to `proxy.url`."""

    target: str  # unix://<socket>?db=<n>
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"unix://{self._path}?{self.target.partition('?')[2]}"

    @property
    def _path(self) -> Path:
        return Path(self._folder.name) / "s"

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        await self.join()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        self._folder.cleanup()

    async def join(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        path = self.target.removeprefix("unix://").partition("?")[0]
        back, forth = await asyncio.open_unix_connection(path)
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, forth))
                    group.create_task(_copy(back, writer))
        finally:
            forth.close()
            writer.close()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    writer.close()
