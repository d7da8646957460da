"""The interface between the exchange and the wire format of an upstream.

A dialect is a pure converter. The exchange holds one for each name that a route may carry, calls `prepare` for a
candidate only when it is tried, sends the result, and feeds the reply into a converter or the error reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.dialects.reply import Reply
from gateway.errors import AnswerCut, EmptyAnswer, GatewayError
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.upstream.routes.route import Route
from gateway.upstream.vendors.adaptation import Adaptation


@dataclass(slots=True)
class Origin:
    """Model and provider that answered, as reported by the upstream. `cost` is in US dollars."""

    model: str | None = None
    provider: str | None = None
    generation_id: str | None = None
    cost: float | None = None
    estimated: bool = False  # the upstream sent no usage
    mismatched: bool = False  # its usage does not add up


@dataclass(slots=True)
class Answered:
    """A whole message in Anthropic's form. `written`: its JSON as it came, where that can be passed on.

    `is_original`: `written` is an answer in the API that the client speaks, and `message` has no more than its usage
    and stop reason.
    """

    message: dict[str, Any] = field(repr=False)
    origin: Origin
    notes: tuple[Note, ...] = ()
    written: bytes | None = field(default=None, repr=False)
    is_original: bool = False


@dataclass(slots=True)
class Asking:
    """Facts about the exchange that a conversion needs. `adaptations`: those learned for this upstream and model."""

    message_id: str
    request_id: str
    tenant: str
    session_id: str | None = None
    adaptations: tuple[Adaptation, ...] = ()
    api_version: str = "2023-06-01"
    betas: frozenset[str] = frozenset()


@dataclass(slots=True)
class Prepared:
    """One request in an upstream's dialect: `path` below the upstream's base URL, JSON `body`, `reply` for the answer.

    `notes` are those of this conversion, or of the last `heal`. `healed`: the adaptations that refusals made necessary.
    `is_streamed`: whether the upstream is asked to stream. `is_edited`: the client's JSON could not go out byte
    for byte. `edits_prompt`: the upstream counts a shorter prompt than the client sent. `headers` replace the
    upstream's usual ones. `is_original`: the request is the client's own in its API, and so is a stream that answers
    it. `state` belongs to the dialect.
    """

    path: str
    body: bytes | memoryview = field(repr=False)
    reply: Reply
    notes: tuple[Note, ...] = ()
    is_streamed: bool = True
    is_edited: bool = False
    is_original: bool = False
    edits_prompt: bool = False
    headers: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    healed: tuple[Adaptation, ...] = ()
    state: Any = field(default=None, repr=False)

    def release(self) -> None:
        """Drop what is only needed to send the request: it dominates the memory of an open stream."""
        self.body, self.state = b"", None


@dataclass(frozen=True, slots=True)
class CountCall:
    """A call that asks an upstream how many tokens a prompt has. `counted`: where its JSON answer has the number."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    counted: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class StreamConverter(Protocol):
    """Bytes of the upstream's stream in, bytes of a Messages event stream out. No call raises GatewayError.

    After a failure `failure` is set, and what was complete before it has been returned. `ping` fills a silence.
    """

    failure: GatewayError | None

    @property
    def ping(self) -> bytes: ...

    @property
    def started(self) -> bool:
        """Whether content has been returned: a client that reads along then rules out another attempt."""

    @property
    def abandoned(self) -> bool:
        """Whether the message is complete although the upstream has not ended; the rest is ignored."""

    @property
    def done(self) -> bool:
        """Whether message_stop has been returned."""

    @property
    def is_finished(self) -> bool:
        """Whether the upstream has given a finish reason but not ended its stream."""

    @property
    def has_usage(self) -> bool: ...

    @property
    def origin(self) -> Origin: ...

    @property
    def usage(self) -> dict[str, Any]: ...

    @property
    def stop_reason(self) -> str | None: ...

    @property
    def notes(self) -> tuple[Note, ...]: ...

    def open(self) -> bytes:
        """Return message_start, unless it was returned before, and a ping."""

    def feed(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def fail(self, error: GatewayError) -> bytes: ...


class MessageConverter(StreamConverter, Protocol):
    """Collects the upstream's stream into one message: `feed`, `end` and `fail` return nothing."""

    def message(self) -> dict[str, Any]:
        """Return the whole message, once `done`."""


def to_collected(converter: MessageConverter, body: bytes) -> Answered:
    """Convert a body that came whole. Raises the converter's failure."""
    converter.feed(body)
    converter.end()
    if converter.failure is not None:
        raise converter.failure
    return Answered(converter.message(), converter.origin, converter.notes)


CUT = "The upstream closed the connection before the end of its answer."
NO_ANSWER = "The upstream ended its stream without an answer."


def cut_off(*, has_begun: bool) -> GatewayError:
    """Return the failure of a stream that lacks its end. `has_begun`: some of the answer had come."""
    return AnswerCut(CUT) if has_begun else EmptyAnswer(CUT)


def no_answer() -> GatewayError:
    """Return the failure of a stream that ended in good order and has no answer."""
    return EmptyAnswer(NO_ANSWER)


class Dialect(Protocol):
    """One wire format of upstreams. Stateless, so one instance serves all exchanges."""

    def takes_unchecked(self, prompt: Prompt, route: Route, asking: Asking) -> bool:
        """Return whether the upstream gets the client's own request, and validates it itself."""

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        """Convert a request. Raises InvalidRequest if this upstream cannot be asked it."""

    def stream(self, prepared: Prepared, *, opened: bool) -> StreamConverter:
        """Return a converter; `opened`: the client has received message_start from an earlier attempt."""

    def collect(self, prepared: Prepared) -> MessageConverter:
        """Return a converter for a client that wants one message. The upstream is asked to stream all the same."""

    def answer(self, body: bytes, prepared: Prepared) -> Answered:
        """Convert a whole JSON answer. Raises GatewayError for an error inside a 200, or an unusable body."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes, prepared: Prepared) -> GatewayError:
        """Convert an answer with a status other than 2xx."""

    def heal(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        """Return the request changed so that it avoids the refusal, or None if no change could help."""

    def count(self, prompt: Prompt, route: Route, asking: Asking) -> CountCall | None:
        """Return the call that counts the prompt, or None if this upstream has none. `max_tokens` may be absent.

        Raises InvalidRequest if this upstream cannot be asked it.
        """

    def unstreamed(self, prepared: Prepared) -> Prepared | None:
        """Return the same request, asked for as one JSON answer; None where that would not be what the client asked."""
