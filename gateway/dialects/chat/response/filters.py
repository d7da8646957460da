"""The filters between the pieces of an answer and its assembly, each of which looks for one thing."""

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.prefill import PrefillCut, without_prefill
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.chat.response.stop_sequences import guarded
from gateway.dialects.chat.response.think_tags import ThinkTags, untagged
from gateway.dialects.chat.response.written_calls import WrittenCalls, with_written_calls
from gateway.dialects.reply import Reply

IDLE_LATER = (ThinkTags, WrittenCalls, PrefillCut)


def filtered(assembly: Assembly, reply: Reply, finish: Finish, *, streamed: bool) -> PieceTarget:
    """Return the assembly behind the filters that this answer needs. JSON answers lose their prefill elsewhere."""
    target = guarded(assembly, reply, finish)
    if streamed:
        target = without_prefill(target, reply)
    return untagged(with_written_calls(target, reply, assembly.notes), reply)


def without_idle(target: PieceTarget) -> PieceTarget:
    """Return the target behind the outermost filters that pass everything on by now."""
    while isinstance(target, IDLE_LATER) and target.is_over:
        target = target.inner
    return target
