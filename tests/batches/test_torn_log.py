"""A power loss cuts the server's log off in the middle of a script; `python -m tests.chaos` tries every byte."""

import random
from collections.abc import AsyncIterator

import pytest

from gateway.redis.embedded import wheel_binary
from tests.chaos.processes import Server
from tests.chaos.torn_log import recover, write_log
from tests.chaos.upstream import Upstream
from tests.chaos.world import World

CUTS = 9


@pytest.fixture
async def world() -> AsyncIterator[World]:
    binary, chance = wheel_binary(), random.Random(5)
    assert binary is not None
    server = Server(binary, "always")
    await server.start()
    world = World(server, Upstream(chance), chance, lease=1, slots=1)
    yield world
    await world.redis.aclose()
    await server.stop()


async def test_wherever_the_log_ends_each_item_has_one_result(world: World) -> None:
    log = await write_log(world)
    for cut in world.chance.sample(range(log.begin, log.end + 1), CUTS):
        await recover(world.server.binary, log, cut)
