"""Completions in the form of a simulated server: bodies, chunks, ids, usage and thinking as that server sends them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gateway.simulator.script import DONE, Script, json_script, stream_script
from gateway.simulator.shapes import (
    ARGUMENT_FRAGMENT,
    Completion,
    Generation,
    Json,
    SimulatedToolCall,
    to_fragments,
    to_signature,
    to_tokens,
)
from gateway.simulator.vendors.row import SimulatedVendor


@dataclass(frozen=True, slots=True, repr=False)
class VendorAnswer:
    """One answer. `thought` is empty if the model does not show any. `counted`: usage was requested."""

    row: SimulatedVendor
    generation: Generation
    completion: Completion
    thought: str
    counted: bool

    @property
    def finish_reason(self) -> str:
        has_calls = bool(self.completion.calls) and self.completion.finish_reason == "tool_calls"
        return self.row.form.finish_with_calls if has_calls else self.completion.finish_reason


def with_own_ids(row: SimulatedVendor, generation: Generation, completion: Completion) -> Completion:
    """Return the completion with call ids in this server's form."""
    calls = tuple(
        replace(
            call,
            id=row.form.call_id.format(
                number=generation.number, index=index, name=call.name, short=generation.number % 10_000
            ),
        )
        for index, call in enumerate(completion.calls)
    )
    return replace(completion, calls=calls)


def to_whole(answer: VendorAnswer) -> Script:
    choice = {
        "index": 0,
        "message": {"role": "assistant", **_message_fields(answer)},
        "finish_reason": answer.finish_reason,
    }
    body = _head(answer, "chat.completion") | {"choices": [choice], "usage": usage_of_vendor(answer)}
    return json_script(body)


def to_streamed_script(answer: VendorAnswer) -> Script:
    chunks = [*answer.row.form.preface, *(_to_delta_chunk(answer, delta) for delta in _deltas(answer))]
    return stream_script(*chunks, *_ending(answer), DONE)


def usage_of_vendor(answer: VendorAnswer) -> Json:
    completion, form = answer.completion, answer.row.form
    thought = to_tokens(answer.thought)
    said = to_tokens(completion.text + "".join(call.name + call.arguments for call in completion.calls))
    completion_tokens = said if form.reasoning_beside else said + thought
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": completion.prompt_tokens + said + thought,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _message_fields(answer: VendorAnswer) -> Json:
    """Return the message, without its role."""
    text: Any = answer.completion.text or None
    shown: Json = {}
    match answer.row.thinking.field if answer.thought else "":
        case "thinking_parts":
            text = [*_thinking_parts(answer.thought), *([{"type": "text", "text": text}] if text else [])]
        case "<thought>" | "<reasoning>" as tag:
            text = f"{tag}{answer.thought}{_closing(tag)}{text or ''}"
        case "reasoning_details":
            shown["reasoning_details"] = _details(answer.thought)
        case "":
            pass
        case name:
            shown[name] = answer.thought
    shown["content"] = text
    if answer.completion.calls:
        shown["tool_calls"] = [_to_call(answer, index, call) for index, call in enumerate(answer.completion.calls)]
    return shown


def _deltas(answer: VendorAnswer) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    place = answer.row.thinking.field
    thought = to_fragments(answer.thought)
    if thought and place.startswith("<"):
        thought = [place, *thought, _closing(place)]
    for fragment in thought:
        yield _to_thought_delta(place, fragment)
    for fragment in to_fragments(answer.completion.text):
        yield {"content": fragment}
    for index, call in enumerate(answer.completion.calls):
        yield from _call_deltas(answer, index, call)


def _to_thought_delta(name: str, fragment: str) -> Json:
    match name:
        case "thinking_parts":
            return {"content": _thinking_parts(fragment)}
        case "<thought>" | "<reasoning>":
            return {"content": fragment}
        case "reasoning_details":
            return {"reasoning_details": _details(fragment)}
        case _:
            return {name: fragment, "content": None}


def _call_deltas(answer: VendorAnswer, index: int, call: SimulatedToolCall) -> Iterator[Json]:
    whole = _to_call(answer, index, call)
    if answer.row.form.whole_calls:
        yield {"tool_calls": [whole]}
        return
    yield {"tool_calls": [{**whole, "function": {"name": call.name, "arguments": ""}}]}
    for start in range(0, len(call.arguments), ARGUMENT_FRAGMENT):
        fragment = call.arguments[start : start + ARGUMENT_FRAGMENT]
        yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _to_call(answer: VendorAnswer, index: int, call: SimulatedToolCall) -> Json:
    shown: Json = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        "index": index,
    }
    if answer.row.thinking.back == "signature" and not index:
        shown["extra_content"] = {"google": {"thought_signature": to_signature(call.name + call.arguments)}}
    return shown


def _ending(answer: VendorAnswer) -> Iterator[Json]:
    """Return the chunks with finish reason and usage, together or one after the other."""
    choice: Json = {"index": 0, "delta": {}, "finish_reason": answer.finish_reason}
    usage = usage_of_vendor(answer)
    match answer.row.form.usage:
        case "choice":
            yield _head(answer, "chat.completion.chunk") | {"choices": [choice | {"usage": usage}]}
        case "finish" | "each":
            yield _head(answer, "chat.completion.chunk") | {"choices": [choice], "usage": usage}
        case place:
            yield _head(answer, "chat.completion.chunk") | {"choices": [choice]}
            if place == "always" or answer.counted:
                yield _head(answer, "chat.completion.chunk") | {"choices": [], "usage": usage}


def _to_delta_chunk(answer: VendorAnswer, delta: Json) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = _head(answer, "chat.completion.chunk") | {"choices": [choice]}
    if answer.row.form.usage == "each":
        chunk["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return chunk


def _head(answer: VendorAnswer, kind: str) -> Json:
    generation = answer.generation
    return {
        "id": answer.row.form.identifier.format(number=generation.number),
        "object": kind,
        "created": generation.created,
        "model": generation.model,
        **answer.row.form.head,
    }


def _closing(tag: str) -> str:
    return tag.replace("<", "</")


def _thinking_parts(text: str) -> list[Json]:
    return [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]


def _details(text: str) -> list[Json]:
    return [{"type": "reasoning.text", "id": "reasoning-text-1", "format": "vendor", "index": 0, "text": text}]
