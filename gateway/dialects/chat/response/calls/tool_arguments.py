"""The ends of tool arguments as models write them: JSON text that may be missing, quoted twice, or cut off.

A client must always read an object. What has one meaning only is repaired and noted; anything else is an error, never a
silent `{}`.

Arguments that were cut off end as an object with null as last member. Anthropic leaves them unfinished, and clients
that parse them strictly then fail, some without the rest of the message. Completed without the null they would look
whole: agents that do not read `stop_reason` would run half a command, or write half a file. A null fails the tool's
schema instead.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects.chat.response.calls.call_markup import WrittenCall
from gateway.dialects.chat.response.calls.near_json import repaired

# Endings that can complete a cut-off value, in the order tried, before the brackets are closed.
ENDINGS = ("", "null", ":null", '"":null', "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l", "0")
# Inside a string, before its quote: an escape may be cut off too, or the second half of a surrogate pair.
ESCAPE_ENDINGS = ("", "\\", "0", "00", "000", "0020", "c00", "dc00", "udc00", "\\udc00", "0\\udc00", "00\\udc00")
STRING_ENDINGS = tuple(escape + quote for quote in ('"', '":null') for escape in ESCAPE_ENDINGS)
CLOSERS = {"{": "}", "[": "]"}
BOM = "\ufeff"
NO_ARGUMENTS = frozenset({"", "null", '""', "[]", "None", "undefined"})  # `[]`: of servers written in PHP
FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)
# Reasons of notes.
REPAIRED = "the upstream's tool arguments were not valid JSON"
CUT = "the tool call was cut off; its last argument is null"
# Behind any of these a value is whole; a digit may be followed by another.
WHOLE_VALUE = re.compile(r'(?:["}\]\s]|true|false|null)\Z')
# Validation allows 64 levels, so a client could not send a deeper input back.
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, repr=False)
class Ending:
    """Completion of arguments: the missing end, the reason, and whether they were cut off and must not be used.

    `following`: further calls that were in them.
    """

    text: str
    reason: str = ""
    is_cut: bool = False
    following: tuple[WrittenCall, ...] = ()


def to_ending(arguments: str, *, is_shown: bool, may_be_cut: bool) -> Ending | None:
    """The end of arguments that are no object as they are; None if they cannot be made one.

    `is_shown`: the client has seen them, so that text can only be appended. `may_be_cut`: the answer ended where the
    model did not end it; else a call that lacks nothing but closing brackets is whole.
    """
    if not is_shown:
        meant = unwrapped(arguments)
        if meant is not None:
            return Ending(meant, REPAIRED if arguments.strip() else "")
        return Ending("{}", CUT, is_cut=True) if may_be_cut else None
    brackets = None if may_be_cut else _missing_brackets(arguments)
    if brackets is not None:
        return Ending(brackets, REPAIRED)
    cut = _ending_in_null(arguments)
    return None if cut is None else Ending(cut, CUT, is_cut=True)


def to_input(arguments: str) -> Any:
    """Return arguments that a client has got, perhaps cut. Raises ValueError for those that cannot be made an object.

    Claude's are passed on as they are.
    """
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        ending = to_ending(arguments, is_shown=True, may_be_cut=True)
        if ending is None:
            raise
        return orjson.loads(arguments + ending.text)


def is_object(text: str) -> bool:
    """Return whether `text` is one complete JSON object, of a depth that a client can give back."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and (text.count("{") + text.count("[") <= MAX_DEPTH or _depth(value) <= MAX_DEPTH)


def closing_suffix(text: str) -> str | None:
    """Return the text that makes a cut-off object parse; None if no appended text can."""
    stack, in_string = _open_brackets(text)
    if not stack:
        return None
    close = "".join(CLOSERS[bracket] for bracket in reversed(stack))
    suffixes = (ending + close for ending in (STRING_ENDINGS if in_string else ENDINGS))
    return next((suffix for suffix in suffixes if is_object(text + suffix)), None)


def unwrapped(text: str) -> str | None:
    """Arguments that are no object but mean one: nothing, `null`, or an object in a JSON string, a fence, or a list."""
    stripped = text.strip().removeprefix(BOM)
    if stripped in NO_ARGUMENTS:
        return "{}"
    if stripped.startswith("{"):
        meant = repaired(stripped)
        return meant if is_object(meant) else None
    if stripped.startswith("[") and stripped.endswith("]"):
        meant = repaired(stripped[1:-1].strip())
        return meant if is_object(meant) else None
    fenced = FENCE.fullmatch(stripped)
    try:
        # Not strict: the line ends within may be forgotten ones.
        inner = fenced[1] if fenced else json.loads(stripped, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(inner, str):
        return None
    meant = repaired(inner)
    return meant if is_object(meant) else None


def _missing_brackets(text: str) -> str | None:
    """Return the closing brackets of an object that lacks only those."""
    if not WHOLE_VALUE.search(text):
        return None
    stack, _ = _open_brackets(text)
    close = "".join(CLOSERS[bracket] for bracket in reversed(stack))
    return close if is_object(text + close) else None


def _ending_in_null(text: str) -> str | None:
    """Return an end that makes a cut-off object valid, with null for its last member: a name's last value counts."""
    suffix = closing_suffix(text)
    if suffix is None:
        return None
    members = json.loads(text + suffix, object_pairs_hook=list)
    if not members or members[-1][1] is None:
        return suffix
    return f"{suffix[:-1]},{json.dumps(members[-1][0])}:null}}"


def _open_brackets(text: str) -> tuple[list[str], bool]:
    """The brackets still open at the end of `text`, and whether it ends inside a string."""
    stack: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in CLOSERS:
            stack.append(character)
        elif character in "}]" and stack:
            stack.pop()
    return stack, in_string


def _depth(value: Any) -> int:
    """Levels of objects and arrays in one another."""
    depth, level = 0, [value]
    while level:
        depth += 1
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for group in children for child in group if isinstance(child, (dict, list))]
    return depth
