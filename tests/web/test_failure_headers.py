"""Headers of a failure: they name an upstream only where one was called, or was at fault."""

import pytest

from gateway.context import Context
from gateway.telemetry.usage import Attempted, UsageRecord
from gateway.web.api.messages import failure_headers


@pytest.mark.parametrize(
    ("attempts", "origin", "names"),
    [(0, "client", False), (0, "upstream", True), (1, "client", True)],
    ids=["refused before any call", "an upstream without room", "refused by an upstream"],
)
def test_failure_names_the_upstream_that_was_called_or_at_fault(attempts: int, origin: str, names: bool) -> None:
    record = UsageRecord(Context("req_1"), upstream="a", provider="p", attempts=attempts, origin=origin)
    headers = dict(failure_headers(record))
    assert ("x-gateway-upstream" in headers) == names
    assert headers.get("x-gateway-upstream", "a") == "a"


def test_failure_lists_all_calls_in_their_order() -> None:
    attempted = [Attempted("a", "503", 0.21), Attempted("b", "silent", 1.3)]
    record = UsageRecord(Context("req_1"), upstream="b", attempts=2, attempted=attempted, origin="upstream")
    assert dict(failure_headers(record))["x-gateway-attempts"] == "a 503 0.21s, b silent 1.30s"
