"""Answers of the Responses API in the form of chat completions, whole and streamed.

One chunk for each event that adds something; the rest of an item comes with its end, for servers that send no deltas.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dialects.chat.response.stop_reason import failure_of
from gateway.dialects.chat.vocabulary import DONE_EVENT
from gateway.dialects.responses.items import CUSTOM_INPUT, LEAST_OUTPUT
from gateway.json_values import to_mapping, to_mappings, to_string
from gateway.messages.notes import Note
from gateway.upstream.models.target import encrypts_reasoning

FORMAT = "openai-responses-v1"
CALLS = frozenset({"function_call", "custom_tool_call"})
CUSTOM_START = f'{{"{CUSTOM_INPUT}":"'
CUSTOM_END = '"}'
# Events with all that deltas bring, for servers that send no deltas (LM Studio: pi pull request 917), and their field.
WHOLES = {
    "response.custom_tool_call_input.done": "input",
    "response.function_call_arguments.done": "arguments",
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.content_part.done": "part",
}
# Statuses that the type of the last event says.
ENDINGS = {"response.incomplete": "incomplete", "response.failed": "failed", "response.cancelled": "cancelled"}
HOSTED_CALL = "hosted_tool_call"
IMAGE = "image_generation_call"
CALL_CONTENT = frozenset({"arguments", "input"})
HOSTED = Note("dropped", "content", "the call of a tool that the upstream itself has, and has run")
FILES = Note("dropped", "content", "citations of files, which Messages have no form for")
FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


@dataclass(slots=True)
class OpenItem:
    """An item that has begun. `index`: of a call, among the calls. `written`: letters of its content so far.

    `id`: the first that the upstream has given it; some give it another one with each event (litellm issue 30071).
    """

    kind: str
    index: int = 0
    written: int = 0
    closed: bool = False
    id: str = ""


@dataclass(slots=True)
class ChunkWriter:
    """Events in, chat chunks out. `upstream_model` decides which model's reasoning it is.

    `max_tokens`: the limit that was asked for. `offered`: names of the tools. `notes`: on what was left out.
    """

    upstream_model: str
    max_tokens: int | None = None
    offered: frozenset[str] = frozenset()
    notes: list[Note] = field(default_factory=list)
    _items: dict[int | str, OpenItem] = field(default_factory=dict, repr=False)
    _places: dict[str, int | str] = field(default_factory=dict, repr=False)  # by id
    _calls: int = 0
    _has_indexes: bool = False
    _parts: dict[tuple[str, str, str], int] = field(default_factory=dict, repr=False)
    _lasting: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_chunks(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind = event.get("type")
        place = self._place_of(event)
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._note(to_mapping(event.get("response")))
            case "response.output_item.added":
                yield from self._begin(place, to_item(event.get("item")))
            case "response.output_text.delta" | "response.refusal.delta":
                name = "content" if kind == "response.output_text.delta" else "refusal"
                yield from self._grow(place, name, event)
            case "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta":
                yield from self._think(place, event, "summary", event.get("summary_index"))
            # Open models show their reasoning itself; OpenAI shows a summary only.
            case "response.reasoning_text.delta" | "response.reasoning.delta":
                yield from self._think(place, event, "text", event.get("content_index"))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                yield from self._extend(place, to_string(event.get("delta")))
            case str() if kind in WHOLES:
                yield from self._take_whole(place, kind, event)
            case "response.output_text.annotation.added":
                yield from self._annotate([event.get("annotation")])
            case "response.output_item.done":
                yield from self._finish(place, to_item(event.get("item")))
            case (
                "response.completed"
                | "response.done"
                | "response.incomplete"
                | "response.failed"
                | "response.cancelled"
            ):
                yield from self._end(to_mapping(event.get("response")), ENDINGS.get(kind))
            case "error":
                # OpenAI puts the fields of an error beside the type, other servers into `error`.
                error = event.get("error")
                yield {"error": error if isinstance(error, dict) else dict(event)}

    def _place_of(self, event: Mapping[str, Any]) -> int | str:
        """Return what names an item: its index or, on servers that send none, its id (llama.cpp, build 11549).

        Some servers number an item differently in each of its events, or all items alike; then its id decides.
        """
        index, item = event.get("output_index"), to_mapping(event.get("item"))
        item_id = to_string(event.get("item_id")) or to_string(item.get("id"))
        if type(index) is int:
            self._has_indexes = True
            opened = self._items.get(index)
            return index if opened is not None and opened.id == item_id else self._places.get(item_id, index)
        if item_id in self._places:
            return self._places[item_id]
        begins = event.get("type") == "response.output_item.added"
        latest = None if begins else self._latest_open(to_string(item.get("type")))
        return latest if latest is not None else item_id or f"#{len(self._items)}"

    def _latest_open(self, kind: str) -> int | str | None:
        """Return the place of the latest item that has not ended, which an event without a place belongs to.

        `kind`: the item's, if the event has it.
        """
        places = reversed(self._items.items())
        return next((place for place, item in places if not item.closed and kind in ("", item.kind)), None)

    def _note(self, response: Mapping[str, Any]) -> None:
        self._lasting |= {name: response[name] for name in ("id", "model", "service_tier") if response.get(name)}

    def _chunk(self, **delta: Any) -> dict[str, Any]:
        return {**self._lasting, "choices": [{"index": 0, "delta": delta}]}

    def _begin(self, place: int | str, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind, item_id = to_string(item.get("type")), to_string(item.get("id"))
        if not kind:  # its end has the item
            return
        known = self._items.get(place)
        if known is not None and known.kind == kind and not known.closed:
            if not (known.id and item_id) or known.id == item_id:  # begun before, by a delta or an event like this one
                known.id = known.id or item_id
                return
            place = item_id
        if item_id:
            self._places[item_id] = place
        if kind == "custom_tool_call" and to_string(item.get("name")) not in self.offered:  # a search of xAI's own
            kind = HOSTED_CALL
            self._lose(HOSTED)
        elif kind.endswith("_call") and kind not in CALLS and kind != IMAGE:
            self._lose(HOSTED)
        opened = self._items[place] = OpenItem(kind, self._calls, id=item_id)
        if kind not in CALLS:
            return
        self._calls += 1
        # Servers without `call_id` have the item's id alone.
        call_id = to_string(item.get("call_id")) or item_id
        # A custom tool takes text; a `tool_use` block holds an object, so the text becomes its one field.
        arguments = CUSTOM_START if kind == "custom_tool_call" else ""
        yield self._call(opened.index, arguments, id=call_id, name=to_string(item.get("name")))

    def _call(self, index: int, arguments: str, *, name: str | None = None, **fields: str) -> dict[str, Any]:
        function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
        return self._chunk(tool_calls=[{"index": index, "type": "function", **fields, "function": function}])

    def _grow(self, place: int | str, field_name: str, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        text = _delta(event)
        # Some servers send deltas without the event that begins their item.
        item = self._items.setdefault(place, OpenItem("message"))
        if text and not item.written:
            text = self._apart(item) + text
        item.written += len(text)
        if text:
            yield self._chunk(**{field_name: text})

    def _apart(self, item: OpenItem) -> str:
        """Return what separates the text of a message from that of the one before: OpenAI's models comment first."""
        before = next((other for other in reversed(self._items.values()) if other is not item), None)
        return "\n\n" if before is not None and before.kind == "message" and before.written else ""

    def _lose(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _think(self, place: int | str, event: Mapping[str, Any], name: str, part: Any) -> Iterator[dict[str, Any]]:
        text = _delta(event)
        item = self._items.setdefault(place, OpenItem("reasoning"))
        item.id = item.id or to_string(event.get("item_id"))
        item.written += len(text)
        if text:
            yield self._chunk(reasoning_details=[self._entry(item.id, name, part, text)])

    def _entry(self, item_id: str, name: str, part: Any, text: str) -> dict[str, Any]:
        """A part of reasoning. Its number separates parts of one item, which would otherwise be joined."""
        number = self._parts.setdefault((item_id, str(part), name), len(self._parts))
        entry = {"type": f"reasoning.{name}", name: text, "id": item_id, "index": number}
        return entry | ({"format": FORMAT} if encrypts_reasoning(self.upstream_model) else {})

    def _extend(self, place: int | str, fragment: str) -> Iterator[dict[str, Any]]:
        item = self._items.get(place)
        if item is None or item.kind not in CALLS or not fragment:
            return
        item.written += len(fragment)
        if item.kind == "custom_tool_call":
            fragment = orjson.dumps(fragment)[1:-1].decode()  # it is put within a JSON string
        yield self._call(item.index, fragment)

    def _take_whole(self, place: int | str, kind: str, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Take the content of an item, or of a part of it, unless deltas brought it."""
        name = WHOLES[kind]
        item = self._items.get(place)
        if name == "part":
            event = to_mapping(event.get("part")) if item is None or item.kind == "message" else {}
            name = "refusal" if event.get("refusal") else "text"
        text = to_string(event.get(name))
        if name in CALL_CONTENT:
            yield from self._extend(place, text[item.written if item is not None else 0 :])
        elif item is None or not item.written:
            yield from self._grow(place, "refusal" if name == "refusal" else "content", {"delta": text})

    def _annotate(self, annotations: Any) -> Iterator[dict[str, Any]]:
        cited = [
            {"type": "url_citation", "url_citation": {key: value for key, value in one.items() if key != "type"}}
            for one in to_mappings(annotations)
            if one.get("type") == "url_citation"
        ]
        if len(cited) < len(to_mappings(annotations)):  # files and their paths have no counterpart in Messages
            self._lose(FILES)
        if cited:
            yield self._chunk(annotations=cited)

    def _finish(self, place: int | str, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Add the parts of an item that its deltas lacked."""
        # An item that came whole, without deltas.
        if place not in self._items:
            yield from self._begin(place, item)
        opened = self._items.get(place)
        if opened is None or opened.closed:
            return
        if opened.kind != item.get("type"):  # some servers leave reasoning out of the last event
            return
        opened.closed = True
        match item.get("type"):
            case "function_call":
                arguments = item.get("arguments")
                whole = orjson.dumps(arguments).decode() if isinstance(arguments, dict) else to_string(arguments)
                yield from self._extend(place, whole[opened.written :])
            case "custom_tool_call":
                yield from self._extend(place, to_string(item.get("input"))[opened.written :])
                yield self._call(opened.index, CUSTOM_END)
            # What was streamed is complete; the item would repeat it.
            case "message" if not opened.written:
                yield from self._whole_message(item, opened)
            case "image_generation_call" if isinstance(item.get("result"), str):
                url = f"data:image/png;base64,{item['result']}"  # whose type is read from the bytes
                yield self._chunk(images=[{"type": "image_url", "image_url": {"url": url}}])
            case "reasoning":
                yield from self._whole_reasoning(item, opened)

    def _whole_message(self, item: Mapping[str, Any], opened: OpenItem) -> Iterator[dict[str, Any]]:
        content = item.get("content")
        for part in [{"text": content}] if isinstance(content, str) else to_mappings(content):
            yield from self._annotate(part.get("annotations"))
            name = "refusal" if part.get("refusal") else "content"
            text = to_string(part.get("refusal") or part.get("text"))
            if text and not opened.written:
                text = self._apart(opened) + text
            opened.written += len(text)
            if text:
                yield self._chunk(**{name: text})

    def _whole_reasoning(self, item: Mapping[str, Any], opened: OpenItem) -> Iterator[dict[str, Any]]:
        entries = []
        item_id = opened.id or to_string(item.get("id"))
        for name, parts in (("summary", item.get("summary")), ("text", item.get("content"))):
            for part, value in enumerate(to_mappings(parts) if not opened.written else ()):
                entries.append(self._entry(item_id, name, part, to_string(value.get("text"))))
        # Comes with the last event only, and has to be sent back as it is.
        encrypted = item.get("encrypted_content")
        if encrypted and isinstance(encrypted, str):
            sealed = {"type": "reasoning.encrypted", "data": encrypted, "id": item_id, "format": FORMAT}
            entries.append({**sealed, "index": len(self._parts)})
        if entries:
            yield self._chunk(reasoning_details=entries)

    def _end(self, response: Mapping[str, Any], status: str | None) -> Iterator[dict[str, Any]]:
        """`status`: the one that the event's type says, if any; else the response has it."""
        self._note(response)
        error = response.get("error")
        # A response may fail after text has been sent: that is an error event, and no end of turn.
        status = status or response.get("status")
        if status in ("failed", "cancelled") or error:
            named = error if isinstance(error, dict | str) else None
            yield {"error": named or {"message": f"The response was {status}."}}
            return
        if status in ("queued", "in_progress") and not (self._items or response.get("output")):
            yield {"error": {"message": "The upstream has not finished its response."}}
            return
        yield from self._finish_all(response.get("output"))
        reason = to_string(to_mapping(response.get("incomplete_details")).get("reason"))
        finish = FINISH_REASONS.get(reason, "length" if status == "incomplete" else "stop")
        finish = reason if failure_of(reason) is not None else finish  # an error, for the chat stream
        usage = to_chat_usage(response.get("usage"))
        if finish == "stop" and self._is_at_limit(usage):
            finish = "length"
        # The API has no such reason: calls are seen by their items.
        if finish == "stop" and self._calls:
            finish = "tool_calls"
        end = {**self._lasting, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        yield end | ({"usage": usage} if usage else {})

    def _finish_all(self, output: object) -> Iterator[dict[str, Any]]:
        """Add what the items of the last event have beyond their own events. They are in the order of their indexes."""
        places = list(self._items)
        is_said = any(item.kind == "message" and item.written for item in self._items.values())
        for index, item in enumerate(map(to_item, to_mappings(output))):
            if is_said and item.get("type") == "message":  # perhaps under another index than in its deltas
                continue
            place: int | str = index
            if places:
                known = index if self._has_indexes or index >= len(places) else places[index]
                place = self._places.get(to_string(item.get("id")), known)
            opened = self._items.get(place)
            if opened is None or not opened.written or opened.kind in CALLS:  # for the rest of others it is too late
                yield from self._finish(place, item)

    def _is_at_limit(self, usage: Mapping[str, Any]) -> bool:
        """Return True for an answer that its limit cut; llama.cpp (build 11549) reports such a one as completed."""
        spent = usage.get("completion_tokens")
        if self.max_tokens is None or encrypts_reasoning(self.upstream_model) or type(spent) is not int:
            return False
        return spent >= max(self.max_tokens, LEAST_OUTPUT)


def to_item(value: Any) -> Mapping[str, Any]:
    """Return an item of the output; one that has content and no type is a message."""
    item = to_mapping(value)
    return item if item.get("type") or "content" not in item else {**item, "type": "message"}


def to_completion_events(response: Mapping[str, Any], writer: ChunkWriter) -> bytes:
    """A whole response as a chat stream."""
    return written(writer.to_chunks({"type": "response.completed", "response": response})) + DONE_EVENT


def written(chunks: Iterator[dict[str, Any]]) -> bytes:
    return b"".join([b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks])


def to_chat_usage(value: Any) -> dict[str, Any]:
    usage = to_mapping(value)
    if not usage or "prompt_tokens" in usage:  # some servers have chat's own names
        return dict(usage)
    read, written_tokens = usage.get("input_tokens"), usage.get("output_tokens")
    return {
        **{name: count for name, count in usage.items() if name in ("cost", "total_tokens", "is_byok", "cost_details")},
        "prompt_tokens": read,
        "completion_tokens": written_tokens,
        "prompt_tokens_details": to_mapping(usage.get("input_tokens_details")),
        "completion_tokens_details": to_mapping(usage.get("output_tokens_details")),
    }


def _delta(event: Mapping[str, Any]) -> str:
    """Return the text of a delta, which is an object in older forms of some events."""
    delta = event.get("delta")
    return to_string(delta.get("text") if isinstance(delta, dict) else delta)
