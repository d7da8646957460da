"""Directory of keys and limits in one process, with the store and both clocks injected."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from gateway.access import directory as directory_module
from gateway.access.changes import Changes
from gateway.access.directory import LOOK_UPS, MAX_UNKNOWN, SNAPSHOT_SECONDS, UNKNOWN_SECONDS, Directory
from gateway.access.key_text import new_key, to_key_id, with_checksum
from gateway.access.keys import ClientKeys, FileAccess
from gateway.access.records import DEPLOYMENT, Allowance, KeyRecord, RateLimits
from gateway.access.store import CHANGES_PAGE, AccessStore, Actor
from gateway.context import Context
from gateway.errors import PermissionDenied, StoreAway, Unauthenticated, Unavailable
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from tests.support.redis_server import redis_server

ACTOR = Actor("cli", "tests")
KEYS = ClientKeys([], b"s")
KEY = new_key()
SCOPE_RED = "scope:tenant:red"


@dataclass
class Store:
    """The records of a server; `reads` counts the calls, and `away` makes them fail."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    epoch: int = 1
    away: bool = False
    reads: int = 0
    now: float = 0.0

    async def changes(self, since: int, wanted: Callable[[str], bool]) -> Changes:
        self.read()
        await asyncio.sleep(0)
        changed = self.records if since < self.epoch else {}
        found = {name: one for name, one in changed.items() if wanted(name)}
        return Changes(self.epoch, found, dict.fromkeys(found, self.epoch), others=len(changed) - len(found))

    async def find(self, key_id: str, digest: str = "") -> tuple[KeyRecord | None, int]:
        self.read()
        await asyncio.sleep(0)
        keys = [KeyRecord.of_json(one) for name, one in self.records.items() if name.startswith("key:")]
        found = [one for one in keys if one.id == key_id or (not key_id and digest in one.digests)]
        return (found[0] if found else None), self.epoch

    async def other_tenant(self, known: Set[str]) -> str | None:
        self.read()
        return next((one["tenant"] for one in self.records.values() if one["tenant"] not in known), None)

    def read(self) -> None:
        self.reads += 1
        if self.away:
            raise StoreAway("away")

    def directory(self) -> Directory:
        return Directory(KEYS, cast(AccessStore, self), lambda: self.now, lambda: self.now)


def record(key: str = KEY, **fields: Any) -> dict[str, dict[str, Any]]:
    key_id = to_key_id(key)
    assert key_id is not None
    digests = {KEYS.pepper.digest(key).hex(): None}
    made = KeyRecord(**{"id": key_id, "name": "ci", "tenant": "red", "digests": digests, **fields})
    return {f"key:{key_id}": made.to_json()}


async def test_held_key_is_valid_through_an_outage_until_the_snapshot_is_too_old() -> None:
    store = Store(record())
    directory = store.directory()
    assert (await directory.authenticate(KEY, None)).tenant == "red"
    store.away = True
    store.now = SNAPSHOT_SECONDS
    assert (await directory.authenticate(KEY, None)).tenant == "red"
    store.now += 1
    with pytest.raises(Unavailable):
        await directory.authenticate(KEY, None)
    assert store.reads == 2  # the limits, and the key


async def test_enabled_key_is_accepted_after_the_next_refresh_and_a_disabled_one_stays_refused_in_an_outage() -> None:
    store = Store(record(status="inactive"))
    directory = store.directory()
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)
    store.away = True
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)
    store.away, store.records, store.epoch = False, record(version=2), 2
    directory.silence = SilenceLimit()  # the outage is over
    await directory.refresh()
    assert (await directory.authenticate(KEY, None)).tenant == "red"


async def test_unknown_key_is_unavailable_in_an_outage_not_unauthenticated() -> None:
    store = Store(record(), away=True)
    with pytest.raises(Unavailable):
        await store.directory().authenticate(new_key(), None)


async def test_unknown_key_is_looked_up_once_in_a_while() -> None:
    store = Store(record())
    directory, stranger = store.directory(), new_key()
    for now, reads in ((0.0, 2), (UNKNOWN_SECONDS - 1, 2), (UNKNOWN_SECONDS + 1, 3)):
        store.now = now
        with pytest.raises(Unauthenticated):
            await directory.authenticate(stranger, None)
        assert store.reads == reads, now


