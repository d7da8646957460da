"""A Messages stream as the events of a response.

Every item has one id and one call id from its first event to `response.completed`. `output_item.done` of a call waits
for the next event of the message: Codex runs a call as soon as its item is done, also when the stream then breaks, and
one that was cut at the length limit must not run. Where a format was asked for, a text that does not begin like JSON
waits too: it may turn out to be a refusal. Comments do not count as life for Codex; so a ping is an event with
data.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway.dialects.clients.errors import to_openai_error
from gateway.dialects.clients.events import MessageEvents
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import (
    INCOMPLETE,
    ITEM_PREFIXES,
    ItemStatus,
    ResponseFacts,
    item_id,
    to_compaction,
    to_item,
    to_response_object,
    to_text_part,
)
from gateway.dialects.responses.client.refusal import is_refused, to_refusal_part, with_refusal, words_of
from gateway.sse import to_event

# First characters of the JSON that formats ask for.
JSON_STARTS = tuple('{["-0123456789')


class ClientResponseStream:
    """Bytes of a Messages stream in, events out. `compacts`: the answer is a summary, sealed into one item."""

    def __init__(self, tools: ToolRegistry, facts: ResponseFacts, *, compacts: bool = False) -> None:
        self._tools = tools
        self._facts = facts
        self._compacts = compacts
        self._events = MessageEvents()
        self._sequence = 0
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._output: list[dict[str, Any]] = []
        self._block: dict[str, Any] | None = None  # the open one; None also for blocks that become no item
        self._pieces: list[str] = []  # its text, thinking or arguments
        self._signature: list[str] = []
        self._item = ""  # id of its item
        self._held: tuple[dict[str, Any], str] | None = None  # a call that is whole, and its JSON; a text that waits
        self._waits = False  # whether the open text does
        self._begun = ""  # its first piece with more than white space
        self._end_of: dict[str, Any] = {}  # stop reason and details
        self._summary: list[str] = []

    def feed(self, data: bytes) -> bytes:
        # Anthropic may add kinds of events, which clients have to ignore.
        known = [event for event in self._events.feed(data) if event.get("type") in HANDLERS]
        return b"".join([HANDLERS[event["type"]](self, event) for event in known])

    def keep_alive(self) -> bytes:
        return self._event("keepalive")

    def _start(self, event: dict[str, Any]) -> bytes:
        message = event["message"]
        self._usage = dict(message["usage"])
        self._message = message  # once it is known to be one: an error needs it
        response = to_response_object(self._message, self._facts, "in_progress", [])
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _start_block(self, event: dict[str, Any]) -> bytes:
        done = self._release("completed")
        block = event["content_block"]
        self._block = None
        if self._compacts or block["type"] not in ITEM_PREFIXES:
            return done
        self._block, self._pieces, self._signature = block, [], []
        self._item = item_id(block, self._message["id"], len(self._output), self._tools)
        self._waits, self._begun = block["type"] == "text" and self._facts.has_format, ""
        return done if self._waits else done + self._open_item(block)

    def _open_item(self, block: dict[str, Any]) -> bytes:
        opened: dict[str, Any] = {**block, "input": ""} if block["type"] == "tool_use" else block
        item = to_item(opened, self._item, self._tools, "in_progress")
        output = self._item_event("response.output_item.added", item=item)
        if block["type"] == "text":
            output += self._part_event("response.content_part.added", part=to_text_part(""))
        return output

    def _add(self, event: dict[str, Any]) -> bytes:
        delta, block = event["delta"], self._block
        kind = delta["type"]
        if self._compacts and kind == "text_delta":
            self._summary.append(delta["text"])
        if block is None:
            return b""
        match kind:
            case "text_delta":
                self._pieces.append(delta["text"])
                return self._add_text(block, delta["text"])
            case "thinking_delta":
                text = delta["thinking"]
                output = b""
                if not self._pieces:
                    output = self._summary_event("response.reasoning_summary_part.added", part=to_summary(""))
                self._pieces.append(text)
                return output + self._summary_event("response.reasoning_summary_text.delta", delta=text)
            case "citations_delta":
                if not block.get("citations"):
                    block["citations"] = []
                block["citations"].append(delta["citation"])
            case "signature_delta":
                self._signature.append(delta["signature"])
            case "input_json_delta":
                self._pieces.append(delta["partial_json"])
                if delta["partial_json"] and self._tools.find(block["name"]).kind == "function":
                    return self._item_event("response.function_call_arguments.delta", delta=delta["partial_json"])
        return b""

    def _add_text(self, block: dict[str, Any], text: str) -> bytes:
        output = b""
        if self._waits:
            self._begun = self._begun or text.lstrip()
            if not self._begun.startswith(JSON_STARTS):
                return b""
            text = "".join(self._pieces)
            self._waits, output = False, self._open_item(block)
        return output + self._part_event("response.output_text.delta", delta=text, logprobs=[])

    def _stop_block(self, event: dict[str, Any]) -> bytes:
        block, self._block = self._block, None
        if block is None:
            return b""
        if self._signature:
            block["signature"] = block.get("signature", "") + "".join(self._signature)
        text = "".join(self._pieces)
        match block["type"]:
            case "text" if self._waits:
                self._held = block, text
                return b""
            case "text":
                return self._finish_text(block, text)
            case "tool_use":
                self._held = block, text or "{}"
                return b""
            case "thinking" if text:
                output = self._summary_event("response.reasoning_summary_text.done", text=text)
                output += self._summary_event("response.reasoning_summary_part.done", part=to_summary(text))
                return output + self._finish_item({**block, "thinking": text})
            case _:
                return self._finish_item(block)

    def _finish_text(self, block: dict[str, Any], text: str) -> bytes:
        part = to_text_part(text, block.get("citations"))
        output = b""
        for index, each in enumerate(part["annotations"]):
            fields = {"annotation_index": index, "annotation": each}
            output += self._part_event("response.output_text.annotation.added", **fields)
        output += self._part_event("response.output_text.done", text=text, logprobs=[])
        output += self._part_event("response.content_part.done", part=part)
        return output + self._finish_item({**block, "text": text})

    def _finish_item(self, block: dict[str, Any]) -> bytes:
        item = to_item(block, self._item, self._tools, "completed")
        output = self._item_event("response.output_item.done", item=item)
        self._output.append(item)
        return output

    def _release(self, status: ItemStatus) -> bytes:
        """Finish the call that is held back, if there is one. One that is incomplete is part of the output only."""
        if self._held is None:
            return b""
        (block, arguments), self._held = self._held, None
        if block["type"] == "text":
            if is_refused(self._end_of) and arguments == words_of(self._end_of):
                return b""
            output = self._open_item(block)
            output += self._part_event("response.output_text.delta", delta=arguments, logprobs=[])
            return output + self._finish_text(block, arguments)
        item = to_item({**block, "input": arguments}, self._item, self._tools, status)
        output = b""
        if status == "completed":
            if item["type"] == "function_call":
                output = self._item_event(
                    "response.function_call_arguments.done", arguments=arguments, name=item["name"]
                )
            elif item["type"] == "custom_tool_call":
                output = self._item_event("response.custom_tool_call_input.delta", delta=item["input"])
                output += self._item_event("response.custom_tool_call_input.done", input=item["input"])
            output += self._item_event("response.output_item.done", item=item)
        self._output.append(item)
        return output

    def _finish(self, event: dict[str, Any]) -> bytes:
        self._usage |= event["usage"]
        if event["delta"].get("stop_reason") is None:  # usage alone: the end follows
            return b""
        self._end_of = event["delta"]
        is_cut = is_refused(self._end_of) or self._end_of.get("stop_reason") in INCOMPLETE
        return self._release("incomplete" if is_cut else "completed")

    def _end(self, event: dict[str, Any]) -> bytes:
        output = b""
        reason = INCOMPLETE.get(str(self._end_of.get("stop_reason")))
        if self._compacts:
            item = to_compaction("".join(self._summary), self._message["id"])
            output = self._item_event("response.output_item.added", item=item)
            output += self._item_event("response.output_item.done", item=item)
            self._output, reason = [item], None
        elif is_refused(self._end_of):
            output += self._refuse(words_of(self._end_of))
        kind = "incomplete" if reason else "completed"
        response = to_response_object(self._message, self._facts, kind, self._output, self._usage, reason)
        return output + self._event(f"response.{kind}", response=response)

    def _refuse(self, words: str) -> bytes:
        """Add the refusal, as its own item unless it was streamed as a text."""
        known = {item["id"] for item in self._output}
        self._output = with_refusal(self._output, words, self._message["id"])
        item = self._output[-1]
        if item["id"] in known:
            return b""
        self._output, self._item = self._output[:-1], item["id"]
        events = self._item_event("response.output_item.added", item={**item, "status": "in_progress", "content": []})
        events += self._part_event("response.content_part.added", part=to_refusal_part(""))
        events += self._part_event("response.refusal.delta", delta=words)
        events += self._part_event("response.refusal.done", refusal=words)
        events += self._part_event("response.content_part.done", part=to_refusal_part(words))
        events += self._item_event("response.output_item.done", item=item)
        self._output.append(item)
        return events

    def _ping(self, event: dict[str, Any]) -> bytes:
        return self.keep_alive()

    def _fail(self, event: dict[str, Any]) -> bytes:
        output = to_openai_error(event["error"], 500, "responses")
        error = {"code": output.code or "server_error", "message": output.message}
        response = to_response_object(self._message, self._facts, "failed", self._output, self._usage, error=error)
        return self._event("response.failed", response=response)

    def _summary_event(self, kind: str, **fields: Any) -> bytes:
        return self._item_event(kind, summary_index=0, **fields)

    def _part_event(self, kind: str, **fields: Any) -> bytes:
        return self._item_event(kind, content_index=0, **fields)

    def _item_event(self, kind: str, **fields: Any) -> bytes:
        if "item" not in fields:
            fields["item_id"] = self._item
        return self._event(kind, output_index=len(self._output), **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        payload = orjson.dumps({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return to_event(kind.encode(), payload)


def to_summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


HANDLERS: Final[dict[str, Callable[[ClientResponseStream, dict[str, Any]], bytes]]] = {
    "message_start": ClientResponseStream._start,
    "content_block_start": ClientResponseStream._start_block,
    "content_block_delta": ClientResponseStream._add,
    "content_block_stop": ClientResponseStream._stop_block,
    "message_delta": ClientResponseStream._finish,
    "message_stop": ClientResponseStream._end,
    "ping": ClientResponseStream._ping,
    "error": ClientResponseStream._fail,
}
