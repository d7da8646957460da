"""The use of an exchange, as it is booked."""

import pytest

from gateway.access.records import NANO
from gateway.context import Context
from gateway.exchange.accounting import to_used
from gateway.exchange.list_price import FAST_MODE, PRIORITY
from gateway.messages.usage import MAX_DOLLARS, MAX_TOKENS
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.models.prices import Price


@pytest.mark.parametrize("tokens", [MAX_TOKENS + 1, 2**63, 2**64])
def test_tokens_that_no_answer_has_do_not_overflow_sums(tokens: int) -> None:
    usage = {"input_tokens": tokens, "output_tokens": tokens}
    record = UsageRecord(Context("req_1"), **usage, usage=usage)
    used = to_used(record, Price(1.0, 1.0, 1.0, 1.0, 0.0), lambda _: None)
    assert (used.input, used.output, used.cost) == (MAX_TOKENS, MAX_TOKENS, round(MAX_DOLLARS * NANO))
    assert (used.entry["input"], used.entry["output"]) == (MAX_TOKENS, MAX_TOKENS)


def test_use_by_the_price_list_has_all_that_the_answer_is_billed_for() -> None:
    usage = {"input_tokens": 2, "output_tokens": 3, "speed": "fast", "service_tier": "priority"}
    prices = Price(1.0, 10.0)
    for dialect, factor in (("messages", FAST_MODE), ("responses", FAST_MODE * PRIORITY)):
        record = UsageRecord(Context("req_1"), dialect=dialect, input_tokens=2, output_tokens=3, usage=usage)
        used = to_used(record, prices, lambda _: None)
        assert (used.cost, used.entry["source"]) == (32 * factor * NANO, "price")
    record.cost = 7.0
    assert to_used(record, prices, lambda _: None).cost == 7 * NANO


@pytest.mark.parametrize("kind", ["advisor_message", "compaction"])
def test_tokens_of_steps_beside_the_answer_count_in_rates(kind: str) -> None:
    beside = {"input_tokens": 50, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 900, "output_tokens": 30}
    steps = [{"type": "message", "input_tokens": 2, "output_tokens": 3}, {"type": kind, "model": "a", **beside}]
    usage = {"input_tokens": 2, "output_tokens": 3, "iterations": steps}
    record = UsageRecord(Context("req_1"), input_tokens=2, output_tokens=3, usage=usage)
    used = to_used(record, None, lambda _: None)
    assert (used.input, used.output) == (59, 33)
    assert (used.entry["input"], used.entry["output"]) == (2, 3)
