"""The files of deploy/examples, each with a front end, simulators as upstreams, and the official client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anthropic
import pytest

from gateway.app import running
from gateway.settings import load_settings
from gateway.simulator.failures import error_script
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, Live

EXAMPLES = Path(__file__).parents[2] / "deploy/examples"
MESSAGES: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def other() -> AsyncIterator[Simulator]:
    async with Simulator() as running_simulator:
        yield running_simulator


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch, simulator: Simulator, other: Simulator) -> None:
    for name in ("A_API_KEY", "B_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, f"sk-{name.lower()}")
    monkeypatch.setenv("A_URL", simulator.url)
    monkeypatch.setenv("BOX_URL", simulator.url)
    monkeypatch.setenv("B_URL", other.url)


@asynccontextmanager
async def serving_file(monkeypatch: pytest.MonkeyPatch, path: Path, simulator: Simulator) -> AsyncIterator[Live]:
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    settings = load_settings(port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret")
    async with running(settings) as addresses:
        live = Live("http://{}:{}".format(*addresses.client), simulator)
        try:
            yield live
        finally:
            await live.close()


async def test_failover_asks_the_second_upstream_for_what_the_first_cannot(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, other: Simulator
) -> None:
    async with serving_file(monkeypatch, EXAMPLES / "failover.toml", simulator) as live:
        ask = live.client().messages.with_raw_response
        answer = await ask.create(model="sim/echo", max_tokens=10, messages=MESSAGES)
        assert answer.headers["x-gateway-upstream"] == "a"
        simulator.script(*[error_script(503)] * 5)
        answer = await ask.create(model="sim/echo", max_tokens=10, messages=MESSAGES)
        assert answer.headers["x-gateway-upstream"] == "b"
        async with live.client().messages.stream(model="sim/echo", max_tokens=10, messages=MESSAGES) as stream:
            assert (await stream.get_final_message()).content
    assert simulator.requests()[0].headers["authorization"] == "Bearer sk-a_api_key"
    assert other.requests()[0].headers["authorization"] == "Bearer sk-b_api_key"


async def test_model_that_no_route_takes_is_not_found_and_an_upstream_cannot_be_named(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text((EXAMPLES / "failover.toml").read_text().replace('"*"', '"sim/*"'))
    async with serving_file(monkeypatch, file, simulator) as live:
        with pytest.raises(anthropic.NotFoundError, match="model: gpt-5"):
            await live.client().messages.create(model="gpt-5", max_tokens=10, messages=MESSAGES)
        with pytest.raises(anthropic.BadRequestError, match="is an upstream of this gateway"):
            await live.client().messages.create(model="a/sim/echo", max_tokens=10, messages=MESSAGES)
        with pytest.raises(anthropic.NotFoundError):
            await live.client().messages.count_tokens(model="gpt-5", messages=MESSAGES)
    assert simulator.requests() == []


async def test_local_first_sends_the_cloud_its_own_name_of_the_model(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, other: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    text = (EXAMPLES / "local-first.toml").read_text().replace("qwen3-coder", "sim/echo")
    file.write_text(text.replace('vendor = "openrouter"', f'url = "{other.url}", vendor = "openrouter"'))
    async with serving_file(monkeypatch, file, simulator) as live:
        simulator.script(*[error_script(503)] * 5)
        ask = live.client().messages.with_raw_response
        answer = await ask.create(model="any", max_tokens=10, messages=MESSAGES)
        assert answer.headers["x-gateway-upstream"] == "cloud"
    assert simulator.requests()[0].json["model"] == "sim/echo"
    assert other.requests()[0].json["model"] == "qwen/sim/echo"


async def test_sessions_are_shared_and_each_stays_where_it_began(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    async with serving_file(monkeypatch, EXAMPLES / "shares.toml", simulator) as live:
        ask = live.client().messages.with_raw_response
        chosen: dict[str, set[str]] = {}
        for session in [f"s{number}" for number in range(12)] * 2:
            answer = await ask.create(
                model="sim/echo", max_tokens=10, messages=MESSAGES, extra_headers={"x-session-id": session}
            )
            chosen.setdefault(session, set()).add(answer.headers["x-gateway-upstream"])
    assert all(len(upstreams) == 1 for upstreams in chosen.values())
    assert set().union(*chosen.values()) == {"a", "b"}
