"""Keys of upstreams and routes in gateway.toml, through a front end with two simulators as upstreams `a` and `b`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.app import running
from gateway.settings import load_settings
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from tests.e2e.conftest import KEY, Live

MESSAGES: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]
TOO_LONG = json_script(
    {"error": {"message": "This model's maximum context length is 100 tokens.", "code": 400}}, status=400
)


@pytest.fixture
async def other() -> AsyncIterator[Simulator]:
    async with Simulator() as running_simulator:
        yield running_simulator


class Serve:
    """Front ends with a file of their own, closed when the test ends."""

    def __init__(self, stack: AsyncExitStack, file: Path, a: Simulator, b: Simulator) -> None:
        self.stack, self.file, self.a, self.b = stack, file, a, b

    async def __call__(self, a: str, routes: str, *, b: str = "", more: str = "", **changes: Any) -> Live:
        """Serve two upstreams with these further keys, and these lines of `[routes]`."""
        self.file.write_text(
            f'[upstreams]\na = {{ url = "{self.a.url}", vendor = "openrouter"{a} }}\n'
            f'b = {{ url = "{self.b.url}", vendor = "openrouter"{b} }}\n[routes]\n{routes}\n{more}\n'
        )
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


async def served_by(live: Live, model: str = "sim/echo", **fields: Any) -> str:
    """Return the upstreams that were called for one request, in their order, with the outcome of each."""
    body = {"model": model, "max_tokens": 10, "messages": MESSAGES, **fields}
    answer = await live.client().messages.with_raw_response.create(**body)
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
