"""A whole chat completion to a whole message: the JSON answer."""

from dataclasses import dataclass
from typing import Any

from gateway.convert.assembly import Assembly
from gateway.convert.ending import Finish, broken_finish, to_stop
from gateway.convert.failure import to_embedded_error
from gateway.convert.fold import BlockCollector
from gateway.convert.notes import Note
from gateway.convert.pieces import add_pieces
from gateway.convert.reply import Reply, empty_message
from gateway.convert.stops import cut_at_stop
from gateway.convert.tokens import estimate_tokens
from gateway.convert.usage import estimated_usage, to_cost, to_usage
from gateway.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answered, as the upstream tells it; for headers, logs and metrics."""

    model: str | None = None
    provider: str | None = None
    generation_id: str | None = None
    cost: float | None = None
    estimated: bool = False  # the upstream sent no usage


@dataclass(frozen=True, slots=True)
class Answered:
    message: dict[str, Any]
    origin: Origin
    notes: tuple[Note, ...] = ()


def to_message(completion: Any, reply: Reply) -> Answered:
    """Raises the error that a 200 may hold, and UpstreamError for a body that is no chat completion."""
    if not isinstance(completion, dict):
        raise UpstreamError("The upstream answered with something that is not a chat completion.")
    choice = _only_choice(completion, reply)
    delta = choice.get("message") or choice.get("delta") or {}
    collector = BlockCollector()
    assembly = Assembly(reply, collector)
    finish = Finish(said=True)
    finish.note(choice)
    error = broken_finish(finish)
    if error is not None:
        raise error
    if reply.stop_sequences and isinstance(delta.get("content"), str):
        delta, finish.matched = cut_at_stop(delta, reply.stop_sequences)
    add_pieces(delta, assembly, finish)
    assembly.close()
    return _answered(completion, reply, collector, assembly, finish)


def to_origin(chunk: dict[str, Any], counts: dict[str, Any] | None) -> Origin:
    """From an answer or a stream's chunk and its usage, where it has come."""
    return Origin(
        model=_text(chunk.get("model")),
        provider=_text(chunk.get("provider")),
        generation_id=_text(chunk.get("id")),
        cost=to_cost(counts) if counts else None,
        estimated=not counts,
    )


def _answered(
    completion: dict[str, Any], reply: Reply, collector: BlockCollector, assembly: Assembly, finish: Finish
) -> Answered:
    counts = completion.get("usage")
    counts = counts if isinstance(counts, dict) and counts else None
    usage = (
        to_usage(counts, reply) if counts else estimated_usage(reply.input_estimate, estimate_tokens(collector.blocks))
    )
    stop = to_stop(finish, has_tools=assembly.has_tools, truncated=assembly.truncated, reply=reply)
    message = empty_message(reply, usage)
    message["content"] = collector.blocks
    message["stop_reason"] = stop.reason
    message["stop_sequence"] = stop.sequence
    message["stop_details"] = stop.details
    return Answered(message, to_origin(completion, counts), tuple(assembly.notes))


def _only_choice(completion: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The first choice; more were never asked for. An error may stand beside it, or instead of it."""
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = completion.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error:
        raise to_embedded_error(error, reply.input_estimate)
    if not isinstance(choice, dict):
        raise UpstreamError("The upstream's answer holds no choices.")
    return choice


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
