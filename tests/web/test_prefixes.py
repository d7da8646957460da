"""The same routes behind a prefix, and under the name of the API."""

import aiohttp
import pytest
from aiohttp import web

from gateway.simulator.loopback import Simulator
from gateway.web.prefixes import paths_with, with_prefixes
from tests.e2e.conftest import KEY, serving

ASK = {"model": "sim/echo", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


async def handler(request: web.Request) -> web.Response:
    raise NotImplementedError


async def other(request: web.Request) -> web.Response:
    raise NotImplementedError


def test_route_that_exists_under_the_name_of_an_api_is_kept() -> None:
    routes = (web.get("/v1/models", handler), web.get("/openai/v1/models", other), web.get("/", handler))
    found = {route.path: route.handler for route in with_prefixes(routes, "/llm")}
    assert found == {
        "/v1/models": handler,
        "/openai/v1/models": other,
        "/anthropic/v1/models": handler,
        "/": handler,
        "/llm/v1/models": handler,
        "/llm/openai/v1/models": other,
        "/llm/anthropic/v1/models": handler,
        "/llm/": handler,
        "/llm": handler,
    }


def test_open_paths_are_open_behind_the_prefix_too() -> None:
    assert paths_with(["/", "/livez"], "/llm") == {"/", "/livez", "/llm", "/llm/", "/llm/livez"}
    assert paths_with(["/", "/livez"], "") == {"/", "/livez"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/messages", 200),
        ("/llm/v1/messages", 200),
        ("/anthropic/v1/messages", 200),
        ("/openai/v1/messages", 200),
        ("/llm/anthropic/v1/messages", 200),
        ("/llmx/v1/messages", 404),
        ("/llm/llm/v1/messages", 404),
    ],
)
async def test_paths_that_are_served(path: str, status: int) -> None:
    async with (
        Simulator() as simulator,
        serving(simulator, path_prefix="/llm") as live,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(live.url + path, json=ASK, headers={"x-api-key": KEY}) as answer:
            assert answer.status == status
        async with session.post(live.url + path, json=ASK) as answer:
            assert answer.status == (401 if status == 200 else 404)
        async with session.head(f"{live.url}/llm/") as answer:
            assert answer.status == 200
