"""A proxy before Redis that can be cut: connections break, and new ones are refused until it is joined again.

It can lose replies as well: the server has done what it was asked, and the connection breaks before the client hears.
"""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PIECE = 64 * 1024
# Turns of the event loop until the task of a connection that is being accepted has begun.
ACCEPTING_TURNS = 8


@dataclass(slots=True)
class RedisProxy:
    """`async with RedisProxy(url) as proxy`, then connect to `proxy.url`.

    `loses` is asked at each reply whether to lose it. `delay`: seconds by which each reply is late. `is_silent`: all
    bytes are dropped, as on a connection that is half open. A new `target` is for connections made from then on.
    """

    target: str  # unix://<socket>?db=<n>
    loses: Callable[[], bool] = lambda: False
    delay: float = 0.0
    is_silent: bool = False
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

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
            # No client can connect any more; those that just did are accepted, since asyncio would leak them.
            self._path.unlink(missing_ok=True)
            for _ in range(ACCEPTING_TURNS):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError), closing(writer):
                back, forth = await asyncio.open_unix_connection(self.target.removeprefix("unix://").partition("?")[0])
                with closing(forth):
                    await asyncio.gather(self._copy(reader, forth), self._reply(back, writer))
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (piece := await reader.read(PIECE)) and not self.loses():
            await asyncio.sleep(self.delay)
            if not self.is_silent:
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if not self.is_silent:
                writer.write(piece)
                await writer.drain()
        writer.close()
