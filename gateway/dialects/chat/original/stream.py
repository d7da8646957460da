"""A chat stream on its way to a client that speaks chat: chunks pass unparsed, except for the few that carry facts.

Chunks with usage, a finish reason, an error or tool calls are looked into; of the others only the model's name is
replaced. No bytes are returned before the first content, so an upstream that fails until then can still be replaced by
another. Parallel calls come one after the other (`call_order`), and calls that a server left in the text of its first
choice as calls (`written`). The end always has a finish reason and `[DONE]`, as clients need it.
"""

from typing import Any, Final

import orjson

from gateway.dialects.base import Origin
from gateway.dialects.chat.client.stream import DONE, KEEP_ALIVE, ChatStream
from gateway.dialects.chat.original.answer import stop_reason_of, to_finish_reason
from gateway.dialects.chat.original.call_order import CallOrder
from gateway.dialects.chat.original.calls import CallIndexes, continues_calls, to_calls
from gateway.dialects.chat.original.forms import CHOICES, FACTS, MODEL, TEXT, head_of
from gateway.dialects.chat.original.written import BRACKET, TextOfCalls, has_signs, reasoning_names, to_plain_delta
from gateway.dialects.chat.response.calls.written_calls import reads_written_calls
from gateway.dialects.chat.response.convert import to_message, to_origin
from gateway.dialects.chat.response.delta import delta_of, first_choice, number_of
from gateway.dialects.chat.response.errors.embedded_errors import error_in, error_of_broken, error_of_event
from gateway.dialects.chat.response.errors.refused_output import quoted_choice
from gateway.dialects.chat.response.stop_reason import Finish, broken_finish, meaning_of
from gateway.dialects.chat.response.usage import UpstreamCounts, counts_of, estimated_usage, read_counts, to_usage
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.frames import FrameReader
from gateway.dialects.reply import Reply
from gateway.errors import AnswerCut, EmptyAnswer, GatewayError, UpstreamError
from gateway.json_values import TOO_DEEP, check_answer_values
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.sse import END, ERROR_EVENT, EventParser

# Servers that change more than the text with each chunk are not asked again how they write it.
MAX_MISSES: Final = 8
DONE_MARK: Final = b"[DONE]"
# Fields of a delta that bring no content.
EMPTY_FIELDS: Final = frozenset({"role"})
CUT: Final = "The upstream closed the connection before the end of its answer."


