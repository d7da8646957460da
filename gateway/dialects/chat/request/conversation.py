"""A Messages conversation as the messages of a chat request.

Anthropic puts a turn's tool results, text and media into one message; chat wants one `tool` message for each result,
right after the calls, and then a single user message with the rest. Consecutive messages of one role are one turn.
A system message stays where it is, since what it says holds from there on.
"""

from collections.abc import Sequence
from typing import Any, cast

import orjson

from gateway.dialects.chat.citations import rejoin
from gateway.dialects.chat.reasoning import ReasoningReplay, drop_repeated_entries, to_reasoning_details
from gateway.dialects.chat.request.content import (
    Content,
    last_text,
    to_content,
    to_parts,
    to_plain_result,
    to_text_part,
    to_tool_message,
)
from gateway.dialects.chat.request.encode import ChatMessages, ConvertedPrefix, to_written_messages
from gateway.dialects.chat.request.merging import as_parts, extend_message, join_content, join_reasoning
from gateway.dialects.chat.request.scope import Scope
from gateway.dialects.chat.request.thinking import snap_effort
from gateway.dialects.chat.request.tools import ToolChange
from gateway.dialects.chat.request.transcript import to_transcript
from gateway.dialects.chat.vocabulary import NO_PREFILL, SUMMARY_HEADER
from gateway.errors import InvalidRequest
from gateway.messages.claude_code import BILLING_HEADER
from gateway.messages.turn_cache import CachedMessages, Prefix
from gateway.schemas.anthropic import (
    CompactionBlockParam,
    MessageContent,
    MessageParam,
    SystemMessageParam,
    SystemPrompt,
    ToolUseBlockParam,
)
from gateway.schemas.openai import (
    AssistantMessage,
    ChatMessage,
    ContentPart,
    InstructionMessage,
    TextPart,
    ToolCall,
)

NOTHING_CONVERTED = ConvertedPrefix()


