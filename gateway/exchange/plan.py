"""The state of one exchange, and what is noted of it in its usage record."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.cache.key import VOLATILE
from gateway.context import Context
from gateway.dialects.base import Prepared
from gateway.dialects.reply import Reply
from gateway.errors import CircuitOpen, GatewayError, NotFound
from gateway.exchange.list_price import tokens_beside
from gateway.exchange.sink import Sink
from gateway.messages.notes import Note, field_of
from gateway.messages.prompt import Prompt
from gateway.telemetry.logs import log_note
from gateway.telemetry.metrics import RETRY_AFTER
from gateway.telemetry.usage import CLIENT_GONE, Attempted, UsageRecord
from gateway.upstream.capacity.lanes import LaneDemand
from gateway.upstream.health.causes import CLIENT_LEFT, cause_of
from gateway.upstream.health.failure import failure_of
from gateway.upstream.health.live_circuits import LiveCall
from gateway.upstream.models.prices import Price
from gateway.upstream.routes.route import Route

# Of an answer that failed after its header.
HEADER_STATUS = 200


def do_nothing() -> None: ...


class Contest(Protocol):
    """A race of two calls for one request."""

    def claim(self) -> bool:
        """Return True if this call answers the request, False if the other one does."""

    def gated(self, sink: Sink) -> Sink:
        """Return the client's sink, closed to this call once the other one answers."""


@dataclass(slots=True)
class Plan:
    """State of one exchange: the prompt, the candidates left to try, and the request prepared for the current one.

    Each candidate is prepared when it is tried. `prompt` is None once a client has received content: no retry is
    possible then, and a long prompt dominates the memory of an open stream.

    `own_notes`: number of validation's notes, which lead the record's. They may differ between requests that are equal
    to the prompt cache; the conversion's notes do not.
    """

    context: Context
    prompt: Prompt | None
    record: UsageRecord
    route: Route
    prepared: Prepared
    fallbacks: list[Route]
    own_notes: int
    prewarms: bool  # max_tokens is 0: fill the upstream's prompt cache, return no content
    is_alone: bool  # the model has one candidate
    home: Route  # of its session, without trouble
    session: bytes | None = field(default=None, repr=False)  # known once its candidate may differ from its home
    caches_long: bool = False  # at the upstream, for an hour
    call: LiveCall = field(init=False)  # the current one, or the last
    is_noted: bool = False  # the record has the current call
    begun: float = 0.0  # when the current call was made, and its span where it is traced
    span_id: str = ""
    unknown_price: Price | None = None  # what a model without a price counts as
    contest: Contest | None = None  # with a second call to another candidate
    hedges: int = 0  # calls that were made beside another one
    isolate: Callable[[], None] = do_nothing  # called if limits of the client's key shorten or refuse the answer

    @property
    def reply(self) -> Reply:
        return self.prepared.reply

    def release(self) -> None:
        """Take the first content as the call's success, and free the prompt."""
        if not self.claim():
            return
        self.call.succeeded()
        self.prompt = None
        self.prepared.release()

    def claim(self) -> bool:
        """Answer the request with the current call. Return False if another call does."""
        return self.contest is None or self.contest.claim()

    def gated(self, sink: Sink) -> Sink:
        """Return the sink for the current call."""
        return sink if self.contest is None else self.contest.gated(sink)

    def note_header(self, seconds: float) -> None:
        """Record the current call as answered, until it fails."""
        self.record.attempted.append(self.attempted(str(HEADER_STATUS), seconds, "ok"))
        self.record.header_seconds = seconds
        self.is_noted = True

    def note_failure(self, error: GatewayError, seconds: float) -> None:
        """Record how the current call failed, also after its header promised an answer."""
        error.answered = error.said.status if error.said is not None else HEADER_STATUS if self.is_noted else None
        if self.is_noted:
            self.record.attempted.pop()
            self.is_noted = False
        if isinstance(error, CircuitOpen) or (isinstance(error, NotFound) and error.said is None):  # there was no call
            return
        if error.said is not None and error.retry_after is not None:
            RETRY_AFTER.observe(error.retry_after)
        row = failure_of(error)
        status = str(error.said.status) if error.said is not None else row.name
        self.record.attempted.append(self.attempted(status, seconds, row.name))

    def attempted(self, outcome: str, seconds: float, kind: str) -> Attempted:
        route = self.route
        return Attempted(route.upstream.name, outcome, seconds, kind, self.begun, route.target.model, self.span_id)

    def to_demand(self, priority: int) -> LaneDemand:
        """Return the needs of the next call. `priority`: see `LaneDemand`."""
        is_batch, record = self.context.priority == "batch", self.record

        def used() -> int:
            own = record.input_tokens + record.cache_write_tokens + record.output_tokens
            return own + sum(tokens_beside(record.usage))

        return LaneDemand(self.reply.input_estimate, is_batch, not (is_batch or self.fallbacks), used, priority)

    @property
    def is_released(self) -> bool:
        return self.prompt is None


def note_losses(record: UsageRecord, notes: Iterable[Note]) -> None:
    """Record notes for header, log line and metric, without their reasons: each reason has a separate log line.

    What a second candidate loses like the first is recorded once.
    """
    for note in notes:
        if note.text not in record.notes:
            record.notes.append(note.text)
            log_note(record.context, note)


def note_error(record: UsageRecord, error: GatewayError) -> None:
    """Record how an exchange failed, and where."""
    cause = cause_of(error)
    record.status, record.error_type = error.status, error.type
    record.cause, record.origin, record.upstream_status = cause.name, cause.origin, error.answered
    record.upstream_words = error.said.text if error.said is not None else ""
    # Without a name the upstream is a provider itself.
    record.provider = error.provider or record.provider or record.upstream or None


def note_gone(record: UsageRecord) -> None:
    record.status, record.error_type = CLIENT_GONE, CLIENT_LEFT.name
    record.cause, record.origin = CLIENT_LEFT.name, CLIENT_LEFT.origin


def shared_notes(plan: Plan) -> tuple[str, ...]:
    """Return the notes common to equal requests, without notes on fields in which they may differ."""
    return tuple(note for note in plan.record.notes[plan.own_notes :] if field_of(note) not in VOLATILE)
