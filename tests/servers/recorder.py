"""A proxy between the gateway and a real server that keeps what the server was asked, and the status of its answer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.servers.launch import HOST
from tests.servers.running import Running

MAX_BODY = 64 * 1024 * 1024
HOP_BY_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")


@dataclass(slots=True)
class Exchange:
    body: dict[str, Any]
    status: int | None = None  # None until the server has answered


@dataclass(slots=True)
class Recorder:
    target: str
    session: aiohttp.ClientSession
    exchanges: list[Exchange] = field(default_factory=list)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        exchange = Exchange(orjson.loads(data) if data else {})
        if request.method == "POST":
            self.exchanges.append(exchange)
        headers = end_to_end(request.headers)
        async with self.session.request(
            request.method, self.target + request.path_qs, headers=headers, data=data
        ) as answer:
            exchange.status = answer.status
            reply = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
            await reply.prepare(request)
            async for piece in answer.content.iter_any():
                await reply.write(piece)
            await reply.write_eof()
            return reply


def end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a proxy passes on."""
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


@asynccontextmanager
async def recording(server: Running) -> AsyncIterator[tuple[Running, list[Exchange]]]:
    """Run the proxy; the value is the server at the proxy's address, and the exchanges so far."""
    connector = aiohttp.TCPConnector(force_close=True)  # llama.cpp closes idle connections without notice
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        recorder = Recorder(server.url, session)
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", recorder.forward)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, 0)
            await site.start()
            port = runner.addresses[0][1]
            yield replace(server, url=f"http://{HOST}:{port}"), recorder.exchanges
        finally:
            await runner.cleanup()
