"""docs/start: each quick start, run unchanged except for the address.

Pages that need other packages are run by `make clients`, with these very clients; their settings are checked all the
same.
"""

import asyncio
import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from tests.cli.conftest import dragoman
from tests.e2e.conftest import Live, serving

START = Path(__file__).parents[2] / "docs/start"
ADDRESS = "http://127.0.0.1:8080"
SECONDS = 30.0
PACKAGES = {"python.md": "anthropic", "langchain.md": "langchain_anthropic"}


@pytest.fixture
async def front() -> AsyncIterator[Live]:
    async with Simulator() as simulator, serving(simulator, auth="off", model_big="sim/echo") as live:
        yield live


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (START / page).read_text(), re.DOTALL)
    assert found, f"{page} has no {language}"
    return found


async def printed(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(SECONDS):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_commands_of_curl_print_an_answer_and_a_stream(front: Live) -> None:
    answer, stream = [block.replace(ADDRESS, front.url) for block in blocks("curl.md", "sh")]
    assert json.loads(await printed(*shlex.split(answer.replace("\\\n", ""))))["type"] == "message"
    assert "event: message_stop" in await printed(*shlex.split(stream.replace("\\\n", "")))


@pytest.mark.parametrize("page", PACKAGES)
async def test_the_program_prints_two_answers(front: Live, tmp_path: Path, page: str) -> None:
    [source] = blocks(page, "python")
    compile(source, page, "exec")
    if importlib.util.find_spec(PACKAGES[page]) is None:
        pytest.skip(f"{PACKAGES[page]} is not installed")
    path = tmp_path / "hello.py"
    path.write_text(source.replace(ADDRESS, front.url))
    assert (await printed(sys.executable, str(path))).count("Hello") >= 2


@pytest.mark.parametrize("page", ["typescript.md", "ai-sdk.md"])
async def test_the_base_address_of_javascript_clients_leads_to_messages(front: Live, page: str) -> None:
    [source] = blocks(page, "js")
    base = re.findall(r'baseURL: "([^"]+)"', source)[0].replace(ADDRESS, front.url)
    await check_base(base if page == "ai-sdk.md" else f"{base}/v1")  # Anthropic's own SDKs add /v1 themselves


async def test_the_settings_of_opencode_lead_to_messages(front: Live) -> None:
    settings = json.loads(blocks("opencode.md", "json")[0])
    provider, _, model = settings["model"].partition("/")
    assert model in settings["provider"][provider]["models"]
    await check_base(settings["provider"][provider]["options"]["baseURL"].replace(ADDRESS, front.url))


async def check_base(base: str) -> None:
    body = {"model": "big", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession() as session, session.post(f"{base}/messages", json=body) as answer:
        assert answer.status == 200


async def test_the_environment_of_claude_code_is_printed(front: Live) -> None:
    assert blocks("claude-code.md", "sh") == ['eval "$(dragoman claude)" && claude\n']
    ran = await dragoman("claude", "--model", "sim/echo", "--small", "sim/echo", "--url", front.url)
    assert f"export ANTHROPIC_BASE_URL={front.url};" in ran.out
