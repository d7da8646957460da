"""Keys of one script share a slot, names of tenants cannot break them, and the page that lists them is complete."""

import re

import pytest

from gateway.redis import keys as page
from gateway.redis.keys import BatchKeys, Keys

BATCH = "msgbatch_" + "a" * 24
TENANTS = ["acme", "a b", "a{b}c", "}{", "ä", "a:batches", "a%20b", "a\nb"]


def slot_tag(key: str) -> str:
    """Return the part of a key that a Cluster hashes."""
    match = re.search(r"\{([^}]+)\}", key)
    return match[1] if match else key


def test_all_keys_of_a_batch_are_in_one_slot() -> None:
    keys = Keys()
    names = [*keys.batch(BATCH), keys.batch_meta(BATCH), keys.batch_sync(BATCH)]
    assert {slot_tag(name) for name in names} == {BATCH}
    assert len(set(keys.batch(BATCH))) == len(BatchKeys._fields)
    assert keys.batch(BATCH).meta == keys.batch_meta(BATCH)


def test_all_keys_of_the_scheduler_are_in_one_slot() -> None:
    keys = Keys()
    names = [*keys.scheduler, *(keys.pick(worker) for worker in TENANTS)]
    assert {slot_tag(name) for name in names} == {"s"}
    assert len(set(names)) == len(names)


def test_tenants_of_any_name_have_separate_keys() -> None:
    keys = Keys()
    lists = [keys.tenant_batches(tenant) for tenant in TENANTS]
    assert len(set(lists)) == len(TENANTS)
    for tenant, name in zip(TENANTS, lists, strict=True):
        assert slot_tag(keys.idempotency(tenant, "d")) == slot_tag(name)
        assert re.fullmatch(r"gw:t:\{[\w.~%-]+\}:batches", name)
    assert len({keys.thread_of(tenant, message) for tenant in TENANTS for message in ("m", "n")}) == 2 * len(TENANTS)


def test_installations_with_different_prefixes_share_no_key() -> None:
    for name in all_keys(Keys("mine:")):
        assert name.startswith("mine:")


@pytest.mark.parametrize("field", BatchKeys._fields)
def test_every_key_of_a_batch_is_on_the_page(field: str) -> None:
    name = getattr(Keys().batch(BATCH), field).rpartition(":")[2]
    assert re.search(rf"^ {{6}}(\w+, )?{name}\b", page.__doc__ or "", re.MULTILINE)


def test_every_other_key_is_on_the_page() -> None:
    documented = {without_names(name) for name in re.findall(r"gw:[\w:{}<>-]+", page.__doc__ or "")}
    others = {without_names(name) for name in all_keys(Keys()) if not name.startswith(("gw:b:", "gw:q:"))}
    assert others <= documented


def without_names(key: str) -> str:
    return re.sub(r"\{[^}]*\}|<\w+>|(?<=:idem:)\w+|(?<=\}:[el]:)\w+", "*", key)


def all_keys(keys: Keys) -> list[str]:
    return [
        *keys.batch(BATCH),
        *keys.scheduler,
        keys.tenants,
        keys.secret,
        keys.probe,
        keys.pins,
        keys.batch_sync(BATCH),
        keys.pick("w"),
        keys.tenant_batches("t"),
        keys.idempotency("t", "d"),
        keys.thread("t"),
        keys.thread_of("t", "m"),
        keys.circuit("u"),
        *keys.lane("u"),
        keys.load("u"),
        keys.cache_entry("d"),
        keys.cache_lock("d"),
        *keys.cache_shard("d"),
        keys.cache_counts("t"),
    ]
