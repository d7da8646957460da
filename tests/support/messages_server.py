"""An upstream that speaks Anthropic Messages on a loopback port, with scripted answers and recorded requests."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

MESSAGE: dict[str, Any] = {
    "id": "msg_upstream",
    "type": "message",
    "role": "assistant",
    "model": "claude-of-the-upstream",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 5, "cache_read_input_tokens": 3},
}
START = {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 12, "output_tokens": 1}}


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def text_delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


BLOCK_START = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
BEGINNING = event("message_start", message=START) + BLOCK_START
ENDING = (
    event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
    + event("message_stop")
)
STREAM = BEGINNING + event("ping") + text_delta("Hel") + text_delta("lo") + ENDING


def failure(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_upstream"}


@dataclass(slots=True)
class Scripted:
    """`body` is sent piece by piece, `pause` seconds apart; `hangs`: the connection then stays open."""

    body: bytes | Iterable[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Scripted":
        return cls(orjson.dumps(value), status, "application/json", headers)


@dataclass(slots=True)
class Seen:
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(slots=True)
class MessagesServer:
    """Server that answers each request with the next scripted answer, or with MESSAGE in the requested form."""

    url: str = ""
    script: list[Scripted] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    paths: tuple[str, ...] = (
        *("/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/v1/responses"),
        *("/v1/chat/completions/input_tokens", "/tokenize"),
    )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        seen = Seen(request.path, request.query_string, headers, body)
        self.requests.append(seen)
        self.arrived.set()
        if self.script:
            scripted = self.script.pop(0)
        elif orjson.loads(body).get("stream"):
            scripted = Scripted(STREAM)
        else:
            scripted = Scripted.json(MESSAGE)
        reply = web.StreamResponse(status=scripted.status, headers=scripted.headers)
        reply.content_type = scripted.content_type
        await reply.prepare(request)
        try:
            for piece in (scripted.body,) if isinstance(scripted.body, bytes) else scripted.body:
                await reply.write(piece)
            if scripted.hangs:
                await asyncio.sleep(60)
        except (asyncio.CancelledError, ConnectionError):
            seen.left.set()
            raise
        return reply

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})


@asynccontextmanager
async def messages_server() -> AsyncIterator[MessagesServer]:
    server = MessagesServer()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_get("/v1/models", server.models)
    for path in server.paths:
        app.router.add_post(path, server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
