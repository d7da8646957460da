"""The blocks of one answer: pieces in, in any order; well-formed blocks out.

Anthropic's stream has one block open at a time, with contiguous indexes; a chat upstream may interleave two tool calls,
text and reasoning as it likes. So there is one open block and a line of blocks that wait. A piece that belongs to the
open block passes straight through; a piece for another block lets the open one close if it may (text and thinking
always, a tool call when its arguments are a complete object), else it waits in line. Pieces are never reordered within
a block, dropped, or put into a neighbour.

The same assembly serves streams and JSON answers: it speaks to a `Writer`, which is either the event stream
(`stream.EventWriter`) or the list of finished blocks (`fold.BlockCollector`). So both can only agree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, assert_never

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.chat.citations import Citation, Sources
from gateway.dialects.chat.reasoning import CALL_EXTRA, continues, merge_entry, to_redacted_data, to_signature
from gateway.dialects.chat.response.blocks import (
    Block,
    OpenToolCall,
    TextRun,
    ThinkingRun,
    WholeBlock,
    is_bare_signature,
)
from gateway.dialects.chat.response.calls.tool_calls import CallBook
from gateway.dialects.chat.response.images import LEFT_OUT
from gateway.dialects.chat.response.stop_reason import Finish, may_cut_calls
from gateway.dialects.reply import Reply
from gateway.errors import UpstreamError
from gateway.messages.events import SIGNATURE, TEXT, THINKING, TOOL_INPUT
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEntry
from gateway.upstream.models.target import wants_empty_reasoning

# More blocks than any model makes; an upstream that loops is stopped before it fills memory.
MAX_BLOCKS = 2000
ILLEGAL_NAME = "the upstream's name of the tool held marks or characters that no name has"


class Writer(Protocol):
    """Destination of the blocks. `kind` is one of the delta constants of `events`."""

    def start(self, index: int, block: dict[str, Any]) -> None: ...

    def delta(self, index: int, kind: bytes, text: str) -> None: ...

    def cite(self, index: int, citation: dict[str, Any]) -> None: ...

    def stop(self, index: int) -> None: ...


Run = TypeVar("Run", TextRun, ThinkingRun)


class Assembly:
    """Call `add_*` for each piece as it arrives, then `close` once. Raises UpstreamError if it cannot be repaired."""

    __slots__ = (
        "_blank",
        "_calls",
        "_finish",
        "_made",
        "_open",
        "_reasoning",
        "_reply",
        "_sources",
        "_spoken",
        "_unsigned",
        "_waiting",
        "_writer",
        "has_cut_call",
        "has_tools",
        "index",
        "notes",
    )

    def __init__(self, reply: Reply, writer: Writer, finish: Finish) -> None:
        self._reply = reply
        self._finish = finish  # complete when `close` is called
        self._writer = writer
        self._open: Block | None = None
        self._waiting: list[Block] = []
        self._blank: TextRun | None = None  # white space that is text only if text follows it
        self._calls: CallBook | None = None  # once any is made
        self._unsigned: dict[tuple[str, str], ReasoningEntry] = {}  # of thinking blocks that are closed, by their part
        self._made = 0  # blocks so far, open, closed and waiting
        self._reasoning: Literal["absent", "empty", "present"] = "absent"
        self._spoken = False  # whether any text has come
        self._sources: Sources | None = None  # of the text, once any are named
        self.index = -1  # of the open block, or of the last one
        self.has_tools = False
        self.has_cut_call = False  # whether a call lacks its end, so that it must not be run
        self.notes: list[Note] = []

    @property
    def open(self) -> Block | None:
        return self._open

    @property
    def is_direct(self) -> bool:
        """Whether a piece for the open block can go to the client without a look at the line, or at its sources."""
        return not self._waiting and (self._sources is None or not self._sources.is_ahead)

    def add_text(self, text: str) -> None:
        if self._sources is None or not self._sources.is_ahead:
            self._grow_text(text)
            return
        for piece, cited in self._sources.cut(text):
            if piece:
                self._grow_text(piece)
            if cited:
                self._cite(cited, ends=piece.strip() != "")

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry] = ()) -> None:
        """`entries` are an upstream's reasoning_details; `text` is its plain reasoning, for where they show nothing."""
        shown = False
        for entry in entries:
            if entry["type"] == CALL_EXTRA and not entry["id"] and self._calls is not None:
                entry["id"] = self._calls.latest_id
            run = self._last(ThinkingRun)
            if run is not None and continues(run.entries, entry, self._reply.upstream_model):
                visible = merge_entry(run.entries, entry)
            else:
                run = ThinkingRun()
                visible = self._begin_entries(run, entry)
            self._grow_thinking(run, visible)
            shown = shown or visible != ""
        if text and not shown:
            self._grow_thinking(self._last(ThinkingRun) or ThinkingRun(), text)
        if text or entries:
            self._reasoning = "present"
        elif self._reasoning == "absent":
            self._reasoning = "empty"

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        """A piece of a tool call. Upstreams omit the index, repeat id and name, or use one index for several calls."""
        if self._reply.forbids_calls:  # some servers ignore `tool_choice: none`; a client would run the call
            self.lose("calls, which tool_choice forbids,")
            return
        if self._calls is None:
            self._calls = CallBook(self._reply)
        call, is_new = self._calls.find(index, call_id, name, fragment)
        if is_new:
            self._line_up(call)
        call.name = call.name or name
        shown = call.add_rest(fragment) if call.is_over else call.add(fragment)
        if call is self._open:
            self._show_arguments(shown)
            if self._waiting and call.is_over:
                self._advance()
        elif call.becomes_ready():
            self._advance()

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """Add citations of the text; those that came before it are shown before it, and cut it (see `citations`)."""
        if self._sources is None:
            self._sources = Sources(self._reply)
        citations = self._sources.add(annotations)
        if self._spoken:
            self._cite(citations)
        elif citations:
            self._sources.expect(citations)
            self._tell_search(self._sources)

    def add_image(self, block: dict[str, Any]) -> None:
        """A request's block, for a client that asked for images; words in its place for any other."""
        if self._reply.shows_images:
            self._line_up(WholeBlock(block))
        elif self._is_new_loss("images, which were not asked for,"):
            self._line_up(TextRun([LEFT_OUT], is_ended=True))
        self._advance()

    def lose(self, what: str) -> None:
        """Note that the answer held `what`, which a message has no place for; once, however often it comes."""
        self._is_new_loss(what)

    def close(self) -> None:
        """End the open block and everything that still waits, in line order."""
        if self._sources is not None:
            self._cite(self._sources.rest())
            self._tell_search(self._sources)
            carrier = self._sources.to_file_block()
            if carrier is not None:
                self._line_up(WholeBlock(carrier))
            if not self._sources.is_whole:
                self.lose("annotations beyond the first")
        if self._reasoning == "empty" and wants_empty_reasoning(self._reply.upstream_model):
            self._line_up(ThinkingRun())
        self._close_open()
        while self._waiting:
            block = self._waiting.pop(0)
            if isinstance(block, OpenToolCall) and block.is_nothing:
                continue  # some servers end with an empty call
            self._begin(block)
            self._close_open()

    def _is_new_loss(self, what: str) -> bool:
        note = Note("dropped", "content", f"the answer's {what} could not be carried over")
        if note in self.notes:
            return False
        self.notes.append(note)
        return True

    def _last(self, kind: type[Run]) -> Run | None:
        """The last block in line if it is of `kind`. Text passes by reasoning that shows nothing (a late signature)."""
        for block in reversed(self._waiting):
            if isinstance(block, kind):
                return block
            if not (kind is TextRun and isinstance(block, ThinkingRun) and not block.has_text):
                return None
        return self._open if isinstance(self._open, kind) else None

    def _grow_text(self, text: str) -> None:
        run = self._last(TextRun)
        if run is not None and run.is_ended and not text.isspace():
            words = text.lstrip()
            if words != text:  # white space stays with what was said before: alone in a block it could not be sent back
                self._grow_text(text[: len(text) - len(words)])
            run, text = None, words
        if run is None:
            self._begin_text(text)
        elif run is self._open:
            self._writer.delta(self.index, TEXT, text)
        else:
            run.fragments.append(text)

    def _begin_text(self, text: str) -> None:
        """Hold back white space: templates put it between thinking, calls and text, and alone no request may repeat it.

        Line ends in front of a text belong to it only where nothing precedes it, as in the continuation of a prefill.
        """
        run = self._blank or TextRun()
        run.fragments.append(text)
        if text.isspace():
            self._blank = run
            return
        if self._made:
            whole = "".join(run.fragments)
            run.fragments = [whole[whole.rfind("\n", 0, len(whole) - len(whole.lstrip())) + 1 :]]
        self._spoken = True
        self._line_up(run)
        self._advance()

    def _cite(self, citations: Sequence[Citation], *, ends: bool = False) -> None:
        """Cite the latest text. `ends`: text that follows belongs to a new block."""
        assert self._sources is not None
        line = [block for block in (self._open, *self._waiting, self._blank) if isinstance(block, TextRun)]
        for citation in citations if line else ():
            location = self._sources.to_location(citation)
            if line[-1] is self._open:
                self._writer.cite(self.index, location)
            else:
                line[-1].citations.append(location)
        if line and ends:
            line[-1].is_ended = True
        elif citations and not line:
            self.lose("citations of a text that had ended")

    def _tell_search(self, sources: Sources) -> None:
        for block in sources.to_blocks(self._made):
            self._line_up(WholeBlock(block))
        self._advance()

    def _line_up(self, block: Block) -> None:
        self._made += 1
        if self._made > MAX_BLOCKS:
            raise UpstreamError("The upstream sent more content blocks than the gateway accepts.")
        self._blank = None
        self._waiting.append(block)

    def _advance(self) -> None:
        """Open the next block in line, if the open one may close and the next can start."""
        while self._waiting and self._may_open(self._waiting[0]):
            if isinstance(self._open, OpenToolCall) and not self._open.is_over:
                return
            self._close_open()
            self._begin(self._waiting.pop(0))

    def _may_open(self, block: Block) -> bool:
        if isinstance(block, OpenToolCall):
            return block.ready
        if isinstance(block, ThinkingRun) and not block.has_text:
            return len(self._waiting) > 1  # text for it may still come, unless a block waits behind it
        return True

    def _begin(self, block: Block) -> None:
        self._open = block
        self.index += 1
        match block:
            case TextRun():
                self._writer.start(self.index, {"type": "text", "text": "", "citations": None})
                self._writer.delta(self.index, TEXT, "".join(block.fragments))
                for citation in block.citations:
                    self._writer.cite(self.index, citation)
            case ThinkingRun():
                if block.is_shown:
                    self._writer.start(self.index, {"type": "thinking", "thinking": "", "signature": ""})
                    self._show_thinking("".join(block.fragments))
                else:
                    self._writer.start(
                        self.index, {"type": "redacted_thinking", "data": self._seal(block, to_redacted_data)}
                    )
            case OpenToolCall():
                assert self._calls is not None
                self.has_tools = True
                content = self._calls.to_block(block, self.index)
                if content["name"] != block.name and block.name not in self._reply.tool_names:
                    self.notes.append(Note("changed", f"content.{self.index}.name", ILLEGAL_NAME))
                self._writer.start(self.index, content)
                if block.begun:
                    self._show_arguments(block.arguments)
            case WholeBlock():
                self._writer.start(self.index, block.content)
            case _:
                assert_never(block)

    def _begin_entries(self, run: ThinkingRun, entry: ReasoningEntry) -> str:
        """Put its first entry into a new run; return the text that this shows.

        A signature may come after the block with its text was closed. The two travel together in a separate block,
        without the text being shown again, so that the next request can give back what the upstream can verify.
        """
        if is_bare_signature(entry):
            part = self._unsigned.get(_part_of(entry))
            if part is not None:
                run.entries.append(part.copy())
                run.entries[0]["signature"] = entry["signature"]
                return ""
        return merge_entry(run.entries, entry)

    def _grow_thinking(self, run: ThinkingRun, visible: str) -> None:
        run.has_text = run.has_text or visible != ""
        if run is self._open:
            self._show_thinking(visible)
            return
        run.fragments.append(visible)
        if run not in self._waiting:
            self._line_up(run)
        self._advance()

    def _show_thinking(self, text: str) -> None:
        if text and self._reply.show_thinking:
            self._writer.delta(self.index, THINKING, text)

    def _close_open(self) -> None:
        block = self._open
        if block is None:
            return
        if isinstance(block, ThinkingRun) and block.is_shown:
            self._writer.delta(self.index, SIGNATURE, self._seal(block, to_signature))
            self._unsigned |= {_part_of(entry): entry for entry in block.entries if not entry.get("signature")}
        elif isinstance(block, OpenToolCall):
            cut = may_cut_calls(self._finish, self._reply)
            ending = block.end(may_be_cut=cut, offered=self._reply.offered)
            self.has_cut_call = self.has_cut_call or ending.is_cut
            if ending.reason:
                self.notes.append(Note("changed", f"content.{self.index}.input", ending.reason))
            if ending.text != "{}" or block.is_blank:
                self._show_arguments(ending.text)
            self._waiting[:0] = [OpenToolCall.of(call.name, call.arguments) for call in ending.following]
            self._made += len(ending.following)
        self._writer.stop(self.index)
        self._open = None

    def _seal(self, run: ThinkingRun, to_opaque: Callable[[Sequence[ReasoningEntry], str, Keyring], str]) -> str:
        try:
            return to_opaque(run.entries, self._reply.upstream_model, self._reply.keyring)
        except orjson.JSONEncodeError:
            raise UpstreamError("The upstream sent reasoning that nests too deeply.") from None

    def _show_arguments(self, text: str) -> None:
        if text:
            self._writer.delta(self.index, TOOL_INPUT, text)


def _part_of(entry: ReasoningEntry) -> tuple[str, str]:
    return entry["type"], str(entry.get("index"))
