"""Wrong keys take as many calls to Redis whether or not they ever existed, so that their time shows nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.access.directory import UNKNOWN_SECONDS, Directory
from gateway.access.key_text import new_key
from gateway.access.keys import ClientKeys, FileAccess
from gateway.access.records import KeyRecord
from gateway.access.store import AccessStore
from gateway.errors import Unauthenticated
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from tests.access.test_admission import ACTOR, store_on

NOW = 1_900_000_000


class Counting(RedisServer):
    """Counts round trips."""

    trips = 0

    async def pipeline(self, *arguments: Any, **options: Any) -> list[Any]:
        self.trips += 1
        return await super().pipeline(*arguments, **options)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def unknown(store: AccessStore) -> str:
    return new_key()


def made(**fields: Any) -> Callable[[AccessStore], Awaitable[str]]:
    async def make(store: AccessStore) -> str:
        return (await store.create_key(KeyRecord("", "ci", "red", **fields), ACTOR))[1]

    return make


def changed(**fields: Any) -> Callable[[AccessStore], Awaitable[str]]:
    async def make(store: AccessStore) -> str:
        record, key = await store.create_key(KeyRecord("", "ci", "red"), ACTOR)
        await store.update_key(record.id, ACTOR, **fields)
        return key

    return make


async def rotated(store: AccessStore) -> str:
    record, key = await store.create_key(KeyRecord("", "ci", "red"), ACTOR)
    await store.rotate_key(record.id, 0, ACTOR)
    return key


async def of_blocked_user(store: AccessStore) -> str:
    _, key = await store.create_key(KeyRecord("", "ci", "red", "ann"), ACTOR)
    await store.block_user("ann", True, ACTOR)
    return key


KINDS = {
    "disabled": changed(status="inactive"),
    "archived": changed(status="archived"),
    "expired": made(expires_at=NOW - 1),
    "not yet valid": made(not_before=NOW + 1),
    "of the admin API": made(role="admin"),
    "of a blocked user": of_blocked_user,
    "the old value of a rotated key": rotated,
}


async def trips_of(server: RedisServer, make: Callable[[AccessStore], Awaitable[str]], *, is_held: bool) -> list[int]:
    """Return the round trips of each attempt: two at once, one after the time for which unknown keys are kept."""
    store = store_on(server)
    key = await make(store)
    await store.create_key(KeyRecord("", "other", "red"), ACTOR)  # the last change is one of another key
    counting, clock = Counting(server.redis, server.keys), Clock()
    directory = Directory(ClientKeys([], b"s"), store_on(counting), lambda: NOW, clock, silence=SilenceLimit(20))
    await directory.refresh()
    if is_held:  # as after a request that it was valid for
        record, _ = await store.find("", store.pepper.digest(key).hex())
        if record is not None:
            directory._cache(record)
    trips = []
    for seconds in (0.0, 0.0, UNKNOWN_SECONDS):
        clock.now += seconds
        before = counting.trips
        with pytest.raises(Unauthenticated, match="invalid x-api-key"):
            await directory.authenticate(key, None)
        trips.append(counting.trips - before)
    return trips


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_wrong_key_takes_the_calls_of_an_unknown_one(server: RedisServer, kind: str, is_held: bool) -> None:
    assert await trips_of(server, KINDS[kind], is_held=is_held) == [2, 0, 2]


async def test_unknown_key_is_looked_up_once_in_a_while(server: RedisServer) -> None:
    assert await trips_of(server, unknown, is_held=False) == [2, 0, 2]


async def test_mistyped_key_is_refused_without_redis(server: RedisServer) -> None:
    async def mistyped(store: AccessStore) -> str:
        return new_key()[:-1] + "~"

    assert await trips_of(server, mistyped, is_held=False) == [0, 0, 0]


async def test_expired_key_of_the_file_in_the_form_of_a_stored_one_takes_the_calls_of_an_unknown_one(
    server: RedisServer,
) -> None:
    counting, key = Counting(server.redis, server.keys), new_key()
    record = KeyRecord("key_file_ci", "ci", expires_at=NOW - 1)
    directory = Directory(ClientKeys([], b"s", FileAccess(((record, key, ""),))), store_on(counting), lambda: NOW)
    await directory.refresh()
    before = counting.trips
    with pytest.raises(Unauthenticated):
        await directory.authenticate(key, None)
    assert counting.trips - before == 2
