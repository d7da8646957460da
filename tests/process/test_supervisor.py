"""A parent and its children: small programs that are ready, fail, or die."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.process.supervisor import StartFailed, Supervisor
from tests.support.waiting import until

if TYPE_CHECKING:
    import asyncio

READY = "import os, sys; os.write(0, b'+'); sys.stdin.read()"
FAILS = "raise SystemExit(3)"
# The first one is ready, any later one is not.
ONCE = "import os, sys; os.mkdir(sys.argv[1]); os.write(0, b'+'); sys.stdin.read()"


def supervise(program: str, size: int = 2, *arguments: str) -> Supervisor:
    return Supervisor((sys.executable, "-c", program, *arguments), size, 5.0, {}, restart_seconds=0.01)


async def test_children_are_ready_when_they_say_so_and_stop_with_their_parent() -> None:
    children = supervise(READY)
    async with children.started():
        assert children.ready == 2
    assert children.ready == 0


async def test_a_child_that_ends_before_all_are_ready_fails_the_start() -> None:
    with pytest.raises(StartFailed, match="status 3"):
        async with supervise(FAILS).started():
            raise AssertionError


async def test_one_child_of_several_that_is_not_ready_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed):
        async with supervise(ONCE, 2, str(tmp_path / "first")).started():
            raise AssertionError


async def test_a_child_that_ends_later_is_not_ready_until_its_successor_is() -> None:
    children = supervise(READY, 1)
    async with children.started():
        [child] = children.children
        child.kill()
        await until(lambda: children.ready == 0)
        await until(lambda: children.ready == 1)


async def test_children_that_never_are_ready_again_leave_the_parent_not_ready(tmp_path: Path) -> None:
    children = supervise(ONCE, 1, str(tmp_path / "first"))
    async with children.started():
        [child] = children.children
        child.kill()
        await until(lambda: children.ready == 0)
        await until(lambda: {child} != children.children != set())
        assert children.ready == 0


async def test_a_child_that_need_not_be_ready_is_started_again() -> None:
    children = supervise(FAILS, 1)
    seen: set[asyncio.subprocess.Process] = set()

    def two_were_there() -> bool:
        seen.update(children.children)
        return len(seen) > 1

    async with children.running():
        await until(two_were_there)