class OriginalStream:
    """`shows_usage`: the client asked for the usage at the end of the stream."""

    __slots__ = (
        "_after", "_before", "_brackets", "_calls", "_counts", "_end_of_plain", "_finish", "_frames",
        "_has_written_calls", "_held", "_last", "_misses", "_model", "_named", "_named_before", "_notes", "_orders",
        "_plain_order", "_reply", "_rest", "_shows_usage", "_size", "_text", "_thought_name", "done", "failure",
        "has_usage", "origin", "started", "stop_reason",
    )  # fmt: skip

    ping = KEEP_ALIVE
    abandoned = False

    def __init__(self, reply: Reply, *, shows_usage: bool) -> None:
        self._reply = reply
        self._shows_usage = shows_usage
        self._frames = FrameReader()
        self._held: list[bytes] = []  # events before the first content
        self._last: dict[str, Any] = {}  # chunk that was looked into
        self._calls: dict[int, CallIndexes] = {}  # by choice
        self._orders: dict[int, CallOrder] = {}  # by choice
        self._thought_name = "reasoning_content"
        self._text = TextOfCalls(reply, f"call_{reply.message_id[-8:]}_0_") if reads_written_calls(reply) else None
        self._has_written_calls = False
        self._rest: list[tuple[int, dict[str, Any]]] = []  # deltas that waited until the end, by choice
        self._plain_order: CallOrder | None = None  # of the call whose arguments are the text of plain events
        self._counts: UpstreamCounts | None = None
        self._model, self._named = b"", b""  # as the upstream writes its name, and as the client reads it
        # What is around the text of a plain event.
        self._before, self._named_before, self._end_of_plain, self._after = b"", b"", b"", b""
        self._brackets = 0  # in what is around it
        self._misses = 0  # in a row, of the events' form
        self._size = 0  # bytes that the model wrote, about
        self._finish = Finish()
        self.failure: GatewayError | None = None
        self.has_usage = False
        self.stop_reason: str | None = None
        self.started = False
        self.done = False
        self.origin = Origin(estimated=True)
        self._notes: list[Note] = []

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes)

    @property
    def is_finished(self) -> bool:
        return self._finish.said and not self.done

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's count; estimated from the bytes of a stream that has none, or was left."""
        if self._counts is not None:
            return to_usage(self._counts, self._reply)
        return estimated_usage(self._reply.input_estimate, self._size)

    def open(self) -> bytes:
        return KEEP_ALIVE

    def feed(self, piece: bytes) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            return self._read(piece)
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
        if not self.done:
            self.failure = self.failure or error
        return b""

    def _read(self, piece: bytes) -> bytes:
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
                self._plain_order.pass_raw(data.replace(self._before, b"").replace(self._after, b""))
            return data.replace(self._before, self._named_before) if self._model else data
        if self.started and FACTS.search(data) is None and data.count(CHOICES) == count:
            self._size += sum(map(len, TEXT.findall(data)))
            if self._misses < MAX_MISSES:
                self._learn_form(data.rpartition(END)[0].rpartition(END)[2])
            return data.replace(self._model, self._named) if self._model else data
        return self._take_events(data.split(END)[:-1])

    def _may_hold_calls(self, data: bytes) -> bool:
        """Whether events have to be looked into for calls in their text."""
        return self._text is not None and (not self._text.is_idle or has_signs(data, self._brackets))

    def _learn_form(self, event: bytes) -> None:
        """Note how this event is written around its text: others that differ in the text alone are plain, too."""
        self._misses += 1
        found = TEXT.search(event)
        if found is not None and event.startswith(b"data: "):
            self._before, self._end_of_plain = event[: found.start(1)], event[found.end(1) :]
            self._after = self._end_of_plain + END
            self._brackets = (self._before + self._after).count(BRACKET)
            self._named_before = self._before.replace(self._model, self._named) if self._model else self._before

    def _read_end(self) -> bytes:
        if self._frames.json is not None:
            return self._take_completion(self._frames.json.joined())
        rest = self._frames.rest()
        told = self._take_events([rest]) if rest.strip() else b""
        if self.done or self.failure is not None:
            return told
        if self._finish.said:
            self.done = True
            return told + DONE
        self.failure = AnswerCut(CUT) if self.started or self._last else EmptyAnswer(CUT)
        return told

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
            self._plain_order.pass_raw(text)
        return b"%b%b\n\n" % (self._named_before, event[len(self._before) :])

    def _take_event(self, event: bytes) -> bytes:
        if not event.startswith(b"data:") or event.find(b"\n") >= 0:
            return b"".join([self._take_payload(payload, b"") for payload in EventParser().feed(event + END)])
        return self._take_payload(event[5:].strip(), event)

    def _take_payload(self, payload: bytes, event: bytes) -> bytes:
        """Return the payload as an event; `event`: as it was written, if it is to be passed on."""
        if payload == DONE_MARK:
            return self._end()
        if payload.startswith(ERROR_EVENT):
            error: GatewayError | None = error_of_event(payload, self._reply)
        else:
            chunk = self._parsed(payload)
            choice = first_choice(chunk)
            error = error_in(chunk, choice, self._reply)
        if error is not None:
            choice = quoted_choice(error, [])
            chunk = {**head_of(self._last), "choices": [choice]}
            payload, event = orjson.dumps(chunk), b""
        self._last = chunk
        counts = counts_of(chunk)
        if counts is not None:
            self._counts, self.has_usage = read_counts(counts), True
        self.origin = to_origin(chunk, self._counts)
        if choice is None and not isinstance(chunk.get("choices"), list):  # which clients read of each chunk
            chunk["choices"] = []
            event = b"data: " + orjson.dumps(chunk)
        if choice is None:
            return self._named_event(event, payload, chunk) if self._shows_usage or counts is None else b""
        if self._take_choices(chunk):
            event = b"data: " + orjson.dumps(chunk)
            return self._rest_of_calls(chunk) + self._named_event(event, payload, chunk)
        named = self._named_event(event, payload, chunk)
        self._size += sum(map(len, TEXT.findall(payload)))
        is_plain = self.started and counts is None and not self._finish.said and continues_calls(delta_of(choice))
        order = self._orders.get(number_of(choice))
        if is_plain and self._misses < MAX_MISSES and (order is None or not order.is_waiting):
            self._learn_form(event)
            self._plain_order = order if delta_of(choice).get("tool_calls") else None
        return named

    def _rest_of_calls(self, chunk: dict[str, Any]) -> bytes:
        """Return what waited, at the end of its choice, each delta in a chunk of its own."""
        rest, self._rest = self._rest, []
        events = []
        for number, delta in rest:
            choice = {"index": number, "delta": delta, "finish_reason": None}
            sent = {**head_of(chunk), "model": chunk.get("model"), "choices": [choice]}
            events.append(self._named_event(b"", orjson.dumps(sent), sent))
        return b"".join(events)

    def _parsed(self, payload: bytes) -> dict[str, Any]:
        check_answer_values(payload)
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise error_of_broken(payload, self._reply) or UpstreamError(
                "The upstream sent an event that is not JSON."
            ) from None
        if not isinstance(chunk, dict):
            raise UpstreamError("The upstream sent an event that is not an object.")
        return chunk

    def _take_choices(self, chunk: dict[str, Any]) -> bool:
        """Take what each choice brings. Return True if the chunk was corrected."""
        corrected = False
        for choice in chunk["choices"]:
            if not isinstance(choice, dict):
                raise UpstreamError("The upstream sent choices of an unknown shape.")
            delta = to_plain_delta(delta_of(choice), self._finish, self._notes)
            if delta is not choice.get("delta"):
                choice["delta"], corrected = delta, True
            if not isinstance(choice.get("finish_reason"), str | None) or choice.get("finish_reason") == "":
                choice["finish_reason"], corrected = None, True
            corrected = self._take_text(choice, delta) or corrected
            if delta.get("tool_calls"):
                corrected = self._correct_calls(choice, delta) or corrected
            self._finish.note(choice)
            error = broken_finish(self._finish)
            if error is not None:
                raise error
            if choice.get("finish_reason"):
                number = number_of(choice)
                is_cut = self._has_cut_call(number)
                corrected = self._end_calls(choice, delta) or corrected
                has_calls = bool(self._calls.get(number)) or (self._has_written_calls and not number)
                reason = to_finish_reason(self._finish, has_calls=has_calls)
                reason = "length" if is_cut and reason == "tool_calls" else reason
                corrected = corrected or reason != choice["finish_reason"]
                choice["finish_reason"] = self._finish.reason = reason
            self.started = (
                self.started
                or self._finish.said
                or any(value for name, value in delta.items() if name not in EMPTY_FIELDS)
            )
        if self._finish.said:
            self.stop_reason = stop_reason_of(self._finish)
        return corrected

    def _correct_calls(self, choice: dict[str, Any], delta: dict[str, Any]) -> bool:
        number, told = number_of(choice), delta["tool_calls"]
        prefix = f"call_{self._reply.message_id[-8:]}_{number}_"
        known = self._calls.setdefault(number, CallIndexes(prefix, self._reply.offered))
        calls = to_calls(told)
        pieces = [known.corrected(call) for call in calls]
        self._before = b""  # another call may be the open one now
        sent = self._orders.setdefault(number, CallOrder()).ordered(pieces)
        delta["tool_calls"] = sent
        is_changed = calls is not told or sent is not pieces
        return is_changed or any(one is not other for one, other in zip(sent, calls, strict=True))

    def _take_text(self, choice: dict[str, Any], delta: dict[str, Any]) -> bool:
        """Hold back text and reasoning that may be calls. Return True if the delta was changed."""
        content = delta.get("content") or ""
        names = reasoning_names(delta)
        if self._text is None or number_of(choice) or not isinstance(content, str):
            return False
        self._thought_name = names[0] if names else self._thought_name
        thought = delta[names[0]] if names else ""
        if delta.get("tool_calls"):
            held, self._text = self._text.stop(), None
            sent = held[0] + thought, held[1] + content
        else:
            sent = self._text.take(thought, content)
        if sent[0] != thought:
            delta.update(dict.fromkeys(names or (self._thought_name,), sent[0]))
        if sent[1] != content:
            delta["content"] = sent[1]
        return sent != (thought, content)

    def _end_calls(self, choice: dict[str, Any], delta: dict[str, Any]) -> bool:
        """Take what still waits in front of the chunk that ends its choice. Return True if anything did."""
        number = number_of(choice)
        order = self._orders.get(number)
        whole = meaning_of(self._finish.reason) != "max_tokens"
        waiting = order.rest(are_whole=whole) if order is not None else []
        rest: list[dict[str, Any]] = [{"tool_calls": [call]} for call in waiting]
        if self._text is not None and not number:
            thought, text, calls = self._text.end()
            self._text = None
            rest += [{self._thought_name: thought}] if thought else []
            rest += [{"content": text}] if text else []
            rest += [{"tool_calls": [call]} for call in calls]
            self._has_written_calls = bool(calls)
        if rest:
            shown = (*reasoning_names(delta), "content", "tool_calls")
            ahead = {name: delta.pop(name) for name in shown if delta.get(name)}
            self._rest += [(number, each) for each in ([ahead] if ahead else []) + rest]
        return bool(rest)

    def _has_cut_call(self, number: int) -> bool:
        """Whether a call of the choice lacks its end, so that its client must not run it."""
        order = self._orders.get(number)
        return order is not None and order.has_cut_call()

    def _named_event(self, event: bytes, payload: bytes, chunk: dict[str, Any]) -> bytes:
        """Return the event with the model's name as the client knows it."""
        event = event or (b"data: " + payload if b"\n" not in payload else b"data: " + orjson.dumps(chunk))
        told = chunk.get("model")
        if isinstance(told, str) and told != self._reply.model and (not self._model or self._model not in event):
            found = MODEL.search(event)
            self._model = found[0] if found is not None else b""
            self._named = b'"model":' + orjson.dumps(self._reply.model)
        return (event.replace(self._model, self._named) if self._model else event) + END

    def _end(self) -> bytes:
        """Return the end of the stream, with the finish reason that clients wait for (opencode asks without end)."""
        if not (self.started or self._last):
            raise EmptyAnswer("The upstream ended its stream without an answer.")
        self.done = self.started = True
        if self._finish.said:
            return DONE
        is_cut = any(map(self._has_cut_call, self._orders))
        for number in sorted({0, *self._orders}):
            self._end_calls({"index": number}, {})
        has_calls = self._has_written_calls or any(map(len, self._calls.values()))
        self._finish.note({"finish_reason": "length" if is_cut else "tool_calls" if has_calls else "stop"})
        self.stop_reason = stop_reason_of(self._finish)
        named = head_of(self._last)
        choice = {"index": 0, "delta": {}, "finish_reason": self._finish.reason}
        rest = self._rest_of_calls({**self._last, "model": self._reply.model})
        return rest + b"data: " + orjson.dumps({**named, "model": self._reply.model, "choices": [choice]}) + END + DONE

    def _take_completion(self, body: bytes) -> bytes:
        """Convert a complete JSON answer to a stream: some servers ignore `stream`."""
        completion = self._parsed(body)
        answered = to_message(completion, self._reply)
        message, self.origin = answered.message, answered.origin
        counts = counts_of(completion)
        self._counts = read_counts(counts) if counts else None
        self.stop_reason = message["stop_reason"]
        self.has_usage = self.started = self.done = True
        return ChatStream(ToolRegistry(), 0, shows_usage=self._shows_usage).feed(to_events(message))
