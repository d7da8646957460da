"""`python -m tests.cluster.upstream PORT`: the built-in simulator, which counts what it is asked for.

A batch item's prompt is its mark, `batch:<name>/<number>`, which the answer repeats; so the runner can distinguish a
lost item from a mixed-up one, and a doubled result from a repeated call. `GET /calls` has the number of calls for each
mark.
"""

import asyncio
import os
import random
import re
import sys
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.simulator.server import application

MARK = re.compile(rb"(batch|live):[\w-]+/\d+")
# How long an answer takes, in seconds: a batch item, least and most; a live one.
BATCH_SECONDS = tuple(float(part) for part in os.environ.get("CLUSTER_BATCH_SECONDS", "0.2-0.4").split("-"))
LIVE_SECONDS = (0.02, 0.2)


def counting(calls: Counter[str]) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/calls":
            return web.json_response(calls)
        found = MARK.search(await request.read())
        if found is not None:
            of_batch = found[1] == b"batch"
            if of_batch:
                calls[found[0].decode()] += 1
            await asyncio.sleep(random.uniform(*(BATCH_SECONDS if of_batch else LIVE_SECONDS)))
        return await handler(request)

    return count


if __name__ == "__main__":
    web.run_app(
        application(middlewares=[counting(Counter())]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        handler_cancellation=True,
        access_log=None,
        print=None,
    )
