"""A server of the Message Batches API with scripted fates: what real ones do seldom, and never when asked to.

`fates` has the outcome of requests for each creation, by custom_id; others succeed. `trouble` holds faults that the
next calls meet instead of an answer.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Trouble = Callable[[web.Request], web.StreamResponse]


def errored(kind: str, message: str = "no luck") -> dict[str, Any]:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return {"type": "errored", "error": error}


def refusal(status: int, kind: str, message: str, **headers: str) -> Trouble:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return lambda request: web.json_response(body, status=status, headers={"request-id": "req_1", **headers})


def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@dataclass(slots=True)
class FakeBatches:
    """`created` are the requests of each batch that was made; a repeated idempotency key makes none."""

    url: str = ""
    fates: deque[Mapping[str, dict[str, Any]]] = field(default_factory=deque)
    trouble: deque[tuple[str, Trouble]] = field(default_factory=deque)
    created: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    lose_answer: bool = False
    cut_results: bool = False
    by_key: dict[str, int] = field(default_factory=dict)
    results: list[list[dict[str, Any]]] = field(default_factory=list)

    def ids(self, batch: int) -> list[str]:
        return [request["custom_id"] for request in self.created[batch]]

    def count(self, call: str) -> int:
        return self.calls.count(call)

    async def create(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        requests = json.loads(await request.read())["requests"]
        key = request.headers["idempotency-key"]
        if key not in self.by_key:
            self.by_key[key] = len(self.created)
            self.created.append(requests)
            fates = self.fates.popleft() if self.fates else {}
            message = {"type": "message", "content": []}
            done = {"type": "succeeded", "message": message}
            self.results.append([{"custom_id": one, "result": fates.get(one, done)} for one in self.ids(-1)])
        if self.lose_answer:
            self.lose_answer = False
            return hang_up(request)
        return web.json_response(self.shown(self.by_key[key]))

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.shown(self.number(request)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in self.results[self.number(request)])
        response = web.StreamResponse()
        await response.prepare(request)
        if self.cut_results:
            self.cut_results = False
            await response.write(lines[: len(lines) // 2])
            return hang_up(request)
        await response.write(lines)
        await response.write_eof()
        return response

    async def listed(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [self.shown(number) for number in range(len(self.created))]})

    def number(self, request: web.Request) -> int:
        number = int(request.match_info["batch"].removeprefix("msgbatch_"))
        if number >= len(self.created):
            raise web.HTTPNotFound
        return number

    def shown(self, number: int) -> dict[str, Any]:
        kinds = [line["result"]["type"] for line in self.results[number]]
        counts = {kind: kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")}
        counts = {"processing": 0, **counts}
        return {"id": f"msgbatch_{number}", "processing_status": "ended", "request_counts": counts}

    @web.middleware
    async def observe(self, request: web.Request, handler: Any) -> web.StreamResponse:
        call = f"{request.method} {request.path}"
        self.calls.append(call)
        if self.trouble and call.startswith(self.trouble[0][0]):
            return self.trouble.popleft()[1](request)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return refusal(404, "not_found_error", "There is no message batch with this id")(request)
        return answer


@asynccontextmanager
async def fake_batches() -> AsyncIterator[FakeBatches]:
    fake = FakeBatches()
    app = web.Application(middlewares=[fake.observe], client_max_size=1 << 30)
    path = "/v1/messages/batches"
    app.add_routes(
        [
            web.post(path, fake.create),
            web.get(path, fake.listed),
            web.get(path + "/{batch}", fake.retrieve),
            web.get(path + "/{batch}/results", fake.stream),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield fake
    finally:
        await runner.cleanup()
