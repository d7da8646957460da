"""Servers that refuse, fail or end: the party at fault, and the number of calls."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.servers.cases import HELLO, IMAGE, PARIS, WEATHER
from tests.servers.client import user
from tests.servers.conftest import PATIENT, Servers, front_end, on_servers
from tests.servers.recorder import recording

pytestmark = PATIENT


@on_servers("llama-cpp litellm")
async def test_a_wrong_upstream_key_is_our_fault_and_not_retried(servers: Servers, name: str) -> None:
    options = {"key": "sk-right"} if name == "llama-cpp" else {}
    async with front_end(servers.get(name, **options), upstream_api_key="sk-wrong") as client:
        answer = await client.ask(messages="hi")
    assert (answer.status, answer.headers["x-should-retry"]) == (500, "false"), answer.describe()


@on_servers("llama-cpp")
async def test_a_server_that_is_killed_during_a_stream_ends_it_with_an_error_event(servers: Servers, name: str) -> None:
    server = servers.get(name)
    async with front_end(server) as client:
        asked = asyncio.create_task(client.ask(messages="#long", max_tokens=7000, stream=True))
        await asyncio.sleep(0.5)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        answer = await asked
        servers.stop(name)
        after = await client.ask(messages="hi")
    assert answer.text.startswith("again")
    assert answer.error["type"] == "api_error"
    assert (after.status, after.error["type"]) == (502, "api_error")


PROXY = """
[upstreams]
proxy = {{ url = "{url}", key = "{key}", vendor = "litellm", headers = {{ x-litellm-num-retries = "0" }} }}
"""


@on_servers("litellm")
async def test_a_proxy_that_is_told_so_does_not_repeat_a_refusal(
    servers: Servers, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording(servers.get("llama-cpp")) as (behind, exchanges):
        server = servers.get(name, behind=behind.api)
        path = tmp_path / "gateway.toml"
        path.write_text(PROXY.format(url=server.api, key=server.key))
        monkeypatch.setenv("GATEWAY_CONFIG", str(path))
        async with front_end(server, upstream_url=None, upstream_api_key=None) as client:
            answer = await client.ask(model="repeating", messages=[user({"type": "text", "text": "hi"}, IMAGE)])
    assert (answer.text, answer.noted.count("messages")) == (HELLO, 1), answer.describe()
    assert [exchange.status for exchange in exchanges] == [500, 200], "by default the proxy asks three times"


@on_servers("llama-cpp")
async def test_thinking_left_in_the_text_by_the_server_is_separated(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name, extra=("--set", "reasoning_format=none"))) as client:
        async for answer in client.both(messages="#think"):
            assert (answer.thinking.strip(), answer.text) == ("Let me think about it.", "Thought and said.")


@on_servers("vllm")
async def test_a_strict_tool_without_a_grammar_is_offered_without_strict(servers: Servers, name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tool = {**WEATHER, "strict": True, "input_schema": schema}
    async with front_end(servers.get(name)) as client:
        async for answer in client.both(messages="#tool", tools=[tool]):
            assert (answer.calls, "strict" in answer.noted) == ([PARIS], True), answer.describe()


@on_servers("vllm")
async def test_thinking_has_no_tag_under_load(servers: Servers, name: str) -> None:
    """The tag and the next token may then reach vLLM's parser together, and it leaves the tag in."""
    limit = asyncio.Semaphore(24)
    async with front_end(servers.get(name)) as client:

        async def ask() -> str:
            async with limit:
                return (await client.ask(messages="#think", stream=True)).thinking

        thoughts = await asyncio.gather(*(ask() for _ in range(300)))
    assert {thought.strip() for thought in thoughts} == {"Let me think about it."}
