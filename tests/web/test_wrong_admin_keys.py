"""Limits on wrong keys at the admin listener, by address and in all."""

import pytest

from gateway.errors import RateLimited
from gateway.web.addresses import MAX_ADDRESSES, network_of
from gateway.web.admin.wrong_keys import MOST_IN_ALL, MOST_OF_ADDRESS, WrongAdminKeys
from tests.support.clock import Clock


def is_heard(wrong: WrongAdminKeys, address: str) -> bool:
    try:
        wrong.check(address)
    except RateLimited:
        return False
    return True


def test_address_is_refused_until_its_oldest_wrong_key_is_a_minute_old() -> None:
    clock = Clock()
    wrong = WrongAdminKeys(clock)
    for _ in range(MOST_OF_ADDRESS):
        assert is_heard(wrong, "10.0.0.1")
        wrong.add("10.0.0.1")
        clock.now += 1
    with pytest.raises(RateLimited) as refused:
        wrong.check("10.0.0.1")
    assert refused.value.retry_after == 60 - MOST_OF_ADDRESS
    assert is_heard(wrong, "10.0.0.2")
    clock.now += 60 - MOST_OF_ADDRESS
    assert is_heard(wrong, "10.0.0.1")
    wrong.add("10.0.0.1")
    assert not is_heard(wrong, "10.0.0.1")


def test_many_addresses_together_have_one_wrong_key_a_minute_each() -> None:
    clock = Clock()
    wrong = WrongAdminKeys(clock)
    for number in range(MOST_IN_ALL):
        assert is_heard(wrong, f"10.0.{number}.1")
        wrong.add(f"10.0.{number}.1")
    assert not is_heard(wrong, "10.0.0.1")
    assert is_heard(wrong, "10.1.0.1")
    wrong.add("10.1.0.1")
    assert not is_heard(wrong, "10.1.0.1")
    clock.now += 60
    assert is_heard(wrong, "10.1.0.1")


def test_memory_for_addresses_is_bounded_and_freed() -> None:
    clock = Clock()
    wrong = WrongAdminKeys(clock)
    for number in range(MAX_ADDRESSES + 10):
        wrong.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(wrong._by_address) == MAX_ADDRESSES
    clock.now += 60
    wrong.add("10.9.9.9")
    assert list(wrong._by_address) == ["10.9.9.9"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        (None, ""),
    ],
)
def test_addresses_are_counted_by_network(address: str | None, network: str) -> None:
    assert network_of(address) == network
