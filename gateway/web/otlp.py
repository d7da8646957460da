"""Relay of clients' telemetry (OTLP over HTTP) to the operator's collector, with who sent it.

Claude Code and other agents export metrics, logs and traces. Through the gateway they need no address and no credential
of a collector, and the collector gets tenant and key. Bodies pass byte for byte, without parsing, storage or logging.
Clients are answered at once, so a slow collector delays none of them; exports beyond the queue are dropped and counted.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import web

from gateway.access.configured import sign_in_of
from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.settings import Settings
from gateway.settings.values import parse_headers
from gateway.telemetry.metrics import OTLP_RELAYED, create_series
from gateway.upstream.http.client import Call, Timeouts, UpstreamClient
from gateway.web.app_keys import DIRECTORY
from gateway.web.auth import CONTEXT
from gateway.web.body import read_raw_body

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
# What may wait for the collector, of all clients of a process.
MAX_WAITING: Final = 1000
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
MAX_REPLY_BYTES: Final = 64 * 1024
TIMEOUTS: Final = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=10.0)
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
# An export response without a partial success, in both encodings.
ACCEPTED: Final = {JSON: b"{}", PROTOBUF: b""}
SIGNALS: Final = ("metrics", "logs", "traces")
create_series(OTLP_RELAYED, SIGNALS, ("sent", "failed", "dropped"))


@dataclass(frozen=True, slots=True)
class Export:
    """One request of a client, as it came."""

    signal: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class OtlpRelay:
    """`run` it while clients may send.

    `endpoint`: the collector's base address, without `/v1/…`. `headers`: the operator's own for it.
    """

    client: UpstreamClient
    endpoint: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    _waiting: deque[Export] = field(default_factory=deque, repr=False)
    _bytes: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _fails: bool = False

    def add(self, export: Export) -> None:
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(export.body) > MAX_WAITING_BYTES:
            OTLP_RELAYED.labels(export.signal, "dropped").inc()
            return
        self._waiting.append(export)
        self._bytes += len(export.body)
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                export = self._waiting.popleft()
                self._bytes -= len(export.body)
                url = f"{self.endpoint}/v1/{export.signal}"
                call = Call("POST", url, (*self.headers, *export.headers), export.body, TIMEOUTS)
                try:
                    answer = await self.client.open(call)
                    await answer.read(MAX_REPLY_BYTES)
                    problem = None if answer.status < 300 else f"it answered {answer.status}"
                except GatewayError as error:
                    problem = error.message
                OTLP_RELAYED.labels(export.signal, "sent" if problem is None else "failed").inc()
                if problem is not None and not self._fails:
                    log.warning("otlp_not_relayed", problem=problem)
                self._fails = problem is not None
            self._arrived.clear()


def to_otlp_relay(settings: Settings, client: UpstreamClient) -> OtlpRelay | None:
    if settings.otlp_endpoint is None:
        return None
    headers = parse_headers(settings.otlp_headers.get_secret_value()) if settings.otlp_headers else ()
    return OtlpRelay(client, str(settings.otlp_endpoint).rstrip("/"), headers)


OTLP: web.AppKey[OtlpRelay | None] = web.AppKey("otlp")


async def relay_otlp(request: web.Request) -> web.Response:
    """Take an export of metrics, logs or traces."""
    relay, context = request.app[OTLP], request[CONTEXT]
    kind = request.content_type
    if relay is None:
        if sign_in_of(request.app[DIRECTORY]) is None:
            raise NotFound("This gateway relays no telemetry: GATEWAY_OTLP_ENDPOINT is not set.")
        # Claude Code exports to the gateway that it has signed in to, whether that one wants it or not.
        await read_raw_body(request, MAX_BODY_BYTES)
        return web.Response(body=b"{}" if kind == JSON else b"", content_type=kind)
    if kind not in ACCEPTED:
        raise InvalidRequest(f"content-type: must be {JSON} or {PROTOBUF}")
    body = await read_raw_body(request, MAX_BODY_BYTES)
    headers = [("content-type", kind), ("x-gateway-tenant", context.tenant)]
    headers += [("x-gateway-key", context.key_id)] if context.key_id else []
    encoding = request.headers.get("content-encoding")
    headers += [("content-encoding", encoding)] if encoding else []
    relay.add(Export(request.path.rpartition("/")[2], tuple(headers), body))
    return web.Response(body=ACCEPTED[kind], content_type=kind)
