"""Commands as a user runs them: in a thread of this process (`dragoman`), beside servers on this loop."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.__main__ import app
from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from tests.cli.fake_batches import FakeBatches, fake_batches
from tests.e2e.conftest import Live, serving, settings_for
from workers.wiring import open_worker


@dataclass(frozen=True, slots=True)
class Ran:
    status: int
    out: str
    err: str
    all: str = ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output with --json."""
        return [json.loads(line) for line in self.out.splitlines()]


Dragoman = Callable[..., Coroutine[Any, Any, Ran]]


async def dragoman(*arguments: str | Path, **variables: str) -> Ran:
    """Run a command with these variables in its environment."""
    words = [str(argument) for argument in arguments]
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env=variables)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr, result.output)


@pytest.fixture(autouse=True)
def state_of_this_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands remember which file a batch was sent from; not in the home of who runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
async def fake() -> AsyncIterator[FakeBatches]:
    async with fake_batches() as running:
        yield running


@asynccontextmanager
async def whole_gateway(directory: Path, **changes: Any) -> AsyncIterator[Live]:
    """A front end, a worker, and a server for both, on the simulator."""
    async with Simulator() as simulator, EmbeddedServer(directory) as server:
        settings = settings_for(simulator, redis_url=server.url, **changes)
        async with serving(simulator, redis_url=server.url, **changes) as live, open_worker(settings) as worker:
            stop = asyncio.Event()
            running = asyncio.create_task(worker.run(stop, 1.0))
            try:
                yield live
            finally:
                stop.set()
                await running


@pytest.fixture
def state() -> Iterator[Path]:
    """A server's directory: the path of its socket must be short."""
    directory = Path(tempfile.mkdtemp(prefix="dragoman-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def whole(state: Path) -> AsyncIterator[Live]:
    async with whole_gateway(state) as live:
        yield live


@pytest.fixture
async def redis_url(state: Path) -> AsyncIterator[str]:
    async with EmbeddedServer(state) as server:
        yield server.url


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    async with Simulator() as simulator, serving(simulator) as front:
        yield front


def request_line(custom_id: str, **params: Any) -> str:
    asked = {"model": "sim/echo", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({"custom_id": custom_id, "params": {**asked, **params}})


@pytest.fixture
def requests_path(tmp_path: Path) -> Path:
    """Five requests, a to e."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(request_line(custom_id) + "\n" for custom_id in "abcde"))
    return path
