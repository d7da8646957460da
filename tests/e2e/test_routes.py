"""Keys of upstreams and routes in gateway.toml, through a front end with two simulators as upstreams `a` and `b`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.app import running
from gateway.settings import load_settings
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, json_script, stream_script
from gateway.upstream.capacity import lanes
from tests.chaos.world import until
from tests.e2e.conftest import KEY, Live
from tests.e2e.test_streams import chunk
from tests.redis.servers import open_server
from tests.support.redis_server import redis_server

MESSAGES: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]
TOO_LONG = json_script(
    {"error": {"message": "This model's maximum context length is 100 tokens.", "code": 400}}, status=400
)


@pytest.fixture
async def other() -> AsyncIterator[Simulator]:
    async with Simulator() as running_simulator:
        yield running_simulator


class Serve:
    """Front ends with a separate file, closed when the test ends."""

    def __init__(self, stack: AsyncExitStack, file: Path, a: Simulator, b: Simulator) -> None:
        self.stack, self.file, self.a, self.b = stack, file, a, b

    async def __call__(self, a: str, routes: str, *, b: str = "", more: str = "", **changes: Any) -> Live:
        """Serve two upstreams with these further keys, and these lines of `[routes]`."""
        text = (
            f'[upstreams]\na = {{ url = "{self.a.url}", vendor = "openrouter"{a} }}\n'
            f'b = {{ url = "{self.b.url}", vendor = "openrouter"{b} }}\n[routes]\n{routes}\n{more}\n'
        )
        if not self.file.exists() or self.file.read_text() != text:  # a front end that serves it would reload it
            self.file.write_text(text)
        settings = load_settings(port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret", **changes)
        addresses = await self.stack.enter_async_context(running(settings))
        assert addresses.admin is not None
        live = Live("http://{}:{}".format(*addresses.client), self.a, "http://{}:{}".format(*addresses.admin))
        self.stack.push_async_callback(live.close)
        return live


@asynccontextmanager
async def serve_of(file: Path, a: Simulator, b: Simulator) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:
        yield Serve(stack, file, a, b)


@pytest.fixture
async def serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simulator: Simulator, other: Simulator
) -> AsyncIterator[Serve]:
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    async with serve_of(tmp_path / "gateway.toml", simulator, other) as serve:
        yield serve


async def served_by(live: Live, model: str = "sim/echo", *, key: str = KEY, **fields: Any) -> str:
    """Return the upstreams that were called for one request, in their order, with the outcome of each."""
    body = {"model": model, "max_tokens": 10, "messages": MESSAGES, **fields}
    answer = await live.client(api_key=key).messages.with_raw_response.create(**body)
    attempts = [each.split()[:2] for each in answer.headers["x-gateway-attempts"].split(", ")]
    return ", ".join(" ".join(each) for each in attempts)


async def test_upstream_with_a_list_of_models_is_asked_for_no_other(serve: Serve) -> None:
    live = await serve(', models = ["sim/echo", "extra"]', '"*" = ["a", "b"]')
    assert await served_by(live) == "a 200"
    assert await served_by(live, "acme/other") == "b 200"
    listed = {model.id async for model in live.client().models.list(limit=1000)}
    assert {"extra", "sim/echo"} <= listed


async def test_configured_models_are_listed_where_the_upstream_has_no_list(serve: Serve, simulator: Simulator) -> None:
    simulator.script(json_script(b"", status=404), on="GET /models")
    live = await serve(', models = ["one", "two"]', '"one" = "a"\n"two" = "a"')
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        answer = await session.get(f"{live.url}/v1/models")
        assert [model["id"] for model in (await answer.json())["data"]] == ["one", "two"]
        assert "a" not in answer.headers.get("x-gateway-models-unread", "")


async def test_prompt_that_is_too_long_goes_to_the_overflow_candidate_only(serve: Serve, simulator: Simulator) -> None:
    live = await serve("", '"sim/echo" = { to = "a", overflow = "b/sim/echo" }\n"*" = ["a", "b"]')
    simulator.script(TOO_LONG)
    assert await served_by(live) == "a 400, b 200"
    simulator.script(TOO_LONG)
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as refused:  # b has the same window
        await served_by(live, "acme/other")
    assert refused.value.response.headers["x-gateway-attempts"].startswith("a 400")


async def test_what_two_candidates_cannot_take_is_noted_once(serve: Serve, simulator: Simulator) -> None:
    live = await serve("", '"*" = ["a", "b"]', more="[params]\ntemperature = { max = 0.5 }")
    simulator.script(json_script({"error": {"message": "busy", "code": 503}}, status=503))
    answer = await live.client().messages.with_raw_response.create(
        model="sim/echo", max_tokens=10, messages=MESSAGES, extra_body={"openrouter": {"temperature": 1}}
    )
    assert answer.headers["x-gateway-upstream"] == "b"
    assert answer.headers["x-gateway-ignored"] == "changed:openrouter.temperature, dropped:openrouter.temperature"


async def test_upstream_at_its_limit_of_calls_a_minute_leaves_the_rest_to_the_next(
    serve: Serve, simulator: Simulator
) -> None:
    live = await serve(", rpm = 3", '"*" = ["a", "b"]')
    served = [await served_by(live) for _ in range(5)]
    assert served[:3] == ["a 200"] * 3
    assert set(served[3:]) <= {"a limit, b 200", "b 200"}
    assert len(simulator.requests()) == 3


async def test_upstream_at_its_limit_of_tokens_leaves_the_rest_to_the_next(serve: Serve, simulator: Simulator) -> None:
    live = await serve(", tpm = 500", '"*" = ["a", "b"]')
    long = [{"role": "user", "content": "word " * 300}]
    assert await served_by(live, messages=long) == "a 200"
    assert await served_by(live, messages=long) == "a limit, b 200"
    assert await served_by(live) == "a 200"
    assert await served_by(live, messages=[{"role": "user", "content": "word " * 900}]) == "a limit, b 200"
    assert len(simulator.requests()) == 2


async def test_upstream_with_all_calls_in_flight_leaves_the_rest_to_the_next(
    serve: Serve, simulator: Simulator
) -> None:
    live, gate = await serve(", concurrency = 1", '"*" = ["a", "b"]'), asyncio.Event()
    simulator.script(stream_script(Hold(gate)))
    first = asyncio.create_task(served_by(live))
    await simulator.received(1)
    assert await served_by(live) in ("b 200", "a limit, b 200")
    gate.set()
    await first
    assert await served_by(live) == "a 200"


async def test_limit_without_another_candidate_is_answered_with_529_and_a_wait(serve: Serve) -> None:
    live = await serve(", rpm = 1", '"*" = "a"')
    await served_by(live)
    with pytest.raises(anthropic.APIStatusError, match="a has reached the limit of 1 calls a minute") as refused:
        await served_by(live)
    assert refused.value.status_code == 529
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60
    assert refused.value.response.headers["x-gateway-attempts"].startswith("a limit")


async def test_limit_holds_over_front_ends_that_share_redis(serve: Serve, simulator: Simulator) -> None:
    async with redis_server() as url:
        both = [await serve(", rpm = 4", '"*" = ["a", "b"]', redis_url=url) for _ in range(2)]
        served = [await served_by(live) for live in both * 4]
        assert len(simulator.requests()) == 4
        assert all(one.endswith("b 200") for one in served[4:])
        async with aiohttp.ClientSession() as session:
            status = await (await session.get(f"{both[0].admin_url}/status")).json()
            assert status["upstreams"][0]["limits"]["rpm"] == 4


async def test_session_that_has_moved_stays_there_also_at_another_front_end(serve: Serve, simulator: Simulator) -> None:
    async with redis_server() as url:
        first, second = [await serve("", '"*" = ["a", "b"]', redis_url=url) for _ in range(2)]

        async def ask(live: Live, session: str) -> str:
            return await served_by(live, extra_headers={"x-session-id": session})

        async def answers(outcome: str, live: Live, session: str) -> bool:
            return await ask(live, session) == outcome

        assert await ask(first, "one") == "a 200"
        simulator.script(json_script({"error": {"message": "slow down", "code": 429}}, status=429))
        assert await ask(first, "one") == "a 429, b 200"
        names = count()
        await until(lambda: answers("a 200", first, f"new-{next(names)}"), "the end of the pause of the 429")
        assert await ask(first, "one") == "b 200"
        await until(lambda: answers("b 200", second, "one"), "the news of the move")
        assert await ask(second, "new") == "a 200"


BROKEN = json_script({"error": {"message": "broken", "code": 500}}, status=500)


@pytest.mark.covers("Routing · circuits of live requests over all front ends")
async def test_front_ends_share_an_open_circuit_and_one_request_of_all_probes(
    serve: Serve, simulator: Simulator
) -> None:
    async with redis_server() as url:
        first, second = [await serve("", '"*" = ["a", "b"]', redis_url=url) for _ in range(2)]

        async def is_at(live: Live, upstreams: str) -> bool:
            return await served_by(live) == upstreams

        assert await served_by(second) == "a 200"
        simulator.script(*[BROKEN] * 60)
        await until(lambda: is_at(first, "b 200"), "the open circuit")
        await until(lambda: is_at(second, "b 200"), "the news of it")
        called, gate = len(simulator.requests()), asyncio.Event()
        simulator._scripts.clear()
        simulator.script(stream_script(Hold(gate)))
        probes: list[asyncio.Task[str]] = []

        async def has_probed() -> bool:
            probes.extend(asyncio.create_task(served_by(live)) for live in (first, second))
            await asyncio.sleep(0.05)
            return len(simulator.requests()) > called

        await until(has_probed, "the probe")
        for live in (first, second) * 3:
            assert await served_by(live) == "b 200"
        assert len(simulator.requests()) == called + 1
        gate.set()
        assert sorted(set(await asyncio.gather(*probes))) == ["a broken, b 200", "b 200"]


async def test_requests_are_answered_at_once_by_local_circuits_while_redis_is_frozen(
    serve: Serve, simulator: Simulator
) -> None:
    async with open_server() as server:
        live = await serve("", '"*" = ["a", "b"]', redis_url=server.url)
        assert await served_by(live) == "a 200"
        await server.freeze()
        simulator.script(*[BROKEN] * 200)
        served = []
        async with asyncio.timeout(20):
            while "b 200" not in served:  # A's circuit has opened
                served.append(await served_by(live))
        assert all(one.endswith("b 200") for one in served)
        await server.thaw()


async def test_overloaded_upstream_lets_a_tenth_wait_and_refuses_the_others_at_once(
    serve: Serve, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "QUEUE_SECONDS", 30.0)  # on a busy machine the refusals may take longer than a second
    live, gate = await serve(", concurrency = 10", '"*" = "a"'), asyncio.Event()
    held = stream_script(Hold(gate), chunk("held", finish_reason="stop"), b"data: [DONE]\n\n")
    simulator.script(*[held] * 10)
    served = [asyncio.create_task(served_by(live)) for _ in range(10)]
    await simulator.received(10)
    more = [asyncio.create_task(served_by(live)) for _ in range(12)]

    async def are_refused() -> bool:
        return sum(one.done() for one in more) == 11

    await until(are_refused, "the refusals, before the one that waits")
    gate.set()
    refusals = await asyncio.gather(*more, return_exceptions=True)
    assert await asyncio.gather(*served) == ["a 200"] * 10
    errors = [one for one in refusals if isinstance(one, anthropic.APIStatusError)]
    assert len(errors) == 11
    assert {one.status_code for one in errors} == {529}
    assert all(1 <= int(one.response.headers["retry-after"]) <= 5 for one in errors)
    assert [one for one in refusals if isinstance(one, str)] == ["a 200"]


PRIORITIES = """
[[keys]]
name = "first"
key = "first-key"
priority = "high"

[[keys]]
name = "last"
key = "last-key"
priority = "low"
"""


async def test_full_upstream_is_left_to_the_keys_of_a_higher_priority(serve: Serve, simulator: Simulator) -> None:
    live, gate = await serve(", concurrency = 4", '"*" = "a"', more=PRIORITIES), asyncio.Event()
    held = stream_script(Hold(gate), chunk("held", finish_reason="stop"), b"data: [DONE]\n\n")
    simulator.script(*[held] * 4)

    def ask(key: str) -> asyncio.Task[str]:
        return asyncio.create_task(served_by(live, key=key))

    served = [ask("last-key"), ask("last-key")]
    await simulator.received(2)
    with pytest.raises(anthropic.APIStatusError, match="the limit of 2 calls at once"):
        await ask("last-key")
    served += [ask(KEY), ask(KEY)]
    await simulator.received(4)
    waits = ask(KEY)
    goes_first = ask("first-key")
    with pytest.raises(anthropic.APIStatusError, match="the limit of 4 calls at once"):
        await waits
    gate.set()
    assert await asyncio.gather(*served, goes_first) == ["a 200"] * 5
