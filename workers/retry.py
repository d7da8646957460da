"""Retry policy of failed items. Pure.

An item waits in the queue, not in a slot. Attempts that the upstream accepted and then failed count against it. A 429
and a failed connection do not, so a batch survives them until it expires. An account without credit does not count
either, unless the model serves other items meanwhile: then the account cannot pay for this item. Output that a server
cannot read counts as several attempts, since each is paid for.
"""

from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError, MalformedOutput, RateLimited, Unavailable, UpstreamFull
from gateway.upstream.health.retry import MAX_MALFORMED
from gateway.upstream.health.trouble import ACCOUNT_DELAY, MAX_RETRY_AFTER, Trouble, trouble_of

# With the delays below, eight attempts span up to three minutes; longer outages open the circuit and cost no attempts.
MAX_ATTEMPTS: Final = 8
FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 60.0
# Spread of items that are due at the same time.
SPREAD: Final = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """Counts of earlier attempts: `tries` count against the item, consecutive `refusals` do not."""

    tries: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """Try the item again after `delay` seconds, with this history."""

    delay: float
    history: History


def next_try(error: GatewayError, history: History, chance: float, *, others_served: bool = False) -> Again | None:
    """Return when to try an item again after a failed attempt; None if the failure is the item's result.

    `chance` (0..1) spreads items. The upstream's `retry_after` is a floor. `others_served`: the model has accepted
    calls lately.
    """
    if isinstance(error, Unavailable):  # the gateway's own: this process is stopping, or a part of it is off
        return Again(FIRST_DELAY * (1 + chance), history)
    if isinstance(error, UpstreamFull) and error.should_retry is not False:  # nothing was sent
        return Again((error.retry_after or FIRST_DELAY) + chance * SPREAD, history)
    trouble = trouble_of(error)
    if trouble is Trouble.NONE:
        return None
    counts = others_served if trouble is Trouble.ACCOUNT else not is_refusal(error, trouble)
    weight = MAX_ATTEMPTS // MAX_MALFORMED if isinstance(error, MalformedOutput) else 1
    tries, refusals = (history.tries + weight, 0) if counts else (history.tries, history.refusals + 1)
    if tries >= MAX_ATTEMPTS:
        return None
    again = History(tries, refusals)
    if trouble is Trouble.ACCOUNT:
        return Again(ACCOUNT_DELAY * (1 + chance), again)
    # Back off for items that are refused repeatedly, too: each refusal slows its batch down.
    backoff = chance * min(MAX_DELAY, FIRST_DELAY * 2 ** min(tries if counts else refusals - 1, 16))
    if error.retry_after is None:
        return Again(backoff, again)
    return Again(max(backoff, min(error.retry_after, MAX_RETRY_AFTER) + chance * SPREAD), again)


def is_refusal(error: GatewayError, trouble: Trouble) -> bool:
    """Return True if the upstream did not accept the call."""
    return trouble is Trouble.UNREACHABLE or isinstance(error, RateLimited)
