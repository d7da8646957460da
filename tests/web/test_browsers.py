"""A gateway without keys on the loopback, and what pages in the user's browser try with it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from gateway.web.browsers import is_local
from tests.e2e.conftest import KEY, Live, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = '{"model":"sim/echo","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}'
SIMPLE = {"content-type": "text/plain"}  # a type for which browsers send no preflight
LISTED = "https://app.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(simulator: Simulator) -> AsyncIterator[Live]:
    public = {"cors_origins": LISTED, "public_url": "https://gateway.example"}
    async with serving(simulator, auth="off", keys="", **public) as front:
        yield front


async def ask(live: Live, headers: dict[str, str], path: str = "/v1/messages") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + path, data=ASK, headers={**SIMPLE, **headers}) as answer,
    ):
        body = await answer.json()
        return answer.status, body.get("error", {}).get("message", "")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"])
@pytest.mark.parametrize(
    ("headers", "word"),
    [
        pytest.param({"origin": "https://evil.example"}, "origin: ", id="a page of another site"),
        pytest.param({"origin": "null"}, "origin: ", id="a page in a sandbox"),
        pytest.param({"origin": "http://8.8.8.8"}, "origin: ", id="a page under an address of the internet"),
        pytest.param({"origin": "http://[2600::1]:8080"}, "origin: ", id="a page under a version 6 address of it"),
        pytest.param({"origin": "http://localhost.evil.example"}, "origin: ", id="a name that begins like ours"),
        pytest.param({"host": "evil.example:8080"}, "host: ", id="a name that was made to mean this machine"),
        pytest.param({"host": "127.0.0.1.evil.example"}, "host: ", id="a name that begins like our address"),
    ],
)
@pytest.mark.covers("Security · foreign pages")
async def test_request_of_a_foreign_page_is_refused(live: Live, path: str, headers: dict[str, str], word: str) -> None:
    status, message = await ask(live, headers, path)
    assert status == 403
    assert message.startswith(word)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="a client that is no browser"),
        pytest.param({"origin": "http://localhost:3000"}, id="a page of this machine"),
        pytest.param({"origin": "http://127.0.0.1:3000"}, id="a page under this machine's address"),
        pytest.param({"origin": "http://192.168.1.5:3000"}, id="a page of the local network"),
        pytest.param({"origin": LISTED}, id="a listed page"),
        pytest.param({"host": "localhost:8080"}, id="localhost"),
        pytest.param({"host": "[::1]:8080"}, id="an IPv6 address"),
        pytest.param({"host": "dev-box"}, id="a name without a dot"),
        pytest.param({"host": "host.docker.internal:8080"}, id="a container"),
        pytest.param({"host": "gateway.example"}, id="the public name"),
    ],
)
async def test_request_from_this_machine_is_served(live: Live, headers: dict[str, str]) -> None:
    assert await ask(live, headers) == (200, "")


async def test_probe_under_any_name_is_answered(live: Live) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(live.url + "/livez", headers={"host": "probe.example"}) as answer,
    ):
        assert answer.status == 200


async def test_gateway_with_keys_serves_under_every_name(simulator: Simulator) -> None:
    async with serving(simulator) as live:
        headers = {"host": "any.example", "origin": "https://evil.example", "x-api-key": KEY}
        assert await ask(live, headers) == (200, "")


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "10.0.0.1", "::1", "box", "box."])
async def test_local_name_is_recognised(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "."])
async def test_foreign_name_is_recognised(host: str) -> None:
    assert not is_local(host)
