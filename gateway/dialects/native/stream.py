"""A Messages stream on its way to the client: frames pass unparsed, except for the few that carry facts.

Only the first line of a frame is looked at. `message_start` and `message_delta` are parsed for model, usage and stop
reason; content frames are neither parsed nor copied. No frame is returned before the first content, so an upstream that
fails after `message_start` can still be replaced by another.
"""

import re
from typing import Any

import orjson

from gateway.dialects.base import Origin, cut_off
from gateway.dialects.frames import FrameReader
from gateway.dialects.json_body import JsonBody
from gateway.dialects.native.answer import to_answered, to_origin
from gateway.dialects.native.blocks import BlockOrder, to_deltas, to_usual_deltas
from gateway.dialects.native.calls import StreamedCall, may_be_cut, to_meant_name, to_own_id, with_cut_call, with_name
from gateway.dialects.native.frames import (
    FRAME,
    is_readable_start,
    is_usual,
    is_whole,
    name_and_data,
    to_failure,
    to_object,
    to_usual,
    without_broken_texts,
)
from gateway.dialects.native.thinking import sealed
from gateway.dialects.native.usage import counted, to_stop_reason, to_usage, without_lost_input
from gateway.dialects.reply import Reply, empty_message
from gateway.errors import GatewayError, UpstreamError
from gateway.json_values import TOO_DEEP, to_mapping, to_string
from gateway.messages import events
from gateway.messages.fold import fold_stream
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.messages.tokens.estimate import to_tokens
from gateway.messages.usage import to_cost
from gateway.sse import END, to_event
from gateway.upstream.models.target import signs_thinking

MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
# Blocks that deltas fill: the start of one is no content yet.
GROWING = frozenset({"text", "thinking", "tool_use", "server_tool_use", "mcp_tool_use"})
TOOL_USE = b'"tool_use"'
SIGNATURE = b'"signature_delta"'
# A field of a delta, which within a text has a backslash before its last quotation mark.
SIGNED = b'"signature":'
REDACTED = b'"redacted_thinking"'
# Of a delta's frame, around its text.
DELTA_OVERHEAD = len(events.delta(0, events.TEXT, ""))


