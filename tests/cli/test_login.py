"""`dragoman login`: a sign-in by device flow, or a key, as the program that has run the command gets it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from gateway.cli.login import own_address


@dataclass(slots=True)
class Gateway:
    """Answers polls one after the other; `issuer` is what its discovery document claims to be."""

    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    issuer: str = ""
    has_sign_in: bool = True
    url: str = ""
    forms: list[dict[str, Any]] = field(default_factory=list)

    async def show_server(self, request: web.Request) -> web.Response:
        if not self.has_sign_in:
            return web.json_response({"error": {}}, status=404)
        base = self.issuer or self.url
        return web.json_response({"device_authorization_endpoint": f"{base}/start", "token_endpoint": f"{base}/poll"})

    async def start(self, request: web.Request) -> web.Response:
        codes = {"device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": f"{self.url}/device\x1b[2J"}
        return web.json_response({**codes, "interval": 0.01, "expires_in": 60})

    async def poll(self, request: web.Request) -> web.Response:
        self.forms.append(dict(await request.post()))
        status, body = self.answers.pop(0)
        return web.json_response(body, status=status)


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/.well-known/oauth-authorization-server", gateway.show_server)
    for prefix in ("", "/oauth"):
        app.router.add_post(f"{prefix}/start", gateway.start)
        app.router.add_post(f"{prefix}/poll", gateway.poll)
    app.router.add_post("/oauth/device_authorization", gateway.start)
    app.router.add_post("/oauth/token", gateway.poll)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway.url
    finally:
        await runner.cleanup()


async def login(url: str, typed: bytes = b"", **variables: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "login", url),
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # without a terminal
    )
    out, error = await process.communicate(typed)
    return process.returncode or 0, out.decode(), error.decode()


PENDING = (400, {"error": "authorization_pending"})


@pytest.mark.parametrize("issuer", ["", "https://evil.example"])
async def test_token_of_a_sign_in_is_all_of_standard_output(issuer: str) -> None:
    gateway = Gateway([PENDING, (200, {"access_token": "token"})], issuer)
    async with serving(gateway) as url:
        status, out, error = await login(url)
    assert (status, out) == (0, "token\n")
    assert "BCDF-GHJK" in error
    assert "\x1b" not in error
    assert gateway.forms == [{"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "d"}] * 2


async def test_refused_sign_in_says_why_and_prints_no_token() -> None:
    async with serving(Gateway([(400, {"error": "access_denied"})])) as url:
        status, out, error = await login(url)
    assert (status != 0, out, "access_denied" in error) == (True, "", True)


@pytest.mark.parametrize(
    ("typed", "variables", "out"),
    [(b" key \nmore", {}, "key\n"), (b"", {"DRAGOMAN_API_KEY": "set"}, "set\n"), (b"", {"ANTHROPIC_API_KEY": "x"}, "")],
)
async def test_gateway_without_sign_in_takes_a_key_of_its_own(
    typed: bytes, variables: dict[str, str], out: str
) -> None:
    async with serving(Gateway(has_sign_in=False)) as url:
        status, written, _ = await login(url, typed, **variables)
    assert (written, status == 0) == (out, bool(out))


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://a.example/own", "https://a.example/own"),
        ("https://b.example/own", "https://a.example/oauth/token"),
        ("https://[", "https://a.example/oauth/token"),
    ],
)
def test_endpoint_of_another_server_is_not_asked(endpoint: str, address: str) -> None:
    assert own_address("https://a.example", {"token_endpoint": endpoint}, "token") == address


async def test_address_that_is_none_or_does_not_answer_is_named() -> None:
    assert "is not an address" in (await login("gateway"))[2]
    assert "is not an address" in (await login("http://["))[2]
    assert "no gateway answers" in (await login("http://127.0.0.1:9"))[2]
