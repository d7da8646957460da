"""A whole chat completion to a whole message: the JSON answer."""

from dataclasses import dataclass
from typing import Any

from gateway.convert.assembly import Assembly
from gateway.convert.ending import Finish, broken_finish, to_stop
from gateway.convert.failure import error_in
from gateway.convert.fold import BlockCollector
from gateway.convert.notes import Note
from gateway.convert.pieces import add_pieces, delta_of, first_choice
from gateway.convert.reply import Reply, empty_message
from gateway.convert.stops import guarded
from gateway.convert.think_tags import untagged
from gateway.convert.usage import adds_up, counts_of, estimated_usage, to_cost, to_tier, to_usage
from gateway.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answered, as the upstream tells it; for headers, logs and metrics."""

    model: str | None = None
    provider: str | None = None
    generation_id: str | None = None
    cost: float | None = None
    estimated: bool = False  # the upstream sent no usage
    mismatched: bool = False  # its usage does not add up


@dataclass(frozen=True, slots=True)
class Answered:
    message: dict[str, Any]
    origin: Origin
    notes: tuple[Note, ...] = ()


def to_message(completion: Any, reply: Reply) -> Answered:
    """Raises the error that a 200 may hold, and UpstreamError for a body that is no chat completion."""
    if not isinstance(completion, dict):
        raise UpstreamError("The upstream answered with something that is not a chat completion.")
    choice = _checked_choice(completion, reply)
    finish = Finish(said=True)
    finish.note(choice)
    error = broken_finish(finish)
    if error is not None:
        raise error
    collector = BlockCollector()
    assembly = Assembly(reply, collector)
    target = untagged(guarded(assembly, reply, finish), reply)
    add_pieces(delta_of(choice), target, finish)
    target.close()
    counts = counts_of(completion)
    usage = to_usage(counts, reply) if counts else estimated_usage(reply.input_estimate, collector.output_size)
    usage["service_tier"] = to_tier(completion)
    stop = to_stop(finish, has_tools=assembly.has_tools, truncated=assembly.truncated, reply=reply)
    message = {**empty_message(reply, usage), "content": collector.blocks, **stop.fields, **finish.extension}
    return Answered(message, to_origin(completion, counts), tuple(assembly.notes))


def to_origin(chunk: dict[str, Any], counts: dict[str, Any] | None) -> Origin:
    """From an answer or a stream's chunk and its usage, where it has come."""
    return Origin(
        model=_text(chunk.get("model")),
        provider=_text(chunk.get("provider")),
        generation_id=_text(chunk.get("id")),
        cost=to_cost(counts) if counts else None,
        estimated=not counts,
        mismatched=counts is not None and not adds_up(counts),
    )


def _checked_choice(completion: dict[str, Any], reply: Reply) -> dict[str, Any]:
    choice = first_choice(completion)
    error = error_in(completion, choice, reply)
    if error is not None:
        raise error
    if choice is None:
        raise UpstreamError("The upstream's answer holds no choices.")
    return choice


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
