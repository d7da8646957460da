"""The table's answers are those of aiohttp's own router."""

from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from yarl import URL

from gateway.web.connection import Runner
from gateway.web.listener import listening, open_sockets

NAME = web.AppKey("name", str)
PASSED = web.RequestKey("passed", list[str])


async def tell(request: web.Request) -> web.Response:
    """Return a handler's view of its route."""
    resource = request.match_info.route.resource
    assert resource is not None
    seen = {"app": request.app[NAME], "route": resource.canonical, "match": dict(request.match_info)}
    return web.json_response(seen | {"passed": request[PASSED], "query": dict(request.query)})


def passes(word: str) -> Handler:
    @web.middleware
    async def pass_by(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PASSED] = [*request.get(PASSED, ()), word]
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.json_response({"passed": request[PASSED], "error": error.status}, status=error.status)

    return cast(Handler, pass_by)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[tuple[str, str]]:
    def to_app() -> web.Application:
        app = web.Application(middlewares=[passes("outer"), passes("inner")])  # type: ignore[list-item]
        app[NAME] = "the app"
        app.add_routes([web.post("/v1/messages", tell), web.get("/v1/messages", tell), web.get("/v1/{name}", tell)])
        return app

    runner = Runner(to_app(), shutdown_timeout=0)
    await runner.setup()
    assert runner.server is not None
    async with (
        TestServer(to_app()) as routed,
        listening(runner.server, await open_sockets("127.0.0.1", 0, shared=False)) as listener,
    ):
        host, port = listener.address
        yield str(routed.make_url("")).rstrip("/"), f"http://{host}:{port}"
    await runner.cleanup()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/v1/messages", 200, id="a literal path"),
        pytest.param("POST", "/v1/messages?beta=true", 200, id="with a query"),
        pytest.param("GET", "/v1/messages", 200, id="another method of it"),
        pytest.param("HEAD", "/v1/messages", 200, id="a method that is implied"),
        pytest.param("GET", "/v1/some%20thing", 200, id="a path with a variable"),
        pytest.param("POST", "/v1/mess%61ges", 200, id="a letter written as a number"),
        pytest.param("DELETE", "/v1/messages", 405, id="a method that it has not"),
        pytest.param("POST", "/v1/messages/", 404, id="a path that is not there"),
    ],
)
@pytest.mark.parametrize("expects", [False, True], ids=["", "after 100-continue"])
async def test_a_request_finds_the_handler_that_aiohttp_would_find(
    servers: tuple[str, str], method: str, path: str, status: int, expects: bool
) -> None:
    told = []
    async with aiohttp.ClientSession() as session:
        for server in servers:
            url = URL(server + path, encoded=True)
            async with session.request(method, url, expect100=expects) as response:
                told.append((response.status, await response.text()))
    assert told[0] == told[1]
    assert told[0][0] == status
