"""The use of an exchange, as it is booked."""

import pytest

from gateway.access.records import NANO
from gateway.context import Context
from gateway.exchange.accounting import to_used
from gateway.messages.usage import MAX_DOLLARS, MAX_TOKENS
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.models.prices import Price


@pytest.mark.parametrize("tokens", [MAX_TOKENS + 1, 2**63, 2**64])
def test_tokens_that_no_answer_has_do_not_overflow_sums(tokens: int) -> None:
    record = UsageRecord(Context("req_1"), input_tokens=tokens, output_tokens=tokens)
    used = to_used(record, Price(1.0, 1.0, 1.0, 1.0, 0.0))
    assert (used.input, used.output, used.cost) == (MAX_TOKENS, MAX_TOKENS, round(MAX_DOLLARS * NANO))
    assert (used.entry["input"], used.entry["output"]) == (MAX_TOKENS, MAX_TOKENS)
