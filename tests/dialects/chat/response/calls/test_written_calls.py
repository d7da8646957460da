"""Calls that a server left in the text: taken for calls only where they end the answer, outside code."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.original.written import PieceCollector
from gateway.dialects.chat.response.calls.typed_values import to_typed
from gateway.dialects.chat.response.calls.written_calls import MAX_HELD, WrittenCalls
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.stream import MessageStream
from gateway.messages.fold import fold_events
from gateway.schemas.openai import ReasoningEntry
from tests.support.streams import Json, call, completion, detail, finish, reply, say, sse, think, told

DSML = """<｜DSML｜tool_calls>
<｜DSML｜invoke name="look">
<｜DSML｜parameter name="city" string="true">A "b"
 c</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">[1, 2]</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>"""
KIMI = (
    "<|tool_calls_section_begin|> <|tool_call_begin|>functions.look:0<|tool_call_argument_begin|>"
    '{"city": "A"}<|tool_call_end|><|tool_call_begin|>functions.hear:1<|tool_call_argument_begin|>{}<|tool_call_end|>'
    "<|tool_calls_section_end|>"
)
CITY = {"city": "A"}
TAGGED = '<tool_call>\n{"name": "look", "arguments": {"city": "A"}}\n</tool_call>\n'
# Texts, and the calls that they are.
WRITTEN: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "Hermes and Qwen": (
        f'\n{TAGGED}<tool_call>{{"name": "hear", "arguments": {{}}}}</tool_call>\n',
        [("look", CITY), ("hear", {})],
    ),
    "a mark of the end that is repeated without end": (TAGGED + "</s>" * 1100, [("look", CITY)]),
    "Hermes without the last tag": (f'{TAGGED}<tool_call>{{"name": "hear"}}', [("look", CITY), ("hear", {})]),
    "Nemotron": ('<TOOLCALL>[{"name": "look", "arguments": {"city": "A"}}]</TOOLCALL>', [("look", CITY)]),
    "Command": ('<|START_ACTION|>[{"tool_name": "look", "parameters": {"city": "A"}}]<|END_ACTION|>', [("look", CITY)]),
    "InternLM": (
        '<|action_start|><|plugin|>{"name": "look", "parameters": {"city": "A"}}<|action_end|>',
        [("look", CITY)],
    ),
    "Gemma 4": (
        '<|tool_call>call:look{city:<|"|>A<|"|>,days:[1,2]}<tool_call|><|tool_call>call:hear{}<tool_call|>',
        [("look", {"city": "A", "days": [1, 2]}), ("hear", {})],
    ),
    "FunctionGemma": (
        '<start_function_call>call:look{city:<escape>"A"\n<escape>}<end_function_call>',
        [("look", {"city": '"A"\n'})],
    ),
    "Claude": (
        '<function_calls>\n<invoke name="look">\n<parameter name="city">A</parameter>\n</invoke>\n</function_calls>',
        [("look", CITY)],
    ),
    "Step": (
        (
            '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="look">'
            '<steptml:parameter name="city">A</steptml:parameter></steptml:invoke><｜tool_call_end｜>'
            "<｜tool_calls_end｜>"
        ),
        [("look", CITY)],
    ),
    "DeepSeek": (DSML, [("look", {"city": 'A "b"\n c', "days": [1, 2]})]),
    "DeepSeek, bars of another kind": (DSML.replace("｜", "||"), [("look", {"city": 'A "b"\n c', "days": [1, 2]})]),
    "DeepSeek without a section": (
        DSML.partition("\n")[2].rpartition("\n")[0],
        [("look", {"city": 'A "b"\n c', "days": [1, 2]})],
    ),
    "Kimi": (KIMI, [("look", CITY), ("hear", {})]),
    "Mistral": ('[TOOL_CALLS][{"name": "look", "arguments": {"city": "A"}}]', [("look", CITY)]),
    "Mistral from 2025 on": (
        '[TOOL_CALLS]look[ARGS]{"city": "A"}[TOOL_CALLS]hear{}',
        [("look", CITY), ("hear", {})],
    ),
    "Granite": ('<|tool_call|>[{"name": "look", "arguments": {"city": "A"}}]', [("look", CITY)]),
    "MiniMax M1": ('<tool_calls>\n{"name": "look", "arguments": {"city": "A"}}\n</tool_calls>', [("look", CITY)]),
    "MiniMax M2": (
        (
            '<minimax:tool_call>\n<invoke name="look">\n'
            '<parameter name="city">A</parameter>\n<parameter name="days">[1, 2]</parameter>\n</invoke>\n'
            '<invoke name="hear">\n</invoke>\n</minimax:tool_call>'
        ),
        [("look", {"city": "A", "days": [1, 2]}), ("hear", {})],
    ),
    "Qwen3-Coder": (
        (
            '<tool_call>\n<function=look>\n<parameter=city>\nA\n  "b"\n</parameter>\n<parameter=days>\n'
            "[1, 2]\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=hear>\n</function>\n</tool_call>"
        ),
        [("look", {"city": 'A\n  "b"', "days": [1, 2]}), ("hear", {})],
    ),
    "Qwen3-Coder, which forgets the opening tag": (
        "<function=look>\n<parameter=city>\n</parameter> is a tag\n</parameter>\n</function>\n</tool_call>",
        [("look", {"city": "</parameter> is a tag"})],
    ),
    "GLM": (
        (
            "<tool_call>look\n<arg_key>city</arg_key>\n<arg_value>A</arg_value>\n<arg_key>many</arg_key>\n"
            "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>hear\n</tool_call><|observation|>"
        ),
        [("look", {"city": "A", "many": 3}), ("hear", {})],
    ),
    "DeepSeek V3.1": (
        (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>{"city": "A"}<｜tool▁call▁end｜>'
            "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
        ),
        [("look", CITY)],
    ),
    "DeepSeek V3": (
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n```json\n"
            '{"city": "A"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        ),
        [("look", CITY)],
    ),
    "gpt-oss": (
        '<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"city": "A"}<|call|>',
        [("look", CITY)],
    ),
    "Llama": ('<|python_tag|>{"name": "look", "parameters": {"city": "A"}}', [("look", CITY)]),
}
M3 = "]<]minimax[>["
M3_CALL = f'{M3}<tool_call>\n{M3}<invoke name="look">\n{M3}<city>A{M3}</city>\n{M3}</invoke>\n{M3}</tool_call>'
# Arguments as elements of MiniMax-M3, and what they are.
ELEMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": (f"{M3}<city>A <b>bold</b>\nplace{M3}</city>", {"city": "A <b>bold</b>\nplace"}),
    "a text without the mark at its end": (f"{M3}<city>A</city>\n", CITY),
    "a number": (f"{M3}<many>3{M3}</many>", {"many": 3}),
    "a list of items": (f"{M3}<days>{M3}<item>1{M3}</item>{M3}<item>2{M3}</item>{M3}</days>", {"days": ["1", "2"]}),
    "a list as JSON": (f"{M3}<days>[1, 2]{M3}</days>", {"days": [1, 2]}),
    "a list by its repeated name": (f"{M3}<days>a{M3}</days>{M3}<days>b{M3}</days>", {"days": ["a", "b"]}),
    "an object": (
        f"{M3}<place>\n{M3}<lat>1{M3}</lat>\n{M3}<names>{M3}<item>a{M3}</item>{M3}</names>\n{M3}</place>",
        {"place": {"lat": "1", "names": ["a"]}},
    ),
    "objects in a list": (
        f"{M3}<days>{M3}<item>{M3}<on>a{M3}</on>{M3}</item>{M3}<item>{M3}<on>b{M3}</on>{M3}</item>{M3}</days>",
        {"days": [{"on": "a"}, {"on": "b"}]},
    ),
    "nothing": ("", {}),
}
TEXTS = {
    "MiniMax-M3's text behind a call": f"{M3_CALL} and more",
    "MiniMax-M3's call without its end": M3_CALL.partition(f"{M3}</invoke>")[0],
    "MiniMax-M3's argument without its end": M3_CALL.replace(f"{M3}</city>", ""),
    "MiniMax-M3's end of another argument": M3_CALL.replace("</city>", "</town>"),
    "MiniMax-M3's text beside an element": M3_CALL.replace("<city>A", f"<city>A{M3}<b>B{M3}</b>"),
    "MiniMax-M3's call of another tool": M3_CALL.replace("look", "smell"),
    "MiniMax-M3's elements without end": f'{M3}<tool_call>{M3}<invoke name="look">' + f"{M3}<a>" * 5000,
    "text behind it": TAGGED + "That was it.",
    "a tool that was not offered": '<tool_call>{"name": "smell", "arguments": {}}</tool_call>',
    "an object without its end": '<tool_call>{"name": "look", "arguments": {}',
    "no JSON": "<tool_call>{oops}</tool_call>",
    "no name": '<tool_call>{"arguments": {}}</tool_call>',
    "arguments that are no object": '<tool_call>{"name": "look", "arguments": [1]}</tool_call>',
    "code": f"So:\n```xml\n{TAGGED}```",
    "code without its end": f"So:\n\n  ~~~~ xml\n  {TAGGED}~~~",
    "inline code": f"Write `{TAGGED.strip()}`",
    "words about a tag": "The tag <tool_call> is for calls, and <function=look> too.",
    "values without a key": "<tool_call>\n<function=look>\nA\n</function></tool_call>",
    "a value without its end": "<function=look>\n<parameter=city>\nA\n</function>",
    "Qwen3-Coder's call of another tool": "<tool_call>\n<function=smell>\n</function>\n</tool_call>",
    "a call that is cut": "<tool_call>\n<function=look>\n<parameter=city>\nA",
    "the marks alone": "<|tool_calls_section_begin|><|tool_calls_section_end|>",
    "Kimi's marks around other text": "<|tool_calls_section_begin|>look<|tool_calls_section_end|>",
    "Kimi's arguments that are no JSON": KIMI.replace('{"city": "A"}', "{oops}"),
    "DeepSeek's value that is no JSON": DSML.replace("[1, 2]", "oops"),
    "DeepSeek's text between values": DSML.replace("<｜DSML｜parameter", "oops<｜DSML｜parameter", 1),
    "Mistral's list with a text": '[TOOL_CALLS]["look"]',
    "Mistral's list cut": '[TOOL_CALLS][{"name": "look"',
    "a beginning that goes on otherwise": "<tool_calling> is a word",
    "a bar": "<｜x",
}


def pieces(text: str, size: int) -> list[Json]:
    return [say(text[place : place + size]) for place in range(0, len(text), size)]


def calls_of(blocks: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]


LOOK = {
    "city": {"type": "string"},
    "days": {"type": "array"},
    "many": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": LOOK}}},
    {"type": "function", "function": {"name": "hear"}},
]
OFFERED: dict[str, Any] = {"offered": frozenset({"look", "hear"}), "tools": TOOLS, "think_tags": True}


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.covers("Messages · calls that a server leaves in the text")
def test_calls_written_as_text_are_calls(case: str, size: int) -> None:
    text, calls = WRITTEN[case]
    result = told(think("Hm"), *pieces(text, size), finish(), **OFFERED)
    message = fold_events(result.events)
    assert [block["type"] for block in message["content"]] == ["thinking", *["tool_use"] * len(calls)]
    assert (calls_of(message["content"]), message["stop_reason"]) == (calls, "tool_use")
    assert [note.kind for note in result.stream.notes] == ["changed"]
    answered = to_message(completion({"content": text}), reply(**OFFERED))
    assert (calls_of(answered.message["content"]), answered.message["stop_reason"]) == (calls, "tool_use")


# Texts in front of markup.
@pytest.mark.parametrize("case", ELEMENTS)
@pytest.mark.parametrize("size", [13, 10_000])
def test_calls_written_as_elements_are_calls(case: str, size: int) -> None:
    written, arguments = ELEMENTS[case]
    text = f'{M3}<tool_call>\n{M3}<invoke name="look">\n{written}{M3}</invoke>\n{M3}</tool_call>'
    calls = [("look", arguments), ("look", CITY)]
    message = fold_events(told(*pieces(text + M3_CALL, size), finish(), **OFFERED).events)
    assert (calls_of(message["content"]), message["stop_reason"]) == (calls, "tool_use")
    answered = to_message(completion({"content": text + M3_CALL}), reply(**OFFERED))
    assert calls_of(answered.message["content"]) == calls


LEADS = {
    "words": "I look.\n\n",
    "words without a line end": "So: ",
    "code that has ended": "As in:\n```py\nx < 3\n```\nSo:\n",
    "words about a tag": "The `<tool_call>`, <tool_call>hear and <function=hear > 2>: ",
    "beginnings": "<tool_c [TOOL <| ",
}


@pytest.mark.parametrize("case", [name for name in WRITTEN if name != "DeepSeek without a section"])
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("size", [3, 10_000])
def test_calls_behind_text_are_calls(case: str, lead: str, size: int) -> None:
    text, calls = LEADS[lead] + WRITTEN[case][0].lstrip(), WRITTEN[case][1]
    result = told(*pieces(text, size), finish(), **OFFERED)
    message = fold_events(result.events)
    assert [block["type"] for block in message["content"]] == ["text", *["tool_use"] * len(calls)]
    assert message["content"][0]["text"] == LEADS[lead]
    assert (calls_of(message["content"]), message["stop_reason"]) == (calls, "tool_use")
    answered = to_message(completion({"content": text}), reply(**OFFERED)).message
    assert answered["content"][0]["text"] == LEADS[lead]
    assert (calls_of(answered["content"]), answered["stop_reason"]) == (calls, "tool_use")


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize("size", [3, 10_000])
@pytest.mark.parametrize("behind", [[], [say(""), say("\n\n")]])
@pytest.mark.parametrize("shape", [think, lambda text: detail(type="reasoning.text", text=text)])
def test_calls_at_the_end_of_the_reasoning_are_calls(
    case: str, size: int, behind: list[Json], shape: Callable[[str], Json]
) -> None:
    text, calls = "I look.\n\n" + WRITTEN[case][0].lstrip(), WRITTEN[case][1]
    thoughts = [shape(text[place : place + size]) for place in range(0, len(text), size)]
    result = told(*thoughts, *behind, finish("tool_calls"), **OFFERED)
    message = fold_events(result.events)
    assert [block["type"] for block in message["content"]] == ["thinking", *["tool_use"] * len(calls)]
    assert message["content"][0]["thinking"] == "I look.\n\n"
    assert (calls_of(message["content"]), message["stop_reason"]) == (calls, "tool_use")
    answered = to_message(completion({"content": None, "reasoning_content": text}), reply(**OFFERED)).message
    assert (calls_of(answered["content"]), answered["stop_reason"]) == (calls, "tool_use")


@pytest.mark.parametrize("size", [3, 10_000])
def test_markup_in_reasoning_is_reasoning_where_text_or_a_call_follows(size: int) -> None:
    text = f"I could write\n{TAGGED}"
    thoughts = [think(text[place : place + size]) for place in range(0, len(text), size)]
    for behind, kinds in ((say("Done."), ["thinking", "text"]), (call(0, "{}", "a", "hear"), ["thinking", "tool_use"])):
        message = fold_events(told(*thoughts, say("\n\n"), behind, finish(), **OFFERED).events)
        assert ([block["type"] for block in message["content"]], message["content"][0]["thinking"]) == (kinds, text)


@pytest.mark.parametrize("size", [3, 10_000])
def test_calls_behind_text_are_calls_though_the_reasoning_had_markup(size: int) -> None:
    thoughts = [think(TAGGED[place : place + size]) for place in range(0, len(TAGGED), size)]
    message = fold_events(told(*thoughts, *pieces(f"I look. {TAGGED}", size), finish(), **OFFERED).events)
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][0]["thinking"] == TAGGED


def test_text_is_held_back_only_where_markup_may_begin() -> None:
    stream = MessageStream(reply(**OFFERED))
    texts = ("a", "b < c", " <", "3", "<tool_call> is", "\n<tool_call>", "{")
    passed = [stream.feed(sse(say(text))) for text in texts]
    ends = [b'"a"', b'"b < c"', b'" "', b'"<3"', b'"<tool_call> is"', b'"\\n"', b""]
    assert all(end in piece for end, piece in zip(ends, passed, strict=True))
    assert b"tool_call" not in passed[-2] + passed[-1]


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3.0", {"type": "integer"}, 3),
        ("3", {"type": "number"}, 3),
        ("3", {"type": "string"}, "3"),
        ("three", {"type": "integer"}, "three"),
        ("True", {"type": "boolean"}, True),
        ("null", {"type": ["string", "null"]}, None),
        ("None", {"type": "string"}, "None"),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ('{"a": 1}', {"type": "string"}, '{"a": 1}'),
        ('{"a": 1}', {}, {"a": 1}),
        ("3", {}, "3"),
        ("3", None, "3"),
        ("3", {"enum": [1, 3]}, 3),
        ("3", {"oneOf": [{"type": "boolean"}, {"anyOf": [{"type": "integer"}]}]}, 3),
        (" x\n", {"type": "string"}, " x\n"),
    ],
)
def test_a_written_value_has_the_type_of_the_schema(text: str, schema: Any, value: Any) -> None:
    assert to_typed(text, schema) == value


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("size", [1, 10_000])
def test_any_other_text_stays_text(case: str, size: int) -> None:
    result = told(*pieces(TEXTS[case], size), finish(), **OFFERED)
    (block,) = result.blocks
    assert (block["type"], result.stream.notes) == ("text", ())
    assert block["text"].strip() == TEXTS[case].strip()
    answered = to_message(completion({"content": TEXTS[case]}), reply(**OFFERED))
    assert [block["text"].strip() for block in answered.message["content"]] == [TEXTS[case].strip()]


@pytest.mark.parametrize(
    "fields",
    [{"offered": frozenset()}, {"think_tags": False}, {"forbids_calls": True}, {"stop_sequences": ("x",)}],
    ids=["no tools", "OpenRouter", "calls forbidden", "stop sequences"],
)
def test_markup_is_text_where_no_call_is_looked_for(fields: dict[str, Any]) -> None:
    result = told(*pieces(WRITTEN["Llama"][0], 5), finish(), **{**OFFERED, **fields})
    assert [block["type"] for block in result.blocks] == ["text"]


def test_markup_beside_a_call_of_the_server_is_text() -> None:
    text = WRITTEN["Llama"][0]
    result = told(say(text), call(0, orjson.dumps(CITY).decode(), "c1", "look"), finish("tool_calls"), **OFFERED)
    assert [block["type"] for block in result.blocks] == ["text", "tool_use"]
    assert result.blocks[0]["text"] == text


class Pieces(PieceCollector):
    def __init__(self) -> None:
        super().__init__("")
        self.entries: list[ReasoningEntry] = []

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        self.entries += entries


def test_held_reasoning_stays_in_its_part() -> None:
    pieces = Pieces()
    calls = WrittenCalls(pieces, reply(**OFFERED), [])
    parts: list[ReasoningEntry] = [
        {"type": "reasoning.text", "index": index, "text": text} for index, text in enumerate(("a <", "b"))
    ]
    for part in parts:
        calls.add_thinking("", [part])
    calls.close()
    joined = ["".join([entry["text"] or "" for entry in pieces.entries if entry["index"] == at]) for at in (0, 1)]
    assert joined == ["a <", "b"]


def test_whitespace_behind_held_reasoning_is_bounded() -> None:
    pieces = PieceCollector("")
    calls = WrittenCalls(pieces, reply(**OFFERED), [])
    calls.add_thinking("<tool_call>", ())
    for _ in range(3):
        calls.add_text(" " * MAX_HELD)
    assert pieces.take() == ("<tool_call>", " " * 3 * MAX_HELD)
