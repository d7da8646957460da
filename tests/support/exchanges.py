"""Exchanges with the chat dialect, for tests without a front end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.access.keyring import Keyring
from gateway.dialects.chat.dialect import ChatDialect
from gateway.errors import GatewayError
from gateway.exchange.exchange import Exchange, Observer
from gateway.exchange.sink import Flow
from gateway.upstream.http.client import Call, UpstreamClient
from gateway.upstream.routes.table import Routing, RoutingTable

KEYRING = Keyring((("t", b"secret"),))


def chat_exchange(client: UpstreamClient, table: RoutingTable, *observers: Observer) -> Exchange:
    return Exchange(client, Routing(table), KEYRING, {"chat": ChatDialect(KEYRING)}, observers)


@dataclass(slots=True)
class ScriptedAnswer:
    """An upstream's answer that is already complete."""

    status: int
    body: bytes
    content_type: str = "text/event-stream"
    aborted: bool = False
    has_ended: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        return {"content-type": self.content_type}

    async def read(self, limit: int) -> bytes:
        return self.body

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        receive(self.body)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


@dataclass(slots=True)
class ScriptedClient:
    """Client that answers each call with the next scripted answer or error, and records the calls."""

    script: list[ScriptedAnswer | GatewayError]
    calls: list[Call] = field(default_factory=list)

    async def open(self, call: Call) -> ScriptedAnswer:
        self.calls.append(call)
        answer = self.script.pop(0)
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def close(self) -> None: ...


@dataclass(slots=True)
class ListSink:
    """A client that reads everything at once."""

    pieces: list[bytes] = field(default_factory=list)

    @property
    def committed(self) -> bool:
        return bool(self.pieces)

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def attach(self, source: Flow | None) -> None: ...

    def abort(self) -> None: ...
