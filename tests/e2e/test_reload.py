"""A front end with a gateway.toml that changes while it serves."""

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, stream_script
from tests.chaos.world import until
from tests.e2e.conftest import Live, Process, front_end
from tests.e2e.raw import open_raw, read_until
from tests.e2e.test_streams import ASK, chunk


def text_for(url: str, name: str) -> str:
    return f'[upstreams]\n{name} = {{ url = "{url}", vendor = "openrouter" }}\n[routes]\n"*" = "{name}"\n'


async def status_of(live: Live) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{live.admin_url}/status") as answer:
        assert answer.status == 200
        shown = dict(await answer.json())
        assert shown["status"] == "ready"
        return shown


@pytest.mark.covers("Routing · gateway.toml is reloaded without losing a stream")
async def test_reload_moves_new_requests_and_drops_no_stream(simulator: Simulator, tmp_path: Path) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(chunk("one"), Hold(gate), chunk("two", finish_reason="stop"), b"data: [DONE]\n\n"))
    file = tmp_path / "gateway.toml"
    file.write_text(text_for(simulator.url, "old"))
    unset = {"GATEWAY_UPSTREAM_URL": "", "GATEWAY_UPSTREAM_API_KEY": "", "GATEWAY_UPSTREAM_FLAVOR": ""}
    async with (
        Simulator() as other,
        front_end(simulator, GATEWAY_CONFIG=str(file), **unset) as (live, started),
    ):
        reader, writer = await open_raw(live, {**ASK, "stream": True})
        await read_until(reader, b"one")
        status = await status_of(live)
        assert status["compatibility"]["works"] > 100
        first = status["config"]

        file.write_text(text_for(other.url, "new"))
        started.process.send_signal(signal.SIGHUP)
        await until(lambda: has_upstream(live, "new"), "the new table")
        answer = await live.client().messages.with_raw_response.create(
            model="sim/echo", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        )
        assert answer.headers["x-gateway-upstream"] == "new"
        gate.set()
        assert b"two" in await read_until(reader, b"message_stop")
        writer.close()
        await until(lambda: has_no_connection(simulator), "the end of the pool")

        file.write_text(text_for(other.url, "new") + '"gpt-*" = "newer"\n')
        started.process.send_signal(signal.SIGHUP)
        await until(lambda: is_invalid(live), "the rejection")
        config = (await status_of(live))["config"]
        assert config["hash"] != first["hash"]
        assert config["problems"] == [f'{file}:5: routes."gpt-*": no upstream is named "newer"; did you mean "new"?']
        await until(partial(has_logged, started, ["config_reloaded", "config_rejected"]), "the lines of the log")
        async with aiohttp.ClientSession() as session, session.get(f"{live.admin_url}/metrics") as metrics:
            assert "gateway_config_valid 0.0" in await metrics.text()


async def has_logged(started: Process, events: list[str]) -> bool:
    return [line["event"] for line in started.lines if line["event"].startswith("config_")] == events


async def has_upstream(live: Live, name: str) -> bool:
    return [one["name"] for one in (await status_of(live))["upstreams"]] == [name]


async def is_invalid(live: Live) -> bool:
    return not (await status_of(live))["config"]["valid"]


async def has_no_connection(simulator: Simulator) -> bool:
    return not simulator.connections


async def test_sighup_reads_keys_and_aliases_again(simulator: Simulator, tmp_path: Path) -> None:
    file, stays = tmp_path / "gateway.toml", 'keys = ["tests:{}"]\naliases = {{ fast = "sim/{}" }}\n'
    file.write_text(stays.format("the-first-key", "echo"))
    async with front_end(simulator, GATEWAY_CONFIG=str(file), GATEWAY_KEYS="") as (live, started):

        async def answers(key: str, expected: int = 200) -> bool:
            body = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
            url, headers = f"{live.url}/v1/messages", {"x-api-key": key}
            async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
                return answer.status == expected

        assert await answers("the-first-key")
        file.write_text(stays.format('the-first-key", "tests:the-second-key', "error-400"))
        started.process.send_signal(signal.SIGHUP)
        await until(lambda: answers("the-second-key", 400), "the second key and the other alias")
        file.write_text(stays.format("the-second-key", "echo"))
        started.process.send_signal(signal.SIGHUP)
        await until(lambda: answers("the-first-key", 401), "the end of the first key")
        assert await answers("the-second-key")
        file.write_text("keys = [")
        started.process.send_signal(signal.SIGHUP)
        await until(lambda: has_event(started, "config_rejected"), "the rejection")
        assert await answers("the-second-key")


async def has_event(started: Process, event: str) -> bool:
    return any(line["event"] == event for line in started.lines)