async def test_number_of_unknown_keys_that_are_remembered_is_bounded() -> None:
    directory = Store().directory()
    directory._unknown = OrderedDict.fromkeys(map(str, range(MAX_UNKNOWN)), 0.0)
    with pytest.raises(Unauthenticated):
        await directory.authenticate(new_key(), None)
    assert len(directory._unknown) == MAX_UNKNOWN


async def test_key_created_meanwhile_is_found_at_once_after_the_next_change() -> None:
    store = Store()
    directory = store.directory()
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)
    store.records, store.epoch = record(), 2
    await directory.refresh()
    assert (await directory.authenticate(KEY, None)).tenant == "red"


async def test_emptied_server_forgets_every_key_and_limit() -> None:
    store = Store(record(allowance=Allowance(RateLimits(60))) | {SCOPE_RED: Allowance().to_json()}, epoch=2)
    directory = store.directory()
    client = await directory.authenticate(KEY, None)
    versions = {scope.name: scope.version for scope in directory.scopes_of(Context("r", "red", client.key_id))}
    assert versions["tenant:red"] == "2"
    store.records, store.epoch = {f"scope:{DEPLOYMENT}": Allowance(RateLimits(5)).to_json()}, 1
    await directory.refresh()
    scopes = directory.scopes_of(Context("r", "red", "configured"))
    assert {scope.name: (scope.version, scope.allowance.limits.requests) for scope in scopes} == {
        DEPLOYMENT: ("1", 5),
        "tenant:red": ("0", None),
        "key:configured": ("0", None),
    }
    with pytest.raises(Unavailable):  # for a request that is running
        directory.check(Context("r", "red", client.key_id))
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)


async def test_limits_stay_in_force_until_those_of_another_server_are_read() -> None:
    store = Store({SCOPE_RED: Allowance(RateLimits(5)).to_json()}, epoch=2)
    directory, context = store.directory(), Context("r", "red", "configured")
    await directory.refresh()
    store.epoch, read = 1, store.changes

    async def changes(since: int, wanted: Callable[[str], bool]) -> Changes:
        found = await read(since, wanted)
        store.away = True
        return found

    store.changes = changes  # type: ignore[method-assign]
    with pytest.raises(StoreAway):
        await directory.refresh()
    assert directory.scopes_of(context)
    store.away, store.changes = False, read  # type: ignore[method-assign]
    store.records = {}
    await directory.refresh()
    assert not directory.scopes_of(context)


async def test_many_keys_are_read_page_by_page_and_each_change_once() -> None:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        server = RedisServer(redis, Keys("pages:"))
        names, count = server.keys.access, 2 * CHANGES_PAGE + 1
        records = [KeyRecord(f"key_{number}", f"k{number}", digests={f"d{number}": None}) for number in range(count)]
        for place, one in enumerate(records, start=1):
            await redis.hset(names.records, f"key:{one.id}", orjson.dumps(one.to_json()))  # type: ignore[misc]
            await redis.zadd(names.changes, {f"key:{one.id}": place})
        await redis.set(names.epoch, count)
        store = AccessStore(server, KEYS.pepper, b"s")
        directory = Directory(KEYS, store)
        await directory.refresh()
        assert not directory._keys  # which are read when they are used
        assert [len((await store.changes(since)).records) for since in (0, CHANGES_PAGE, count - 1, count)] == [
            CHANGES_PAGE,
            CHANGES_PAGE,
            1,
            0,
        ]
        newest = await store.changes(count - 1)
        assert (newest.reached, newest.epoch) == (None, count)


async def test_limits_and_networks_of_a_key_count_until_they_are_removed() -> None:
    store = Store(record(allowance=Allowance(RateLimits(60)), addresses=("10.0.0.0/8",)))
    directory = store.directory()
    await directory.authenticate(KEY, None)
    context = Context("r", "red", to_key_id(KEY) or "")
    assert (len(directory.scopes_of(context)), directory.restricts_addresses) == (3, True)
    store.records, store.epoch = record(version=2), 2
    await directory.refresh()
    assert (directory.scopes_of(context), directory.restricts_addresses) == ((), False)


