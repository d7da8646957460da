"""When an item that failed is tried again. Pure.

An item waits in the queue, not in a slot. Only attempts that the upstream accepted and then failed count against it. A
429, a connection that could not be made and an account without credit do not, so a batch outlasts any of these until
it expires.
"""

from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError, RateLimited, Unavailable
from gateway.upstream.trouble import ACCOUNT_DELAY, MAX_RETRY_AFTER, Trouble, trouble_of

MAX_ATTEMPTS: Final = 8
FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 60.0
# Items that were told to come back at the same time are spread over this.
SPREAD: Final = 1.0


@dataclass(frozen=True, slots=True)
class Again:
    """Try the item again after `delay` seconds; `tries` are the attempts that count against it so far."""

    delay: float
    tries: int


def next_try(error: GatewayError, tries: int, chance: float) -> Again | None:
    """Return when to try an item again after a failed attempt; None if the failure is the item's result.

    `tries` attempts counted before this one. `chance` (0..1) spreads items. The upstream's `retry_after` is a floor.
    """
    if isinstance(error, Unavailable):  # the gateway's own: this process is stopping, or a part of it is off
        return Again(FIRST_DELAY * (1 + chance), tries)
    trouble = trouble_of(error)
    if trouble is Trouble.NONE:
        return None
    if trouble is Trouble.ACCOUNT:
        return Again(ACCOUNT_DELAY * (1 + chance), tries)
    if trouble is not Trouble.UNREACHABLE and not isinstance(error, RateLimited):
        tries += 1
    if tries >= MAX_ATTEMPTS:
        return None
    backoff = chance * min(MAX_DELAY, FIRST_DELAY * 2**tries)
    if error.retry_after is None:
        return Again(backoff, tries)
    return Again(max(backoff, min(error.retry_after, MAX_RETRY_AFTER) + chance * SPREAD), tries)
