"""A model of an engine that shares its speed fairly: full speed up to `knee` streams, and its share of it beyond."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web

TOKENS = 12
TOKEN_SECONDS = 0.15  # of a stream at full speed
STEP = 0.01


@dataclass(slots=True)
class Engine:
    """`most` is the largest number of streams so far."""

    knee: int
    url: str = ""
    streams: int = 0
    most: int = 0
    served: int = 0
    _work: float = 0.0  # seconds at full speed that each stream has got since the start
    _ticked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(STEP)
            now = loop.time()
            self._work += (now - last) * min(1.0, self.knee / max(1, self.streams))
            last = now
            async with self._ticked:
                self._ticked.notify_all()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        self.streams += 1
        self.most = max(self.most, self.streams)
        try:
            await response.prepare(request)
            begun = self._work
            for number in range(1, TOKENS + 1):
                await self._reach(begun + number * TOKEN_SECONDS)
                await response.write(_event({"delta": {"content": "word "}}))
            usage = {"prompt_tokens": 5, "completion_tokens": TOKENS}
            await response.write(_event({"delta": {}, "finish_reason": "stop"}, usage=usage) + b"data: [DONE]\n\n")
            self.served += 1
        finally:
            self.streams -= 1
        return response

    async def _reach(self, work: float) -> None:
        async with self._ticked:
            await self._ticked.wait_for(lambda: self._work >= work)


def _event(choice: dict[str, object], **fields: object) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0, **choice}], **fields}) + b"\n\n"


@asynccontextmanager
async def engine(knee: int) -> AsyncIterator[Engine]:
    model = Engine(knee)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    ticking = asyncio.create_task(model.run())
    try:
        yield model
    finally:
        ticking.cancel()
        await runner.cleanup()
