"""A client on a bare socket: for what no HTTP library would do, such as leaving, stalling, or splitting bytes."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.e2e.conftest import KEY, Live


async def open_raw(
    live: Live, body: Any, *, version: str = "HTTP/1.1", headers: Mapping[str, str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a Messages request and return before anything is read."""
    address = urlsplit(live.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    data = orjson.dumps(body)
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST /v1/messages {version}\r\nhost: x\r\nx-api-key: {KEY}\r\n{more}content-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    return reader, writer


async def read_until(reader: asyncio.StreamReader, mark: bytes) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readuntil(mark)


def parse_events(stream: bytes) -> list[dict[str, Any]]:
    """The events of a finished stream; each event line must name its data's type."""
    events = []
    for frame in stream.decode().split("\n\n"):
        if not frame.strip():
            continue
        name, data = frame.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events
