"""The markup in which models write tool calls, as text to calls.

Each model family has a form of its own: JSON within tags (Hermes, Qwen, Granite, Kimi, Mistral, Llama, LongCat,
Nemotron, Command, InternLM, gpt-oss, older DeepSeek), or tags for each value (Qwen3-Coder, Seed, GLM, MiniMax, Step,
DeepSeek from V3.2 on, and models that were trained on Claude's answers; MiniMax-M3: `element_markup`). Gemma quotes
texts with marks of its own. Values in tags have no types; the schema of the tool that is called gives them. A text is
read only if it is calls from beginning to end.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects.chat.response.calls.element_markup import MARK, read_elements
from gateway.dialects.chat.response.calls.near_json import repaired
from gateway.dialects.chat.response.calls.typed_values import to_typed

Schemas = Mapping[str, Mapping[str, Any]]
BAR = "[｜|‖]+"
# Literal beginnings of markup. DeepSeek's DSML has bars of several kinds and is looked for by a pattern.
BEGINNINGS = (
    "<tool_call>",
    "<tool_calls>",
    "<function=",
    "<|tool_call|>",
    "<|tool_calls_section_begin|>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "<minimax:tool_call>",
    "<｜tool▁calls▁begin｜>",
    "<|channel|>commentary to=functions.",
    "<seed:tool_call>",
    "<longcat_tool_call>",
    "<TOOLCALL>",
    "<|START_ACTION|>",
    "<|action_start|><|plugin|>",
    "<|tool_call>call:",
    "<start_function_call>call:",
    "<function_calls>",
    "<｜tool_calls_begin｜>",
    f"{MARK}<tool_call>",
)
FUNCTION = "<function="
NAME = re.compile(r"[^\s<>{\[]*")
# Of markup that begins with a tool's name: what may stand behind it, without white space.
BEHIND_NAME = {
    FUNCTION: ("><parameter=", "></function>", ">{"),
    "<tool_call>": ("<arg_key>", "</tool_call>"),
    "[TOOL_CALLS]": ("[ARGS]", "[CALL_ID]", "{"),
}
# Characters behind a beginning that are looked at, to find whether a call follows.
MAX_LOOKED_AT = 400
DSML = rf"<{BAR}DSML{BAR}"
BEGINNING = re.compile("|".join([*map(re.escape, BEGINNINGS), DSML]))
# The start of one at the end of a text.
PART_OF_DSML = re.compile(rf"<(?:{BAR}(?:D(?:S(?:M(?:L)?)?)?)?)?")
LONGEST_BEGINNING = 40
# Marks of the end of a turn, which servers without the right parser leave behind the last call.
END_MARKS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|observation|>",
    "</s>",
    "<｜end▁of▁sentence｜>",
)

TAGGED = re.compile(r"<((?:longcat_)?tool_call)>\s*(\{.*?\})\s*(?:</\1>\s*|\Z)", re.DOTALL)
# Llama 3.1's with JSON between the tags.
NAMED_TAG = re.compile(r"<function=([\w.-]+)>\s*(\{.*?\})\s*</function>\s*", re.DOTALL)
LISTS = {
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
    "<|tool_call|>": "<|/tool_call|>",
    "<tool_calls>": "</tool_calls>",
    "<TOOLCALL>": "</TOOLCALL>",
    "<|START_ACTION|>": "<|END_ACTION|>",
    "<|action_start|><|plugin|>": "<|action_end|>",
}
# Gemma's: names of members without quotes, and marks around texts.
GEMMA = re.compile(
    r"(?:<\|tool_call>|<start_function_call>)call:([\w.-]+)(\{.*?\})(?:<tool_call\|>|<end_function_call>)\s*", re.DOTALL
)
GEMMA_QUOTE = re.compile(r'<\|"\|>|<escape>')
# Mistral's from 2025 on: a name and an object, without a list around them.
NAMED = re.compile(
    r"\[TOOL_CALLS\]([\w.-]+?)(?:\[CALL_ID\][\w-]+)?(?:\[ARGS\])?(\{.*?\})\s*(?=\[TOOL_CALLS\]|$)", re.DOTALL
)
KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?)\s*<\|tool_call_argument_begin\|>"
    r"\s*(?P<arguments>\{.*?\})\s*<\|tool_call_end\|>\s*",
    re.DOTALL,
)
KIMI_SECTION = re.compile(r"<\|tool_calls_section_begin\|>(.*?)<\|tool_calls_section_end\|>", re.DOTALL)
DSML_SECTION = re.compile(rf"{DSML}\w+>(.*?)</{BAR}DSML{BAR}(?!invoke|parameter)\w+>", re.DOTALL)
DSML_CALL = re.compile(rf'{DSML}invoke name="([^"]+)">(.*?)</{BAR}DSML{BAR}invoke>\s*', re.DOTALL)
DSML_VALUE = re.compile(
    rf'{DSML}parameter name="([^"]+)" string="(true|false)">(.*?)</{BAR}DSML{BAR}parameter>\s*', re.DOTALL
)
DEEPSEEK_SECTION = re.compile(r"<｜tool▁calls▁begin｜>(.*?)<｜tool▁calls▁end｜>", re.DOTALL)
DEEPSEEK_CALL = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>([\w.-]+)\s*```json\s*(\{.*?\})\s*```|([\w.-]+)<｜tool▁sep｜>(\{.*?\}))"
    r"\s*<｜tool▁call▁end｜>\s*",
    re.DOTALL,
)
HARMONY = re.compile(
    r"<\|channel\|>commentary to=functions\.([\w-]+)\s*+(?:<\|constrain\|>)?\s*+json<\|message\|>(\{.*?\})\s*"
    r"(?:<\|call\|>|$)\s*(?:<\|start\|>assistant(?=<\|channel\|>))?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, repr=False)
class WrittenCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, repr=False)
class Tags:
    """Markup with tags for each value. `around`: what may stand around calls; `value_end`: the end of a value, which
    another value or the call's end has to follow, since values may hold any text."""

    head: re.Pattern[str]
    key: re.Pattern[str]
    value_end: re.Pattern[str]
    end: re.Pattern[str]
    around: re.Pattern[str]


