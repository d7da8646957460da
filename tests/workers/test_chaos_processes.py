"""The processes that fault tests start are ended in every path: also where the test fails or is canceled."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.chaos import world as chaos_world
from tests.chaos.processes import Process, Server, start
from tests.chaos.upstream import Upstream
from tests.chaos.world import World
from tests.support.waiting import until

STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
print('{"event":"begun"}', flush=True)
time.sleep(60)
"""


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


async def begun(path: Path) -> int:
    await until(lambda: pid_in(path) != 0)
    return pid_in(path)


async def stubborn(path: Path) -> Process:
    return await start("w", ("-c", STUBBORN, str(path)), "begun", {})


async def test_a_process_whose_start_is_canceled_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    starting = asyncio.create_task(start("w", ("-c", STUBBORN, str(path)), "never", {}))
    pid = await begun(path)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not is_there(pid)


async def test_workers_that_are_frozen_or_do_not_stop_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_world, "STOP_SECONDS", 0.2)
    chance = random.Random(1)
    world = World(Server(tmp_path, "no", folder=tmp_path), Upstream(chance), chance, lease=1, slots=1)
    for name in ("frozen", "deaf"):
        world.workers[name] = await stubborn(tmp_path / name)
    pids = [worker.process.pid for worker in world.workers.values()]
    world.workers["frozen"].signal(signal.SIGSTOP)
    await world.end_workers()
    assert not any(map(is_there, pids))
    assert not world.workers
    await world.redis.aclose()


async def test_a_worker_whose_end_is_not_awaited_stays_known(tmp_path: Path) -> None:
    chance = random.Random(1)
    world = World(Server(tmp_path, "no", folder=tmp_path), Upstream(chance), chance, lease=1, slots=1)
    world.workers["deaf"] = await stubborn(tmp_path / "deaf")
    dismissal = asyncio.create_task(world.dismiss("deaf"))
    await asyncio.sleep(0.05)
    dismissal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dismissal
    assert list(world.workers) == ["deaf"]
    await world.kill("deaf")
    assert not world.workers
    await world.redis.aclose()
