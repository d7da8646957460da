"""Tool calls that a server left in the text, in the markup that its model writes them in.

Servers without the parser for a model, or with one that missed a call, send its markup as the answer's text, under the
reason `stop`: the client shows it, and the agent's turn ends (sglang issue 40236, vllm 41182). Only an answer that
consists of such markup and calls tools that were offered is taken for calls; markup behind other text may be about
markup. Markup without the types of its values (Qwen3-Coder's) stays text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.piece_filter import PieceFilter
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note

# Held back at most, in characters; no call is longer.
MAX_HELD = 1_000_000
BAR = "[｜|‖]+"
# What markup begins with: most open models; Kimi; DeepSeek V3.2 and V4, with bars of several kinds; Mistral; Llama 3.
BEGINNINGS = ("<tool_call>", "<|tool_calls_section_begin|>", "[TOOL_CALLS]", "<|python_tag|>")
DSML_BEGINNING = re.compile(rf"<(?:{BAR}(?:D(?:S(?:M(?:L(?:{BAR}.*)?)?)?)?)?)?", re.DOTALL)

TAGGED = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>\s*", re.DOTALL)
KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?)\s*<\|tool_call_argument_begin\|>"
    r"\s*(?P<arguments>\{.*?\})\s*<\|tool_call_end\|>\s*",
    re.DOTALL,
)
KIMI_SECTION = re.compile(r"<\|tool_calls_section_begin\|>(.*?)<\|tool_calls_section_end\|>", re.DOTALL)
DSML_SECTION = re.compile(rf"<{BAR}DSML{BAR}\w+>(.*?)</{BAR}DSML{BAR}(?!invoke|parameter)\w+>", re.DOTALL)
DSML_CALL = re.compile(rf'<{BAR}DSML{BAR}invoke name="([^"]+)">(.*?)</{BAR}DSML{BAR}invoke>\s*', re.DOTALL)
DSML_VALUE = re.compile(
    rf'<{BAR}DSML{BAR}parameter name="([^"]+)" string="(true|false)">(.*?)</{BAR}DSML{BAR}parameter>\s*', re.DOTALL
)
REASON = "the server left a call in the text, in the model's markup"


@dataclass(frozen=True, slots=True, repr=False)
class WrittenCall:
    id: str
    name: str
    arguments: str


def with_written_calls(target: PieceTarget, reply: Reply, notes: list[Note]) -> PieceTarget:
    """The target itself where no call can come, or the upstream takes answers apart by itself, as OpenRouter does.

    Stop sequences that the gateway looks for may be part of the markup, so that they have to be found first.
    """
    reads = reply.think_tags and reply.offered and not reply.forbids_calls and not reply.stop_sequences
    return WrittenCalls(target, reply.offered, notes) if reads else target


class WrittenCalls(PieceFilter):
    """Holds the text back while all of it may be calls. `is_over`: it passes all on."""

    __slots__ = ("_held", "_notes", "_offered", "_size", "is_over")

    def __init__(self, inner: PieceTarget, offered: frozenset[str], notes: list[Note]) -> None:
        super().__init__(inner)
        self.is_over = False
        self._offered = offered
        self._notes = notes
        self._held: list[str] = []
        self._size = 0

    def add_text(self, text: str) -> None:
        if self.is_over:
            self.inner.add_text(text)
            return
        self._held.append(text)
        self._size += len(text)
        # Once it has begun like markup, only its end decides.
        begins = self._size > len(text) + MAX_BEGINNING or may_begin("".join(self._held))
        if not begins or self._size > MAX_HELD:
            self._release()

    def close(self) -> None:
        calls = read_calls("".join(self._held)) if self._held else []
        if calls and all(call.name in self._offered for call in calls):
            self._notes.append(Note("changed", "content", REASON))
            self._held = []
            for index, call in enumerate(calls):
                self.inner.add_tool(index, call.id, call.name, call.arguments)
        self._release()
        self.inner.close()

    def _release(self) -> None:
        held, self._held, self.is_over = "".join(self._held), [], True
        if held:
            self.inner.add_text(held)


MAX_BEGINNING = 64  # longer than any beginning, and white space before it


def may_begin(text: str) -> bool:
    """Whether text is the beginning of markup, or may become it."""
    begun = text.lstrip()
    if any(begun.startswith(mark) or mark.startswith(begun) for mark in BEGINNINGS):
        return True
    return DSML_BEGINNING.fullmatch(begun) is not None


def read_calls(text: str) -> list[WrittenCall]:
    """Return the calls that are all of a text; none for any other."""
    text = text.strip()
    for read in (_read_tagged, _read_kimi, _read_dsml, _read_listed):
        calls = read(text)
        if calls:
            return calls
    return []


def _read_tagged(text: str) -> list[WrittenCall]:
    return _all_of(text, TAGGED, lambda found: _of_object(found[1]))


def _read_kimi(text: str) -> list[WrittenCall]:
    section = KIMI_SECTION.fullmatch(text)
    if section is None:
        return []
    return _all_of(section[1].strip(), KIMI, lambda found: _checked(found["id"], found["name"], found["arguments"]))


def _read_dsml(text: str) -> list[WrittenCall]:
    section = DSML_SECTION.fullmatch(text)
    return _all_of(section[1].strip() if section else text, DSML_CALL, _of_dsml)


def _read_listed(text: str) -> list[WrittenCall]:
    """Mistral's list of calls, and Llama's call, as JSON."""
    mark = next((mark for mark in ("[TOOL_CALLS]", "<|python_tag|>") if text.startswith(mark)), None)
    if mark is None:
        return []
    try:
        value = orjson.loads(text.removeprefix(mark))
    except orjson.JSONDecodeError:
        return []
    calls = [_of_value(entry) for entry in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if None not in calls else []


def _all_of(
    text: str, pattern: re.Pattern[str], read: Callable[[re.Match[str]], WrittenCall | None]
) -> list[WrittenCall]:
    """Read calls that follow one another; none if anything else is between or behind them, or one cannot be read."""
    calls: list[WrittenCall] = []
    place = 0
    while place < len(text):
        found = pattern.match(text, place)
        call = read(found) if found is not None else None
        if found is None or call is None:
            return []
        calls.append(call)
        place = found.end()
    return calls


def _of_object(text: str) -> WrittenCall | None:
    try:
        return _of_value(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None


def _of_value(value: Any) -> WrittenCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return WrittenCall("", value["name"], orjson.dumps(arguments).decode()) if isinstance(arguments, dict) else None


def _checked(call_id: str, name: str, arguments: str) -> WrittenCall | None:
    try:
        return WrittenCall(call_id, name, arguments) if isinstance(orjson.loads(arguments), dict) else None
    except orjson.JSONDecodeError:
        return None


def _of_dsml(found: re.Match[str]) -> WrittenCall | None:
    """Values are texts, or JSON where the markup says so."""
    values: dict[str, Any] = {}
    written, place = found[2].strip(), 0
    while place < len(written):
        value = DSML_VALUE.match(written, place)
        if value is None:
            return None
        try:
            values[value[1]] = value[3] if value[2] == "true" else orjson.loads(value[3])
        except orjson.JSONDecodeError:
            return None
        place = value.end()
    return WrittenCall("", found[1], orjson.dumps(values).decode())