QWEN_CODER = Tags(
    re.compile(r"<function=([^<>\n]+)>\s*"),
    re.compile(r"<parameter=([^<>\n]+)>"),
    re.compile(r"</parameter>\s*(?=<parameter=|</function>)"),
    re.compile("</function>"),
    re.compile(r"(?:</?(?:seed:)?tool_call>|\s)*"),
)
GLM = Tags(
    re.compile(r"<tool_call>\s*([\w.-]+)\s*(?=<arg_key>|</tool_call>)"),
    re.compile(r"<arg_key>([^<]+)</arg_key>\s*<arg_value>"),
    re.compile(r"</arg_value>\s*(?=<arg_key>|</tool_call>)"),
    re.compile("</tool_call>"),
    re.compile(r"\s*"),
)
# MiniMax's, Step's, Claude's.
INVOKE = Tags(
    re.compile(r'<(?:steptml:)?invoke name="([^"]+)">\s*'),
    re.compile(r'<(?:steptml:)?parameter name="([^"]+)">'),
    re.compile(r"</(?:steptml:)?parameter>\s*(?=<(?:steptml:)?parameter name=|</(?:steptml:)?invoke>)"),
    re.compile("</(?:steptml:)?invoke>"),
    re.compile(
        r"(?:</?minimax:tool_call>|</?function_calls>|<｜tool_calls?_(?:begin|end)｜>(?:function<｜tool_sep｜>)?|\s)*"
    ),
)


def starts_of_calls(text: str) -> Iterable[int]:
    """The places where markup begins, in order."""
    return (found.start() for found in BEGINNING.finditer(text))


def size_of_part(text: str) -> int:
    """The number of characters at the end that may be the start of a beginning."""
    for place in range(max(0, len(text) - LONGEST_BEGINNING), len(text)):
        if text[place] not in "<[]":
            continue
        rest = text[place:]
        if any(beginning.startswith(rest) for beginning in BEGINNINGS) or PART_OF_DSML.fullmatch(rest):
            return len(rest)
    return 0


def may_be_calls(text: str, start: int, offered: Iterable[str]) -> bool:
    """Return whether the markup at `start` may go on as a call of one of these tools, by its first characters."""
    begun = BEGINNING.match(text, start)
    assert begun is not None
    mark, rest = begun[0], text[begun.end() : begun.end() + MAX_LOOKED_AT].lstrip()
    if mark == "<tool_call>" and rest.startswith(FUNCTION):
        mark, rest = FUNCTION, rest.removeprefix(FUNCTION)
    if mark not in BEHIND_NAME or (mark != FUNCTION and (rest[:1] in "{[" or FUNCTION.startswith(rest))):
        return True
    name = NAME.match(rest)
    assert name is not None
    behind = "".join(rest[name.end() :].split())
    if not behind:
        return any(tool.startswith(name[0]) for tool in offered)
    return name[0] in offered and any(begins_alike(behind, following) for following in BEHIND_NAME[mark])


def begins_alike(text: str, beginning: str) -> bool:
    return text.startswith(beginning) or beginning.startswith(text)


def read_calls(text: str, schemas: Schemas) -> list[WrittenCall]:
    """Return the calls that are all of a text; none for any other."""
    text = _without_end_marks(text.lstrip())
    for read in READERS:
        calls = read(text, schemas)
        if calls:
            return calls
    return []


def _without_end_marks(text: str) -> str:
    """Return the text without marks and white space at its end; some servers repeat a mark without end."""
    end, is_marked = len(text), True
    while is_marked:
        while end and text[end - 1].isspace():
            end -= 1
        mark = next((mark for mark in END_MARKS if text.endswith(mark, 0, end)), "")
        end -= len(mark)
        is_marked = mark != ""
    return text[:end]


