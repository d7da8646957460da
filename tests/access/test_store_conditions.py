"""Conditions of changes: one request is carried out once however often it is sent, and no change is lost to another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.access.keys import ClientKeys
from gateway.access.records import Allowance, Budget, KeyRecord, RateLimits
from gateway.access.store import AccessStore, Actor, Conditions
from gateway.errors import Conflict, InvalidRequest, PreconditionFailed, StoreAway
from gateway.redis.keys import Keys
from gateway.redis.server import Command, RedisServer
from tests.support.redis_server import redis_server

ACTOR = Actor("cli", "tests")
NEW = KeyRecord("", "ci", "red")


class RunsTwice(RedisServer):
    """Runs each script again, as after a lost reply."""

    async def run(self, *arguments: Any) -> Any:
        await super().run(*arguments)
        return await super().run(*arguments)


class LosesReplies(RedisServer):
    async def run(self, *arguments: Any) -> Any:
        await super().run(*arguments)
        raise StoreAway("lost")


class CountsRoundTrips(RedisServer):
    round_trips = 0

    async def pipeline(self, commands: Iterable[Command], **options: Any) -> list[Any]:
        self.round_trips += 1
        return await super().pipeline(commands, **options)


class IsOvertaken(RedisServer):
    """Carries out `other` before the first look at all keys."""

    other: Callable[[], Awaitable[object]] | None = None

    async def pipeline(self, commands: Iterable[Command], **options: Any) -> list[Any]:
        all_commands, other = list(commands), self.other
        if all_commands[0][0] == "HGETALL" and other is not None:
            self.other = None
            await other()
        return await super().pipeline(all_commands, **options)


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        yield RedisServer(redis, Keys("once:"))


def store_on(server: RedisServer, secret: bytes = b"s") -> AccessStore:
    return AccessStore(server, ClientKeys([], secret).pepper, secret)


def once(server: RedisServer, body: str = "a") -> Conditions:
    return Conditions(mark=server.keys.access_outcome("first"), asked=body)


async def actions(store: AccessStore) -> list[str]:
    assert (await store.verify_audit())[0] is None
    return [orjson.loads(entry)["action"] for entry in await store.audit()]


async def test_repeated_creation_returns_the_first_key_and_changes_nothing(server: RedisServer) -> None:
    store = store_on(server)
    first = await store.create_key(NEW, ACTOR, once(server))
    assert await store.create_key(NEW, ACTOR, once(server)) == first
    assert await store.keys() == [first[0]]
    assert await actions(store) == ["key_created"]
    [kept] = await server.pipeline([("GET", once(server).mark)])
    assert first[1].encode() not in kept
    [lifetime] = await server.pipeline([("TTL", once(server).mark)])
    assert 86_300 < lifetime <= 86_400


async def test_creations_at_once_with_one_idempotency_key_make_one_key(server: RedisServer) -> None:
    made = await asyncio.gather(*(store_on(server).create_key(NEW, ACTOR, once(server)) for _ in range(10)))
    assert len({key for _, key in made}) == 1
    assert await actions(store_on(server)) == ["key_created"]


async def test_creation_that_meets_its_repetition_returns_the_same_key(server: RedisServer) -> None:
    overtaken = IsOvertaken(server.redis, server.keys)
    first: list[object] = []

    async def create() -> None:
        first.append(await store_on(server).create_key(NEW, ACTOR, once(server)))

    overtaken.other = create
    assert await store_on(overtaken).create_key(NEW, ACTOR, once(server)) == first[0]
    overtaken.other = None
    with pytest.raises(Conflict):
        await store_on(overtaken).create_key(NEW, ACTOR, Conditions(mark=server.keys.access_outcome("second")))


async def test_creation_whose_reply_was_lost_is_returned_by_its_repetition(server: RedisServer) -> None:
    with pytest.raises(StoreAway):
        await store_on(LosesReplies(server.redis, server.keys)).create_key(NEW, ACTOR, once(server))
    made, key = await store_on(server).create_key(NEW, ACTOR, once(server))
    assert [record.id for record in await store_on(server).keys()] == [made.id]
    found, _ = await store_on(server).find("", store_on(server).pepper.digest(key).hex())
    assert found == made


async def test_rotation_repeated_with_its_idempotency_key_gives_one_value(server: RedisServer) -> None:
    store = store_on(server)
    made, _ = await store.create_key(NEW, ACTOR)
    first = await store.rotate_key(made.id, 60, ACTOR, once(server))
    assert await store.rotate_key(made.id, 60, ACTOR, once(server)) == first
    assert len((await store.key(made.id)).digests) == 2


async def test_repeated_limits_do_not_undo_a_later_change(server: RedisServer) -> None:
    store = store_on(server)
    await store.set_allowance("tenant:red", Allowance(RateLimits(requests=1)), ACTOR, once(server))
    await store.set_allowance("tenant:red", Allowance(RateLimits(requests=2)), ACTOR)
    assert await store.set_allowance("tenant:red", Allowance(RateLimits(requests=1)), ACTOR, once(server)) == 1
    assert (await store.allowance("tenant:red")).limits.requests == 2


@pytest.mark.parametrize(("secret", "body"), [(b"s", "b"), (b"another", "a")])
async def test_idempotency_key_of_another_request_is_refused(server: RedisServer, secret: bytes, body: str) -> None:
    await store_on(server).create_key(NEW, ACTOR, once(server))
    with pytest.raises(InvalidRequest, match="idempotency-key: already used"):
        await store_on(server, secret).create_key(NEW, ACTOR, once(server, body))


async def test_change_that_runs_twice_after_a_lost_reply_counts_once(server: RedisServer) -> None:
    store = store_on(RunsTwice(server.redis, server.keys))
    made, _ = await store.create_key(NEW, ACTOR)
    changed = await store.update_key(made.id, ACTOR, max_tokens=5)
    await store.set_allowance("tenant:red", Allowance(RateLimits(requests=1)), ACTOR)
    [versions] = await server.pipeline([("HGETALL", server.keys.access.versions)])
    assert versions == {f"key:{made.id}".encode(): b"2", b"scope:tenant:red": b"1"}
    assert changed.version == 2
    assert await actions(store) == ["key_created", "key_updated", "limits_set"]


async def test_of_changes_of_one_version_one_is_made(server: RedisServer) -> None:
    store = store_on(server)
    made, _ = await store.create_key(NEW, ACTOR)
    found = await asyncio.gather(
        *(store.update_key(made.id, ACTOR, Conditions(1), max_tokens=number) for number in range(1, 9)),
        return_exceptions=True,
    )
    [done] = [one for one in found if isinstance(one, KeyRecord)]
    assert [type(one) for one in found if one is not done] == [PreconditionFailed] * 7
    assert await store.key(made.id) == done


async def test_change_of_an_older_version_is_refused(server: RedisServer) -> None:
    store = store_on(server)
    made, _ = await store.create_key(NEW, ACTOR)
    assert (await store.update_key(made.id, ACTOR, Conditions(1), max_tokens=5)).version == 2
    with pytest.raises(PreconditionFailed, match="if-match"):
        await store.rotate_key(made.id, 60, ACTOR, Conditions(1))
    with pytest.raises(PreconditionFailed):
        await store.set_allowance("tenant:red", Allowance(), ACTOR, Conditions(1))


async def test_budget_has_spent_what_was_counted_since_its_start_only(server: RedisServer) -> None:
    budget = Budget(1000, "day")
    await server.pipeline(
        [("HSET", server.keys.scope("key:k"), f"{budget.name}:start", "86400", f"{budget.name}:spent", "7")]
    )
    store = store_on(server)
    assert [await store.spent([("key:k", budget)], now) for now in (86_400, 172_799, 172_800)] == [[7], [7], [0]]


async def test_spend_of_many_budgets_is_read_in_one_round_trip(server: RedisServer) -> None:
    keys, day, rolling = server.keys, Budget(1000, "day"), Budget(1000, "rolling", window=3600)
    await server.pipeline(
        [
            (
                "HSET",
                keys.scope("key:a"),
                f"{day.name}:start",
                "0",
                f"{day.name}:spent",
                "7",
                f"{rolling.name}:0",
                "0 5",
            ),
            ("HSET", keys.scope("key:b"), f"{rolling.name}:1", "1 3", f"{rolling.name}:2", "2 4", "running", "9"),
        ]
    )
    counting = CountsRoundTrips(server.redis, keys)
    store = store_on(counting)
    budgets = [("key:a", day), ("key:b", rolling), ("key:a", rolling), ("key:none", day)]
    assert await store.spent(budgets, 60.0) == [7, 7, 5, 0]
    assert counting.round_trips == 1
    assert await store.spent([]) == []
    assert await store.spent(budgets, 61 * 60.0) == [7, 7, 0, 0], "a part counts for the length of the window"
