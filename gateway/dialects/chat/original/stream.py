"""A chat stream on its way to a client that speaks chat: chunks pass unparsed, except for the few that carry facts.

Chunks with usage, a finish reason, an error or tool calls are looked into (`choice`); of the others only the model's
name is replaced. No bytes are returned before the first content, so an upstream that fails until then can still be
replaced by another. A chunk with a finish reason waits for the next one: if content follows, it was not the end, and if
a count follows, it helps to tell whether calls were cut. The end always has a finish reason and `[DONE]`, as clients
need it.
"""

from typing import Any, Final

import orjson

from gateway.dialects.base import Origin, cut_off, no_answer
from gateway.dialects.chat.client.stream import KEEP_ALIVE, ChatStream
from gateway.dialects.chat.original.answer import stop_reason_of
from gateway.dialects.chat.original.call_order import CallOrder
from gateway.dialects.chat.original.calls import continues_calls
from gateway.dialects.chat.original.choice import ChoiceStream, brings_content, is_empty
from gateway.dialects.chat.original.chunks import ChunkReader
from gateway.dialects.chat.original.forms import ARGUMENTS, CHOICES, FACTS, MODEL, TEXT, head_of
from gateway.dialects.chat.original.written import BRACKET, has_signs
from gateway.dialects.chat.response.chunks import BrokenChunk
from gateway.dialects.chat.response.convert import NOT_A_COMPLETION, to_message, to_origin
from gateway.dialects.chat.response.delta import first_choice, number_of
from gateway.dialects.chat.response.errors.embedded_errors import error_of_broken
from gateway.dialects.chat.response.usage import (
    UpstreamCounts,
    counts_of,
    estimated_usage,
    is_readable,
    read_counts,
    to_usage,
)
from gateway.dialects.chat.response.whole_body import to_completion
from gateway.dialects.chat.vocabulary import DONE_EVENT, DONE_FORMS
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.clients.usage import to_chat_usage
from gateway.dialects.frames import FrameReader
from gateway.dialects.json_body import JsonBody
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, UpstreamError
from gateway.json_values import TOO_DEEP
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.sse import END, LF, EventParser, meant_by

# Servers that change more than the text with each chunk are not asked again how they write it.
MAX_MISSES: Final = 8