async def test_request_has_no_scopes_while_no_scope_of_it_has_a_limit() -> None:
    store = Store(record() | {"scope:tenant:blue": Allowance(RateLimits(60)).to_json()})
    directory = store.directory()
    key_id = (await directory.authenticate(KEY, None)).key_id
    assert directory.scopes_of(Context("r", "red", key_id)) == ()
    scopes = directory.scopes_of(Context("r", "blue", "k1"))
    assert [(scope.name, scope.allowance.limits.requests) for scope in scopes] == [
        (DEPLOYMENT, None),
        ("tenant:blue", 60),
        ("key:k1", None),
    ]


async def test_limits_of_the_file_are_in_force_again_once_the_stored_ones_are_removed() -> None:
    file = FileAccess(allowances={"user:ann": Allowance(RateLimits(7))})
    store = Store({"scope:user:ann": Allowance(RateLimits(9)).to_json()})
    directory = Directory(ClientKeys([], b"s", file), cast(AccessStore, store), lambda: 0.0, lambda: 0.0)
    for allowance, requests in ((Allowance(RateLimits(9)), 9), (Allowance(blocked=True), None), (Allowance(), 7)):
        store.records = {"scope:user:ann": allowance.to_json()}
        store.epoch += 1
        await directory.refresh()
        found = directory.allowance_of("user:ann")
        assert (found.limits.requests, found.blocked) == (requests, allowance.blocked)


async def test_records_of_later_versions_are_no_limits() -> None:
    store = Store({"later:user:ann": Allowance(RateLimits(1)).to_json()})
    directory = store.directory()
    await directory.refresh()
    assert directory.scopes_of(Context("r", "red", "k1", "ann")) == ()


async def test_allowance_without_limits_makes_no_scope_limited() -> None:
    store = Store(record() | {"scope:tenant:red": Allowance().to_json()})
    directory = store.directory()
    await directory.refresh()
    assert directory.scopes_of(Context("r", "red", "k1")) == ()


async def test_key_is_held_before_its_restrictions_are_asked_for() -> None:
    """A worker has the ids of keys only, in the items of batches."""
    store = Store(record(batches=False))
    directory, context = store.directory(), Context("r", "red", to_key_id(KEY) or "", priority="batch")
    with pytest.raises(Unavailable) as unknown:
        directory.check(context)
    assert unknown.value.retry_after == 2
    await directory.ensure_cached(context.key_id)
    with pytest.raises(PermissionDenied):
        directory.check(context)
    with pytest.raises(Unauthenticated):
        await directory.ensure_cached(to_key_id(new_key()) or "")
    store.records |= record(other := new_key())
    await directory.ensure_cached(to_key_id(other) or "")
    await directory.ensure_cached("configured")


async def test_keys_used_longest_ago_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "MAX_KEYS", 3)
    several = [new_key() for _ in range(5)]
    store = Store({name: one for key in several for name, one in record(key, addresses=("10.0.0.0/8",)).items()})
    directory = store.directory()
    for key in (*several[:3], several[0], *several[3:]):
        await directory.authenticate(key, None)
    assert list(directory._keys) == [to_key_id(key) for key in (several[0], *several[3:])]
    assert directory._restricted == set(directory._keys)


async def test_key_that_is_disabled_while_it_is_read_is_refused_after_the_next_refresh() -> None:
    store = Store(record(), epoch=1)
    directory = store.directory()
    await directory.refresh()
    read = store.find

    async def find(key_id: str, digest: str = "") -> tuple[KeyRecord | None, int]:
        found = await read(key_id, digest)
        store.records, store.epoch = record(status="inactive", version=2), 2
        await directory.refresh()  # which passes over a key that is not held
        return found

    store.find = find  # type: ignore[method-assign]
    await directory.authenticate(KEY, None)
    store.away = True
    with pytest.raises(StoreAway):
        await directory.refresh()
    store.away = False
    await directory.refresh()
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)


async def test_wrong_secret_of_a_known_key_is_looked_up_once_in_a_while() -> None:
    store = Store(record())
    directory = store.directory()
    await directory.authenticate(KEY, None)
    wrong = with_checksum(f"{KEY[:17]}{'0' * 43}")
    assert to_key_id(wrong) == to_key_id(KEY)
    reads = store.reads
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await directory.authenticate(wrong, None)
    assert store.reads == reads + 1


