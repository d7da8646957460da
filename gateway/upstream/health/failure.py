"""One table of failures: whether a failed call is repeated, moves to the next candidate, and what its circuit learns.

Pure. It applies before the first content only; afterwards no call is repeated. A refusal that is due to the request
itself ends the walk, because every other candidate would refuse it as well.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
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


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A row of the table. `again`: repeat the call where no other candidate is left.

    `whole_upstream`: the failure concerns all models of the upstream. `rank`: the error with the lowest rank is
    returned once no candidate is left.
    """

    name: str
    applies: Callable[[GatewayError], bool]
    again: bool
    moves: Moves
    effect: Effect
    rank: int
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


def _is_account(error: GatewayError) -> bool:
    return isinstance(error, BillingProblem | CredentialsRefused | Misconfigured)


def _is_key_of_other_models(error: GatewayError) -> bool:
    return isinstance(error, CredentialsRefused) and NO_ACCESS_TO_MODEL.search(_words(error)) is not None


def _is_model(error: GatewayError) -> bool:
    """Return True for a missing or restricted model, and for what OpenRouter calls not retryable."""
    if isinstance(error, PermissionDenied):
        return RESTRICTED.search(_words(error)) is not None
    return isinstance(error, NotFound) or (error.retryable and error.should_retry is False)


def _is_own_limit(error: GatewayError) -> bool:
    return isinstance(error, Overloaded) and error.said is None


# The first row that applies decides.
FAILURES: Final = (
    FailureRow("limit", lambda error: isinstance(error, UpstreamFull), False, Moves.YES, Effect.NONE, 2),
    FailureRow("content", is_refused_content, False, Moves.ON_REFUSAL, Effect.NONE, 0),
    FailureRow("model", _is_key_of_other_models, False, Moves.YES, Effect.MODEL, 5),
    FailureRow("account", _is_account, False, Moves.YES, Effect.ACCOUNT, 5, whole_upstream=True),
    FailureRow("model", _is_model, False, Moves.YES, Effect.MODEL, 6),
    FailureRow("forbidden", lambda error: isinstance(error, PermissionDenied), False, Moves.YES, Effect.NONE, 5),
    FailureRow("overflow", lambda error: error.message.startswith(TOO_LONG), False, Moves.LONGER, Effect.NONE, 0),
    FailureRow(
        "request", lambda error: isinstance(error, InvalidRequest | RequestTooLarge), False, Moves.NO, Effect.NONE, 0
    ),
    FailureRow("limited", lambda error: isinstance(error, RateLimited), True, Moves.YES, Effect.PAUSE, 1),
    FailureRow("open", lambda error: isinstance(error, CircuitOpen), False, Moves.YES, Effect.NONE, 2),
    FailureRow("full", _is_own_limit, True, Moves.YES, Effect.NONE, 2),
    FailureRow("overloaded", lambda error: isinstance(error, Overloaded), True, Moves.YES, Effect.BUSY, 2),
    # Nothing was received: a call that takes as long again would exceed the client's patience.
    FailureRow(
        "silent",
        lambda error: isinstance(error, UpstreamTimedOut) and error.said is None,
        False,
        Moves.YES,
        Effect.FAILURE,
        3,
    ),
    FailureRow("timeout", lambda error: isinstance(error, UpstreamTimedOut), True, Moves.YES, Effect.FAILURE, 3),
    FailureRow(
        "unreachable",
        lambda error: isinstance(error, UpstreamUnreachable),
        True,
        Moves.YES,
        Effect.FAILURE,
        4,
        whole_upstream=True,
    ),
    FailureRow("malformed", lambda error: isinstance(error, MalformedOutput), True, Moves.YES, Effect.NONE, 4),
    FailureRow("broken", lambda error: isinstance(error, UpstreamError), True, Moves.YES, Effect.FAILURE, 4),
)
OWN: Final = FailureRow("own", lambda _: True, False, Moves.NO, Effect.NONE, 0)


def failure_of(error: GatewayError) -> FailureRow:
    """Return the row that applies; the gateway's own failures have none in the table."""
    return next((row for row in FAILURES if row.applies(error)), OWN)


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
