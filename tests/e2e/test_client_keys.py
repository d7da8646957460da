"""Upstreams that are asked with the caller's own key: where it goes, and where it never does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.app import running
from gateway.settings import load_settings
from tests.e2e.conftest import KEY
from tests.support.messages_server import MESSAGE, MessagesServer, Scripted, failure, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = "sk-own-canary-0123456789"
ROUTES = """
[upstreams]
own = {{ url = "{a}", dialect = "messages", auth = "client" }}
also = {{ url = "{b}", dialect = "messages", auth = "client" }}
plain = {{ url = "{b}", dialect = "chat", key = "sk-operator-canary" }}
[routes]
"mine" = "own/claude-real"
"first" = ["own/claude-real", "also/claude-real", "plain/m"]
"theirs" = "plain/m"
"chat" = {{ to = "own/m", dialect = "chat" }}
"""
ASK: dict[str, Any] = {"max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstreams() -> AsyncIterator[tuple[MessagesServer, MessagesServer]]:
    async with messages_server() as own, messages_server() as other:
        yield own, other


@pytest.fixture(scope="module")
def file(upstreams: tuple[MessagesServer, MessagesServer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("routes") / "gateway.toml"
    path.write_text(ROUTES.format(a=upstreams[0].url, b=upstreams[1].url))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["keys", "off"])
async def client(file: Path, request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with its own key for the upstream; and with one for the gateway, unless that takes none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_CONFIG", str(file))
        wanted: dict[str, Any] = {"keys": f"tests:{KEY}"} if request.param == "keys" else {"auth": "off"}
        settings = load_settings(port=0, admin_port=0, secret="t:secret", cache="on", **wanted)
    headers = {"x-api-key": OWN, "user-agent": "coder/1", "x-app": "cli", "anthropic-workspace-id": "wrk_1"}
    if request.param == "keys":
        headers["x-gateway-key"] = KEY
    async with running(settings) as addresses:
        base = "http://{}:{}".format(*addresses.client)
        async with aiohttp.ClientSession(base, headers=headers) as session:
            yield session


async def ask(client: aiohttp.ClientSession, model: str, path: str = "/v1/messages?beta=true", **headers: str) -> Any:
    async with client.post(path, json={**ASK, "model": model}, headers=headers) as response:
        return response, await response.read()


@pytest.mark.covers("Access · the caller's own key for an upstream")
async def test_own_key_and_what_names_the_client_reach_their_upstream(
    client: aiohttp.ClientSession, upstreams: tuple[MessagesServer, MessagesServer]
) -> None:
    told = {"anthropic-ratelimit-requests-remaining": "7", "anthropic-organization-id": "org_1"}
    upstreams[0].script[:] = [Scripted.json(MESSAGE, **told)]
    response, _ = await ask(client, "mine")
    assert response.status == 200
    seen = upstreams[0].requests[-1]
    sent = dict(seen.headers)
    assert (sent["x-api-key"], sent["user-agent"], sent["x-app"]) == (OWN, "coder/1", "cli")
    assert sent["anthropic-workspace-id"] == "wrk_1"
    assert seen.query == "beta=true"
    assert not {"x-gateway-key", "authorization"} & sent.keys()
    assert {name: response.headers[name] for name in told} == told


async def test_own_key_goes_to_no_other_candidate(
    client: aiohttp.ClientSession, upstreams: tuple[MessagesServer, MessagesServer]
) -> None:
    own, other = upstreams
    own.script[:], other.script[:] = [Scripted.json(failure("api_error", "no"), 500)], [Scripted.json(COMPLETION)]
    count = len(other.requests)
    response, _ = await ask(client, "first")
    assert response.headers["x-gateway-upstream"] == "plain"
    [seen] = other.requests[count:]
    assert OWN not in str(seen.headers)
    assert dict(seen.headers)["authorization"] == "Bearer sk-operator-canary"


async def test_operators_upstream_never_gets_the_callers_key(
    client: aiohttp.ClientSession, upstreams: tuple[MessagesServer, MessagesServer]
) -> None:
    upstreams[1].script[:] = [Scripted.json(COMPLETION)]
    await ask(client, "theirs")
    assert OWN not in str(upstreams[1].requests[-1].headers)


async def test_own_key_reaches_chat_upstreams_of_chat_clients(
    client: aiohttp.ClientSession, upstreams: tuple[MessagesServer, MessagesServer]
) -> None:
    upstreams[0].script[:] = [Scripted.json(COMPLETION)]
    response, told = await ask(client, "chat", "/v1/chat/completions", authorization=f"Bearer {OWN}")
    assert (response.status, orjson.loads(told)["choices"][0]["message"]["content"]) == (200, "Hi")
    assert dict(upstreams[0].requests[-1].headers)["authorization"] == f"Bearer {OWN}"


@pytest.mark.parametrize(("status", "kind", "told"), [(401, "authentication_error", 401), (402, "billing_error", 402)])
async def test_refusal_of_the_own_key_is_reported_without_it(
    client: aiohttp.ClientSession,
    upstreams: tuple[MessagesServer, MessagesServer],
    status: int,
    kind: str,
    told: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstreams[0].script[:] = [Scripted.json(failure(kind, f"no use: {OWN}"), status)]
    response, body = await ask(client, "mine")
    error = orjson.loads(body)["error"]
    assert (response.status, error["type"]) == (told, kind)
    assert "no use: [key]" in error["message"]
    assert OWN not in capsys.readouterr().out
    assert (await ask(client, "mine"))[0].status == 200  # other calls are not held up


async def test_answers_to_own_keys_are_not_cached(
    client: aiohttp.ClientSession, upstreams: tuple[MessagesServer, MessagesServer]
) -> None:
    count = len(upstreams[0].requests)
    for _ in range(2):
        await ask(client, "mine", **{"x-gateway-cache": "use"})
    assert len(upstreams[0].requests) == count + 2


async def test_request_without_an_own_key_is_refused_with_what_to_send(
    file: Path, upstreams: tuple[MessagesServer, MessagesServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    settings = load_settings(port=0, admin_port=0, secret="t:secret", keys=f"tests:{KEY}")
    count = len(upstreams[0].requests)
    async with running(settings) as addresses:
        base = "http://{}:{}".format(*addresses.client)
        async with aiohttp.ClientSession(base, headers={"x-api-key": KEY}) as session:
            response, body = await ask(session, "mine")
    assert response.status == 401
    assert "x-gateway-key" in orjson.loads(body)["error"]["message"]
    assert len(upstreams[0].requests) == count  # the gateway's key went nowhere
