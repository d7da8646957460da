"""A server that speaks the protocol of Redis and answers as a test says: any bytes, in any pieces, or nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import hiredis

# The arguments of a command, and the number of its connection, to the bytes that answer it.
Answer = Callable[[list[bytes], int], bytes]


@dataclass(slots=True)
class ScriptedServer:
    """`commands`: what has arrived. `closes_after`: commands after which a connection is closed, None for never."""

    answer: Answer
    piece: int = 1 << 16
    closes_after: int | None = None
    commands: list[list[bytes]] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, parser, answered = self.connections, hiredis.Reader(), 0
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    self.commands.append(command)
                    await self._send(writer, self.answer(command, number))
                    answered += 1
                    if answered == self.closes_after:
                        break
                if answered == self.closes_after:
                    break
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        for start in range(0, len(answer), self.piece):
            writer.write(answer[start : start + self.piece])
            await writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def scripted_server(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer(answer)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
