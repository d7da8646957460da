import pytest

from gateway.errors import GatewayError, InvalidRequest, Overloaded, RateLimited, UpstreamError, UpstreamTimedOut
from gateway.upstream.health.retry import RetryPolicy

POLICY = RetryPolicy(max_attempts=3, first_delay=1.0, max_delay=4.0, max_retry_after=10.0)


@pytest.mark.parametrize(
    ("error", "attempt", "remaining", "expected"),
    [
        pytest.param(UpstreamError("x"), 1, None, 1.0, id="a broken upstream is tried again"),
        pytest.param(UpstreamError("x"), 2, None, 2.0, id="the delay doubles"),
        pytest.param(UpstreamError("x"), 3, None, None, id="the last attempt is the last"),
        pytest.param(InvalidRequest("x"), 1, None, None, id="the client's own error is never retried"),
        pytest.param(Overloaded("x", retry_after=7.0), 1, None, 7.0, id="retry-after is a floor"),
        pytest.param(
            Overloaded("x", retry_after=0.1), 1, None, 1.0, id="a short retry-after does not shorten the delay"
        ),
        pytest.param(
            RateLimited("x", retry_after=11.0), 1, None, None, id="a long retry-after is the client's to wait"
        ),
        pytest.param(RateLimited("x"), 1, None, 2.0, id="a rate limit without a hint waits longer"),
        pytest.param(UpstreamTimedOut("x"), 1, 0.9, None, id="no attempt that the deadline would cut off"),
        pytest.param(UpstreamTimedOut("x"), 1, 1.1, 1.0, id="an attempt that the deadline allows"),
        pytest.param(UpstreamError("x", should_retry=False), 1, None, None, id="the upstream says that it is no use"),
    ],
)
def test_delays(error: GatewayError, attempt: int, remaining: float | None, expected: float | None) -> None:
    assert POLICY.delay(error, attempt, chance=1.0, remaining=remaining) == expected


def test_chance_spreads_the_delay_over_half_of_it() -> None:
    assert POLICY.delay(UpstreamError("x"), 1, chance=0.0, remaining=None) == 0.5
