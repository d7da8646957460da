"""Another form of a request that the upstream has refused, or has answered with nothing."""

from typing import Final

from gateway.dialects.base import Dialect, Prepared
from gateway.errors import EmptyAnswer, GatewayError
from gateway.exchange.plan import Plan

# Additional calls of one request after the upstream refused something in it.
MAX_HEALS: Final = 2


def healed(dialect: Dialect, plan: Plan, error: GatewayError) -> Prepared | None:
    """Return the request changed so that it avoids the refusal, None if no change is left to try."""
    if isinstance(error, EmptyAnswer) and plan.prepared.is_streamed and not plan.fallbacks:
        # Some servers hide the reason of a failed stream in a 200 without a body; without stream they give it
        # (llama-cpp-python 0.3.36).
        return dialect.unstreamed(plan.prepared)
    if len(plan.prepared.healed) < MAX_HEALS:
        return dialect.heal(plan.prepared, plan.route, error)
    return None
