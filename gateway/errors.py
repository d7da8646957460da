"""Errors that clients can receive, with Anthropic's types and statuses.

GatewayError
├── InvalidRequest        400  the client's: the request can never work as it is
│   ├── OutputLimitReached     the limit was reached before any of the answer; not shown to clients
│   ├── MethodNotAllowed  405
│   ├── UpgradeRequired   426  a WebSocket, which the gateway does not have
│   └── UnsupportedMedia  415
├── Unauthenticated       401  the client's: no key, or a wrong one
├── BillingProblem        402  the account at the upstream has no credit
├── PermissionDenied      403  the key may not do this
├── NotFound              404  path, model, batch
├── RequestTimedOut       408  the client stopped sending its body
├── Conflict              409
│   └── PreconditionFailed 412  the record has changed since the version that was named
├── RequestTooLarge       413
├── RateLimited           429
├── BudgetSpent           429  a budget of this gateway is used up
├── InternalError         500  ours
│   ├── CredentialsRefused     the upstream refused the operator's own key
│   └── Misconfigured          the operator's settings cannot be sent to the upstream
├── UpstreamError         502  the upstream's: broken or unintelligible answer
│   ├── UpstreamUnreachable    no connection could be made, or it broke before any answer
│   ├── AnswerCut              the answer began and broke off
│   ├── EmptyAnswer            a stream that ended before its first chunk
│   └── MalformedOutput        the server could not read the output of its own model
├── Unavailable           503  this process is draining, or a part it needs is off
│   └── StoreAway              Redis cannot be reached now, or cannot serve: it may be back in a moment
├── UpstreamTimedOut      504  the upstream was silent for too long
└── Overloaded            529  the upstream, or the gateway, has no room now
    ├── CircuitOpen            the upstream failed lately and is not called
    └── UpstreamFull           a limit that the operator has set for the upstream is reached

Raise where the fact is known. Turned into HTTP in one place (web/middleware), into an item's result in one place
(workers/execute). Messages go to clients: never a secret, a prompt, an upstream URL or a stack in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

# Of a client's text in an error message: enough to find it, too little to fill a log.
QUOTED_LENGTH = 100


@dataclass(frozen=True, slots=True)
class UpstreamWords:
    """An upstream's words about a failure, for rules that look for its reason. Never shown to a client as they are.

    `pointers`: paths in the request that it names apart from its text.
    """

    status: int
    text: str = field(repr=False)
    pointers: tuple[str, ...] = ()


class GatewayError(Exception):
    """A failure with the status, type and hints a client needs to act on it.

    `code` becomes `error.details.error_code`, by which the SDKs choose coded error classes. `retry_after`: seconds.
    `should_retry` overrides the SDKs' own rule; None leaves it to them. `said`: by the upstream, if it answered.
    `relayed`: the `error` object of an upstream that speaks Messages, which the client gets as it is.
    `answered`: the HTTP status of the upstream's answer, if there was one; `provider`: whom the upstream named in it.
    `was_retried`: a proxy has called the server behind it repeatedly, so that asking it again would multiply its calls.
    `is_estimate`: the tokens in the message are not the upstream's own count of the prompt.
    `substitute`: the answer that the client gets in place of the error, in its dialect's form.
    """

    status: int = 500
    type: str = "api_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.headers: tuple[tuple[str, str], ...] = ()  # of the reply, beside those made of the other fields
        self.said: UpstreamWords | None = None
        self.relayed: dict[str, Any] | None = None
        self.answered: int | None = None
        self.provider: str | None = None
        self.was_retried = False
        self.is_estimate = False
        self.substitute: Any = None


def drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error that has been handled, and of the errors behind it.

    A traceback holds the frames of its request with all variables: the body, the prompt, the answer. If one of them
    holds the error, all of it stays in memory until the next full garbage collection, which is rare on purpose.
    """
    behind: BaseException | None = error
    while behind is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"


class OutputLimitReached(InvalidRequest):
    """A refusal in place of an answer without content."""


class MethodNotAllowed(InvalidRequest):
    status = 405


class UpgradeRequired(InvalidRequest):
    status = 426


class UnsupportedMedia(InvalidRequest):
    status = 415


class Unauthenticated(GatewayError):
    status = 401
    type = "authentication_error"


class BillingProblem(GatewayError):
    status = 402
    type = "billing_error"


class PermissionDenied(GatewayError):
    status = 403
    type = "permission_error"


class NotFound(GatewayError):
    status = 404
    type = "not_found_error"


class RequestTimedOut(GatewayError):
    status = 408
    type = "timeout_error"


class Conflict(GatewayError):
    status = 409
    type = "conflict_error"


class PreconditionFailed(Conflict):
    """A change of a record that another one has changed. SDKs repeat a 409, and never a 412."""

    status = 412


class RequestTooLarge(GatewayError):
    status = 413
    type = "request_too_large"


class RateLimited(GatewayError):
    status = 429
    type = "rate_limit_error"
    retryable = True


class BudgetSpent(GatewayError):
    """A budget of the gateway is used up. Worded like Anthropic's enforced spend limit."""

    status = 429
    type = "billing_error"


class InternalError(GatewayError):
    status = 500
    type = "api_error"


class CredentialsRefused(InternalError):
    pass


class Misconfigured(InternalError):
    pass


class UpstreamError(GatewayError):
    status = 502
    type = "api_error"
    retryable = True


class UpstreamUnreachable(UpstreamError):
    pass


class AnswerCut(UpstreamError):
    pass


class EmptyAnswer(UpstreamError):
    pass


class MalformedOutput(UpstreamError):
    """A failure that is due to the model's output. `calls`: those in the output that the failure quotes."""

    def __init__(self, message: str, *, calls: Sequence[Any] = (), **hints: Any) -> None:
        super().__init__(message, **hints)
        self.calls = calls


class Unavailable(GatewayError):
    status = 503
    type = "api_error"


class StoreAway(Unavailable):
    """`reason` is for logs and probes. `refusal`: the code of Redis' refusal, None without a reply."""

    def __init__(self, message: str, *, reason: str = "", refusal: str | None = None, retry_after: float = 2) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason = reason
        self.refusal = refusal


class UpstreamTimedOut(GatewayError):
    status = 504
    type = "timeout_error"
    retryable = True


class Overloaded(GatewayError):
    status = 529
    type = "overloaded_error"
    retryable = True


class CircuitOpen(Overloaded):
    pass


class UpstreamFull(Overloaded):
    pass


def shorten(text: str) -> str:
    """Shorten a client's own text for a message; it may be megabytes long."""
    return text if len(text) <= QUOTED_LENGTH else text[:QUOTED_LENGTH] + "…"


def to_envelope(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The body of an error reply, as Anthropic's API sends it; the same shape ends a stream and is a batch result."""
    if error.relayed is not None:
        return {"type": "error", "error": error.relayed, "request_id": request_id}
    body: dict[str, Any] = {"type": error.type, "message": error.message}
    details = dict(error.details or {})
    if error.code is not None:
        details["error_code"] = error.code
    if details:
        body["details"] = details
    return {"type": "error", "error": body, "request_id": request_id}
