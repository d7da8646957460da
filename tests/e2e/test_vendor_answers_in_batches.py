"""Answers of vendors' servers to items of a batch: each result is what a live request gets."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from gateway.app import running
from gateway.process.tasks import background
from gateway.settings import Settings, load_settings
from tests.e2e.conftest import KEY
from tests.e2e.test_vendor_answers import TABLES
from tests.e2e.vendor_answers import more_refusals, refusals
from tests.e2e.vendor_answers.client import ROUTES
from tests.e2e.vendor_answers.reading import REQUESTS
from tests.support.redis_server import redis_server
from workers.wiring import open_worker

Json = dict[str, Any]
REFUSALS = [("chat", script) for script in (*refusals.REFUSALS, *more_refusals.REFUSALS)]
ROWS = [(dialect, script) for dialect, table in TABLES.items() for script in table] + REFUSALS
# Of live requests. After another failure an item may be tried again for as long as its batch lasts.
FINAL = frozenset({200, 400, 404, 413})
PATIENCE = 60.0


def item(number: int) -> Json:
    dialect, _ = ROWS[number]
    _, body = REQUESTS["messages"]
    return {**body, "model": dialect, "messages": [{"role": "user", "content": f"row-{number}-"}]}


async def answer(request: web.Request) -> web.Response:
    """Answer with the row whose number the prompt names."""
    found = re.search(rb"row-(\d+)-", await request.read())
    if found is None:
        return web.json_response({"error": {"message": "not found"}}, status=404)
    _, script = ROWS[int(found[1])]
    kind = "application/json" if script.is_json else "text/event-stream"
    return web.Response(body=script.body, status=script.status, headers={"content-type": kind, **dict(script.headers)})


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def front_end_and_worker(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    stop = asyncio.Event()
    async with running(settings) as addresses, open_worker(settings) as worker, background(worker.run(stop, 1.0)):
        base = "http://{}:{}".format(*addresses.client)
        async with aiohttp.ClientSession(base, headers={"x-api-key": KEY}) as session:
            yield session
        stop.set()


async def results_of(session: aiohttp.ClientSession, numbers: list[int]) -> dict[int, Json]:
    """Return the results of a batch of these rows. Each item has one."""
    items = [{"custom_id": str(number), "params": item(number)} for number in numbers]
    batch = await (await session.post("/v1/messages/batches", json={"requests": items})).json()
    path = f"/v1/messages/batches/{batch['id']}"
    async with asyncio.timeout(PATIENCE):
        while batch["processing_status"] != "ended":
            await asyncio.sleep(0.2)
            batch = await (await session.get(path)).json()
    lines = (await (await session.get(f"{path}/results")).read()).splitlines()
    results = [orjson.loads(line) for line in lines]
    assert sorted(int(one["custom_id"]) for one in results) == numbers
    return {int(one["custom_id"]): one["result"] for one in results}


def told(message: Json) -> Json:
    """Return what of a message is the same each time: ids and sealed signatures are not, nor is the kind of service."""
    blocks = [{k: v for k, v in block.items() if k not in ("id", "signature")} for block in message["content"]]
    usage = {name: value for name, value in message["usage"].items() if name != "service_tier"}
    return {**message, "id": "", "content": blocks, "usage": usage}


async def test_items_get_what_live_requests_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live: dict[int, tuple[int, Json]] = {}
    async with upstream() as url, redis_server() as redis_url:
        path = tmp_path / "gateway.toml"
        path.write_text(ROUTES.format(url=url))
        monkeypatch.setenv("GATEWAY_CONFIG", str(path))
        settings = load_settings(
            port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret", max_attempts=1, redis_url=redis_url
        )
        async with front_end_and_worker(settings) as session:
            for number in range(len(ROWS)):
                reply = await session.post("/v1/messages", json=item(number))
                live[number] = reply.status, await reply.json()
            final = [number for number, (status, _) in live.items() if status in FINAL]
            results = await results_of(session, final)
    assert len(final) > 500
    for number, result in results.items():
        status, body = live[number]
        name = ROWS[number]
        if status == 200:
            assert told(result["message"]) == told(body), name
        else:
            assert result["error"]["error"]["type"] == body["error"]["type"], name
