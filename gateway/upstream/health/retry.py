"""Rules for retries: whether a failed attempt is repeated, and the wait before the next one.

Pure: the caller brings clock and chance.
"""

from dataclasses import dataclass

from gateway.errors import GatewayError, RateLimited

# A live client is waiting: it retries by itself too, so the gateway only bridges short gaps.
MAX_ATTEMPTS = 3
FIRST_DELAY = 0.25
MAX_DELAY = 4.0
# Calls that end in output which its server cannot read: each is paid for, and a third is no better than the second.
MAX_MALFORMED = 2
# For a longer `retry-after` the gateway passes the answer on, and the client decides.
MAX_RETRY_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds; `max_attempts` counts the first one."""

    max_attempts: int = MAX_ATTEMPTS
    first_delay: float = FIRST_DELAY
    max_delay: float = MAX_DELAY
    max_retry_after: float = MAX_RETRY_AFTER

    def delay(self, error: GatewayError, attempt: int, chance: float, remaining: float | None) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 1), or None to give up.

        `chance` (0..1) spreads the clients; `remaining` is what is left until the exchange's deadline.
        An upstream's `retry-after` is a floor, never shortened. A proxy that retries by itself (LiteLLM) is asked once.
        """
        if not error.retryable or error.should_retry is False or error.was_retried or attempt >= self.max_attempts:
            return None
        delay = min(self.max_delay, self.first_delay * 2 ** (attempt - 1)) * (0.5 + chance / 2)
        if error.retry_after is not None:
            if error.retry_after > self.max_retry_after:
                return None
            delay = max(delay, error.retry_after)
        elif isinstance(error, RateLimited):
            delay = max(delay, self.first_delay * 2)
        return delay if remaining is None or delay < remaining else None
