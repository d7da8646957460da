"""Classification of failed calls: trouble of the upstream, or of the request alone. Pure."""

from enum import Enum
from typing import Final

from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    Misconfigured,
    Overloaded,
    RateLimited,
    UpstreamUnreachable,
)

# No credit, or a key that is refused: the operator has to act first.
ACCOUNT_DELAY: Final = 60.0
# An upstream that asks for a longer pause is called again after this all the same.
MAX_RETRY_AFTER: Final = 600.0


class Trouble(Enum):
    """The kinds of trouble. The values are metric labels."""

    NONE = "none"  # the failure is the request's own
    PRESSURE = "pressure"  # too many calls now
    FAILURE = "failure"  # it accepted the call, and then broke or fell silent
    UNREACHABLE = "unreachable"
    ACCOUNT = "account"  # the operator's account at the upstream, or settings that it cannot be called with


def trouble_of(error: GatewayError) -> Trouble:
    if isinstance(error, BillingProblem | CredentialsRefused | Misconfigured):
        return Trouble.ACCOUNT
    if not error.retryable or error.should_retry is False:
        return Trouble.NONE
    if isinstance(error, UpstreamUnreachable):
        return Trouble.UNREACHABLE
    return Trouble.PRESSURE if isinstance(error, RateLimited | Overloaded) else Trouble.FAILURE
