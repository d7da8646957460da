"""Rules for turns: roles, texts that must not be empty, and tool calls with their results.

Anthropic's API refuses blank text from either role. An assistant's is accepted here and dropped: other gateways and
older versions of this one hand it out, and clients give back what they got.

Consecutive messages of one role are one turn. Every call in an assistant's turn needs its result at the start of the
user's turn that follows, before anything else. A system message stands after a user's turn, and before an assistant's.
"""

from collections.abc import Sequence
from typing import Any

from gateway.errors import InvalidRequest, shorten
from gateway.messages.validation.block_index import LEAST_MESSAGE_KEYS, PLAIN_LENGTHS, is_plain_result
from gateway.messages.validation.depth import has_wide_number
from gateway.schemas.anthropic import MessageParam

# Since this version an assistant's message holds no documents, and a user's text no citations (migration guide).
NEW_VERSION = "2026-10-21"

# Blocks that only one role can have said. Those of server tools are the assistant's too; the conversion refuses others.
SPEAKERS = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
}

# Anthropic's words, which clients match on.
EMPTY_MESSAGE = "all messages must have non-empty content except for the optional final assistant message"
EMPTY_TEXT = "messages: text content blocks must be non-empty"
BLANK_TEXT = "messages: text content blocks must contain non-whitespace text"
SYSTEM_FIRST = (
    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
    "and the first message may not have role system."
)
MISPLACED_SYSTEM = (
    "a system message must follow a user message, or an assistant message that ends in a server tool's result, "
    "and be the last message or be followed by an assistant message"
)

# A conversation that lost its results may have hundreds of calls; the first ones show where.
MAX_QUOTED_IDS = 20


def check_turns(messages: Sequence[MessageParam], version: str, start: int = 0) -> "CheckedTurns":
    """Check the order of messages and blocks, and note which of them other rules look at: one pass for all.

    `start`: the message to begin with, which begins an assistant's turn; those before it were checked by an earlier
    request, and are of no interest to other rules.

    Raises InvalidRequest for the first message that is out of order, worded as Anthropic's API does.
    """
    if not messages:
        raise InvalidRequest("messages: at least one message is required")
    if messages[0]["role"] == "system":
        raise InvalidRequest(SYSTEM_FIRST)
    turns = CheckedTurns()
    last = len(messages) - 1
    for index, message in enumerate(messages[start:], start):
        role = message["role"]
        content: Any = message.get("content")
        if role == "system":
            _check_system(messages, index)
            turns.held.append(index)
        else:
            turns.calls.turn_to(role)
        _check_content(content, role, index, turns, is_last=index == last)
        if len(message) > LEAST_MESSAGE_KEYS and turns.held[-1:] != [index]:
            turns.held.append(index)
        if version == NEW_VERSION and isinstance(content, list):
            _check_sources(content, role, f"messages.{index}.content")
    turns.calls.settle()
    return turns