class Conversation:
    """Filled by `add_system_prompt`, then `add_messages`, once each.

    `changes`: tools added or removed on the way. `effort`: the last one that a system message set and that the upstream
    does not take in place. `has_reasoning`: whether any message that was converted here gives earlier reasoning back.
    """

    __slots__ = ("_prompt_length", "_scope", "_shared", "changes", "effort", "has_reasoning", "messages")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._prompt_length = 0
        self._shared: ConvertedPrefix | None = None
        self.messages: list[ChatMessage] = []
        self.changes: list[ToolChange] = []
        self.effort: str | None = None
        self.has_reasoning = False

    def add_system_prompt(self, system: SystemPrompt | None) -> None:
        content = _to_prompt(system, self._scope) if system else ""
        if content:
            self.messages.append({"role": self._scope.target.system_role, "content": content})
        self._prompt_length = len(self.messages)

    def add_messages(self, messages: Sequence[MessageParam]) -> None:
        start = 0
        if isinstance(messages, CachedMessages) and messages.prefix is not None:
            start = self._add_prefix(messages.prefix, messages)
        last_user = len(messages) - 1
        while last_user >= 0 and messages[last_user]["role"] != "user":
            last_user -= 1
        for index, message in enumerate(messages[start:], start):
            match message["role"]:
                case "user":
                    self._add_user(message["content"], index)
                case "assistant":
                    self._add_assistant(message["content"], index)
                case _ if not (message.get("clear_at") == "next_user_message" and index < last_user):
                    self._add_system(message, f"messages.{index}")
        if len(self.messages) == self._prompt_length:  # all that was there is an answer's reasoning of another model
            raise InvalidRequest("messages: none of them has content that this upstream takes")
        self._check_prefill(messages[-1])
        if self.has_reasoning:
            join_reasoning(self.messages)
            is_refused = self._scope.target.refuses_repeated_reasoning
            if is_refused and drop_repeated_entries(cast(Any, self.messages)):
                self._scope.note("dropped", "messages", "repetitions of reasoning in older messages")

    def to_list(self) -> list[ChatMessage]:
        """Return all messages, with the JSON of those that are shared with earlier requests."""
        start, shared = self._prompt_length, self._shared
        if shared is None or self.messages[start] is not shared.messages[0]:  # a compaction has removed them
            return self.messages
        return ChatMessages(self.messages, start, shared)

    def _add_prefix(self, prefix: Prefix, messages: Sequence[MessageParam]) -> int:
        """Add what an earlier request has converted, convert the rest of the prefix, and keep it. Return its length.

        No message is shared if another answer follows, which would be merged into the last one.
        """
        scope, count = self._scope, len(prefix.messages)
        if not _is_user_next(messages, count):
            return 0
        earlier: ConvertedPrefix = prefix.converted_for(scope.target, scope.keyring) or NOTHING_CONVERTED
        if not _is_user_next(messages, earlier.count):
            earlier = NOTHING_CONVERTED
        self.messages += earlier.messages
        scope.used_call_ids += earlier.call_ids
        self._shared = earlier if earlier.count else None
        if earlier.count < count:
            self._extend_prefix(earlier, prefix, count)
        return count

    def _extend_prefix(self, earlier: ConvertedPrefix, prefix: Prefix, count: int) -> None:
        """Convert further messages of the prefix, and keep the result where it suits all requests that start with it:
        without notes, names or repeated reasoning."""
        scope, start, noted = self._scope, len(self.messages), len(self._scope.notes)
        for index in range(earlier.count, count):
            message = cast(Any, prefix.messages[index])
            if message["role"] == "user":
                self._add_user(message["content"], index)
            else:
                self._add_assistant(message["content"], index)
        added = self.messages[start:]
        join_reasoning(added)
        if len(scope.notes) > noted or scope.names.originals or not added or added[-1]["role"] != "assistant":
            return
        if self.has_reasoning and scope.target.refuses_repeated_reasoning:
            return
        written = to_written_messages(added)
        if written is not None:
            written = b",".join((earlier.written, written)) if earlier.written else written
            converted = self.messages[self._prompt_length :]
            self._shared = ConvertedPrefix(count, converted, written, tuple(scope.used_call_ids))
            prefix.keep_converted(scope.target, scope.keyring, self._shared)

    def _add_user(self, content: MessageContent, number: int) -> None:
        if isinstance(content, str):
            self._append_user(content)
            return
        scope = self._scope
        parts: list[ContentPart] = []
        for index, block in enumerate(content):
            if block["type"] == "text" and len(block) == 2:
                parts.append({"type": "text", "text": block["text"]})
            elif block["type"] != "tool_result":
                parts += to_parts(block, f"messages.{number}.content.{index}", scope)
            else:
                result = to_plain_result(block)
                path = "" if result else f"messages.{number}.content.{index}"
                message = result or to_tool_message(block, path, parts, scope)
                message["tool_call_id"] = scope.to_call_id(message["tool_call_id"])
                self.messages.append(message)
        if parts:
            self._append_user(to_content(parts))

    def _append_user(self, content: Content) -> None:
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "user":
            last["content"] = join_content(last["content"], content)
        else:
            self.messages.append({"role": "user", "content": content})

    def _add_assistant(self, content: MessageContent, number: int) -> None:
        if isinstance(content, str):
            self._append_assistant({"role": "assistant", "content": content})
            return
        parts, calls, thinking = self._take_apart(content, number)
        chat: AssistantMessage = {"role": "assistant", "content": to_content(parts) if parts else None}
        if calls:
            chat["tool_calls"] = calls
        if thinking:
            path = f"messages.{number}.content"
            self._replay(chat, to_reasoning_details(thinking, self._scope.target, self._scope.keyring, path))
        if not parts and not calls:
            if len(chat) == 2:
                return
            chat["content"] = ""
        self._append_assistant(chat)

    def _take_apart(self, content: Any, number: int) -> tuple[list[ContentPart], list[ToolCall], list[dict[str, Any]]]:
        """One assistant turn's text and media, its tool calls, and its thinking blocks."""
        parts: list[ContentPart] = []
        calls: list[ToolCall] = []
        thinking: list[dict[str, Any]] = []
        cited: list[tuple[int, int]] = []  # texts with citations: where they are in `content`, and where in `parts`
        for index, block in enumerate(content):
            match block["type"]:
                case "text" if len(block) == 2 or (len(block) == 3 and block.get("citations", block) is None):
                    parts.append({"type": "text", "text": block["text"]})
                case "tool_use":
                    calls.append(_to_tool_call(block, self._scope))
                    self._scope.used_call_ids.append(block["id"])
                    if len(block) > 4:  # more than type, id, name and input
                        self._note_call_parts(parts, block, f"messages.{number}.content.{index}")
                case "thinking" | "redacted_thinking":
                    thinking.append(block)
                case "compaction":
                    for earlier in (parts, calls, thinking, cited):
                        earlier.clear()
                    self._compact(block, f"messages.{number}.content.{index}")
                case "text" if block.get("citations"):
                    cited.append((index, len(parts)))
                    parts.append(to_text_part(block, f"messages.{number}.content.{index}", self._scope))
                case "text" | "image" | "document" | "search_result" | "input_audio" | "video_url":
                    parts += to_parts(block, f"messages.{number}.content.{index}", self._scope)
                case _:
                    self._add_transcript(parts, block, f"messages.{number}.content.{index}")
        if cited:
            rejoin(parts, content, cited)
        return parts, calls, thinking

    def _note_call_parts(self, parts: list[ContentPart], block: ToolUseBlockParam, path: str) -> None:
        """Move a call's cache breakpoint to the text before it, and note a caller other than the model itself."""
        caller = block.get("caller")
        if caller and caller.get("type") != "direct":
            self._scope.note("dropped", f"{path}.caller", "only the model itself calls tools on this upstream")
        if not block.get("cache_control"):
            return
        text = last_text(parts)
        if text is not None:
            self._scope.mark_cached(text, block, path)
        else:
            self._scope.note("dropped", f"{path}.cache_control", "a tool call cannot end a cached prefix")

    def _compact(self, block: CompactionBlockParam, path: str) -> None:
        """A summary replaces everything before it; one that only Anthropic can read replaces nothing."""
        summary = block.get("content")
        if not summary:
            self._scope.note(
                "dropped", path, "a compaction that only Anthropic can read; the history before it is kept"
            )
            return
        del self.messages[self._prompt_length :]
        self._append_user(f"{SUMMARY_HEADER}\n\n{summary}")
        self._scope.note("emulated", path, "the gateway replaced the history before the compaction by its summary")

    def _add_transcript(self, parts: list[ContentPart], block: Any, path: str) -> None:
        text = to_transcript(block, self._scope.keyring)
        if text:
            parts.append({"type": "text", "text": text})
            self._scope.note("changed", path, "what a tool of Anthropic's did reaches this model as text")
        else:
            self._scope.note("dropped", path, f"a {block['type']} block has no meaning for this model")

    def _replay(self, chat: AssistantMessage, replay: ReasoningReplay) -> None:
        self._scope.notes.extend(replay.notes)
        if replay.details is not None:
            chat["reasoning_details"] = cast(Any, replay.details)
        if replay.plain and self._scope.target.reasoning_field == "thinking_parts":
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": replay.plain}]}
            chat["content"] = cast(Any, [thought, *as_parts(chat["content"] or "")])
        elif replay.plain:
            is_content = self._scope.target.reasoning_field == "reasoning_content"
            chat["reasoning_content" if is_content else "reasoning"] = replay.plain
        for call in chat.get("tool_calls", ()) if replay.extras else ():
            if call["id"] in replay.extras:
                call["extra_content"] = replay.extras[call["id"]]
        self.has_reasoning = self.has_reasoning or len(chat) > 2 + ("tool_calls" in chat)
        if replay.files:
            chat["annotations"] = cast(Any, replay.files)

    def _append_assistant(self, chat: AssistantMessage) -> None:
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant":
            self.messages.append(chat)
            return
        extend_message(cast(Any, last), cast(Any, chat))

    def _add_system(self, message: SystemMessageParam, path: str) -> None:
        self._set_effort((message.get("output_config") or {}).get("effort"), f"{path}.output_config.effort")
        content = message.get("content") or ""
        if isinstance(content, str):
            if content:
                self.messages.append({"role": self._scope.target.system_role, "content": content})
            return
        parts: list[TextPart] = []
        for index, block in enumerate(content):
            where = f"{path}.content.{index}"
            if block["type"] == "text":
                parts.append(to_text_part(block, where, self._scope))
            else:
                self.changes.append(ToolChange(block["type"], block["tool"], where))
        if parts:
            content = cast(Any, to_content(cast(list[ContentPart], parts)))
            self.messages.append({"role": self._scope.target.system_role, "content": cast(Any, content)})

    def _set_effort(self, effort: str | None, path: str) -> None:
        """OpenRouter wants the change on an empty system message, right before the user message that it is for."""
        if effort is None:
            return
        if not self._scope.target.openrouter:
            self.effort = effort
            return
        snapped = snap_effort(effort, path, self._scope)
        update: InstructionMessage = {
            "role": "system",
            "content": "",
            "configuration_update": {"reasoning": {"effort": cast(Any, snapped)}},
        }
        follows_user = bool(self.messages) and self.messages[-1]["role"] == "user"
        self.messages.insert(len(self.messages) - follows_user, update)

    def _check_prefill(self, last: MessageParam) -> None:
        """A turn that ends in a server tool's part is no prefill: it asks for the rest of a paused turn."""
        if self._scope.target.prefill or last["role"] != "assistant":
            return
        content = last["content"]
        tail = "text" if isinstance(content, str) or not content else content[-1]["type"]
        if tail != "server_tool_use" and not tail.endswith("_tool_result"):
            raise InvalidRequest(NO_PREFILL)


def _is_user_next(messages: Sequence[MessageParam], index: int) -> bool:
    return index == len(messages) or messages[index]["role"] == "user"


def _to_prompt(system: SystemPrompt, scope: Scope) -> Any:
    if isinstance(system, str):
        return system
    parts: list[ContentPart] = []
    for index, block in enumerate(system):
        path = f"system.{index}"
        if index == 0 and block["text"].startswith(BILLING_HEADER):
            scope.note("dropped", path, "a billing header is useless for this upstream, and defeats its prefix cache")
        else:
            parts.append(to_text_part(block, path, scope))
    return to_content(parts)


def _to_tool_call(block: ToolUseBlockParam, scope: Scope) -> ToolCall:
    """`input` keeps its key order: the upstream's prefix cache sees the same bytes in every later request."""
    name = block["name"]
    if len(name) > scope.target.tool_name_limit or "toolset_name" in block:
        name = scope.names.to_chat(name, block.get("toolset_name"))
    arguments = orjson.dumps(block["input"]).decode()
    call_id = scope.to_call_id(block["id"])
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
