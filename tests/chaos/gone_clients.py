"""Clients that leave by the thousand: while the gateway connects, before a header, in a stream, at its last bytes."""

import asyncio
import re
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import orjson

from tests.chaos.processes import front_process
from tests.chaos.world import World, require, until
from tests.support.raw_http import request

WAVE = 250
CLIENTS = 1000  # of each window
CLOSE_SECONDS = 1.0
# That may stay open: pooled connections to the upstream and to Redis.
FILES_KEPT = 300
GROWTH_BYTES = 40_000_000
WINDOWS = ("connecting", "header", "middle", "last")
MODEL = re.compile(rb'"model":"(\w+)"')
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"some"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(PIECE + LAST)
ROUTES = """
[upstreams]
held = {{ url = "{held}", key = "k", dialect = "chat" }}
full = {{ url = "{full}", key = "k", dialect = "chat" }}
[routes]
"connecting" = "full"
"*" = "held"
"""


class HeldUpstream(asyncio.Protocol):
    """One connection of an upstream that stops answering where the model's name says."""

    held: set["HeldUpstream"]

    def __init__(self, held: set["HeldUpstream"]) -> None:
        self.held = held
        self.transport: asyncio.Transport | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.held.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        model = MODEL.search(self.received)
        if model is None:
            return
        self.received = b""
        self.held.add(self)
        assert self.transport is not None
        if model[1] != b"header":
            self.transport.write(HEAD + PIECE)

    def finish(self) -> None:
        assert self.transport is not None
        self.held.discard(self)
        self.transport.write(LAST)


async def leave(world: World, scale: int) -> str:
    """Each upstream call ends within a second of its client, and leaves no memory or file behind."""
    seen, grown, files = await leaving(CLIENTS * scale, WAVE, world.variables)
    longest = ", ".join(f"{window} {seconds:.2f} s" for window, seconds in seen.items())
    return f"{CLIENTS * scale} of each; calls ended after at most: {longest}; {grown >> 20} MiB, {files} files more"


async def leaving(clients: int, wave: int, variables: dict[str, str]) -> tuple[dict[str, float], int, int]:
    """Return the longest time until the calls of a wave had ended, by window, and the growth in bytes and files."""
    seen: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        held: set[HeldUpstream] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HeldUpstream(held), "127.0.0.1", 0, backlog=1024)
        stack.callback(server.close)
        full = stack.enter_context(socket.socket())
        fill_queue(full, stack)
        file = Path(stack.enter_context(TemporaryDirectory())) / "gateway.toml"
        urls = [f"http://127.0.0.1:{one.getsockname()[1]}/v1" for one in (server.sockets[0], full)]
        file.write_text(ROUTES.format(held=urls[0], full=urls[1]))
        left_out = ("GATEWAY_UPSTREAM_URL", "GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_FLAVOR")
        settings = {name: value for name, value in variables.items() if name not in left_out}
        settings |= {"GATEWAY_CONFIG": str(file), "GATEWAY_CONNECT_TIMEOUT": "60"}
        settings |= {"GATEWAY_CONNECTIONS_PER_ADDRESS": "0"}
        front = await stack.enter_async_context(front_process(settings))
        metrics = await stack.enter_async_context(aiohttp.ClientSession(front.admin_url))
        for window in WINDOWS:  # fills caches and pools
            await leave_together(front.url, window, wave, held, metrics)
        bytes_before, files_before = front.resident_bytes, front.open_files
        for window in WINDOWS:
            waves = [await leave_together(front.url, window, wave, held, metrics) for _ in range(clients // wave)]
            seen[window] = max(waves)
            require(seen[window] <= CLOSE_SECONDS, f"{window}: calls ended {seen[window]:.2f} s after their clients")
        grown, files = front.resident_bytes - bytes_before, front.open_files - files_before
    require(grown <= GROWTH_BYTES, f"the front end has grown by {grown >> 20} MiB")
    require(files <= FILES_KEPT, f"{files} files are left open")
    return seen, grown, files


async def leave_together(
    url: str, window: str, number: int, held: set[HeldUpstream], metrics: aiohttp.ClientSession
) -> float:
    """Open as many streams, and leave them all. Return the seconds until the gateway had ended their calls."""
    address = urlsplit(url)
    message = {"role": "user", "content": "x"}
    body = orjson.dumps({"model": window, "max_tokens": 9, "stream": True, "messages": [message]})
    asked = request("POST", "/v1/messages", body, [("content-type", b"application/json")])
    streams = [await asyncio.open_connection(address.hostname, address.port) for _ in range(number)]
    for _, writer in streams:
        writer.write(asked)
    if window in ("connecting", "header"):
        await until(lambda: are_open(metrics, number), f"{number} open exchanges")
    else:
        await asyncio.gather(*(reader.readuntil(b"some") for reader, _ in streams))
    if window == "last":
        for one in list(held):
            one.finish()
    begun = time.monotonic()
    for _, writer in streams:
        writer.transport.abort()
    while held:
        require(time.monotonic() - begun < 10 * CLOSE_SECONDS, f"{window}: {len(held)} calls go on")
        await asyncio.sleep(0.01)
    await until(lambda: are_open(metrics, 0), "the end of all exchanges")
    return time.monotonic() - begun


async def are_open(metrics: aiohttp.ClientSession, number: int) -> bool:
    async with metrics.get("/metrics") as answer:
        text = await answer.text()
    return f'gateway_exchanges_open{{stream="true"}} {number:.1f}' in text


def fill_queue(listening: socket.socket, stack: AsyncExitStack) -> None:
    """Listen with a full queue, so that connecting hangs."""
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    for _ in range(2):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
