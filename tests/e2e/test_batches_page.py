"""The examples of docs/batches.md, run unchanged except for the address and the batch's id."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.process.tasks import background
from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import Live, serving, settings_for
from workers.wiring import open_worker

PAGE = (Path(__file__).parent.parent.parent / "docs/batches.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [command.replace("\\\n", "") for command in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]


@pytest.fixture
async def front(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Live]:
    """A front end without keys, and a worker beside it."""
    async with EmbeddedServer(tmp_path) as server:
        changes: dict[str, Any] = {"redis_url": server.url, "auth": "off", "keys": ""}
        async with serving(simulator, **changes) as live, working(simulator, **changes):
            yield live


@asynccontextmanager
async def working(simulator: Simulator, **changes: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with open_worker(settings_for(simulator, **changes)) as worker, background(worker.run(stop, 1.0)):
        yield
        stop.set()


async def run_python(source: str, live: Live) -> None:
    await asyncio.to_thread(exec, source.replace(ADDRESS, live.url) + "\nclient.close()", {})


async def curl(command: str, live: Live, batch: str = "") -> bytes:
    words = shlex.split(command.replace(ADDRESS, live.url).replace("$BATCH", batch))
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def has_ended(retrieve: str, live: Live, batch_id: str) -> bool:
    return bool(orjson.loads(await curl(retrieve, live, batch_id))["processing_status"] == "ended")


async def test_a_batch_is_submitted_awaited_and_read(front: Live, capsys: pytest.CaptureFixture[str]) -> None:
    await run_python(PYTHON[0], front)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "3 succeeded"
    assert [line.split()[0] for line in lines if line.startswith("question-")] == [
        f"question-{number}" for number in (1, 2, 3)
    ]


async def test_the_same_idempotency_key_gives_the_same_batch(front: Live, capsys: pytest.CaptureFixture[str]) -> None:
    await run_python(PYTHON[1], front)
    assert capsys.readouterr().out == "the same batch\n"


async def test_the_commands_do_what_the_page_says(front: Live) -> None:
    create, retrieve, results, cancel = COMMANDS
    batch_id = orjson.loads(await curl(create, front))["id"]
    async with asyncio.timeout(90):
        while not await has_ended(retrieve, front, batch_id):
            pass
    [line] = [orjson.loads(line) for line in (await curl(results, front, batch_id)).splitlines()]
    assert (line["custom_id"], line["result"]["type"]) == ("a", "succeeded")
    assert orjson.loads(await curl(cancel, front, batch_id))["processing_status"] == "ended"


def test_every_example_is_run() -> None:
    assert (len(PYTHON), len(COMMANDS)) == (2, 4)
