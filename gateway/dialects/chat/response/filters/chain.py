"""The filters between the pieces of an answer and its assembly, each of which looks for one thing."""

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.calls.written_calls import WrittenCalls, may_hold_calls, with_written_calls
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.filters.channels import Channels, may_be_channels, with_channels
from gateway.dialects.chat.response.filters.prefill import PrefillCut, without_prefill
from gateway.dialects.chat.response.filters.stop_sequences import with_stop_guard
from gateway.dialects.chat.response.filters.think_tags import TAG_STARTS, ThinkTags, with_think_tags
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.reply import Reply

IDLE_LATER = (Channels, ThinkTags, WrittenCalls, PrefillCut)


def with_filters(assembly: Assembly, reply: Reply, finish: Finish, *, streamed: bool) -> PieceTarget:
    """Return the assembly behind the filters that this answer needs. JSON answers lose their prefill elsewhere."""
    target = with_stop_guard(assembly, reply, finish)
    if streamed:
        target = without_prefill(target, reply)
    target = with_think_tags(with_written_calls(target, reply, assembly.notes), reply)
    return with_channels(target, reply, assembly.notes)


def passes_unchanged(text: str, reply: Reply) -> bool:
    """Return whether neither thinking nor calls can be in a whole text."""
    if not reply.think_tags:
        return True
    return not (text.lstrip().startswith(TAG_STARTS) or may_hold_calls(text, reply) or may_be_channels(text, reply))


def holds_nothing(target: PieceTarget, assembly: Assembly) -> bool:
    """Return whether text for the target may go to the assembly directly, if it has no signs of markup."""
    return target is assembly or (isinstance(target, WrittenCalls) and target.is_idle and target.inner is assembly)


def without_idle(target: PieceTarget) -> PieceTarget:
    """Return the target behind the outermost filters that pass everything on by now."""
    while isinstance(target, IDLE_LATER) and target.is_over:
        target = target.inner
    if isinstance(target, WrittenCalls):
        target.inner = without_idle(target.inner)
    return target
