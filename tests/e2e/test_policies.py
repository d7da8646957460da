"""Parameters that the operator sets, limits and forbids in gateway.toml, through a front end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.app import running
from gateway.settings import load_settings
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, Live

TEXT = """
[upstreams.up]
url = "URL"
vendor = "openrouter"
key = "k"
params = { top_p = 0.9 }
forward_headers = ["X-Team", "X-OpenRouter-Metadata", "X-OpenRouter-Cache", "anthropic-beta"]
[upstreams.plain]
url = "URL"
vendor = "vllm"
key = "k"
unsupported = "refuse"
[routes]
"sim/*" = "up/acme/writer"
"cheap" = { to = "up/acme/writer", sort = "price", params = { reasoning_effort = { default = "low", max = "medium" } } }
"private" = { to = "up/acme/writer", require = { data = "zdr" }, max_price = { prompt = 5 } }
"strict" = "plain/acme/writer"
[params]
temperature = { min = 0, max = 0.8 }
seed = 7
store = { deny = true }
[features]
openai_params = false
multimodal = false
batch = false
"""
MESSAGES: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def serving_text(monkeypatch: pytest.MonkeyPatch, path: Path, simulator: Simulator) -> AsyncIterator[Live]:
    path.write_text(TEXT.replace("URL", simulator.url))  # noqa: ASYNC240
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    settings = load_settings(port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret")
    async with running(settings) as addresses:
        live = Live("http://{}:{}".format(*addresses.client), simulator)
        try:
            yield live
        finally:
            await live.close()


async def test_policies_of_a_file_hold_for_requests(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, tmp_path: Path
) -> None:
    async with serving_text(monkeypatch, tmp_path / "gateway.toml", simulator) as live:
        client = live.client()

        async def ask(model: str, **fields: Any) -> tuple[dict[str, Any], str]:
            body = {"model": model, "max_tokens": 10, "messages": MESSAGES, **fields}
            answer = await client.messages.with_raw_response.create(**body)
            return simulator.requests()[-1].json, answer.headers.get("x-gateway-ignored", "")

        sent, notes = await ask("sim/echo", extra_body={"openrouter": {"temperature": 1.7}})
        assert (sent["temperature"], sent["seed"], sent["top_p"]) == (0.8, 7, 0.9)
        assert notes == "changed:openrouter.temperature"

        listed = {"x-team": "red", "x-openrouter-metadata": "on", "x-openrouter-cache": "on", "anthropic-beta": "b-1"}
        await ask("sim/echo", extra_headers={**listed, "x-other": "blue"})
        headers = simulator.requests()[-1].headers
        assert {name: headers.get(name) for name in (*listed, "x-other")} == {**listed, "x-other": None}

        sent, notes = await ask("cheap", extra_body={"reasoning_effort": "high"})
        assert sent["reasoning"]["effort"] == "medium"
        assert sent["provider"] == {"sort": "price"}
        sent, _ = await ask("cheap", extra_headers={"x-gateway-params": '{"seed": 3, "my_flag": true}'})
        assert (sent["seed"], sent["my_flag"], sent["reasoning"]["effort"]) == (3, True, "low")

        loose = {"zdr": False, "max_price": {"prompt": 50}}
        sent, notes = await ask("private", extra_body={"openrouter": {"provider": loose}})
        assert sent["provider"] == {"zdr": True, "data_collection": "deny", "max_price": {"prompt": 5}}
        assert notes == "changed:openrouter.provider"

        _, notes = await ask("sim/echo", extra_body={"openai": {"verbosity": "low"}})
        assert notes == "dropped:openai"

        for fields, message in (
            ({"extra_body": {"store": True}}, "store: store is not allowed here"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image", "source": image()}]}]},
                "messages.0.content: multimodal input is off on this gateway",
            ),
            ({"model": "strict", "extra_body": {"top_a": 0.5}}, "top_a: this upstream has no such parameter"),
        ):
            with pytest.raises(anthropic.BadRequestError, match=message):
                await ask(**{"model": "sim/echo", **fields})
        with pytest.raises(anthropic.BadRequestError, match="batch is off on this gateway"):
            await client.messages.batches.create(requests=[])


def image() -> dict[str, str]:
    return {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
