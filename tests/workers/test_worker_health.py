"""A worker's admin listener: what it answers, and that it guards its connections as front ends do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.process.http_guard import Guard
from tests.support.raw_http import converse, request
from tests.support.unread import Unread
from workers.health import admin_handler, listening

GUARD = Guard(header_seconds=0.3, stalled_seconds=0.3, per_address=20)


@asynccontextmanager
async def admin(problem: str | None = None) -> AsyncIterator[str]:
    async with listening(admin_handler(lambda: problem), "127.0.0.1", 0, GUARD) as (host, port):
        yield f"http://{host}:{port}"


@pytest.mark.parametrize(
    ("method", "path", "problem", "status", "told"),
    [
        ("GET", "/livez", "redis cannot be reached", 200, "ok"),
        ("GET", "/readyz", None, 200, "ready"),
        ("GET", "/readyz?verbose", None, 200, "ready"),
        ("GET", "/readyz", "draining", 503, "draining"),
        ("GET", "/other", None, 404, "not found"),
        ("POST", "/livez", None, 405, "method not allowed"),
        ("GET", "/livez HTTP/9", None, 400, "The request is not valid HTTP."),
    ],
)
async def test_probes_answer_in_json(method: str, path: str, problem: str | None, status: int, told: str) -> None:
    async with admin(problem) as url:
        (reply,) = (await converse(url, [request(method, path)], replies=1)).replies
        assert (reply.status, orjson.loads(reply.body)) == (status, {"status": told})


async def test_metrics_are_exposed() -> None:
    async with admin() as url:
        (reply,) = (await converse(url, [request("GET", "/metrics")], replies=1)).replies
        assert b"gateway_build_info" in reply.body
        assert reply.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("start", [b"", b"GET /livez HTTP/1.1\r\nhost: x\r\nx: "], ids=["silent", "a trickle"])
async def test_a_header_that_does_not_end_is_cut(start: bytes) -> None:
    async with admin() as url:
        told = await converse(url, [start, *[0.05, b"a"] * 10] if start else [], seconds=3)
        assert (told.replies, told.end != "open") == ([], True)


async def test_metrics_that_are_not_read_are_cut() -> None:
    async with admin() as url:
        client = Unread(url)
        sending = asyncio.create_task(client.send(request("GET", "/metrics") * 5000))
        await client.until_reset()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()


async def test_an_address_has_only_so_many_connections() -> None:
    async with admin() as url:
        kept = [Unread(url) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert (await converse(url, [request("GET", "/livez")])).end == "reset"
        for client in kept:
            client.close()
