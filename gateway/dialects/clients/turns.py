"""Turns of a Messages request, built from messages and items in the order of OpenAI's APIs.

Instructions at the beginning become the system prompt. Later ones stand behind the user's turn in which they come,
where Messages allows a system message. Results of calls follow their calls at once, also when a client sends something
between the two, and what the assistant says, thinks and calls in a row is one message.
"""

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.clients.fields import to_text
from gateway.errors import InvalidRequest
from gateway.messages.envelope import seal
from gateway.messages.notes import Note

PLAIN_TEXT: Final = ("type", "text")
LEGAL_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(slots=True, repr=False)
class Turns:
    """`model` and `keyring`: those that reasoning which comes back as plain text is sealed with."""

    model: str
    keyring: Keyring
    messages: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _system: list[dict[str, Any]] = field(default_factory=list)
    _instructions: list[dict[str, Any]] = field(default_factory=list)  # not yet placed
    _seal: str = ""
    _empty: str = ""  # path of a user message without content, if nothing follows it
    _results_at: int = 0  # behind the last turn of the assistant, where results of its calls are

    def add_instructions(self, blocks: list[dict[str, Any]]) -> None:
        """Add the text of a system or developer message."""
        (self._instructions if self.messages else self._system).extend(blocks)

    def add_user(self, blocks: list[dict[str, Any]], path: str) -> None:
        self._empty = "" if blocks else path
        if blocks:
            self.messages.append({"role": "user", "content": to_content(blocks)})
        else:
            self.notes.append(Note("dropped", path, "the message has no content"))

    def add_assistant(self, blocks: list[dict[str, Any]]) -> None:
        """Add to the assistant's turn, or begin one."""
        if not blocks:
            return
        self._place_instructions()
        self._empty = ""
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": "assistant", "content": list(blocks)})
        self._results_at = len(self.messages)

    def add_call(self, call_id: str, name: str, arguments: dict[str, Any]) -> None:
        self.add_assistant([{"type": "tool_use", "id": to_legal_id(call_id), "name": name, "input": arguments}])

    def add_result(self, call_id: str, content: list[dict[str, Any]]) -> None:
        """Add a call's result to those that directly follow the assistant's turn."""
        block = {"type": "tool_result", "tool_use_id": to_legal_id(call_id), "content": to_content(content)}
        place = self._results_at
        if place < len(self.messages) and is_result(self.messages[place]):
            self.messages[place]["content"].append(block)
        else:
            self.messages.insert(place, {"role": "user", "content": [block]})

    def add_thinking(self, text: str, signature: str | None = None) -> None:
        """Add reasoning; without a signature it is sealed as plain text of no particular model."""
        if not signature:
            if not text:
                return
            self._seal = signature = self._seal or seal([], self.model, self.keyring)
        self.add_assistant([{"type": "thinking", "thinking": text, "signature": signature}])

    def add_redacted(self, data: str) -> None:
        self.add_assistant([{"type": "redacted_thinking", "data": data}])

    def finish(self) -> dict[str, Any]:
        """Return `messages` and, where there is one, `system`. A conversation of instructions alone is the user's.

        Raises InvalidRequest for an empty last message behind an answer, which the model would go on writing.
        """
        self._place_instructions()
        if self._empty and self.messages and self.messages[-1]["role"] == "assistant":
            raise InvalidRequest(f"{self._empty}.content: the last message must have content")
        if not self.messages and self._system:
            self.messages.append({"role": "user", "content": to_content([self._system.pop()])})
            self.notes.append(Note("changed", "messages", "the last instructions are sent as the user's message"))
        fields: dict[str, Any] = {"messages": self.messages}
        if self._system:
            fields["system"] = to_instructions(self._system)
        return fields

    def _place_instructions(self) -> None:
        if not self._instructions:
            return
        content, self._instructions = to_instructions(self._instructions), []
        role = "system" if self.messages[-1]["role"] == "user" else "user"
        if role == "user":
            self.notes.append(Note("changed", "messages", "instructions behind an answer are sent as the user's"))
        self.messages.append({"role": role, "content": content})


def to_content(blocks: list[dict[str, Any]]) -> Any:
    """Return a single text as a string, which every upstream takes."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks or ""


def to_instructions(blocks: list[dict[str, Any]]) -> Any:
    """Return one text, unless one of the blocks ends a cached prefix."""
    if any(len(block) > len(PLAIN_TEXT) for block in blocks):
        return blocks
    return "\n\n".join([block["text"] for block in blocks])


def is_result(message: dict[str, Any]) -> bool:
    content = message["content"]
    return message["role"] == "user" and isinstance(content, list) and content[0]["type"] == "tool_result"


def to_legal_id(call_id: str) -> str:
    """Return an id that Messages allows, the same for a call and its result."""
    if LEGAL_ID.fullmatch(call_id):
        return call_id
    return "call_" + urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def read_arguments(written: object, path: str, notes: list[Note]) -> dict[str, Any]:
    """Return the arguments of a call in a conversation: JSON text, or an object, as calls of a tool search have."""
    if isinstance(written, dict):
        return written
    arguments, is_object = to_arguments(to_text(written or "", path))
    if not is_object:
        notes.append(Note("changed", path, "they were not a JSON object"))
    return arguments


def to_arguments(text: str) -> tuple[dict[str, Any], bool]:
    """Return a call's arguments as an object, and whether they were one. The model reads what it wrote."""
    if not text or text.isspace():
        return {}, True
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}, False
    return (value, True) if isinstance(value, dict) else ({"arguments": value}, False)
