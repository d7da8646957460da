"""Requests that try paths, ids, races and answers that no honest client or upstream sends."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import stream_script
from gateway.telemetry.counters import MAX_MODELS
from tests.e2e.conftest import KEY, Live, serving
from tests.e2e.raw import parse_events

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_KEY = "other-key-0123456789"
ASK = {"model": "sim/echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
BATCH = {"requests": [{"custom_id": "a", "params": ASK}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis")) as redis,
        Simulator() as simulator,
        serving(simulator, redis_url=redis.url, keys=f"tests:{KEY},others:{OTHER_KEY}") as front,
    ):
        yield front


async def call(live: Live, method: str, path: str, *, key: str = KEY, **options: Any) -> tuple[int, Any]:
    headers = {"x-api-key": key, **options.pop("headers", {})}
    url = URL(live.url + path, encoded=True)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, **options) as answer,
    ):
        return answer.status, orjson.loads(await answer.read())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//v1/models", 404),
        ("/v1/models/../messages/batches", 401),
        ("/livez/../v1/models", 404),
        ("/livez/..%2fv1/models", 404),
        ("/%2e%2e/v1/models", 404),
        ("/v1/models;/livez", 404),
        ("/v1/models%00", 404),
        ("/v1/models", 401),
        ("/v1/%6dodels", 401),
        ("/v1/models?/livez", 401),
        ("/v1/models#/livez", 401),
        ("http://other.example/v1/models", 401),
        ("http://other.example/livez", 200),
    ],
)
@pytest.mark.covers("Security · no spelling of a path goes round the key")
async def test_no_spelling_of_a_path_goes_round_the_key(live: Live, path: str, status: int) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    assert int(line.split(b" ")[1]) == status


@pytest.mark.parametrize(
    "batch_id",
    ["*", "..", "%00", "..%2f..", "a%7Db", "msgbatch_%F0%9F%98%80", "msgbatch_" + "a" * 4000, "msgbatch_a%0d%0ab"],
)
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")])
async def test_odd_batch_id_is_not_found(live: Live, batch_id: str, method: str, rest: str) -> None:
    status, body = await call(live, method, f"/v1/messages/batches/{batch_id}{rest}")
    assert (status, body["error"]["type"]) == (404, "not_found_error")


async def test_listing_after_a_batch_of_another_tenant_shows_no_more_than_after_one_that_never_was(live: Live) -> None:
    _, batch = await call(live, "POST", "/v1/messages/batches", json=BATCH)
    never = batch["id"][:-1] + ("a" if batch["id"][-1] != "a" else "b")
    answers = [
        await call(live, "GET", f"/v1/messages/batches?after_id={one}", key=OTHER_KEY) for one in (batch["id"], never)
    ]
    assert answers[0] == answers[1] == (200, {"data": [], "has_more": False, "first_id": None, "last_id": None})


async def test_one_idempotency_key_makes_one_batch_of_each_tenant_however_many_race(live: Live) -> None:
    headers = {"idempotency-key": "race"}
    asked = [
        (key, call(live, "POST", "/v1/messages/batches", key=key, json=BATCH, headers=headers))
        for key in (KEY, OTHER_KEY) * 8
    ]
    answers = await asyncio.gather(*(answer for _, answer in asked))
    made: dict[str, set[str]] = {KEY: set(), OTHER_KEY: set()}
    for (key, _), (status, body) in zip(asked, answers, strict=True):
        assert status in (200, 409)
        if status == 200:
            made[key].add(body["id"])
    assert [len(ids) for ids in made.values()] == [1, 1]
    assert made[KEY].isdisjoint(made[OTHER_KEY])


@pytest.mark.parametrize("message_id", ["*", "msg_\x00", "msg_" + "a" * 5000, "msg_{x}", "../x"])
async def test_odd_id_of_a_thread_is_not_found(live: Live, message_id: str) -> None:
    thread = {"type": "continue", "previous_message_id": message_id}
    status, body = await call(live, "POST", "/v1/messages", json={**ASK, "thread": thread})
    assert (status, body["error"]["details"]["error_code"]) == (404, "thread_not_found")


async def test_thread_of_another_tenant_is_not_found(live: Live) -> None:
    _, message = await call(live, "POST", "/v1/messages", json={**ASK, "thread": {"type": "create"}})
    thread = {"type": "continue", "previous_message_id": message["id"]}
    status, body = await call(live, "POST", "/v1/messages", key=OTHER_KEY, json={**ASK, "thread": thread})
    assert (status, body["error"]["details"]["error_code"]) == (404, "thread_not_found")


async def test_line_ends_in_an_answer_start_no_new_events(live: Live) -> None:
    forged = "\n\nevent: error\ndata: {}\n\n\u2028event: message_stop\r\n\r\n"
    call_part = {"index": 0, "id": "a\nb", "function": {"name": "n\n\nm", "arguments": '{"a":"\\n\\n"}'}}
    chunks = (
        {"model": f"m{forged}", "provider": forged, "choices": [{"delta": {"content": forged}}]},
        {"choices": [{"delta": {"tool_calls": [call_part]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    live.simulator.script(stream_script(*chunks))
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(live.url + "/v1/messages", json={**ASK, "stream": True}) as answer,
    ):
        content = await answer.read()
    assert content.count(b"\nevent: ") == content.count(b'\ndata: {"type":"') - 1
    kinds = [event["type"] for event in parse_events(content)]
    assert kinds.count("message_stop") == 1
    assert "error" not in kinds
    texts = [event["delta"]["text"] for event in parse_events(content) if event.get("delta", {}).get("text")]
    assert "".join(texts) == forged


async def test_names_of_models_make_a_bounded_number_of_metrics(live: Live) -> None:
    for start in range(0, MAX_MODELS + 20, 20):
        names = [f"name-{number}" for number in range(start, start + 20)]
        await asyncio.gather(*(call(live, "POST", "/v1/messages", json={**ASK, "model": name}) for name in names))
    async with aiohttp.ClientSession() as session:
        metrics = await (await session.get(live.admin_url + "/metrics")).text()
    assert len(set(re.findall(r'model="(name-\d+)"', metrics))) <= MAX_MODELS
    assert 'model="other"' in metrics
