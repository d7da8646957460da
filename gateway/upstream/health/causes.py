"""Cause and origin of a failed request, from closed sets, for log lines, metrics and the documentation. Pure.

The origin is the party at fault. `client`: the request, its key or its limits. `upstream`: its server, or a provider
behind it. `account`: the operator's account there. `gateway`: this process, its settings or its store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import (
    AnswerCut,
    BillingProblem,
    BudgetSpent,
    CircuitOpen,
    Conflict,
    CredentialsRefused,
    EmptyAnswer,
    GatewayError,
    InvalidRequest,
    Misconfigured,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTimedOut,
    RequestTooLarge,
    StoreAway,
    Unauthenticated,
    Unavailable,
    UpstreamError,
    UpstreamFull,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gateway.upstream.health.failure import TOO_LONG, is_refused_content

Fault = Literal["client", "upstream", "account", "gateway"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A row of the table. `meaning` is its row in docs/errors.md."""

    name: str
    origin: Fault
    kind: type[GatewayError] | tuple[type[GatewayError], ...]
    meaning: str
    applies: Callable[[GatewayError], bool] = lambda _: True


def _was_said(error: GatewayError) -> bool:
    """Return True for a refusal in the upstream's own words, False for one of the gateway's own."""
    return error.said is not None


def _is_too_long(error: GatewayError) -> bool:
    return error.message.startswith(TOO_LONG)


# The first row that applies decides.
CAUSES: Final = (
    Cause("credentials", "account", CredentialsRefused, "the upstream refused the operator's key"),
    Cause("credit", "account", BillingProblem, "the account at the upstream, or a batch's spend cap, is used up"),
    Cause("content", "client", GatewayError, "the upstream moderates content and refused it", is_refused_content),
    Cause("forbidden", "account", PermissionDenied, "the account may not use this model or region", _was_said),
    Cause("permission", "client", PermissionDenied, "the client's key may not do this"),
    Cause("key", "client", Unauthenticated, "no client key, or none that is known"),
    Cause("too_long", "client", InvalidRequest, "the prompt exceeds the model's window", _is_too_long),
    Cause("model", "client", NotFound, "the upstream does not have the model", _was_said),
    Cause("not_found", "client", NotFound, "no such path, batch, file or model"),
    Cause("too_large", "client", RequestTooLarge, "the body exceeds a limit, the gateway's or the upstream's"),
    Cause("refused", "client", InvalidRequest, "the upstream refused the request as it is", _was_said),
    Cause("request", "client", InvalidRequest, "the gateway refused the request as it is"),
    Cause("conflict", "client", Conflict, "the request contradicts an earlier one"),
    Cause("slow_body", "client", RequestTimedOut, "the client stopped sending its body, or reading its stream"),
    Cause("budget", "client", BudgetSpent, "a budget of the client's key, user or tenant is used up"),
    Cause("limited", "upstream", RateLimited, "the upstream's rate limit", _was_said),
    Cause("rate_limit", "client", RateLimited, "a rate limit of the client's key, user or tenant"),
    Cause("circuit_open", "upstream", CircuitOpen, "the upstream failed lately and was not called"),
    Cause("upstream_limit", "gateway", UpstreamFull, "a limit that the operator has set for the upstream is reached"),
    Cause("overloaded", "upstream", Overloaded, "the upstream has no room now", _was_said),
    Cause("full", "gateway", Overloaded, "no free connection, file descriptor or memory in the gateway or its store"),
    Cause("timeout", "upstream", UpstreamTimedOut, "the upstream was silent for too long"),
    Cause("unreachable", "upstream", UpstreamUnreachable, "no connection, or it closed before an answer"),
    Cause("empty", "upstream", EmptyAnswer, "a stream that ended before its first chunk"),
    Cause("cut", "upstream", AnswerCut, "the answer began and broke off"),
    Cause("failed", "upstream", UpstreamError, "the upstream reported a failure", _was_said),
    Cause("unreadable", "upstream", UpstreamError, "an answer that is none: a web page, broken data, too large"),
    Cause("settings", "gateway", Misconfigured, "settings that cannot be sent to the upstream"),
    Cause("store", "gateway", StoreAway, "Redis cannot be reached, or refuses"),
    Cause("unavailable", "gateway", Unavailable, "the process stops, or the part that this needs is off"),
    Cause("internal", "gateway", GatewayError, "a fault of the gateway itself"),
)
CLIENT_LEFT: Final = Cause("client_gone", "client", (), "the client left before its answer was complete")


def cause_of(error: GatewayError) -> Cause:
    return next(row for row in CAUSES if isinstance(error, row.kind) and row.applies(error))