async def test_tenants_of_stored_keys_are_looked_for_until_there_are_two() -> None:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = AccessStore(RedisServer(redis, Keys("tenants:")), KEYS.pepper, b"s")
        directory = Directory(KEYS, store)
        await directory.refresh()
        for number in range(3):
            await store.create_key(KeyRecord("", f"k{number}", "red"), ACTOR)
        await directory.refresh()
        assert not await directory.has_several_tenants()
        made, _ = await store.create_key(KeyRecord("", "other", "blue"), ACTOR)
        await store.update_key(made.id, ACTOR, status="archived")
        await directory.refresh()
        assert not await directory.has_several_tenants()
        await store.update_key(made.id, ACTOR, status="active")
        await directory.refresh()
        assert await directory.has_several_tenants()


async def test_third_tenant_is_not_looked_for() -> None:
    store = Store(record() | record(new_key(), tenant="blue") | record(new_key(), tenant="green"))
    assert await store.directory().has_several_tenants()
    assert store.reads == 2


async def test_tenants_are_looked_for_again_after_an_outage() -> None:
    store = Store(record() | record(new_key(), tenant="blue"))
    directory = store.directory()
    store.away = True
    with pytest.raises(StoreAway):
        await directory.has_several_tenants()
    store.away = False
    assert await directory.has_several_tenants()


async def test_wrong_keys_that_arrive_together_are_not_looked_up_beyond_their_limit() -> None:
    store = Store(record(status="inactive"))
    directory = store.directory()
    await directory.refresh()
    failures = store.reads = 0

    async def ask(key: str) -> None:
        nonlocal failures
        with pytest.raises(Unauthenticated):
            await directory.authenticate(key, None, may_look_up=lambda: failures < 10)
        failures += 1

    await asyncio.gather(*(ask(new_key()) for _ in range(100)))
    assert 10 <= store.reads <= 10 + LOOK_UPS
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None)
    failures, reads = 0, store.reads
    await asyncio.gather(*(ask(KEY) for _ in range(100)))
    assert store.reads - reads <= 10 + LOOK_UPS


async def test_key_that_was_used_before_is_accepted_without_a_look_up() -> None:
    store = Store(record())
    directory = store.directory()
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None, may_look_up=lambda: False)
    assert store.reads == 0
    await directory.authenticate(KEY, None)
    assert (await directory.authenticate(KEY, None, may_look_up=lambda: False)).tenant == "red"
    store.records, store.epoch = record(status="inactive", version=2), 2
    await directory.refresh()
    reads = store.reads
    with pytest.raises(Unauthenticated):
        await directory.authenticate(KEY, None, may_look_up=lambda: False)
    assert store.reads == reads


async def test_key_is_checked_for_what_it_may_do_and_its_user_for_a_block() -> None:
    blocked = {"scope:user:bob": Allowance(blocked=True).to_json(), "scope:user:ann": Allowance().to_json()}
    store = Store(record(user="ann", models=["m/*"], batches=False) | blocked)
    directory = store.directory()
    client = await directory.authenticate(KEY, None)
    context = Context("req", client.tenant, client.key_id, user="ann")
    checked = directory.check(context, "m/a", "x")
    assert checked is not None
    assert (checked.name, directory.check(context)) == ("ci", checked)
    with pytest.raises(PermissionDenied, match="Key ci may not use the model x"):
        directory.check(context, "x", "y")
    with pytest.raises(PermissionDenied, match="may not create batches"):
        directory.check(replace(context, priority="batch"))
    with pytest.raises(Unauthenticated):
        directory.check(replace(context, user="bob"))
    store.now = 50.0
    store.records |= record(user="ann", expires_at=50)
    store.epoch += 1
    await directory.refresh()
    with pytest.raises(Unauthenticated):
        directory.check(context)


async def test_token_without_identity_and_wrong_key_without_a_store_are_refused() -> None:
    token = "eyJhbGciOiJub25lIn0.e30.e30"
    for directory in (Directory(KEYS), Store().directory()):
        for key in (token, KEY, "wrong"):
            with pytest.raises(Unauthenticated):
                await directory.authenticate(key, None)
            with pytest.raises(Unauthenticated):
                await directory.authenticate(None, f"Bearer {key}")
