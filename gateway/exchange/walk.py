"""One request's way along its candidates: the next step after a failed call, and how long a call may take.

A failure goes to the next candidate at once; a call is repeated in place only where no other candidate is left. With a
dead first upstream, three tries in place before the second candidate cost 1.5 s and two more calls a request
(simulated).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

from gateway.errors import GatewayError, MalformedOutput, drop_frames
from gateway.exchange.plan import Plan
from gateway.upstream.health.failure import Moves, error_to_return, failure_of
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.health.retry import MAX_ATTEMPTS, MAX_MALFORMED, RetryPolicy
from gateway.upstream.http.client import Timeouts
from gateway.upstream.routes.route import Route, UpstreamTimeouts


@dataclass(slots=True)
class Walk:
    """Calls of one request so far, without heals. `here`: those to the current candidate since it was taken.

    `malformed`: those of them with output that the server could not read. Others cost nothing, and do not count.
    """

    policy: RetryPolicy
    calls: int = 0
    here: int = 0
    malformed: int = 0
    hedges: int = 0
    errors: list[GatewayError] = field(default_factory=list)

    @property
    def is_retry(self) -> bool:
        return self.here > 0

    def begin(self) -> None:
        self.calls += 1
        self.here += 1

    def move(self) -> None:
        self.here = self.malformed = 0

    def heal(self, error: GatewayError) -> None:
        """A changed request is no repetition; heals have a separate limit."""
        drop_frames(error)
        self.calls -= 1
        self.here -= 1

    def note_failure(self, error: GatewayError) -> None:
        """Keep the error until the walk is over, without the frames of its call."""
        drop_frames(error)
        self.errors.append(error)
        self.malformed += isinstance(error, MalformedOutput)

    def may_move(self, plan: Plan, error: GatewayError) -> bool:
        """Return True if the next candidate may be asked after this failure."""
        moves, self.hedges = failure_of(error).moves, plan.hedges
        if moves is Moves.ON_REFUSAL:
            moves = Moves.YES if plan.route.rule.on_refusal == "next" else Moves.NO
        return moves is not Moves.NO and self.calls + self.hedges < max(MAX_ATTEMPTS, self.policy.max_attempts)

    def delay(self, error: GatewayError, chance: float, remaining: float) -> float | None:
        """Return the seconds until the call is repeated in place, None if it is not."""
        if not failure_of(error).again or self.calls + self.hedges >= self.policy.max_attempts:
            return None
        if isinstance(error, MalformedOutput) and self.malformed >= MAX_MALFORMED:
            return None
        return self.policy.delay(error, self.here, chance, remaining)

    def final(self) -> GatewayError:
        """Return the error for the client; the last one if it ended the walk by itself."""
        last = self.errors[-1]
        return error_to_return(self.errors) if failure_of(last).moves is Moves.YES else last


def callable_first(routes: Sequence[Route], circuits: LiveCircuits) -> list[Route]:
    """Return the candidates in the order in which they are asked: full ones late, those with an open circuit last."""
    if circuits.are_free(routes):
        return list(routes)
    return sorted(routes, key=lambda route: (circuits.wait(route) > 0, circuits.is_full(route)))


def patience(plan: Plan, circuits: LiveCircuits, times: Timeouts) -> tuple[Timeouts, float]:
    """Return the timeouts of the next call and the seconds to its first content: shorter while another candidate could
    answer."""
    left = plan.fallbacks
    last = not left or (not circuits.are_calm() and all(circuits.wait(route) > 0 for route in left))
    own = plan.route.upstream.timeouts
    content_within = inf if last or own.first_content is None else own.first_content
    return call_timeouts(times, own, last, plan.prepared.is_streamed), content_within


@lru_cache(maxsize=256)
def call_timeouts(times: Timeouts, own: UpstreamTimeouts, last: bool, is_streamed: bool) -> Timeouts:
    """Return the timeouts of a call to an upstream with its own; `last`: no other candidate is left.

    A JSON answer has no header before it is whole.
    """
    header = times.first_byte
    if not is_streamed:
        total = total_within(times, own)
        return Timeouts(own.connect, total, own.idle, total)
    if not last and own.header is not None:
        header = own.header if header is None else min(header, own.header)
    return Timeouts(own.connect, header, own.idle, total_within(times, own))


def total_within(times: Timeouts, own: UpstreamTimeouts) -> float | None:
    """Return the seconds that a call may take; None for a stream, which has no limit."""
    return None if times.total is None else min(times.total, own.total)
