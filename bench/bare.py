"""The baseline: an aiohttp server that forwards every request with an aiohttp client and converts nothing.

    python -m bench.bare PORT UPSTREAM_URL

Bodies and answers are forwarded as bytes, and a streamed answer is written as it is read. The ratio of a gateway to
this baseline shows the cost of validating, converting, logging and counting. Runs on asyncio's own loop.
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

UPSTREAM = web.AppKey("UPSTREAM", str)
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)
LARGEST_BODY = 64 << 20
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer x"}


async def forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    url = request.app[UPSTREAM] + request.path
    async with request.app[SESSION].post(url, data=body, headers=HEADERS) as answer:
        if answer.content_type != "text/event-stream":
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def hold_session(app: web.Application) -> AsyncIterator[None]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        app[SESSION] = session
        yield


def build(upstream: str) -> web.Application:
    app = web.Application(client_max_size=LARGEST_BODY)
    app[UPSTREAM] = upstream.rstrip("/")
    app.cleanup_ctx.append(hold_session)
    app.router.add_post("/{path:.*}", forward)
    return app


if __name__ == "__main__":
    port, upstream_url = sys.argv[1:]
    web.run_app(build(upstream_url), host="127.0.0.1", port=int(port), access_log=None, print=None, backlog=4096)