class OriginalStream:
    """`shows_usage`: the client asked for the usage at the end of the stream."""

    __slots__ = (
        "_after", "_before", "_brackets", "_choices", "_chunks", "_counts", "_end_of_plain", "_ending", "_first",
        "_frames", "_held", "_misses", "_model", "_named", "_named_before", "_notes", "_owes_usage", "_plain_order",
        "_reply", "_shows_usage", "_size", "done", "failure", "has_usage", "origin", "started", "stop_reason",
    )  # fmt: skip

    ping = KEEP_ALIVE
    abandoned = False

    def __init__(self, reply: Reply, *, shows_usage: bool) -> None:
        self._reply = reply
        self._shows_usage = shows_usage
        self._frames = FrameReader()
        self._held: list[bytes] = []  # events before the first content
        self._notes: list[Note] = []
        self._chunks = ChunkReader(reply, self._notes)
        self._first = ChoiceStream(0, reply, self._notes)
        self._choices = {0: self._first}
        self._ending: tuple[bytes, dict[str, Any]] | None = None  # event that waits, and its chunk
        self._plain_order: CallOrder | None = None  # of the call that the arguments of plain events belong to
        self._counts: UpstreamCounts | None = None
        self._owes_usage = True  # unless they are where and as clients read them
        self._model, self._named = b"", b""  # as the upstream writes its name, and as the client reads it
        # What is around the text of a plain event.
        self._before, self._named_before, self._end_of_plain, self._after = b"", b"", b"", b""
        self._brackets = 0  # in what is around it
        self._misses = 0  # in a row, of the events' form
        self._size = 0  # bytes that the model wrote, about
        self.failure: GatewayError | None = None
        self.has_usage = False
        self.stop_reason: str | None = None
        self.started = False
        self.done = False
        self.origin = Origin(estimated=True)

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes)

    @property
    def is_finished(self) -> bool:
        begun = [choice.finish for choice in self._choices.values() if choice.finish.has_choice]
        return not self.done and bool(begun) and all(finish.said for finish in begun)

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's count; estimated from the bytes of a stream that has none, or was left."""
        if self._counts is not None:
            return to_usage(self._counts, self._reply, self._size)
        return estimated_usage(self._reply.input_estimate, self._size)

    def open(self) -> bytes:
        return KEEP_ALIVE

    def feed(self, piece: bytes) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            data = self._frames.read(piece)
            if not data:
                return b""
            if self._may_hold_calls(data):
                return self._take_events(data.split(END)[:-1])
            count = data.count(END)
            if self._before and data.count(self._before) == data.count(self._after) == count:
                self._misses = 0
                self._size += len(data) - count * (len(self._before) + len(self._after))
                if self._plain_order is not None:
                    return self._take_arguments(data, self._plain_order)
                return data.replace(self._before, self._named_before) if self._model else data
            if self.started and self._ending is None and FACTS.search(data) is None and data.count(CHOICES) == count:
                self._size += sum(map(len, TEXT.findall(data)))
                if self._misses < MAX_MISSES:
                    self._learn_form(data.rpartition(END)[0].rpartition(END)[2])
                return data.replace(self._model, self._named) if self._model else data
            return self._take_events(data.split(END)[:-1])
        except GatewayError as error:
            self.failure = error
            return b""

    def end(self) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            return self._read_end()
        except GatewayError as error:
            self.failure = error
            return b""

    def fail(self, error: GatewayError) -> bytes:
        if self.failure is None and self.is_finished:
            return self.end()
        if not self.done:
            self.failure = self.failure or error
        return b""

    def _may_hold_calls(self, data: bytes) -> bool:
        """Return whether events have to be looked into for calls in their text."""
        text = self._first.text
        return text is not None and (not text.is_idle or has_signs(data, self._brackets))

    def _take_arguments(self, data: bytes, order: CallOrder) -> bytes:
        """Take plain events of the open call; where its arguments have to change, return one event for all of them."""
        raw = data.replace(self._before, b"").replace(self._after, b"")
        written = order.pass_raw(raw)
        if written == raw:
            return data.replace(self._before, self._named_before) if self._model else data
        return b"".join((self._named_before, written, self._after)) if written else b""

    def _learn_form(self, event: bytes, order: CallOrder | None = None) -> None:
        """Note how this event is written around its text: others that differ in the text alone are plain, too.

        `order`: that of the open call, if its text are arguments.
        """
        self._misses += 1
        found = TEXT.search(event)
        if found is not None and event.startswith(b"data: ") and found[0].startswith(ARGUMENTS) == (order is not None):
            self._plain_order = order
            self._before, self._end_of_plain = event[: found.start(1)], event[found.end(1) :]
            self._after = self._end_of_plain + END
            self._brackets = (self._before + self._after).count(BRACKET)
            self._named_before = self._before.replace(self._model, self._named) if self._model else self._before

    def _read_end(self) -> bytes:
        if self._frames.json is not None:
            told = self._take_body(self._frames.json)
        else:
            rest = self._frames.rest()
            told = self._take_events([rest]) if rest.strip() else b""
        if self.done or self.failure is not None:
            return told
        begun = [choice.finish for choice in self._choices.values() if choice.finish.has_choice]
        if begun and all(finish.reason for finish in begun):  # though content may have come behind it
            return told + self._finished()
        self.failure = cut_off(has_begun=self.started or bool(self._chunks.last))
        return told + self._without_end()

    def _take_events(self, events: list[bytes]) -> bytes:
        """Return what the client gets of these events; those before the first content are held."""
        told: list[bytes] = []
        try:
            for event in events:
                if self._is_plain(event):
                    told.append(self._take_plain(event))
                    continue
                told.append(self._take_event(event))
                if self.done:
                    break
        except GatewayError as error:
            self.failure = error  # content before it is still returned
            told.append(self._without_end())
        except orjson.JSONEncodeError:
            self.failure = UpstreamError(TOO_DEEP)
        if not self.started:
            self._held += told
            return b""
        held, self._held = self._held, []
        return b"".join((*held, *told))

    def _is_plain(self, event: bytes) -> bool:
        if not self._before or self._may_hold_calls(event):
            return False
        return event.startswith(self._before) and event.endswith(self._end_of_plain)

    def _take_plain(self, event: bytes) -> bytes:
        text = event[len(self._before) : len(event) - len(self._end_of_plain)]
        self._size += len(text)
        if self._plain_order is not None:
            return self._take_arguments(event + END, self._plain_order)
        return b"%b%b\n\n" % (self._named_before, event[len(self._before) :])

    def _take_event(self, event: bytes) -> bytes:
        if not event.startswith(b"data:") or LF in event:
            return b"".join([self._take_payload(payload, b"") for payload in EventParser().feed(event + END)])
        return self._take_payload(event[5:].strip(), event)

    def _take_payload(self, payload: bytes, event: bytes) -> bytes:
        """Return the payload as an event; `event`: as it was written, if it is to be passed on."""
        if payload[:1] != b"{":
            told, payload = payload, meant_by(payload)
            event = event if told == payload else b"data: " + payload
            if not payload:
                return b""
            if DONE_FORMS.match(payload):
                return self._finished()
        try:
            chunk, is_told = self._chunks.read(payload)
        except BrokenChunk:
            if self.is_finished:  # noise behind the answer
                return b""
            raise
        return self._take_chunk(chunk, event if is_told else b"")

    def _take_chunk(self, chunk: dict[str, Any], event: bytes) -> bytes:
        """Return the chunk's event, and what waited for it. `event`: as it was written, if that may be passed on."""
        choice = first_choice(chunk)
        event = event or b"data: " + orjson.dumps(chunk)
        counts = counts_of(chunk)
        if counts is not None:
            self._counts, self.has_usage = read_counts(counts), True
            self._owes_usage = not is_readable(chunk.get("usage"), has_output=self._size > 0)
            if self._owes_usage and chunk.pop("usage", None):
                event = b"data: " + orjson.dumps(chunk)
        self.origin = to_origin(chunk, self._counts)
        if choice is None and not isinstance(chunk.get("choices"), list):  # which clients read of each chunk
            chunk["choices"] = []
            event = b"data: " + orjson.dumps(chunk)
        told = self._take_ending(chunk)
        if choice is None:
            is_told = counts is None or (self._shows_usage and not self._owes_usage)
            return told + (self._named_event(event, chunk) if is_told else b"")
        brought = brings_content(choice)
        if self._take_choices(chunk):
            if brought and counts is None and all(map(is_empty, chunk["choices"])):
                return told  # all of it waits
            event = b"data: " + orjson.dumps(chunk)
        self._size += sum(map(len, TEXT.findall(event)))
        if any(each.get("finish_reason") for each in chunk["choices"]):
            self._ending, self._before = (event, chunk), b""
            return told
        named = self._named_event(event, chunk)
        if counts is None and self._misses < MAX_MISSES:
            self._learn_form_of(choice, event)
        return told + named

    def _learn_form_of(self, choice: dict[str, Any], event: bytes) -> None:
        """Note the form of an event that may be followed by others like it, and whose arguments they have."""
        state, calls = self._choices[number_of(choice)], choice["delta"].get("tool_calls") or []
        if not self.started or state.is_ended or not continues_calls(choice["delta"]):
            return
        if not calls:
            self._learn_form(event)
        elif state.order.takes_more(calls):
            self._learn_form(event, state.order)

    def _take_ending(self, following: dict[str, Any] | None) -> bytes:
        """Return the chunk that waited for the one that follows it, and in front of it what waited for the end.

        A choice that goes on has not ended.
        """
        if self._ending is None:
            return b""
        choices = (following or {}).get("choices") or ()
        dicts = [each for each in choices if isinstance(each, dict)]
        more = {number_of(each) for each in dicts if each.get("finish_reason") or brings_content(each)}
        (event, chunk), self._ending = self._ending, None
        told: list[bytes] = []
        is_changed = False
        for choice in chunk["choices"]:
            state, reason = self._choices[number_of(choice)], choice.get("finish_reason")
            if reason and state.number in more:
                state.go_on()
                choice["finish_reason"] = None
            elif reason:
                rest = self._end(state, choice)
                told += [self._event_of(state, delta, chunk) for delta in rest]
                is_changed = is_changed or bool(rest)
            is_changed = is_changed or choice.get("finish_reason") != reason
        event = b"data: " + orjson.dumps(chunk) if is_changed else event
        return b"".join((*told, self._named_event(event, chunk)))

    def _without_end(self) -> bytes:
        """Return the chunk that waits, of an answer that has failed, without its finish reason."""
        return self._take_ending(self._ending[1]) if self._ending is not None else b""

    def _end(self, state: ChoiceStream, choice: dict[str, Any]) -> list[dict[str, Any]]:
        if self._counts is not None:
            state.finish.read, state.finish.spent = self._counts.prompt, self._counts.output
        rest = state.end(choice)
        self.stop_reason = stop_reason_of(state.finish)
        return rest

    def _event_of(self, state: ChoiceStream, delta: dict[str, Any], chunk: dict[str, Any]) -> bytes:
        """Return a delta as an event of its own, beside the chunk of the upstream."""
        choice = {"index": state.number, "delta": delta, "finish_reason": None}
        sent = {**head_of(chunk), "model": chunk.get("model"), "choices": [choice]}
        return self._named_event(b"data: " + orjson.dumps(sent), sent)

    def _take_choices(self, chunk: dict[str, Any]) -> bool:
        """Take what each choice brings. Return True if the chunk was corrected."""
        corrected = False
        for choice in chunk["choices"]:
            if not isinstance(choice, dict):
                raise UpstreamError("The upstream sent choices of an unknown shape.")
            number = number_of(choice)
            state = self._choices.get(number)
            if state is None:
                state = self._choices[number] = ChoiceStream(number, self._reply, self._notes)
            corrected = state.take(choice) or corrected
            if choice["delta"].get("tool_calls"):
                self._before = b""  # another call may be the open one now
            self.started = self.started or state.finish.said or brings_content(choice)
        return corrected

    def _named_event(self, event: bytes, chunk: dict[str, Any]) -> bytes:
        """Return the event with the model's name as the client knows it."""
        told = chunk.get("model")
        if isinstance(told, str) and told != self._reply.model and (not self._model or self._model not in event):
            found = MODEL.search(event)
            self._model = found[0] if found is not None else b""
            self._named = b'"model":' + orjson.dumps(self._reply.model)
        return (event.replace(self._model, self._named) if self._model else event) + END

    def _finished(self) -> bytes:
        """Return the end of the stream, with the finish reasons that clients wait for (opencode asks without end)."""
        told = [self._take_ending(None)]
        begun = [state for state in self._choices.values() if state.finish.has_choice]
        for state in begun or [self._first]:
            if state.is_ended:
                continue
            choice = {"index": state.number, "delta": {}, "finish_reason": None}
            chunk = {**head_of(self._chunks.last), "model": self._reply.model, "choices": [choice]}
            rest = self._end(state, choice)
            self.started = self.started or bool(rest)
            told += [self._event_of(state, delta, chunk) for delta in rest]
            told.append(b"data: " + orjson.dumps(chunk) + END)
        if not self.started:  # nothing, or a role alone
            raise no_answer()
        self.done = True
        return b"".join((*told, self._owed_usage(), DONE_EVENT))

    def _owed_usage(self) -> bytes:
        """Return the chunk with the counts that the client asked for, unless the upstream has sent one."""
        if not (self._shows_usage and self._owes_usage):
            return b""
        chunk = {**head_of(self._chunks.last), "model": self._reply.model, "choices": []}
        return b"data: " + orjson.dumps(chunk | {"usage": to_chat_usage(self.usage)}) + END

    def _take_body(self, body: JsonBody) -> bytes:
        """Convert a complete JSON answer to a stream, since some servers ignore `stream`; or take chunks on lines."""
        whole, lines = body.joined(), body.lines()
        try:
            completion = to_completion(whole)
        except BrokenChunk:
            if len(lines) == 1:
                raise error_of_broken(whole, self._reply) or UpstreamError(NOT_A_COMPLETION) from None
            return self._take_events([b"data: " + line for line in lines])
        answered = to_message(completion, self._reply)
        message, self.origin = answered.message, answered.origin
        counts = counts_of(completion)
        self._counts = read_counts(counts) if counts else None
        self.stop_reason = message["stop_reason"]
        self.has_usage = self.started = self.done = True
        return ChatStream(ToolRegistry(), 0, shows_usage=self._shows_usage).feed(to_events(message))
