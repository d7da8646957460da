"""Instructions of an HTTP server alone: aiohttp's, and minimal Python code on httptools.

Both read a small request and answer at once with the same bytes. The difference is the most that an own server protocol
could save per request. Run as a program (`python -m bench.servers aiohttp|httptools PORT`) it serves.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httptools
import uvloop
from aiohttp import web

from bench.instructions import count
from bench.measure import Machine, machine
from bench.report import machine_line, table
from bench.targets import OURS, PATH, PYTHON, Recipe, running_stage

CASE = "small"
TYPE = "application/json"
BODY = b'{"type":"message","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (TYPE.encode(), len(BODY), BODY)


@dataclass(slots=True)
class ServerCosts:
    machine: Machine
    instructions: dict[str, float] = field(default_factory=dict)


def measure(say: Callable[[str], None]) -> ServerCosts:
    """Raises StartError."""
    costs = ServerCosts(machine())
    with TemporaryDirectory(prefix="bench-") as directory, running_stage() as stage:
        for kind in SERVERS:
            recipe = Recipe(kind, f"{PYTHON} -m bench.servers {kind} $port", OURS)
            costs.instructions[kind] = count(recipe, CASE, stage, Path(directory))
            say(f"  {kind:<22}{costs.instructions[kind]:>14,.0f}")
    return costs


def render(costs: ServerCosts) -> str:
    rows = [[kind, f"{counted:,.0f}"] for kind, counted in costs.instructions.items()]
    return "\n\n".join([machine_line(costs.machine), table(["server", "instructions per request"], rows)])


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=BODY, content_type=TYPE)


async def serve_aiohttp(port: int) -> None:
    app = web.Application()
    app.router.add_post(PATH, answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class LeastProtocol(asyncio.Protocol):
    """Reads requests with all their headers, and answers each from a task, without any check or limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body, headers, self._headers = self._body, b"", self._headers, {}
        self._task = asyncio.get_running_loop().create_task(self._answer(headers, body))

    async def _answer(self, _headers: dict[bytes, bytes], _body: bytes) -> None:
        self._transport.write(ANSWER)


async def serve_httptools(port: int) -> None:
    await asyncio.get_running_loop().create_server(LeastProtocol, "127.0.0.1", port)
    await asyncio.Event().wait()


SERVERS: dict[str, Callable[[int], Coroutine[None, None, None]]] = {
    "aiohttp": serve_aiohttp,
    "httptools": serve_httptools,
}

if __name__ == "__main__":
    uvloop.run(SERVERS[sys.argv[1]](int(sys.argv[2])))
