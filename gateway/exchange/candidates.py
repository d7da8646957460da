"""The candidates of a request in the order in which they are asked, and those that are left after a failure."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from gateway.context import Context
from gateway.errors import GatewayError
from gateway.exchange.client_keys import with_client_keys
from gateway.exchange.plan import Plan
from gateway.exchange.sessions import conversation_of, session_of
from gateway.exchange.walk import callable_first
from gateway.messages.prompt import Prompt
from gateway.upstream.affinity import in_order, needs_order
from gateway.upstream.failure import Moves, counted_tokens, failure_of
from gateway.upstream.live_circuits import LiveCircuits
from gateway.upstream.routing import Route
from gateway.upstream.table import Routing


@dataclass(slots=True)
class Candidates:
    """`_turns` numbers the requests without a session, for the keys of one upstream to take turns."""

    routing: Routing
    circuits: LiveCircuits
    _turns: Iterator[int] = field(default_factory=count, init=False, repr=False)

    def in_order(self, context: Context, prompt: Prompt, routes: tuple[Route, ...]) -> Sequence[Route]:
        """Return the candidates in the order for the request's session; those that cannot be called now come last.

        Raises Unauthenticated if all of them are asked with the caller's own key, and there is none.
        """
        if needs_order(routes):
            routes = self._of_session(context, prompt, routes)
        routes = with_client_keys(routes, context)
        return routes if len(routes) == 1 else callable_first(routes, self.circuits)

    def left_after(self, plan: Plan, error: GatewayError) -> list[Route]:
        """Return the candidates that may be asked after this failure."""
        if failure_of(error).moves is not Moves.LONGER:
            return plan.fallbacks
        tokens = max(plan.reply.input_estimate, counted_tokens(error))
        overflow = [one for one in self.routing.table.overflow_of(plan.route) if not one.upstream.takes_client_key]
        return with_longer_windows(plan.fallbacks, overflow, plan.route, tokens, plan.reply.max_tokens or 0)

    def _of_session(self, context: Context, prompt: Prompt, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        if not routes[0].rule.sticky:
            return in_order(routes, secrets.token_bytes(8))
        session = session_of(context, prompt.request)
        if session is not None:
            return in_order(routes, session)
        return in_order(routes, conversation_of(context, prompt.request), next(self._turns))


def with_longer_windows(
    routes: Sequence[Route], overflow: Sequence[Route], failed: Route, tokens: int, answer: int
) -> list[Route]:
    """Return the candidates for a prompt of so many tokens, and an answer, that were too long for `failed`: those with
    a known window that is long enough, then those that the operator has for long prompts.
    """
    least, window = tokens + answer, failed.target.context_length or 0

    def is_other(route: Route) -> bool:
        return (route.upstream.name, route.target.model) != (failed.upstream.name, failed.target.model)

    longer = [route for route in routes if (route.target.context_length or 0) >= max(least, window + 1)]
    return longer + [
        route
        for route in overflow
        if is_other(route) and (route.target.context_length is None or route.target.context_length >= least)
    ]
