"""The `retry-after` of error replies."""

import pytest

from gateway.errors import RateLimited
from gateway.web.reply import error_response


@pytest.mark.parametrize(("hint", "told"), [(41.8, "42"), (0.2, "1"), (7.0, "7"), (3600.0, "60")])
def test_retry_after_is_a_whole_number_of_seconds(hint: float, told: str) -> None:
    assert error_response(RateLimited("Slow down.", retry_after=hint), "req_1").headers["retry-after"] == told