class PendingToolCalls:
    """The tool calls of the latest assistant's turn, and which of them have their result.

    An id may come again in a later turn: some upstreams restart counting their calls in every reply.
    `leading`: nothing but results has been said in the user's turn so far, so the next block may still be one.
    """

    __slots__ = ("_answered", "_open", "_role", "leading")

    def __init__(self) -> None:
        self._open: dict[str, int] = {}  # id → index of the message that made the call
        self._answered: set[str] = set()
        self._role = ""
        self.leading = False

    def turn_to(self, role: str) -> None:
        if role == self._role:
            return
        if role == "assistant" and self._open:
            self.settle()
            self._open = {}
            self._answered = set()
        self._role = role
        self.leading = role == "user"

    def add_call(self, call_id: str, index: int, position: int) -> None:
        if call_id in self._open:
            raise InvalidRequest(f"messages.{index}.content.{position}: `tool_use` ids must be unique")
        self._open[call_id] = index

    def add_result(self, call_id: str, index: int, position: int) -> None:
        if call_id not in self._open:
            raise InvalidRequest(
                f"messages.{index}.content.{position}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{shorten(call_id)}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if call_id in self._answered:
            raise InvalidRequest(
                f"messages.{index}.content.{position}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {shorten(call_id)}"
            )
        if self.leading:
            self._answered.add(call_id)

    def settle(self) -> None:
        """Raises unless every call has its result."""
        missing = [call_id for call_id in self._open if call_id not in self._answered]
        if not missing:
            return
        quoted = ", ".join(shorten(call_id) for call_id in missing[:MAX_QUOTED_IDS])
        raise InvalidRequest(
            f"messages.{self._open[missing[0]]}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {quoted}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


class CheckedTurns:
    """The open tool calls, and what other rules look at in the messages so far.

    `blank`: indexes of assistant messages with blank text, or without content in the middle, to be dropped (see
    `blank_text`). `held`: indexes of system messages, and of those that may hold media, cache breakpoints or unknown
    keys (see `block_index`). `wide`: messages and positions of tool inputs in which an integer has become floating
    point.
    """

    __slots__ = ("blank", "calls", "held", "wide")

    def __init__(self) -> None:
        self.calls = PendingToolCalls()
        self.blank: list[int] = []
        self.held: list[int] = []
        self.wide: list[tuple[int, int]] = []


def _check_content(content: Any, role: str, index: int, turns: CheckedTurns, *, is_last: bool) -> None:
    """Blank text that asks for something is refused; an assistant's empty last message is no prefill, and stays."""
    if isinstance(content, list):
        if content:
            _check_blocks(content, role, index, turns)
        elif role != "assistant":
            raise InvalidRequest(f"messages.{index}: {EMPTY_MESSAGE}")
        elif not is_last:
            turns.blank.append(index)
        return
    if not isinstance(content, str):
        return
    turns.calls.leading = False
    if content and not content.isspace():
        return
    if role != "assistant" or (content and is_last):
        raise InvalidRequest(BLANK_TEXT if content else f"messages.{index}: {EMPTY_MESSAGE}")
    if not is_last:
        turns.blank.append(index)


def _check_blocks(blocks: list[dict[str, Any]], role: str, index: int, turns: CheckedTurns) -> None:
    """Blank text is noted in an assistant's message, and refused in others."""
    calls, has_blank, is_held = turns.calls, False, False
    for position, block in enumerate(blocks):
        kind = block["type"]
        if kind == "tool_result" and role == "user":
            calls.add_result(block["tool_use_id"], index, position)
            is_held = is_held or not is_plain_result(block)
            continue
        is_held = is_held or len(block) != PLAIN_LENGTHS.get(kind)
        if kind != "text" and SPEAKERS.get(kind, role) != role:
            raise InvalidRequest(
                f"messages.{index}.content.{position}: `{kind}` blocks can only be in `{SPEAKERS[kind]}` messages"
            )
        calls.leading = False
        if kind == "text" and (not block["text"] or block["text"].isspace()):
            if role != "assistant":
                raise InvalidRequest(BLANK_TEXT if block["text"] else EMPTY_TEXT)
            has_blank = True
        elif kind == "tool_use":
            calls.add_call(block["id"], index, position)
            if has_wide_number(block["input"]):
                turns.wide.append((index, position))
    if has_blank:
        turns.blank.append(index)
    if is_held and role != "system":
        turns.held.append(index)


def _check_sources(blocks: list[dict[str, Any]], role: str, path: str) -> None:
    for position, block in enumerate(blocks):
        if block["type"] == "document" and role == "assistant":
            raise InvalidRequest(f"{path}.{position}: `document` blocks can only be in `user` messages")
        if block["type"] == "text" and block.get("citations") and role == "user":
            problem = "citations are not permitted on text blocks in user messages"
            raise InvalidRequest(f"{path}.{position}.citations: {problem}")


def _check_system(messages: Sequence[MessageParam], index: int) -> None:
    message, before = messages[index], messages[index - 1]
    after = messages[index + 1] if index + 1 < len(messages) else None
    said: Any = before.get("content")
    ends_in_server_result = isinstance(said, list) and said and said[-1]["type"].endswith("_tool_result")
    follows_assistant = before["role"] == "assistant" and not ends_in_server_result
    if follows_assistant or (after is not None and after["role"] == "user"):
        raise InvalidRequest(f"messages.{index}: {MISPLACED_SYSTEM}")
    if "content" not in message and not message.get("output_config"):
        raise InvalidRequest(f"messages.{index}.content: Field required")
