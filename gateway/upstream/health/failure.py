"""One table of failures: whether a failed call is repeated, moves to the next candidate, and what its circuit learns.

Pure. It applies before the first content only; afterwards no call is repeated. A refusal that is due to the request
itself ends the walk, because every other candidate would refuse it as well.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum, IntEnum
from math import inf
from typing import Final

from gateway.errors import (
    BillingProblem,
    CircuitOpen,
    CredentialsRefused,
    GatewayError,
    InvalidRequest,
    MalformedOutput,
    Misconfigured,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    UpstreamError,
    UpstreamFull,
    UpstreamTimedOut,
    UpstreamUnreachable,
)


class Effect(Enum):
    """Effect of a failure on its circuit."""

    NONE = "none"  # the request's own fault, or the gateway's
    FAILURE = "failure"
    PAUSE = "pause"
    BUSY = "busy"  # a failure, and a pause: 503, 529, 498
    ACCOUNT = "account"
    MODEL = "model"


class Moves(Enum):
    """Whether the next candidate is asked."""

    YES = "yes"
    NO = "no"
    ON_REFUSAL = "on_refusal"  # only where the route has `on_refusal = "next"`
    LONGER = "longer"  # only one that the prompt fits into


class Rank(IntEnum):
    """Order of errors: once every candidate has failed, the client gets the one with the lowest rank."""

    REQUEST = 0  # the request's own fault
    RATE_LIMIT = 1
    FULL = 2
    TIMEOUT = 3
    BROKEN = 4
    ACCOUNT = 5
    MODEL = 6


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A row of the table, for errors of a kind that it applies to. `again`: repeat the call at the last candidate.

    `whole_upstream`: the failure concerns all models of the upstream.
    """

    name: str
    kind: type[GatewayError] | tuple[type[GatewayError], ...]
    rank: Rank
    _: KW_ONLY
    applies: Callable[[GatewayError], bool] = lambda _: True
    again: bool = False
    moves: Moves = Moves.YES
    effect: Effect = Effect.NONE
    whole_upstream: bool = False


REFUSED_CONTENT: Final = re.compile(
    r"moderation|moderated|flagged|guardrail|content[_ ]filter|content[_ ]policy|content management policy|safety",
    re.IGNORECASE,
)
RESTRICTED: Final = re.compile(r"region|country|territory|privacy|data policy|not available in", re.IGNORECASE)
# Of a refusal of the operator's key that concerns one model (LiteLLM's virtual keys, and what stands behind proxies).
NO_ACCESS_TO_MODEL: Final = re.compile(
    r"model_access_denied|model_not_allowed|model access|access(?: to)?(?: the| this)? model"
    r"|(?:allowed|authori[sz]ed|entitled|permitted|permission|subscribed) (?:to|for) (?:(?:access|use|call) )?"
    r"(?:(?:the|this) )?model"
    r"|model\b.{0,80}?not (?:allowed|authori[sz]ed|entitled|permitted|enabled|subscribed)",
    re.IGNORECASE,
)
# Anthropic's words, into which those of all upstreams are converted.
TOO_LONG: Final = ("prompt is too long", "input length and `max_tokens` exceed context limit")
PROMPT_TOKENS: Final = re.compile(r"(?:too long: |context limit: )(\d+)")


def _words(error: GatewayError) -> str:
    kind = (error.details or {}).get("upstream_error_type", "")
    return f"{kind} {error.message} {error.said.text if error.said is not None else ''}"


def is_refused_content(error: GatewayError) -> bool:
    return isinstance(error, InvalidRequest | PermissionDenied) and REFUSED_CONTENT.search(_words(error)) is not None


def _is_of_one_model(error: GatewayError) -> bool:
    """Return True where the operator's key is refused for this model alone."""
    return NO_ACCESS_TO_MODEL.search(_words(error)) is not None


def _is_model(error: GatewayError) -> bool:
    """Return True for a missing or restricted model, and for what OpenRouter calls not retryable."""
    if isinstance(error, PermissionDenied):
        return RESTRICTED.search(_words(error)) is not None
    return isinstance(error, NotFound) or (error.retryable and error.should_retry is False)


def _is_too_long(error: GatewayError) -> bool:
    return error.message.startswith(TOO_LONG)


def _is_own(error: GatewayError) -> bool:
    """Return True for an error of the gateway's own, False for the upstream's words."""
    return error.said is None


# The first row that applies decides.
FAILURES: Final = (
    FailureRow("limit", UpstreamFull, Rank.FULL),
    FailureRow("content", GatewayError, Rank.REQUEST, applies=is_refused_content, moves=Moves.ON_REFUSAL),
    FailureRow("model", CredentialsRefused, Rank.ACCOUNT, applies=_is_of_one_model, effect=Effect.MODEL),
    FailureRow(
        "account",
        (BillingProblem, CredentialsRefused, Misconfigured),
        Rank.ACCOUNT,
        effect=Effect.ACCOUNT,
        whole_upstream=True,
    ),
    FailureRow("model", GatewayError, Rank.MODEL, applies=_is_model, effect=Effect.MODEL),
    FailureRow("forbidden", PermissionDenied, Rank.ACCOUNT),
    FailureRow("overflow", GatewayError, Rank.REQUEST, applies=_is_too_long, moves=Moves.LONGER),
    FailureRow("request", (InvalidRequest, RequestTooLarge), Rank.REQUEST, moves=Moves.NO),
    FailureRow("limited", RateLimited, Rank.RATE_LIMIT, again=True, effect=Effect.PAUSE),
    FailureRow("open", CircuitOpen, Rank.FULL),
    FailureRow("full", Overloaded, Rank.FULL, applies=_is_own, again=True),
    FailureRow("overloaded", Overloaded, Rank.FULL, again=True, effect=Effect.BUSY),
    # Not again: nothing was received, and a call that takes as long would exceed the client's patience.
    FailureRow("silent", UpstreamTimedOut, Rank.TIMEOUT, applies=_is_own, effect=Effect.FAILURE),
    FailureRow("timeout", UpstreamTimedOut, Rank.TIMEOUT, again=True, effect=Effect.FAILURE),
    FailureRow("unreachable", UpstreamUnreachable, Rank.BROKEN, again=True, effect=Effect.FAILURE, whole_upstream=True),
    FailureRow("malformed", MalformedOutput, Rank.BROKEN, again=True),
    FailureRow("broken", UpstreamError, Rank.BROKEN, again=True, effect=Effect.FAILURE),
)
OWN: Final = FailureRow("own", GatewayError, Rank.REQUEST, moves=Moves.NO)


def failure_of(error: GatewayError) -> FailureRow:
    """Return the row that applies; the gateway's own failures have none in the table."""
    return next((row for row in FAILURES if isinstance(error, row.kind) and row.applies(error)), OWN)


def counted_tokens(error: GatewayError) -> int:
    """Return the tokens of the prompt as the refusal of a long one counts them, 0 if it does not."""
    found = PROMPT_TOKENS.search(error.message)
    return int(found[1]) if found else 0


def error_to_return(errors: Sequence[GatewayError]) -> GatewayError:
    """Return the error for the client of a request that failed at every candidate; `errors` in their order.

    A refusal of the request itself is always the last one. Otherwise: the 429 with the least wait, 529, 504, 502, the
    account's, 404.
    """
    return min(reversed(errors), key=lambda error: (failure_of(error).rank, error.retry_after or inf))
