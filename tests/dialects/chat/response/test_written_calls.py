"""Calls that a server left in the text: taken for calls only where the answer is nothing else."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.response.convert import to_message
from gateway.messages.fold import fold_events
from tests.support.streams import Json, call, completion, finish, reply, say, think, told

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
    "DeepSeek": (DSML, [("look", {"city": 'A "b"\n c', "days": [1, 2]})]),
    "DeepSeek, bars of another kind": (DSML.replace("｜", "||"), [("look", {"city": 'A "b"\n c', "days": [1, 2]})]),
    "DeepSeek without a section": (
        DSML.partition("\n")[2].rpartition("\n")[0],
        [("look", {"city": 'A "b"\n c', "days": [1, 2]})],
    ),
    "Kimi": (KIMI, [("look", CITY), ("hear", {})]),
    "Mistral": ('[TOOL_CALLS][{"name": "look", "arguments": {"city": "A"}}]', [("look", CITY)]),
    "Llama": ('<|python_tag|>{"name": "look", "parameters": {"city": "A"}}', [("look", CITY)]),
}
TEXTS = {
    "text before it": "So: " + TAGGED.strip(),
    "text behind it": TAGGED + "That was it.",
    "a tool that was not offered": '<tool_call>{"name": "smell", "arguments": {}}</tool_call>',
    "no end": '<tool_call>{"name": "look", "arguments": {}}',
    "no JSON": "<tool_call>{oops}</tool_call>",
    "no name": '<tool_call>{"arguments": {}}</tool_call>',
    "arguments that are no object": '<tool_call>{"name": "look", "arguments": [1]}</tool_call>',
    "values without types": "<tool_call>\n<function=look>\n<parameter=city>\nA\n</parameter>\n</function></tool_call>",
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


OFFERED: dict[str, Any] = {"offered": frozenset({"look", "hear"}), "think_tags": True}


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
