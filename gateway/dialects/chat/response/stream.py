"""The stream core: bytes of an upstream's event stream in, bytes of a Messages event stream out.

`MessageStream` is pure and complete in itself: no clock, no socket. One network read becomes one `feed`, which returns
one write. It does not write `error` events by itself: on a failure it stops, sets `failure`, and leaves to its caller
whether to try again (nothing shown yet: `started` is False) or to end the client's stream with an error event.

A delta that only differs from the one before it in its string is not parsed at all but spliced (`splice`), which more
than halves the cost of a delta; everything else goes the full way through `pieces` and `assembly`.

Once the gateway itself has found a stop sequence the answer is over, and so is the stream (`abandoned`): the upstream
would go on to its own end, at the operator's cost and with the client waiting. The usage is then an estimate.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.dialects.base import Answered, Origin, cut_off, no_answer
from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.blocks import TextRun
from gateway.dialects.chat.response.chunks import BrokenChunk, ChunkDecoder
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.delta import add_pieces, delta_of, first_choice, number_of
from gateway.dialects.chat.response.errors.embedded_errors import error_in, error_of_broken, error_of_event
from gateway.dialects.chat.response.errors.refused_output import quoted_choice
from gateway.dialects.chat.response.fast_path import PLAIN, UNMARKED, Frame, derive_splice
from gateway.dialects.chat.response.filters.chain import holds_nothing, with_filters, without_idle
from gateway.dialects.chat.response.stop_reason import Finish, StopFields, broken_finish, to_extension, to_stop
from gateway.dialects.chat.response.stream_facts import StreamFacts
from gateway.dialects.chat.response.stream_state import ABANDONED, BODY, DONE, EVENTS, FAILED, UNKNOWN, StreamState
from gateway.dialects.chat.response.usage import UpstreamCounts
from gateway.dialects.chat.response.whole_body import WholeBody
from gateway.dialects.chat.response.whole_stream import to_whole_text
from gateway.dialects.chat.response.writers import EventWriter, MessageWriter
from gateway.dialects.chat.vocabulary import DONE_FORMS
from gateway.dialects.reply import Reply, empty_message
from gateway.errors import GatewayError, UpstreamError
from gateway.messages import events
from gateway.messages.notes import Note
from gateway.sse import END, ERROR_EVENT, EventParser, meant_by, without_mark

# Some upstreams change the frame with every chunk (a counter, OpenAI's obfuscation); then looking for one is a waste.
MAX_MISSES = 8


class MessageStream:
    """One answer's conversion. `opened`: an earlier attempt has sent message_start.

    `collects`: instead of events, the whole message is made, which is in `answered` when the stream is done.
    """

    __slots__ = (
        "_assembly", "_at_event", "_body", "_decoder", "_facts", "_finish", "_mark", "_may_come_whole", "_misses",
        "_notes", "_number", "_opened", "_parser", "_reply", "_splice", "_state", "_target", "_writer", "abandoned",
        "answered", "done", "failure", "stop",
    )  # fmt: skip

    ping = events.PING

    def __init__(self, reply: Reply, *, opened: bool = False, collects: bool = False) -> None:
        self._reply = reply
        self._opened = opened
        self._writer: EventWriter | MessageWriter = MessageWriter() if collects else EventWriter()
        self._may_come_whole = collects and not (reply.prefill or reply.stop_sequences)  # which are looked for
        self._finish = Finish()
        self._facts = StreamFacts()
        self._notes: list[Note] = []
        self._state = UNKNOWN
        self._mark = b""  # the start of a byte order mark
        self.answered: Answered | None = None  # the whole message, if it came or is collected as one
        self.done = self.abandoned = False
        self.failure: GatewayError | None = None  # of the state FAILED, until the relay takes it
        self.stop: StopFields | None = None

    def _begin_events(self) -> None:
        """Begin the state EVENTS. An answer that came whole needs none of its parts."""
        self._state = EVENTS
        self._parser = EventParser()
        self._decoder = ChunkDecoder()
        self._assembly = Assembly(self._reply, self._writer, self._finish)
        self._notes = self._assembly.notes
        self._target = with_filters(self._assembly, self._reply, self._finish, streamed=True)
        self._splice: Frame | None = None
        self._at_event = True  # whether the next piece begins where an event does
        self._number: int | None = None  # of the choice that is read
        self._misses = 0  # splices in a row that never applied

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def started(self) -> bool:
        return self._writer.started

    @property
    def is_finished(self) -> bool:
        if self._state is BODY:
            return self._body.is_whole
        return self._finish.is_over and not self._finish.is_early and not self.done

    @property
    def has_usage(self) -> bool:
        return self._facts.has_counts or self._state is BODY

    @property
    def origin(self) -> Origin:
        if self.answered is not None:
            return self.answered.origin
        return self._facts.origin(self._facts.counts())

    @property
    def stop_reason(self) -> str | None:
        return self.stop.reason if self.stop else None

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes) if self.answered is None else self.answered.notes

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's count, or an estimate from bytes where it has given none (`origin.estimated`)."""
        if self.answered is not None:
            usage: dict[str, Any] = self.answered.message["usage"]
            return usage
        return self._facts.usage(self._facts.counts(), self._reply, self._writer.output_size)

    def message(self) -> dict[str, Any]:
        """Return the whole message of a stream that is done, if it came as one or is collected."""
        assert self.answered is not None
        return self.answered.message

    def open(self) -> bytes:
        """message_start and a ping, for a client that has waited long enough for a sign of life."""
        return self._message_start() + events.PING

    def feed(self, piece: bytes) -> bytes:
        """Convert one network read. Never raises: a failure is in `failure`, what was whole before it is returned."""
        state = self._state
        try:
            if state is EVENTS and self._splice is not None and self._at_event:
                event = self._splice.to_event(piece, self._writer)
                if event is not None:
                    self._misses = 0
                    return event
            if state is EVENTS:
                self._read(piece)
            elif state is UNKNOWN:
                self._recognise(piece)
            elif state is BODY:
                self._body.add(piece)
            else:
                return b""
        except GatewayError as error:
            self._end_in(FAILED, error)
        return self._take()

    def end(self) -> bytes:
        """The upstream's stream is over. Without a finish reason or `[DONE]` that is a failure, never a silent end."""
        return self._guarded(self._read_end)

    def fail(self, error: GatewayError) -> bytes:
        """The transport failed. An answer that was whole gets its end: no content came behind its reason."""
        if self._finish.is_over and not self._finish.is_early:
            return self._guarded(self._complete)
        if self._state is BODY and self._body.is_whole:
            return self._guarded(self._read_end)
        if not self._state.is_final:
            self._end_in(FAILED, error)
        return b""

    def _guarded(self, step: Callable[[], None]) -> bytes:
        if self._state.is_final:
            return b""
        try:
            step()
        except GatewayError as error:
            self._end_in(FAILED, error)
        return self._take()

    def _end_in(self, state: StreamState, failure: GatewayError | None = None) -> None:
        assert not self._state.is_final
        self._state, self.failure = state, failure
        self.abandoned, self.done = state is ABANDONED, state is ABANDONED or state is DONE

    def _take(self) -> bytes:
        data = self._writer.take()
        return data if self._opened or not data else self._message_start() + data

    def _message_start(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        return events.message_start(empty_message(self._reply, self._facts.first_usage(self._reply)))

    def _recognise(self, piece: bytes) -> None:
        """Recognise the answer by its first piece; white space and a byte order mark before it are left out."""
        self._mark, piece = without_mark(self._mark, piece)
        if WholeBody.begins(piece):
            self._state, self._body = BODY, WholeBody()
            self._body.add(piece)
        elif piece.strip() and not (self._may_come_whole and self._takes_whole(piece)):
            self._begin_events()
            self._read(piece)

    def _complete_body(self) -> None:
        """Take a whole answer, or chunks on separate lines."""
        try:
            completion = self._body.decode()
        except BrokenChunk as error:
            lines = self._body.lines()
            if len(lines) == 1:
                failure = error_of_broken(lines[0], self._reply)
                raise failure or UpstreamError("The upstream answered with something that is not JSON.") from error
            self._begin_events()
            self._take_lines(lines)
            return
        self.answered = to_message(completion, self._reply)
        message = self.answered.message
        self.stop = StopFields(message["stop_reason"], message["stop_sequence"], message["stop_details"])
        self._writer.repeat(self.answered, opened=self._opened)
        self._opened = True
        self._end_in(DONE)

    def _take_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            self._take_payload(line)
            if self.done:
                return
        self._read_end()

    def _read(self, piece: bytes) -> None:
        """Take one event after the other, and what has the same frame as the one before by the short way."""
        place = 0
        while place < len(piece):
            if self._splice is not None and self._at_event:
                begun, place = place, self._splice.apply_run(piece, place, self._writer)
                if place > begun:
                    self._misses = 0
                    continue
            end = piece.find(END, place)
            event = piece[place : end + len(END)] if end >= 0 else piece[place:]
            place += len(event)
            payloads = self._parser.feed(event)
            self._at_event = self._parser.is_between_events
            if not self._goes_on_after(payloads):
                return

    def _takes_whole(self, piece: bytes) -> bool:
        """Take a whole answer of one text. Return False for any other piece."""
        whole, finish, writer = to_whole_text(piece, self._reply), self._finish, self._writer
        if whole is None:
            return False
        assert isinstance(writer, MessageWriter)
        self._facts.take(whole.facts, whole.counts)
        finish.note(whole.choice)
        error = broken_finish(finish)
        if error is not None:
            raise error
        writer.write_text(whole.text)
        counts = self._noted_counts()
        self._end_message(counts, to_stop(finish, has_tools=False, has_cut_call=False, reply=self._reply), DONE)
        return True

    def _goes_on_after(self, payloads: Sequence[bytes]) -> bool:
        """Take payloads; return False once the answer is over."""
        for payload in payloads:
            self._take_payload(payload)
            if self._state is not EVENTS and self._state.is_final:
                return False
            if self._finish.matched is not None:
                self._complete(ABANDONED)
                return False
        return True

    def _read_end(self) -> None:
        if self._state is BODY:
            self._complete_body()
            return
        if self._state is EVENTS:
            for payload in self._parser.finish():
                self._take_rest(payload)
        if not self.done:
            if not self._finish.is_over:
                raise cut_off(has_begun=self._finish.has_choice)
            self._complete()

    def _take_rest(self, payload: bytes) -> None:
        """An event without its end: it counts if only the blank line is missing, and was never sent if more is."""
        payload = meant_by(payload)
        if not payload or self._take_mark(payload):
            return
        try:
            chunk = self._to_chunk(payload)
        except BrokenChunk:  # cut in the middle: as if it had not been sent
            return
        self._take_chunk(chunk)

    def _take_payload(self, payload: bytes) -> None:
        """The full way; a delta that only lengthened the open block shows the short way for those after it."""
        splice, self._splice = self._splice, None
        if payload[:1] != b"{":
            payload = meant_by(payload)
            if not payload or self._take_mark(payload):
                return
        before = self._assembly.open
        delta = self._take_chunk(self._to_chunk(payload))
        block = self._assembly.open
        if not delta or self._finish.said or not holds_nothing(self._target, self._assembly):
            return
        if before is block is not None or isinstance(block, TextRun):
            self._splice = self._next_splice(splice, payload, delta)

    def _to_chunk(self, payload: bytes) -> dict[str, Any]:
        """Raise the failure that the payload reports, or BrokenChunk if it is no JSON object.

        Once the answer is whole, what is no JSON is not needed any more.
        """
        if payload.startswith(ERROR_EVENT):
            return {"choices": [quoted_choice(error_of_event(payload, self._reply), self._notes)]}
        try:
            return self._decoder.decode(payload)
        except BrokenChunk as error:
            failure = error_of_broken(payload, self._reply)
            if failure is None and self.is_finished:
                return {}
            raise failure or error from None

    def _next_splice(self, splice: Frame | None, payload: bytes, delta: dict[str, Any]) -> Frame | None:
        if splice is not None:
            if splice.fits(payload):
                return splice if self._decoder.is_whole else None
            self._misses += 1
        if self._misses >= MAX_MISSES:
            return None
        plain = PLAIN if self._target is self._assembly else UNMARKED
        return derive_splice(payload, delta, self._assembly, self._writer, plain=plain)

    def _take_chunk(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Take all that a chunk says; return its delta."""
        choice = first_choice(chunk, self._number)
        if (error := error_in(chunk, choice, self._reply)) is not None:
            choice = quoted_choice(error, self._notes)
        self._facts.note(chunk)
        if choice is None:
            return {}
        if self._number is None:
            self._number = number_of(choice)
        delta = delta_of(choice, is_later=self._finish.has_choice)
        if self._finish.said and any(value for name, value in delta.items() if name != "role"):
            self._finish.is_early = True
        self._finish.note(choice)
        error = broken_finish(self._finish)
        if error is not None:
            raise error
        add_pieces(delta, self._target, self._finish)
        self._target = without_idle(self._target)
        return delta

    def _take_mark(self, payload: bytes) -> bool:
        """Return whether it is no chunk but the end.

        The end without a choice before it is no answer: vLLM's streams end so where it fails before the first token.
        """
        if DONE_FORMS.match(payload) is None:
            return False
        if not self._finish.has_choice:
            raise no_answer()
        self._complete()
        return True

    def _complete(self, state: StreamState = DONE) -> None:
        """Close every block and write the end: the stop reason, the exact usage, message_stop."""
        counts, assembly = self._noted_counts(), self._assembly
        self._target.close()
        if not self._finish.is_over and assembly.index < 0:  # a role and `[DONE]` are no answer either
            raise no_answer()
        has_tools, has_cut_call = assembly.has_tools, assembly.has_cut_call
        stop = to_stop(self._finish, has_tools=has_tools, has_cut_call=has_cut_call, reply=self._reply)
        self._end_message(counts, stop, state)

    def _noted_counts(self) -> UpstreamCounts | None:
        """Return the upstream's count, noted for the choice of the stop reason."""
        counts = self._facts.counts()
        if counts is not None:
            self._finish.read, self._finish.spent = counts.prompt, counts.output
        return counts

    def _end_message(self, counts: UpstreamCounts | None, stop: StopFields, state: StreamState) -> None:
        self.stop = stop
        extension = to_extension(self._finish, self._facts.last_chunk, self._reply)
        fields = {**stop.fields, "container": None, **extension}
        usage = self._facts.usage(counts, self._reply, self._writer.output_size)
        origin = self._facts.origin(counts)
        if isinstance(self._writer, MessageWriter):
            message = empty_message(self._reply, usage) | fields
            self.answered = self._writer.to_answered(message, origin, self.notes)
        else:
            self._writer.end(fields, usage, origin.cost)
        self._end_in(state)
