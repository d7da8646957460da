"""Alerts of budgets on their way to a webhook."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.access.alerts import Alerts, post_json


async def test_webhook_that_answers_with_an_error_is_asked_again() -> None:
    statuses, got = [500], list[dict[str, object]]()

    async def receive(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=statuses.pop(0))

    app = web.Application()
    app.router.add_post("/", receive)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        with pytest.raises(aiohttp.ClientResponseError):
            await post_json(url, {"type": "one"})
        statuses[:] = [500, 204, 204]
        alerts = Alerts(url, retry_seconds=0)
        alerts.crossed([b"*", b"day/UTC", b"10", b"80", b"100"])
        await alerts.deliver()
    assert [one["type"] for one in got] == ["one", "budget_threshold", "budget_threshold", "budget_threshold"]
    assert [one.get("percent") for one in got[1:]] == [50, 50, 75]
