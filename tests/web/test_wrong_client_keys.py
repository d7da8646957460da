"""Limit on wrong client keys by address."""

import pytest

from gateway.errors import RateLimited
from gateway.web.addresses import MAX_ADDRESSES
from gateway.web.wrong_keys import AT_ONCE, EMISSION, WrongClientKeys
from tests.support.clock import Clock


def test_address_has_some_wrong_keys_at_once_and_thirty_a_minute() -> None:
    clock = Clock()
    failed = WrongClientKeys(clock)
    for _ in range(AT_ONCE):
        assert not failed.is_over("10.0.0.1")
        failed.note("10.0.0.1")
    assert failed.is_over("10.0.0.1")
    with pytest.raises(RateLimited) as refused:
        failed.note("10.0.0.1")
    assert refused.value.retry_after == EMISSION
    assert not failed.is_over("10.0.0.2")
    clock.now += EMISSION
    failed.note("10.0.0.1")
    assert failed.is_over("10.0.0.1")


def test_refused_wrong_keys_do_not_lengthen_the_wait() -> None:
    clock = Clock()
    failed = WrongClientKeys(clock)
    for _ in range(AT_ONCE):
        failed.note("10.0.0.1")
    for _ in range(100):
        with pytest.raises(RateLimited):
            failed.note("10.0.0.1")
    clock.now += EMISSION
    assert not failed.is_over("10.0.0.1")


def test_memory_for_addresses_is_bounded_and_freed() -> None:
    clock = Clock()
    failed = WrongClientKeys(clock)
    assert not failed
    for number in range(MAX_ADDRESSES + 10):
        failed.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failed._clocks) == MAX_ADDRESSES
    clock.now += 60
    failed.note("10.9.9.9")
    assert list(failed._clocks) == ["10.9.9.9"]