class NativeStream:
    """`opened`: an earlier attempt sent message_start. `collects`: frames are not returned, but kept for `message`."""

    __slots__ = (
        "_blocks", "_call", "_collected", "_counts", "_frames", "_has_cut_call", "_held", "_ids", "_opened", "_origin",
        "_owes_usage", "_reply", "_seals", "_size", "_start", "abandoned", "done", "failure", "has_usage", "notes",
        "started", "stop_reason",
    )  # fmt: skip

    ping = events.PING

    def __init__(self, reply: Reply, *, opened: bool = False, collects: bool = False) -> None:
        self._reply = reply
        self._seals = not signs_thinking(reply.upstream_model)  # Claude's signatures pass raw
        self._opened = opened
        self._owes_usage = opened  # the client's message_start was not this upstream's
        self._collected = JsonBody() if collects else None
        self._held: list[bytes] = []  # frames before the first content
        self._start = b""  # the upstream's message_start
        self._counts: dict[str, Any] = {}
        self._origin = Origin(estimated=True)
        self._size = 0  # bytes that the model wrote, about
        self._frames = FrameReader()
        self._blocks = BlockOrder()
        self._ids: set[str] = set()  # of the calls so far
        self._call: StreamedCall | None = None  # None for Claude's, which are passed on unread to clients that stream
        self._has_cut_call = False
        self.failure: GatewayError | None = None
        self.has_usage = False
        self.stop_reason: str | None = None
        self.started = False
        self.done = False
        self.abandoned = False
        self.notes: tuple[Note, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether only the end of the stream is missing, which some servers leave out."""
        return self.stop_reason is not None and not self.done

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's count. Of a stream that was left the output is an estimate from its bytes."""
        usage = to_usage(self._counts)
        if not self.has_usage:
            usage["output_tokens"] = max(usage["output_tokens"], to_tokens(self._size))
        if "input_tokens" not in self._counts:
            usage["input_tokens"] = self._reply.input_estimate
        return usage

    def open(self) -> bytes:
        return self._message_start() + events.PING

    def feed(self, piece: bytes) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            return self._kept(self._read(piece))
        except GatewayError as error:
            self.failure = error
            return b""

    def end(self) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            return self._kept(self._read_end())
        except GatewayError as error:
            self.failure = error
            return b""

    def fail(self, error: GatewayError) -> bytes:
        """The transport failed. If the answer was already whole, only its end is missing, and the client gets that."""
        if self.failure is None and self.is_finished:
            return self.end()
        if not self.done:
            self.failure = self.failure or error
        return b""

    def message(self) -> dict[str, Any]:
        """Fold what was collected; its usage has all that clients read. Raises UpstreamError for unknown deltas."""
        try:
            return fold_stream(self._collected.joined() if self._collected else b"") | {"usage": self.usage}
        except ValueError:
            raise UpstreamError("The upstream's stream cannot be read as one message.") from None

    def _kept(self, output: bytes) -> bytes:
        if self._collected is None:
            return output
        self._collected.add(output)
        return b""

    def _read(self, piece: bytes) -> bytes:
        data = self._frames.read(piece)
        if not data:
            return b""
        head = self._blocks.head
        if head and data.startswith(head) and data.find(SIGNED) < 0:
            frames = data.count(END)
            # The common case, a read of deltas of the open block only, is passed on without being parsed.
            if frames == 1 or data.count(END + head) == frames - 1:
                self._size += len(data) - frames * DELTA_OVERHEAD
                return data
        return self._take_frames(data.split(END)[:-1])

    def _read_end(self) -> bytes:
        if self._frames.json is not None:
            answered = to_answered(self._frames.json.joined(), self._reply)
            message = answered.message
            self._counts, self._origin = message["usage"], answered.origin
            self.stop_reason = message["stop_reason"]
            self.has_usage = self.started = self.done = True
            output = to_events(message, answered.origin.cost)
            return events.without_start(output) if self._opened else output
        # Some servers leave out the blank line behind the last event.
        rest = self._frames.rest().strip(b"\n")
        output = self._take_frames([rest]) if rest and is_whole(rest) else b""
        if self.is_finished and self.failure is None:
            self.done = True
            return output + events.MESSAGE_STOP
        if not self.done:
            self.failure = cut_off(has_begun=bool(self._start) or self.started)
        return output

    def _take_frames(self, frames: list[bytes]) -> bytes:
        """Return what the client gets of these frames; those before the first content are held."""
        output: list[bytes] = []
        try:
            for frame in frames:
                head = self._blocks.head
                if head and frame.startswith(head) and frame.find(SIGNED) < 0:  # a delta of the open block
                    self._size += len(frame) + len(END) - DELTA_OVERHEAD
                    output.append(frame + END)
                    continue
                output += self._take_frame(frame)
                if self.done:
                    break
        except GatewayError as error:
            self.failure = error  # content before it is still returned
        except orjson.JSONEncodeError:
            self.failure = UpstreamError(TOO_DEEP)
        if not self.started:
            if self._opened:
                # A ping is no content: it keeps the client waiting while another attempt is still possible.
                pings = [frame for frame in output if frame == events.PING]
                self._held += [frame for frame in output if frame != events.PING]
                return b"".join(pings)
            self._held += output
            return b""
        held, self._held = self._held, []
        return b"".join((self._message_start(), *held, *output))

    def _take_frame(self, frame: bytes) -> tuple[bytes, ...]:
        found = FRAME.fullmatch(frame)
        name, payload = name_and_data(frame) if found is None else found.groups()
        if not is_usual(name, payload):
            name, payload = to_usual(name, payload)
            found = None
        if found is None:
            frame = to_event(name, payload).removesuffix(END)
        match name:
            case b"content_block_delta" | b"content_block_start" | b"content_block_stop":
                return (self._take_content(name, frame, payload),)
            case b"message_start":
                message = dict(to_mapping(to_object(payload).get("message")))
                self._counts = counted(message.get("usage"))
                self._origin = to_origin(message, {})
                if not is_readable_start(message):
                    whole = self._empty_message() | without_broken_texts(message) | {"content": [], "usage": self.usage}
                    frame = events.message_start(whole).removesuffix(END)
                    self._owes_usage = True
                self._start = self._start or frame
                return ()
            case b"message_delta":
                event = to_object(payload)
                return (self._end_last_call(event), self._blocks.close(), self._take_delta(frame, event) + END)
            case b"message_stop":
                closing, reason = self._end_last_call({}) + self._blocks.close(), self._missing_reason()
                self.done = self.started = True
                return (closing, reason, frame + END)
            case b"error":
                raise to_failure(payload, self._reply)
            case b"ping":
                return (events.PING,) if self._opened or self.started else ()
            case b"":
                return ()
        return (frame + END,)

    def _take_content(self, name: bytes, frame: bytes, payload: bytes) -> bytes:
        if self._call is not None:
            arguments = self._take_arguments(self._call, name, to_object(payload), frame)
            if arguments is not None:
                return arguments
        ended = self._end_call(may_be_cut=False)
        if name == b"content_block_delta":
            frame = self._sealed(frame, payload, "delta") if self._seals and SIGNATURE in frame else frame
            self._size += max(0, len(frame) + len(END) - DELTA_OVERHEAD)
            output = self._blocks.delta(to_object(payload), frame + END)
            self.started = True
            return ended + output
        event = to_object(payload)
        if name == b"content_block_stop":
            return ended + self._blocks.stop(event, frame + END)
        self.started = self.started or not _grows(event)
        if TOOL_USE in frame:
            frame = self._with_call_fields(frame, event)
        frame = self._sealed(frame, payload, "content_block") if self._seals and REDACTED in frame else frame
        ended += self._blocks.start(event, frame + END)
        block = to_mapping(event.get("content_block"))
        if block.get("type") == "tool_use" and (self._seals or self._collected is not None):
            self._call = StreamedCall(block, event.get("index"))
        return ended

    def _take_arguments(self, call: StreamedCall, name: bytes, event: dict[str, Any], frame: bytes) -> bytes | None:
        """Return a piece of the open call's arguments with what is nearly JSON repaired; None for any other event.

        The end of a call that is unfinished is left out: what follows ends it.
        """
        if name == b"content_block_stop" and call.is_unfinished and event.get("index") == call.index:
            return b""
        deltas = to_usual_deltas(to_mapping(event.get("delta")))
        if name != b"content_block_delta" or deltas[0].get("type") != "input_json_delta":
            return None
        self.started = True
        text = str(deltas[0].get("partial_json") or "")
        self._size += len(text)
        shown = call.add(text)
        if shown != text:
            event["delta"] = {"type": "input_json_delta", "partial_json": shown}
            frame = to_event(b"content_block_delta", orjson.dumps(event)).removesuffix(END)
        output = self._blocks.delta(event, frame + END) if shown or not text else b""
        self._blocks.head = b""
        return output

    def _end_last_call(self, event: dict[str, Any]) -> bytes:
        """End the open call at the end of the answer. `event`: the last message_delta, or none."""
        if self._call is None:
            return b""
        reason = to_stop_reason(to_mapping(event.get("delta")), self._reply, has_calls=True) or self.stop_reason
        counts = counted(event.get("usage")) or self._counts
        return self._end_call(may_be_cut=may_be_cut(reason, counts, self._reply))

    def _end_call(self, *, may_be_cut: bool) -> bytes:
        """End the open call's arguments, if there are any: return what was held back of them."""
        call, self._call = self._call, None
        if call is None:
            return b""
        ending = call.end(may_be_cut=may_be_cut)
        self._has_cut_call = self._has_cut_call or ending.is_cut
        if ending.reason:
            self.notes = (*self.notes, Note("changed", f"content.{call.index}.input", ending.reason))
        if not ending.text:
            return b""
        event = {"type": "content_block_delta", "index": call.index}
        event["delta"] = {"type": "input_json_delta", "partial_json": ending.text}
        return self._blocks.delta(event, to_event(b"content_block_delta", orjson.dumps(event)))

    def _with_call_fields(self, frame: bytes, event: dict[str, Any]) -> bytes:
        """Return the start of a call with its empty input, which llama.cpp and vLLM leave out, its own id and name."""
        block = to_mapping(event.get("content_block"))
        if block.get("type") != "tool_use":
            return frame
        call_id, name = to_own_id(block.get("id"), self._ids, self._reply), to_meant_name(block, self._reply)
        if "input" in block and call_id == block.get("id") and name == block.get("name"):
            return frame
        event["content_block"] = with_name({"input": {}, **block, "id": call_id}, name)
        return to_event(b"content_block_start", orjson.dumps(event)).removesuffix(END)

    def _sealed(self, frame: bytes, payload: bytes, part: str) -> bytes:
        """Return a frame with the signature within sealed."""
        event = to_object(payload)
        changed = sealed(event.get(part), self._reply.upstream_model, self._reply.keyring)
        if changed is event.get(part):
            return frame
        return to_event(str(event["type"]).encode(), orjson.dumps({**event, part: changed})).removesuffix(END)

    def _missing_reason(self) -> bytes:
        """Return a message_delta with the stop reason if the upstream has sent none."""
        if self.stop_reason is not None:
            return b""
        event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        return self._take_delta(to_event(b"message_delta", orjson.dumps(event)), event) + END

    def _take_delta(self, frame: bytes, event: dict[str, Any]) -> bytes:
        counts, delta = counted(event.get("usage")), to_mapping(event.get("delta"))
        told = delta
        if not counts and "usage" in delta:  # where some servers put it
            counts, self._owes_usage = counted(delta["usage"]), True
        counts, is_changed = without_lost_input(counts, self._counts)
        self._owes_usage = self._owes_usage or is_changed or counts != to_mapping(event.get("usage"))
        reason = to_stop_reason(delta, self._reply, has_calls=self._blocks.has_calls)
        if self._has_cut_call and reason:
            delta = with_cut_call({**delta, "stop_reason": reason}, counts or self._counts, self._reply)
            reason = delta["stop_reason"]
        self.stop_reason = reason or self.stop_reason
        self.started = True
        if counts:
            self._counts.update(counts)
            self.has_usage, self._origin.estimated = True, False
            self._origin.cost = to_cost(counts)
        if reason != told.get("stop_reason") or "stop_sequence" not in told:  # vLLM 0.32 leaves it out
            shown = reason if told else self.stop_reason  # the last one is the one that clients keep
            event["delta"] = {**delta, "stop_reason": shown, "stop_sequence": delta.get("stop_sequence")}
            frame = to_event(b"message_delta", orjson.dumps(event)).removesuffix(END)
        if counts and not self._owes_usage:
            return frame
        known = {name: value for name, value in self._counts.items() if name != "service_tier"}
        if not counts:
            known |= {name: self.usage[name] for name in ("input_tokens", "output_tokens")}
        return to_event(b"message_delta", orjson.dumps({**event, "usage": known})).removesuffix(END)

    def _message_start(self) -> bytes:
        """Return message_start unless it was returned before: the upstream's, or our own if it has sent none yet."""
        if self._opened:
            return b""
        self._opened = True
        if self._start:
            return _with_model(self._start, self._reply.model) + END
        self._owes_usage = True
        return events.message_start(self._empty_message())

    def _empty_message(self) -> dict[str, Any]:
        return empty_message(self._reply, {**to_usage({}), "input_tokens": self._reply.input_estimate})


def _with_model(frame: bytes, model: str) -> bytes:
    """Replace the name in message_start. Its message has no content that could hold another `model`."""
    found = MODEL.search(frame)
    if found is None:
        return frame
    return b"".join((frame[: found.start(1)], orjson.dumps(model), frame[found.end(1) :]))


def _grows(event: dict[str, Any]) -> bool:
    """Return whether a block begins empty, and its deltas follow."""
    block = to_mapping(event.get("content_block"))
    return to_string(block.get("type")) in GROWING and not to_deltas(block)
