"""The store of keys and limits: changes that meet lose none, one name is one key, and long records are read whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.access.keys import ClientKeys
from gateway.access.records import Allowance, KeyRecord, RateLimits
from gateway.access.store import AUDIT_PAGE, AccessStore, Actor
from gateway.errors import Conflict
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.support.redis_server import redis_server

ACTOR = Actor("cli", "tests")


@dataclass(slots=True)
class Meeting:
    """Runs `other` before the next script."""

    server: RedisServer
    other: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)

    async def run(self, *arguments: Any) -> Any:
        other, self.other = self.other, None
        if other is not None:
            await other()
        return await self.server.run(*arguments)


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        yield RedisServer(redis, Keys("races:"))


def store_on(server: Any) -> AccessStore:
    return AccessStore(server, ClientKeys([], b"s").pepper, b"s")


async def outcomes(*changes: Awaitable[object]) -> list[str]:
    found = await asyncio.gather(*changes, return_exceptions=True)
    return sorted("conflict" if isinstance(one, Conflict) else "done" for one in found)


async def test_audit_of_several_pages_has_each_entry_once(server: RedisServer) -> None:
    names = [b"%d" % number for number in range(AUDIT_PAGE + 2)]
    await server.pipeline([("XADD", server.keys.access.audit, "*", "e", name) for name in names])
    assert await store_on(server).audit() == names


async def test_of_keys_created_at_once_with_one_name_one_is_made(server: RedisServer) -> None:
    stores = [store_on(server) for _ in range(10)]
    found = await outcomes(*(store.create_key(KeyRecord("", "ci", "red"), ACTOR) for store in stores))
    assert found == ["conflict"] * 9 + ["done"]
    assert [record.name for record in await store_on(server).keys()] == ["ci"]


async def test_later_rotation_prolongs_no_earlier_value(server: RedisServer) -> None:
    now = 1000.0
    store = store_on(server)
    store.clock = lambda: now
    made, _ = await store.create_key(KeyRecord("", "ci", "red"), ACTOR)
    [first] = made.digests
    await store.rotate_key(made.id, 10, ACTOR)
    again, _ = await store.rotate_key(made.id, 100, ACTOR)
    assert sorted(str(until) for until in again.digests.values()) == ["1010", "1100", "None"]
    assert again.digests[first] == 1010
    now = 1010.0
    last, _ = await store.rotate_key(made.id, 100, ACTOR)
    assert first not in last.digests


async def test_key_cannot_be_renamed_or_unarchived_to_a_name_in_use(server: RedisServer) -> None:
    store = store_on(server)
    first, _ = await store.create_key(KeyRecord("", "a", "red"), ACTOR)
    await store.update_key(first.id, ACTOR, status="archived")
    second, _ = await store.create_key(KeyRecord("", "a", "red"), ACTOR)
    third, _ = await store.create_key(KeyRecord("", "b", "red"), ACTOR)
    for key_id, fields in ((third.id, {"name": "a"}), (first.id, {"status": "active"})):
        with pytest.raises(Conflict, match="a key named 'a'"):
            await store.update_key(key_id, ACTOR, **fields)
    await store.update_key(second.id, ACTOR, name="c")
    assert (await store.update_key(third.id, ACTOR, name="a")).name == "a"


async def test_name_that_is_taken_between_look_and_change_is_refused(server: RedisServer) -> None:
    meeting = Meeting(server, lambda: store_on(server).create_key(KeyRecord("", "ci", "red"), ACTOR))
    with pytest.raises(Conflict):
        await store_on(meeting).create_key(KeyRecord("", "ci", "red"), ACTOR)


async def test_limits_that_meet_a_block_leave_the_user_blocked(server: RedisServer) -> None:
    meeting = Meeting(server, lambda: store_on(server).block_user("ann", True, ACTOR))
    with pytest.raises(Conflict):
        await store_on(meeting).set_allowance("user:ann", Allowance(RateLimits(requests=1)), ACTOR)
    assert (await store_on(server).allowance("user:ann")).blocked
    await store_on(server).set_allowance("user:ann", Allowance(RateLimits(requests=1)), ACTOR)
    assert (await store_on(server).allowance("user:ann")).blocked
