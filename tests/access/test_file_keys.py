"""Keys of the configuration file beside stored ones: their records, limits, tenants and times."""

import hashlib

import pytest

from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys, FileAccess
from gateway.access.records import Allowance, KeyRecord, RateLimits
from gateway.context import Context
from gateway.errors import PermissionDenied, Unauthenticated

NOW = 1_000_000.0


def directory(*records: KeyRecord, keys: tuple[tuple[str, str], ...] | None = (), **allowances: Allowance) -> Directory:
    given = tuple((record, f"key-of-{record.name}", "") for record in records)
    configured = ClientKeys(keys, b"s", FileAccess(given, {k.replace("_", ":", 1): v for k, v in allowances.items()}))
    return Directory(configured, wall_clock=lambda: NOW)


@pytest.mark.parametrize(
    ("several", "made"),
    [
        pytest.param(False, directory(keys=None), id="without keys"),
        pytest.param(False, directory(keys=(("a", "k1"), ("a", "k2"))), id="keys of one tenant"),
        pytest.param(True, directory(keys=(("a", "k1"), ("b", "k2"))), id="keys of two tenants"),
        pytest.param(True, directory(KeyRecord("x", "x", "b"), keys=(("a", "k1"),)), id="one in the file"),
    ],
)
async def test_share_of_the_store_is_for_several_tenants(several: bool, made: Directory) -> None:
    assert await made.has_several_tenants() is several


async def test_stored_key_of_another_tenant_makes_several_tenants() -> None:
    made = directory(keys=(("a", "k1"),))
    made._cache(KeyRecord("key_1", "ci", "b", status="archived"))
    assert not await made.has_several_tenants()
    made._cache(KeyRecord("key_1", "ci", "b"))
    assert await made.has_several_tenants()


async def test_key_of_the_file_is_known_by_itself_or_by_its_sha256() -> None:
    record, key = KeyRecord("key_file_ci", "ci", "red", "ann"), "sk-of-another-gateway"
    digest = hashlib.sha256(key.encode()).hexdigest()
    made = Directory(ClientKeys((), b"s", FileAccess(((record, "", digest),))))
    client = await made.authenticate(key, None)
    assert (client.tenant, client.key_id, client.user) == ("red", "key_file_ci", "ann")
    with pytest.raises(Unauthenticated):
        await made.authenticate(digest, None)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(KeyRecord("x", "x", not_before=int(NOW) + 1), id="before its time"),
        pytest.param(KeyRecord("x", "x", expires_at=int(NOW)), id="after its time"),
    ],
)
async def test_key_of_the_file_is_valid_in_its_time_only(record: KeyRecord) -> None:
    made = directory(record)
    with pytest.raises(Unauthenticated):
        await made.authenticate("key-of-x", None)
    with pytest.raises(Unauthenticated):
        made.check(Context("r", key_id="x"))


def test_limits_of_the_file_apply_to_keys_tenants_and_users() -> None:
    limits = Allowance(RateLimits(requests=5))
    made = directory(KeyRecord("x", "x", "red", allowance=limits), tenant_red=limits, user_ann=Allowance())
    scopes = made.scopes_of(Context("r", "red", "x", "ann"))
    assert [(one.name, one.allowance.limits.requests) for one in scopes] == [
        ("*", None),
        ("tenant:red", 5),
        ("user:ann", None),
        ("key:x", 5),
    ]
    assert scopes[-1].version == "0", "Redis has no version of it"
    assert made.scopes_of(Context("r", "blue", "other")) == ()


def test_key_without_the_right_creates_no_batches() -> None:
    made = directory(KeyRecord("x", "x", batches=False))
    with pytest.raises(PermissionDenied, match="Key x may not create batches"):
        made.check_batches(Context("r", key_id="x"))
    with pytest.raises(PermissionDenied):
        made.check(Context("r", key_id="x", priority="batch"))
