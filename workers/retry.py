"""When an item that failed is tried again, how long after, and what its failure says of the upstream. Pure.

An item waits in the queue, not in a slot. What counts against it are attempts that the upstream took on and failed at;
being turned away (429), not getting through, or an account without credit says nothing about the item, so a batch
outlasts any of these until it expires.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    Overloaded,
    RateLimited,
    Unavailable,
    UpstreamUnreachable,
)

MAX_ATTEMPTS: Final = 8
FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 60.0
# An upstream that asks for more is asked again after this all the same.
MAX_RETRY_AFTER: Final = 600.0
# No credit, or a key that is refused: somebody has to do something first.
ACCOUNT_DELAY: Final = 60.0
# Items told to come back at the same time are spread over this.
SPREAD: Final = 1.0


class Trouble(Enum):
    """What a failure says of the upstream. The values are metric labels."""

    NONE = "none"  # it is the item's own
    PRESSURE = "pressure"  # too many calls now
    FAILURE = "failure"  # it took the call on, and broke or fell silent
    UNREACHABLE = "unreachable"
    ACCOUNT = "account"  # the operator's, not the client's


@dataclass(frozen=True, slots=True)
class Again:
    """Try the item again after `delay` seconds; `tries` are the attempts that count against it so far."""

    delay: float
    tries: int


def trouble_of(error: GatewayError) -> Trouble:
    if isinstance(error, BillingProblem | CredentialsRefused):
        return Trouble.ACCOUNT
    if not error.retryable or error.should_retry is False:
        return Trouble.NONE
    if isinstance(error, UpstreamUnreachable):
        return Trouble.UNREACHABLE
    return Trouble.PRESSURE if isinstance(error, RateLimited | Overloaded) else Trouble.FAILURE


def next_try(error: GatewayError, tries: int, chance: float) -> Again | None:
    """After a failed attempt, `tries` before it counting; None when the failure is the item's result.

    `chance` (0..1) spreads items. What the upstream asks for (`retry_after`) is a floor.
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
