"""Errors of handlers as replies, log lines and headers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from gateway.errors import InvalidRequest, StoreAway
from gateway.web.middleware import ERROR_HEADERS, MAX_REASON, envelope

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def asking(answer: Answer) -> AsyncIterator[Callable[..., Any]]:
    """Serve one handler at /v1/here, and return the method that asks it."""
    app = web.Application(middlewares=[envelope])
    app.router.add_get("/v1/here", answer)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as session:
        yield session.request


async def fail_halfway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half")
    raise ValueError("a prompt")


async def refuse(request: web.Request) -> web.StreamResponse:
    request[ERROR_HEADERS] = (("x-own", "1"),)
    raise InvalidRequest("x" * (MAX_REASON + 1))


async def fail(_: web.Request) -> web.StreamResponse:
    raise ValueError("a prompt")


async def lose_the_store(_: web.Request) -> web.StreamResponse:
    raise StoreAway("away", reason="ConnectionError")


async def answer(_: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def test_reply_that_is_broken_off_is_logged_and_not_ended() -> None:
    with capture_logs() as logs:
        async with asking(fail_halfway) as ask:
            with pytest.raises(aiohttp.ClientError):
                async with ask("GET", "/v1/here") as response:
                    await response.read()
    [line] = [line for line in logs if line["event"] == "reply_broken_off"]
    assert (line["route"], line["error"], line["log_level"]) == ("/v1/here", "api_error", "warning")
    assert "a prompt" not in str(logs)


@pytest.mark.parametrize(
    ("handler", "status", "event", "fields"),
    [
        (refuse, 400, "request_refused", {"log_level": "info", "reason": "x" * MAX_REASON, "tenant": "-"}),
        (fail, 500, "request_failed", {"log_level": "error", "error": "ValueError"}),
        (lose_the_store, 503, "store_away", {"log_level": "warning", "reason": "ConnectionError"}),
    ],
)
async def test_error_of_a_handler_is_one_line_and_a_reply_with_its_id(
    handler: Answer, status: int, event: str, fields: dict[str, str]
) -> None:
    with capture_logs() as logs:
        async with asking(handler) as ask, ask("GET", "/v1/here") as response:
            body = await response.json()
    [line] = logs
    assert (response.status, line["event"], line["status"], line["method"]) == (status, event, status, "GET")
    assert line["request_id"] == response.headers["request-id"] == body["request_id"]
    assert {name: line[name] for name in fields} == fields
    assert response.headers.get("x-own") == ("1" if handler is refuse else None)
    assert 0 <= float(response.headers["x-processing-time"]) < 60


async def test_refusals_of_the_router_have_the_form_of_the_api() -> None:
    async with asking(answer) as ask:
        async with ask("POST", "/v1/here") as response:
            error = (await response.json())["error"]
            assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
            assert error["message"] == "Method POST is not allowed here; use GET, HEAD."
        async with ask("GET", "/v1/there") as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"]) == (404, "not_found_error")
        async with ask("GET", "/v1/here") as response:
            assert (response.status, await response.json()) == (200, {})
            assert response.headers["request-id"].startswith("req_")