def _read_tagged(text: str, _: Schemas) -> list[WrittenCall]:
    return _all_of(text, TAGGED, lambda found: _of_object(found[2]))


def _read_named_tags(text: str, _: Schemas) -> list[WrittenCall]:
    return _all_of(text, NAMED_TAG, lambda found: _checked("", found[1], found[2]))


def _read_kimi(text: str, _: Schemas) -> list[WrittenCall]:
    section = KIMI_SECTION.fullmatch(text)
    if section is None:
        return []
    return _all_of(section[1].strip(), KIMI, lambda found: _checked(found["id"], found["name"], found["arguments"]))


def _read_dsml(text: str, _: Schemas) -> list[WrittenCall]:
    section = DSML_SECTION.fullmatch(text)
    return _all_of(section[1].strip() if section else text, DSML_CALL, _of_dsml)


def _read_deepseek(text: str, _: Schemas) -> list[WrittenCall]:
    section = DEEPSEEK_SECTION.fullmatch(text)
    if section is None:
        return []
    return _all_of(
        section[1].strip(), DEEPSEEK_CALL, lambda found: _checked("", found[1] or found[3], found[2] or found[4])
    )


def _read_harmony(text: str, _: Schemas) -> list[WrittenCall]:
    return _all_of(text, HARMONY, lambda found: _checked("", found[1], found[2]))


def _read_named(text: str, _: Schemas) -> list[WrittenCall]:
    return _all_of(text, NAMED, lambda found: _checked("", found[1], found[2]))


def _read_gemma(text: str, _: Schemas) -> list[WrittenCall]:
    return _all_of(text, GEMMA, lambda found: _checked("", found[1], _unmarked(found[2])))


def _read_elements(text: str, schemas: Schemas) -> list[WrittenCall]:
    calls = read_elements(text, schemas)
    return [WrittenCall("", name, orjson.dumps(arguments).decode()) for name, arguments in calls]


def _unmarked(arguments: str) -> str:
    """Return Gemma's arguments as JSON: each second part is a text."""
    parts = GEMMA_QUOTE.split(arguments)
    return repaired("".join([orjson.dumps(part).decode() if at % 2 else part for at, part in enumerate(parts)]))


def _read_listed(text: str, _: Schemas) -> list[WrittenCall]:
    """A list of calls, or one call, as JSON behind a mark: Mistral's, Llama's, Granite's, Command's."""
    mark = next((mark for mark in LISTS if text.startswith(mark)), None)
    if mark is None:
        return []
    try:
        value = orjson.loads(text.removeprefix(mark).removesuffix(LISTS[mark]))
    except orjson.JSONDecodeError:
        return []
    calls = [_of_value(entry) for entry in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if None not in calls else []


def _read_tags(text: str, schemas: Schemas, tags: Tags) -> list[WrittenCall]:
    calls: list[WrittenCall] = []
    place = _skipped(tags.around, text, 0)
    while place < len(text):
        head = tags.head.match(text, place)
        found = _read_values(text, head.end(), tags) if head is not None else None
        if head is None or found is None:
            return []
        values, place = found
        properties = schemas.get(head[1], {}).get("properties") or {}
        arguments = {name: to_typed(value, properties.get(name)) for name, value in values.items()}
        calls.append(WrittenCall("", head[1], orjson.dumps(arguments).decode()))
        place = _skipped(tags.around, text, place)
    return calls


def _read_values(text: str, place: int, tags: Tags) -> tuple[dict[str, str], int] | None:
    """Return the values of one call as they are written, and the place behind its end; None for any other text."""
    values: dict[str, str] = {}
    while (closing := tags.end.match(text, place)) is None:
        key = tags.key.match(text, place)
        end = tags.value_end.search(text, key.end()) if key is not None else None
        if key is None or end is None:
            return None
        value = text[key.end() : end.start()]
        values[key[1].strip()] = value.removeprefix("\n").removesuffix("\n")
        place = end.end()
    return values, closing.end()


def _skipped(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found is not None else place


READERS: tuple[Callable[[str, Schemas], list[WrittenCall]], ...] = (
    _read_tagged,
    _read_named_tags,
    _read_kimi,
    _read_dsml,
    _read_deepseek,
    _read_harmony,
    _read_listed,
    _read_named,
    _read_gemma,
    _read_elements,
    lambda text, schemas: _read_tags(text, schemas, QWEN_CODER),
    lambda text, schemas: _read_tags(text, schemas, GLM),
    lambda text, schemas: _read_tags(text, schemas, INVOKE),
)


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
    name = value.get("name", value.get("tool_name")) if isinstance(value, dict) else None
    if not isinstance(name, str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return WrittenCall("", name, orjson.dumps(arguments).decode()) if isinstance(arguments, dict) else None


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
