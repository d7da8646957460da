"""The README's examples, run unchanged except for the address."""

import asyncio
import json
import re
import shlex
from pathlib import Path

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


async def test_the_request_gets_the_answer_that_is_shown(simulator: Simulator) -> None:
    command = re.findall(r"^curl .*?'$", README, re.MULTILINE | re.DOTALL)[0]
    words = shlex.split(command.replace("\\\n", ""))
    headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
    path = next(word for word in words if word.startswith(ADDRESS)).removeprefix(ADDRESS)
    body = json.loads(words[words.index("-d") + 1])
    async with (
        serving(simulator, auth="off") as live,
        aiohttp.ClientSession() as session,
        session.post(live.url + path, json=body, headers=headers) as response,
    ):
        answer = await response.json()
    shown = re.findall(r"```json\n(.*?)\n```", README, re.DOTALL)[0]
    beginning, separator, rest = shown.partition("msg_…")
    assert separator
    assert json.dumps(answer, separators=(",", ":")).startswith(beginning)
    assert answer["content"][0]["text"].startswith(re.findall(r'"text":"(.*?) …', rest)[0].rstrip(";: "))


async def test_the_python_example_runs(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    source = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    async with serving(simulator, auth="off") as live:
        await asyncio.to_thread(exec, source.replace(ADDRESS, live.url) + "\nclient.close()", {})
    assert "simulator" in capsys.readouterr().out
