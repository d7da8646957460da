"""Pages of other origins: refused by default, and let in on every path once their origin is listed."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from gateway.web.routes import CLIENT_ROUTES
from tests.e2e.conftest import KEY, Live, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://addin.example"
ASKED_HEADERS = "x-api-key,anthropic-version,content-type,anthropic-dangerous-direct-browser-access"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": ASKED_HEADERS,
}
MESSAGE = {"model": "sim/echo", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
BATCH = {"requests": [{"custom_id": "a", "params": MESSAGE}]}
PATHS = sorted({route.path for route in CLIENT_ROUTES} | {"/v1/nothing"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(redis_url: str) -> AsyncIterator[Live]:
    async with (
        Simulator() as simulator,
        serving(simulator, redis_url=redis_url, cors_origins=f"{PAGE}, https://other.example") as live,
    ):
        yield live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[aiohttp.ClientSession]:
    """Headers that a page's script sends with each request."""
    headers = {"origin": PAGE, "x-api-key": KEY, "anthropic-dangerous-direct-browser-access": "true"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


def is_marked(answer: aiohttp.ClientResponse, origin: str = PAGE) -> bool:
    return (
        answer.headers.getall("access-control-allow-origin", []) == [origin]
        and answer.headers.getall("access-control-expose-headers", []) == ["*"]
        and "access-control-allow-credentials" not in answer.headers
        and (origin == "*" or "origin" in answer.headers.getall("vary"))
    )


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_is_answered_on_every_path_without_a_key(front: Live, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.options(front.url + path, headers=PREFLIGHT) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        assert is_marked(answer)
        assert answer.headers["access-control-allow-headers"] == ASKED_HEADERS
        assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        assert int(answer.headers["access-control-max-age"]) > 0
        assert answer.headers["request-id"].startswith("req_")


@pytest.mark.covers("Security · CORS by setting")
async def test_a_message_a_stream_and_a_count_may_be_read_by_the_page(front: Live, page: aiohttp.ClientSession) -> None:
    for path, body in (
        ("/v1/messages", MESSAGE),
        ("/v1/messages", {**MESSAGE, "stream": True}),
        ("/v1/messages/count_tokens", {**MESSAGE, "max_tokens": None}),
    ):
        asked = {name: value for name, value in body.items() if value is not None}
        async with page.post(front.url + path, json=asked) as answer:
            assert answer.status == 200
            assert is_marked(answer)
            assert await answer.read()


async def test_a_cached_answer_is_marked_for_each_page(front: Live, page: aiohttp.ClientSession) -> None:
    for origin in (PAGE, "https://other.example", PAGE):
        headers = {"x-gateway-cache": "use", "origin": origin}
        async with page.post(front.url + "/v1/messages", json=MESSAGE, headers=headers) as answer:
            assert is_marked(answer, origin)


async def test_batches_and_their_results_may_be_read_by_the_page(front: Live, page: aiohttp.ClientSession) -> None:
    url = front.url + "/v1/messages/batches"

    async def ask(method: str, path: str, body: Any = None) -> bytes:
        async with page.request(method, url + path, json=body) as answer:
            assert answer.status == 200, path
            assert is_marked(answer), path
            return await answer.read()

    batch = orjson.loads(await ask("POST", "", BATCH))["id"]
    await ask("GET", "")
    await ask("GET", f"/{batch}")
    await ask("POST", f"/{batch}/cancel")
    assert await ask("GET", f"/{batch}/results")
    await ask("DELETE", f"/{batch}")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/v1/messages", {}, b"{", 400),
        ("POST", "/v1/messages", {"x-api-key": "wrong"}, orjson.dumps(MESSAGE), 401),
        ("POST", "/v1/messages", {}, orjson.dumps({**MESSAGE, "model": "sim/error-429"}), 429),
        ("POST", "/v1/messages", {}, orjson.dumps({**MESSAGE, "model": "sim/error-400", "stream": True}), 400),
        ("GET", "/v1/nothing", {}, None, 404),
        ("PUT", "/v1/messages", {}, None, 405),
        ("OPTIONS", "/v1/messages", {}, None, 405),
        ("GET", "/v1/messages/batches/msgbatch_none", {}, None, 404),
    ],
)
async def test_an_error_may_be_read_by_the_page(
    front: Live,
    page: aiohttp.ClientSession,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    status: int,
) -> None:
    async with page.request(method, front.url + path, data=body, headers=headers) as answer:
        assert answer.status == status
        assert is_marked(answer)
        assert (await answer.json())["type"] == "error"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://addin.example.evil.example", "null", "", None])
async def test_a_page_whose_origin_is_not_listed_gets_no_headers(
    front: Live, page: aiohttp.ClientSession, origin: str | None
) -> None:
    headers = {} if origin is None else {"origin": origin}
    async with aiohttp.ClientSession(headers={"x-api-key": KEY, **headers}) as session:
        async with session.post(front.url + "/v1/messages", json=MESSAGE) as answer:
            assert answer.status == 200
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        preflight = {**PREFLIGHT, "origin": origin or ""}
        async with session.options(front.url + "/v1/messages", headers=preflight) as answer:
            assert answer.status == 405
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_any_page_may_be_let_in(page: aiohttp.ClientSession) -> None:
    async with Simulator() as simulator, serving(simulator, cors_origins="*") as live:
        async with page.post(live.url + "/v1/messages", json={**MESSAGE, "stream": True}) as answer:
            assert is_marked(answer, "*")
        async with page.options(live.url + "/v1/messages", headers=PREFLIGHT) as answer:
            assert (answer.status, is_marked(answer, "*")) == (204, True)


async def test_by_default_only_pages_that_ask_for_direct_access_are_let_in(page: aiohttp.ClientSession) -> None:
    plain = {**PREFLIGHT, "access-control-request-headers": "x-api-key,content-type"}
    async with Simulator() as simulator, serving(simulator) as live, aiohttp.ClientSession() as session:
        async with page.post(live.url + "/v1/messages", json={**MESSAGE, "stream": True}) as answer:
            assert (answer.status, is_marked(answer, "*")) == (200, True)
        async with page.post(live.url + "/v1/messages", json={}) as answer:
            assert (answer.status, is_marked(answer, "*")) == (400, True)
        async with session.options(live.url + "/v1/messages", headers=PREFLIGHT) as answer:
            assert (answer.status, is_marked(answer, "*")) == (204, True)
            assert answer.headers["access-control-allow-headers"] == ASKED_HEADERS
        for method, headers in (("POST", {"origin": PAGE, "x-api-key": KEY}), ("OPTIONS", plain)):
            async with session.request(method, live.url + "/v1/messages", json=MESSAGE, headers=headers) as answer:
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("settings", [{"cors_origins": "none"}, {"auth": "off", "keys": ""}], ids=["none", "no keys"])
async def test_direct_access_is_refused_where_no_page_may_come_or_no_key_is_asked_for(
    page: aiohttp.ClientSession, settings: dict[str, str]
) -> None:
    async with Simulator() as simulator, serving(simulator, **settings) as live:
        for method, headers in (("POST", {}), ("OPTIONS", PREFLIGHT)):
            async with page.request(method, live.url + "/v1/messages", json=MESSAGE, headers=headers) as answer:
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]
