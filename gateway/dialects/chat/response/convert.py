"""A whole chat completion to a whole message: the JSON answer."""

from dataclasses import dataclass
from typing import Any

from gateway.dialects.base import Answered, Origin
from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.delta import TEXT_FIELDS, add_pieces, delta_of, first_choice, join_choices
from gateway.dialects.chat.response.errors.embedded_errors import error_in
from gateway.dialects.chat.response.errors.refused_output import quoted_choice
from gateway.dialects.chat.response.filters.chain import passes_unchanged, with_filters
from gateway.dialects.chat.response.stop_reason import Finish, StopFields, broken_finish, to_extension, to_stop
from gateway.dialects.chat.response.usage import (
    UpstreamCounts,
    counts_of,
    estimated_usage,
    read_counts,
    to_tier,
    to_usage,
)
from gateway.dialects.reply import Reply, empty_message
from gateway.errors import GatewayError, UpstreamError
from gateway.json_values import to_string
from gateway.messages.fold import BlockCollector
from gateway.messages.notes import Note

NOT_A_COMPLETION = "The upstream answered with something that is not a chat completion."


@dataclass(slots=True, repr=False)
class Content:
    """The blocks of an answer, and the facts its ending depends on. `size`: bytes that the model wrote."""

    blocks: list[dict[str, Any]]
    size: int
    notes: tuple[Note, ...] = ()
    has_tools: bool = False
    has_cut_call: bool = False


def read_choice(completion: Any, reply: Reply) -> tuple[dict[str, Any], Finish]:
    """Return the first choice and how it ended; parts of it under the same number are joined.

    Raises the error that a 200 may hold, and UpstreamError for a body that is no chat completion.
    """
    if not isinstance(completion, dict):
        raise UpstreamError(NOT_A_COMPLETION)
    join_choices(completion)
    choice = first_choice(completion)
    error = error_in(completion, choice, reply)
    if error is not None:
        raise error
    if choice is None:
        raise UpstreamError("The upstream's answer holds no choices.")
    finish = Finish()
    finish.note(choice)
    error = broken_finish(finish)
    if error is not None:
        raise error
    return choice, finish


def to_message(completion: Any, reply: Reply) -> Answered:
    """Raises as `read_choice`."""
    completion = unwrapped(completion)
    choice, finish = read_choice(completion, reply)
    delta = _without_prefill(delta_of(choice), reply)
    found = counts_of(completion)
    counts = read_counts(found) if found else None
    if counts is not None:
        finish.read, finish.spent = counts.prompt, counts.output
    content = _plain_content(delta, reply)
    if content is None:
        collector = BlockCollector()
        assembly = Assembly(reply, collector, finish)
        target = with_filters(assembly, reply, finish, streamed=False)
        add_pieces(delta, target, finish)
        target.close()
        notes = tuple(assembly.notes)
        content = Content(collector.blocks, collector.output_size, notes, assembly.has_tools, assembly.has_cut_call)
    usage = to_usage(counts, reply, content.size) if counts else estimated_usage(reply.input_estimate, content.size)
    usage["service_tier"] = to_tier(completion)
    message = empty_message(reply, usage)
    message["content"] = content.blocks
    stop = to_stop(finish, has_tools=content.has_tools, has_cut_call=content.has_cut_call, reply=reply)
    message |= stop.fields
    message |= to_extension(finish, completion, reply)
    return Answered(message, to_origin(completion, counts), content.notes)


def to_unfinished(reply: Reply) -> Answered:
    """The answer that reached its limit before any of it: Anthropic gives one where OpenAI gives an error."""
    message = empty_message(reply, estimated_usage(reply.input_estimate))
    message |= StopFields("max_tokens").fields
    return Answered(message, Origin(estimated=True))


def to_called(error: GatewayError, reply: Reply) -> Answered:
    """The answer that consists of the calls that a failure quotes."""
    notes: list[Note] = []
    choice = quoted_choice(error, notes)
    answered = to_message({"choices": [choice]}, reply)
    answered.notes = (*answered.notes, *notes)
    return answered


def unwrapped(completion: Any) -> Any:
    """Return the completion that some proxies put into an object of their own: `{"success": true, "data": {…}}`."""
    if not isinstance(completion, dict) or "choices" in completion:
        return completion
    inner = completion.get("data") or completion.get("result")
    return inner if isinstance(inner, dict) and inner.get("choices") else completion


def _without_prefill(delta: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Remove what the client sent as the answer's beginning: llama.cpp repeats it in JSON, and not in streams."""
    content = delta.get("content")
    if reply.prefill and isinstance(content, str) and content.startswith(reply.prefill):
        return {**delta, "content": content[len(reply.prefill) :]}
    return delta


def _plain_content(delta: dict[str, Any], reply: Reply) -> Content | None:
    """Return the same as an assembly for an answer of one text alone, as most are; None for any other.

    The assembly is made for pieces that come in any order; leaving it out saves a third of the conversion.
    """
    text = delta.get("content")
    if not isinstance(text, str) or not text or text.isspace():
        return None
    if reply.stop_sequences or delta.get("reasoning_details") is not None:
        return None
    for name, value in delta.items():
        if value and name not in TEXT_FIELDS:
            return None
    if not passes_unchanged(text, reply):
        return None
    size = len(text) if text.isascii() else len(text.encode())
    return Content([{"type": "text", "text": text, "citations": None}], size)


def to_origin(chunk: dict[str, Any], counts: UpstreamCounts | None) -> Origin:
    """Return the origin of an answer, or of a stream from one of its chunks and the count."""
    model = to_string(chunk.get("model")) or None
    provider = to_string(chunk.get("provider")) or None
    generation_id = to_string(chunk.get("id")) or None
    if counts is None:
        return Origin(model, provider, generation_id, None, estimated=True)
    return Origin(model, provider, generation_id, counts.cost, mismatched=not counts.adds_up)
