"""Looking at an unknown server: its list of models first, then a few paths without a key, once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.errors import UpstreamUnreachable
from gateway.upstream.http.client import Answer, Call
from gateway.upstream.models.catalog import FRESH_SECONDS, RETRY_SECONDS, Catalog
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing, one_upstream_table
from gateway.upstream.vendors.registry import COMPATIBLE, MARKED_PATHS, VENDORS

URL = "http://127.0.0.1:9/v1"
KEY = (("authorization", "Bearer sk-secret"),)


@dataclass
class Shown:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, limit: int) -> bytes:
        return self.body

    async def pump(self, receive: Callable[[bytes], None]) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


@dataclass
class Server:
    """Answers by URL; 404 elsewhere."""

    answers: dict[str, Shown]
    is_away: bool = False
    calls: list[Call] = field(default_factory=list)

    async def open(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.is_away:
            raise UpstreamUnreachable("no connection")
        return self.answers.get(call.url, Shown(b"{}", 404))

    async def close(self) -> None: ...


def listed(**entry: str) -> Shown:
    return Shown(orjson.dumps({"data": [{"id": "m", **entry}]}))


def catalog(server: Server, clock: Callable[[], float] = lambda: 1e6, vendor: object = COMPATIBLE) -> Catalog:
    upstream = Upstream("up", URL, vendor=vendor, headers=KEY)  # type: ignore[arg-type]
    return Catalog(server, Routing(one_upstream_table(upstream)), clock)


async def test_a_list_that_shows_the_server_is_enough() -> None:
    server = Server({f"{URL}/models": listed(owned_by="vllm")})
    known = catalog(server)
    assert known.routing.resolve("m")[0].target.parameters == frozenset()
    await known.models()
    assert known.routing.table.upstreams[0].vendor is VENDORS["vllm"]
    assert "top_k" in known.routing.resolve("m")[0].target.parameters
    assert len(server.calls) == 1


async def test_else_marked_paths_are_looked_at_without_the_key() -> None:
    server = Server({f"{URL}/models": listed(), "http://127.0.0.1:9/health/liveliness": Shown(b'"I\'m alive!"')})
    known = catalog(server)
    await known.models()
    assert known.routing.table.upstreams[0].vendor is VENDORS["litellm"]
    assert all("secret" not in str(call.headers) for call in server.calls[1:])


async def test_an_unknown_server_is_looked_at_once() -> None:
    now = 1e6
    server = Server({f"{URL}/models": listed()})
    known = catalog(server, lambda: now)
    await known.models()
    assert len(server.calls) == 1 + len(MARKED_PATHS)
    now += FRESH_SECONDS
    await known.models()
    assert len(server.calls) == 2 + len(MARKED_PATHS)
    assert known.routing.table.upstreams[0].vendor is COMPATIBLE


async def test_a_server_without_a_list_can_show_what_it_is() -> None:
    server = Server({"http://127.0.0.1:9/version": Shown(b'{"version":"0.32.0"}'), f"{URL}/models": Shown(b"{}", 401)})
    known = catalog(server)
    await known.models()
    assert known.routing.table.upstreams[0].vendor is VENDORS["vllm"]


async def test_a_server_that_is_away_is_looked_at_when_it_is_back() -> None:
    now = 1e6
    server = Server({f"{URL}/models": listed(owned_by="sglang")}, is_away=True)
    known = catalog(server, lambda: now)
    await known.models()
    assert len(server.calls) == 1
    server.is_away = False
    now += RETRY_SECONDS
    await known.models()
    assert known.routing.table.upstreams[0].vendor is VENDORS["sglang"]


async def test_vendor_of_the_settings_is_never_probed() -> None:
    server = Server({f"{URL}/models": listed(owned_by="vllm")})
    known = catalog(server, vendor=VENDORS["groq"])
    await known.models()
    assert known.routing.table.upstreams[0].vendor is VENDORS["groq"]
    assert len(server.calls) == 1
