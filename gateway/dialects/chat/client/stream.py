"""A Messages stream as chunks of a chat completion.

Each call's index, id, name and type come once, with its first chunk: clients join what is repeated. A ping becomes a
comment, since `data: {}` ends opencode. An error ends the stream without `[DONE]`, and the SDKs raise it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.dialects.chat.client.answer import (
    BETWEEN_THOUGHTS,
    to_call,
    to_completion_id,
    to_encrypted_entry,
    to_finish_reason,
    to_text_entry,
)
from gateway.dialects.chat.response.images import to_image_part
from gateway.dialects.chat.vocabulary import DONE_EVENT
from gateway.dialects.clients.citations import to_annotations, to_entries
from gateway.dialects.clients.errors import to_openai_error
from gateway.dialects.clients.events import MessageEvents
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.clients.usage import to_chat_usage

# A comment, which every reader of event streams skips; OpenAI's chunks have no ping.
KEEP_ALIVE: Final = b": keep-alive\n\n"


@dataclass(slots=True, repr=False)
class OpenCall:
    """A call that is being streamed. `pieces`: those of a custom tool's input, which is sent whole."""

    index: int
    id: str
    name: str
    is_custom: bool
    pieces: list[str]


class ChatStream:
    """Bytes of a Messages stream in, chunks out. `created`: seconds since 1970."""

    def __init__(self, tools: ToolRegistry, created: int, *, shows_usage: bool) -> None:
        self._tools = tools
        self._created = created
        self._shows_usage = shows_usage
        self._events = MessageEvents()
        self._prefix = b""  # of every chunk, up to its choices
        self._call: OpenCall | None = None
        self._calls = 0
        self._thought: list[str] = []
        self._signature: list[str] = []
        self._has_thought = False  # whether any block so far has had text
        self._before_thought = ""  # what separates the open one from it
        self._details = 0
        self._written = self._begun = 0  # characters of text so far, and before the open block
        self._cited: list[dict[str, Any]] = []  # by the open block
        self._usage: dict[str, Any] = {}
        self._is_finished = False  # whether a reason has been sent

    def feed(self, data: bytes) -> bytes:
        # Anthropic may add kinds of events, which clients have to ignore.
        known = [event for event in self._events.feed(data) if event.get("type") in HANDLERS]
        return b"".join([HANDLERS[event["type"]](self, event) for event in known])

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def _start(self, event: dict[str, Any]) -> bytes:
        message = event["message"]
        self._usage = dict(message["usage"])
        head = {
            "id": to_completion_id(message["id"]),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": message["model"],
        }
        self._prefix = b"data: " + orjson.dumps(head)[:-1] + b',"choices":'
        return self._delta({"role": "assistant", "content": ""})

    def _start_block(self, event: dict[str, Any]) -> bytes:
        block = event["content_block"]
        match block["type"]:
            case "tool_use":
                is_custom = self._tools.find(block["name"]).kind == "custom"
                self._call = call = OpenCall(self._calls, block["id"], block["name"], is_custom, [])
                self._calls += 1
                if not is_custom:
                    return self._call_delta({"index": call.index, **to_call(call.id, call.name, "", self._tools)})
            case "thinking":
                self._thought, self._signature = [], []
                self._before_thought = BETWEEN_THOUGHTS if self._has_thought else ""
            case "redacted_thinking":
                return self._detail(to_encrypted_entry(block["data"], self._details))
            case "image":
                return self._delta({"images": [to_image_part(block)]})
        return b""

    def _add(self, event: dict[str, Any]) -> bytes:
        delta = event["delta"]
        match delta["type"]:
            case "text_delta":
                self._written += len(delta["text"])
                return self._delta({"content": delta["text"]})
            case "citations_delta":
                self._cited.append(delta["citation"])
            case "thinking_delta":
                self._thought.append(delta["thinking"])
                text = self._before_thought + delta["thinking"] if delta["thinking"] else ""
                self._before_thought = "" if text else self._before_thought
                self._has_thought = self._has_thought or text != ""
                return self._delta({"reasoning_content": text})
            case "signature_delta":
                self._signature.append(delta["signature"])
            case "input_json_delta" if self._call is not None and delta["partial_json"]:
                call, text = self._call, delta["partial_json"]
                if call.is_custom or not call.pieces:
                    call.pieces.append(text)
                if not call.is_custom:
                    return self._call_delta({"index": call.index, "function": {"arguments": text}})
        return b""

    def _stop_block(self, event: dict[str, Any]) -> bytes:
        call, self._call = self._call, None
        start, self._begun = self._begun, self._written
        if self._cited:
            entries = to_entries(to_annotations(self._cited, start, self._written))
            self._cited = []
            return self._delta({"annotations": entries}) if entries else b""
        if call is not None and call.is_custom:
            whole = to_call(call.id, call.name, "".join(call.pieces) or "{}", self._tools)
            return self._call_delta({"index": call.index, **whole})
        if call is not None and not call.pieces:
            return self._call_delta({"index": call.index, "function": {"arguments": "{}"}})
        signature, self._signature = "".join(self._signature), []
        if signature:
            return self._detail(to_text_entry("".join(self._thought), signature, self._details))
        return b""

    def _finish(self, event: dict[str, Any]) -> bytes:
        self._usage |= event["usage"]
        if self._is_finished or event["delta"].get("stop_reason") is None:  # another one with the reason follows
            return b""
        return self._reason(event["delta"])

    def _reason(self, delta: dict[str, Any]) -> bytes:
        self._is_finished = True
        reason = to_finish_reason(delta.get("stop_reason"))
        return self._choices(
            [{"index": 0, "delta": {}, "logprobs": delta.get("logprobs"), "finish_reason": reason}],
        )

    def _end(self, event: dict[str, Any]) -> bytes:
        reason = b"" if self._is_finished else self._reason({})
        if not self._shows_usage:
            return reason + DONE_EVENT
        usage = orjson.dumps(to_chat_usage(self._usage))
        return reason + self._prefix + b'[],"usage":' + usage + b"}\n\n" + DONE_EVENT

    def _ping(self, event: dict[str, Any]) -> bytes:
        return KEEP_ALIVE

    def _fail(self, event: dict[str, Any]) -> bytes:
        error = to_openai_error(event["error"], 500, "chat")
        return b"data: " + orjson.dumps({"error": error.body}) + b"\n\n"

    def _detail(self, entry: dict[str, Any]) -> bytes:
        self._details += 1
        return self._delta({"reasoning_details": [entry]})

    def _call_delta(self, call: dict[str, Any]) -> bytes:
        return self._delta({"tool_calls": [call]})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._choices([{"index": 0, "delta": delta, "finish_reason": None}])

    def _choices(self, choices: list[dict[str, Any]]) -> bytes:
        return self._prefix + orjson.dumps(choices) + b"}\n\n"


HANDLERS: Final[dict[str, Callable[[ChatStream, dict[str, Any]], bytes]]] = {
    "message_start": ChatStream._start,
    "content_block_start": ChatStream._start_block,
    "content_block_delta": ChatStream._add,
    "content_block_stop": ChatStream._stop_block,
    "message_delta": ChatStream._finish,
    "message_stop": ChatStream._end,
    "ping": ChatStream._ping,
    "error": ChatStream._fail,
}
