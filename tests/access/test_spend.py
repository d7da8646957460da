"""Sums of days become groups."""

import pytest

from gateway.access.spend import DailyTotals

MONDAY = {
    b"acme|ann|k1|big|openrouter|requests": b"2",
    b"acme|ann|k1|big|openrouter|cost": b"70",
    b"acme|bob|k2|big|openrouter|requests": b"1",
    b"lab|eve|k3|small|vllm|requests": b"4",
    b"lab|eve|k3|small|vllm|of_a_later_version": b"9",
}
TUESDAY = {b"acme|ann|k1|big|openrouter|requests": b"5", b"lab|eve|k3|small|vllm|cache_write": b"8"}
DAYS = ("2027-01-04", "2027-01-05")


def counts(requests: int = 0, cost: int = 0, cache_write: int = 0) -> list[int]:
    return [requests, 0, 0, cost, 0, cache_write]


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ((), {(): counts(12, 70, 8)}),
        (("tenant",), {("acme",): counts(8, 70), ("lab",): counts(4, 0, 8)}),
        (
            ("tenant", "day"),
            {
                ("acme", DAYS[0]): counts(3, 70),
                ("acme", DAYS[1]): counts(5),
                ("lab", DAYS[0]): counts(4),
                ("lab", DAYS[1]): counts(0, 0, 8),
            },
        ),
        (("day",), {(DAYS[0],): counts(7, 70), (DAYS[1],): counts(5, 0, 8)}),
        (("provider", "key"), {("openrouter", "k1"): counts(7, 70), ("openrouter", "k2"): counts(1)}
         | {("vllm", "k3"): counts(4, 0, 8)}),
    ],
)  # fmt: skip
def test_sums_of_days_are_grouped(by: tuple[str, ...], found: dict[tuple[str, ...], list[int]]) -> None:
    at_once, one_by_one = DailyTotals(by), DailyTotals(by)
    at_once.add(DAYS, [MONDAY, TUESDAY])
    one_by_one.add(DAYS[:1], [MONDAY])
    one_by_one.add(DAYS[1:], [TUESDAY])
    assert at_once.found == one_by_one.found == found
