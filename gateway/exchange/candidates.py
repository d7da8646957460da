"""The candidates of a request in the order in which they are asked, and those that are left after a failure."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from gateway.access.admission import Admission
from gateway.context import Context
from gateway.errors import GatewayError, PermissionDenied
from gateway.exchange.client_keys import with_client_keys
from gateway.exchange.key_policy import for_key
from gateway.exchange.plan import Plan
from gateway.exchange.sessions import caches_long, conversation_of, session_key, session_of
from gateway.exchange.walk import callable_first
from gateway.messages.prompt import Prompt
from gateway.upstream.health.failure import Moves, counted_tokens, failure_of
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.routes.affinity import in_order, needs_order
from gateway.upstream.routes.pins import CACHE_SECONDS, LONG_CACHE_SECONDS, Pins, first_pinned, name_of_candidate
from gateway.upstream.routes.route import Route
from gateway.upstream.routes.table import Routing


@dataclass(slots=True)
class Choice:
    """Candidates in their order. `home`: the session's candidate without trouble. `session`: None while it makes no
    difference. `caches_long`: the prompt is cached for an hour.
    """

    routes: Sequence[Route]
    home: Route
    session: bytes | None = field(default=None, repr=False)
    caches_long: bool = False


@dataclass(slots=True)
class Candidates:
    """`_turns` numbers the requests without a session, for the keys of one upstream to take turns."""

    routing: Routing
    circuits: LiveCircuits
    pins: Pins = field(default_factory=Pins)
    _turns: Iterator[int] = field(default_factory=count, init=False, repr=False)

    def choose(self, context: Context, prompt: Prompt, routes: tuple[Route, ...]) -> Choice:
        """Return the candidates in the order for the request's session; those that cannot be called now come last.

        Raises Unauthenticated if all of them are asked with the caller's own key, and there is none.
        """
        if needs_order(routes):
            routes = self._of_session(context, prompt, routes)
        routes = with_client_keys(routes, context)
        if len(routes) == 1:
            return Choice(routes, routes[0])
        home, session, is_sticky = routes[0], None, routes[0].rule.sticky
        if self.pins and is_sticky:
            session = session_key(context, prompt.request)
            routes = routes if session is None else first_pinned(routes, self.pins.find(session))
        ordered = callable_first(routes, self.circuits)
        if session is None and is_sticky and ordered[0] is not home:
            session = session_key(context, prompt.request)
        return Choice(ordered, home, session, ordered[0] is not home and caches_long(prompt.request))

    def left_after(self, plan: Plan, error: GatewayError, admission: Admission | None) -> list[Route]:
        """Return the candidates that may be asked after this failure."""
        if plan.session is None and plan.fallbacks and plan.prompt is not None and plan.route.rule.sticky:
            plan.session = session_key(plan.context, plan.prompt.request)
        if plan.prompt is not None and plan.session is not None:
            plan.caches_long = caches_long(plan.prompt.request)
        if failure_of(error).moves is not Moves.LONGER:
            return plan.fallbacks
        tokens = max(plan.reply.input_estimate, counted_tokens(error))
        overflow = tuple(one for one in self.routing.table.overflow_of(plan.route) if not one.upstream.takes_client_key)
        try:
            overflow = for_key(admission, plan.context, overflow)
        except PermissionDenied:
            overflow = ()
        return with_longer_windows(plan.fallbacks, overflow, plan.route, tokens, plan.reply.max_tokens or 0)

    def note_answered(self, plan: Plan) -> None:
        """Keep the session at the candidate that has answered, if that is not its first choice."""
        assert plan.session is not None
        is_home = name_of_candidate(plan.route) == name_of_candidate(plan.home)
        if not is_home or self.pins.find(plan.session) is not None:
            self.pins.keep(plan.session, plan.route, LONG_CACHE_SECONDS if plan.caches_long else CACHE_SECONDS)

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
    """Return the candidates for a prompt and an answer, in tokens, that were too long for `failed`: those with a known
    window that is long enough, then those that the operator has for long prompts.
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
