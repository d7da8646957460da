"""Requests and the right answers, as tables. Each case is named by a sentence, and tried on the servers that it names.

The marks (#tool, #think, …) select the scripted model's answer: model/scripts.py.
"""

import base64
import re
from typing import Any

import orjson

from tests.servers.client import Answer, user
from tests.servers.expectation import Case, Conversation, Expected

HELLO = "Hello from a real server."
ANSWERED = "The tool has answered."
THOUGHT = "Let me think about it."
SAID = "Thought and said."

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "get_time", "description": "The time", "input_schema": {"type": "object", "properties": {}}}
PARIS = ("get_weather", {"city": "Paris"})
LONDON = ("get_weather", {"city": "London"})

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
PDF_BYTES = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(PDF_BYTES).decode()},
}

TEXT_DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Some words."}}

# With what the template adds: 27,015 tokens and 7,670 tokens.
TOO_LONG = "abcdefghij " * 3000
NEARLY_FULL = "abcdefghij " * 850

TOOLS = [WEATHER]
BOTH_TOOLS = [WEATHER, CLOCK]


def to_format(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"format": {"type": "json_schema", "schema": schema}}


CITY_FORMAT = to_format({"city": {"type": "string"}})


def tool_with(schema: Any) -> dict[str, Any]:
    return {"name": "f", "input_schema": {"type": "object", "properties": {"a": schema}}}


def after_call(*first: dict[str, Any], text: str = "hi", result: Any = "sunny") -> list[dict[str, Any]]:
    """Return a conversation with a call by the assistant, and `first` before it."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    outcome = {"type": "tool_result", "tool_use_id": "toolu_1", "content": result}
    return [user(text), {"role": "assistant", "content": [*first, call]}, user(outcome)]


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


# Checks that need more than one field


def is_whole_call_or_named_sequence(answer: Answer) -> bool:
    """A call that was cut short must never look like one to run."""
    end = (answer.stop_reason, answer.stop_sequence)
    return (answer.calls == [PARIS] and end == ("tool_use", None)) or end == ("stop_sequence", "Paris")


def is_noted_or_refused_by_name(*names: str) -> Any:
    """The block is replaced by text and noted, or refused as a client's error that names it."""

    def is_noted_or_refused(answer: Answer) -> bool:
        if answer.status == 200:
            return "messages" in answer.noted
        return (answer.status, answer.error["type"]) == (400, "invalid_request_error") and any(
            name in answer.message for name in names
        )

    return is_noted_or_refused


def has_city(answer: Answer) -> bool:
    return bool(answer.calls) and all(list(arguments) == ["city"] for _, arguments in answer.calls)


def is_json_with_city(answer: Answer) -> bool:
    return list(orjson.loads(answer.text)) == ["city"]


def calls_once_or_notes(answer: Answer) -> bool:
    return len(answer.calls) == 1 or "parallel" in answer.noted


def calls_or_notes(answer: Answer) -> bool:
    return bool(answer.calls) or "tool_choice" in answer.noted


def is_json_or_noted(answer: Answer) -> bool:
    return bool(answer.noted) or answer.status != 200 or isinstance(orjson.loads(answer.text), dict)


def is_clear_of_calls(answer: Answer) -> bool:
    return not answer.calls and answer.stop_reason != "tool_use"


def has_plausible_count(answer: Answer) -> bool:
    """vLLM does not count a prompt that is too long; the number must still be near the true 27,015."""
    found = re.match(r"prompt is too long: (\d+) tokens > 8192 maximum", answer.message)
    return found is not None and 13_500 < int(found[1]) < 54_000


def fits_after_all(answer: Answer) -> bool:
    """The prompt fits but not with max_tokens: ask for less, or answer in Anthropic's words for it."""
    asked_for_less = answer.status == 200 and answer.noted
    words = "input length and `max_tokens` exceed context limit: 7669 + 5000 > 8192"
    return bool(asked_for_less) or answer.message.startswith(words)


def has_effort_or_notes(answer: Answer) -> bool:
    return answer.text in ("Effort is high.", "Effort is something else.") or "effort" in answer.noted


def stays_within_budget(answer: Answer) -> bool:
    return answer.usage["output_tokens"] < 1200


# Servers

ALL = "llama-cpp vllm sglang litellm transformers llama-cpp-python"
WITH_TOOLS = "llama-cpp vllm sglang litellm transformers"  # llama-cpp-python has no parser of calls by default
WITH_REASONING = "llama-cpp vllm sglang litellm"  # these take effort and earlier reasoning
WITH_GRAMMAR = "llama-cpp vllm sglang litellm"
LLAMA = "llama-cpp litellm"  # LiteLLM stands before a llama.cpp

ANSWERS = [
    Case("a text is answered", ALL, {"messages": "hi"}, Expected(text=HELLO, stop="end_turn")),
    Case(
        "characters cut over tokens arrive whole",
        ALL,
        {"messages": "#unicode"},
        Expected(text="cafe\u0301 \U0001f469\u200d\U0001f4bb ok"),
    ),
    Case(
        "a call is made",
        WITH_TOOLS,
        {"messages": "#tool", "tools": TOOLS},
        Expected(calls=[PARIS], text="", stop="tool_use"),
    ),
    Case(
        "two calls are made",
        WITH_TOOLS,
        {"messages": "#two", "tools": TOOLS},
        Expected(calls=[PARIS, LONDON], text="", stop="tool_use"),
    ),
    Case(
        "escapes in arguments arrive unchanged",
        WITH_TOOLS,
        {"messages": "#escape", "tools": TOOLS},
        Expected(calls=[("get_weather", {"city": 'a "b"\nC:\\temp é\t'})]),
    ),
    Case(
        "thinking and text are separated without white space around them",
        "llama-cpp vllm sglang litellm transformers llama-cpp-python",
        {"messages": "#think", "thinking": {"type": "adaptive"}},
        Expected(thinking=THOUGHT, text=SAID),
    ),
    Case(
        "thinking before a call leaves no text between them",
        WITH_TOOLS,
        {"messages": "#thinktool", "tools": TOOLS},
        Expected(thinking=THOUGHT, text="", calls=[PARIS], stop="tool_use"),
    ),
    Case(
        "a history with a call and its result is continued",
        ALL,
        {"messages": after_call(), "tools": TOOLS},
        Expected(text=ANSWERED),
    ),
    Case("an empty answer is an empty message", LLAMA, {"messages": "#empty"}, Expected(text="", stop="end_turn")),
    Case(
        "samplers beyond OpenAI's arrive",
        "llama-cpp vllm sglang litellm",
        {"messages": "hi", "top_k": 20, "min_p": 0.05},
        Expected(text=HELLO, not_noted="_"),
    ),
    Case(
        "samplers that the server refuses are left out and noted",
        "transformers",
        {"messages": "hi", "top_k": 20},
        Expected(text=HELLO, noted="top_k"),
    ),
]

CONTENT = [
    Case(
        "a system message within the conversation arrives as text",
        ALL,
        {"messages": [user("a"), assistant("b"), user("c"), system("Be brief.")]},
        Expected(text=HELLO),
    ),
    Case(
        "a system message behind the first user message arrives as text",
        ALL,
        {"messages": [user("hi"), system("The date is a Monday.")], "system": "You help."},
        Expected(text=HELLO),
    ),
    Case(
        "a system message between earlier turns arrives as text",
        ALL,
        {"messages": [user("a"), system("s"), assistant("b"), user("hi")], "system": "You help."},
        Expected(text=HELLO),
    ),
    Case(
        "an image for a text model becomes a note",
        "llama-cpp vllm litellm llama-cpp-python",
        {"messages": [user({"type": "text", "text": "hi"}, IMAGE)]},
        Expected(text=HELLO, noted="messages", most_seconds=11),
    ),
    Case(
        "an image in a tool result for a text model becomes a note",
        "llama-cpp vllm litellm",
        {"messages": after_call(result=[IMAGE]), "tools": TOOLS},
        Expected(stop="end_turn", noted="messages", most_seconds=11),
    ),
    Case(
        "an image in an earlier turn does not stop the conversation",
        "llama-cpp vllm litellm llama-cpp-python",
        {"messages": [user({"type": "text", "text": "Look"}, IMAGE), assistant("I see."), user("#stop")]},
        Expected(text="one two STOP three", noted="messages"),
    ),
    Case(
        "a text document arrives as text",
        ALL,
        {"messages": [user(TEXT_DOCUMENT, {"type": "text", "text": "#stop"})]},
        Expected(text="one two STOP three"),
    ),
    Case(
        "a PDF becomes a note or is refused by its name",
        "llama-cpp vllm sglang litellm",
        {"messages": [user(PDF, {"type": "text", "text": "hi"})]},
        Expected(satisfies=is_noted_or_refused_by_name("document", "PDF"), may_fail=True),
    ),
]

TOOL_CHOICES = [
    Case(
        "a forced call has the arguments that the schema requires",
        WITH_GRAMMAR,
        {"messages": "hi", "tools": TOOLS, "tool_choice": {"type": "any"}},
        Expected(called=["get_weather"], satisfies=has_city, stop="tool_use"),
    ),
    Case(
        "a named tool is called though the model prefers another",
        WITH_GRAMMAR,
        {"messages": "#tool", "tools": BOTH_TOOLS, "tool_choice": {"type": "tool", "name": "get_time"}},
        Expected(called=["get_time"], stop="tool_use"),
    ),
    Case(
        "a named tool is called once though the server repeats it in the old form",
        "llama-cpp-python",
        {"messages": "#tool", "tools": TOOLS, "tool_choice": {"type": "tool", "name": "get_weather"}},
        Expected(called=["get_weather"], satisfies=has_city),
    ),
    Case(
        "a forced call that does not come is noted",
        "transformers llama-cpp-python",
        {"messages": "hi", "tools": TOOLS, "tool_choice": {"type": "any"}},
        Expected(satisfies=calls_or_notes),
    ),
    Case(
        "parallel calls come one at a time, or their number is noted",
        WITH_TOOLS,
        {"messages": "#two", "tools": TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        Expected(satisfies=calls_once_or_notes),
    ),
    Case(
        "no call comes where calls are forbidden",
        WITH_TOOLS,
        {"messages": "#tool", "tools": TOOLS, "tool_choice": {"type": "none"}},
        Expected(satisfies=is_clear_of_calls),
    ),
    Case(
        "a broken call is completed in both forms",
        "vllm sglang litellm llama-cpp",
        {"messages": "#badtool", "tools": TOOLS},
        Expected(calls=[PARIS], stop="tool_use"),
    ),
    Case(
        "a broken call that the server cannot read is reported in its words",
        "transformers",
        {"messages": "#badtool", "tools": TOOLS},
        Expected(message=".*could not parse region"),
        forms=(True,),
    ),
    Case(
        "a call cut by max_tokens ends in max_tokens",
        WITH_TOOLS,
        {"messages": "#tool", "tools": TOOLS, "max_tokens": 5},
        Expected(stop="max_tokens"),
    ),
    Case(
        "a call cut by a stop sequence does not look whole",
        "llama-cpp vllm sglang litellm",
        {"messages": "#tool", "tools": TOOLS, "stop_sequences": ["Paris"]},
        Expected(satisfies=is_whole_call_or_named_sequence),
    ),
    Case(
        "a tool schema that is only `true` is loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [tool_with(True), WEATHER]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "a tool schema that refers to itself is loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [tool_with({"$ref": "#"}), WEATHER]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "a tool schema with a dead reference is loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [WEATHER, tool_with({"$ref": "#/$defs/B"})]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "a tool schema with a foreign type is loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [tool_with({"type": "any"})]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "a refused schema deep within a tool is loosened and noted",
        LLAMA,
        {
            "messages": "hi",
            "tools": [tool_with({"type": "array", "items": {"anyOf": [{"type": "string"}, {"$ref": "#"}]}}), WEATHER],
        },
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "a tool schema beyond the grammar is loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [tool_with({"type": "string", "minLength": 5000, "maxLength": 90_000}), WEATHER]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "refused schemas in two tools are loosened and noted",
        LLAMA,
        {"messages": "hi", "tools": [tool_with(True), {**tool_with({"$ref": "#"}), "name": "g"}]},
        Expected(text=HELLO, noted="tools"),
    ),
    Case(
        "log probabilities with tools in a stream are left out and noted",
        LLAMA,
        {"messages": "hi", "tools": TOOLS, "logprobs": True},
        Expected(text=HELLO, noted="logprobs"),
        forms=(True,),
    ),
]

OUTPUT_FORMATS = [
    Case(
        "an answer follows a schema",
        WITH_GRAMMAR,
        {"messages": "hi", "output_config": CITY_FORMAT},
        Expected(satisfies=is_json_with_city),
    ),
    Case(
        "a schema with tools, of which none can be called then, is noted",
        "llama-cpp vllm sglang litellm",
        {"messages": "#tool", "tools": TOOLS, "output_config": CITY_FORMAT},
        Expected(noted="output_config"),
    ),
    Case(
        "a schema that the server ignores is noted",
        "transformers",
        {"messages": "hi", "output_config": CITY_FORMAT},
        Expected(satisfies=is_json_or_noted, may_fail=True),
    ),
    Case(
        "a schema for a server of plain JSON objects is loosened and noted",
        "llama-cpp-python",
        {"messages": "hi", "output_config": CITY_FORMAT},
        Expected(noted="output_config", satisfies=is_json_or_noted),
    ),
    Case(
        "a schema word that the grammar lacks is left out and noted",
        "vllm",
        {
            "messages": "#json",
            "output_config": to_format(
                {"numbers": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}}
            ),
        },
        Expected(noted="output_config"),
    ),
]

REASONING = [
    Case(
        "thinking is off when disabled",
        "llama-cpp vllm sglang litellm transformers",
        {"messages": "#think", "thinking": {"type": "disabled"}},
        Expected(thinking="", text=HELLO),
    ),
    Case(
        "high effort arrives",
        WITH_REASONING,
        {"messages": "#effort", "output_config": {"effort": "high"}},
        Expected(text="Effort is high."),
    ),
    Case(
        "low effort arrives beside adaptive thinking",
        WITH_REASONING,
        {"messages": "#effort", "output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}},
        Expected(text="Effort is low."),
    ),
    Case(
        "effort beyond the server's words is lowered or noted",
        WITH_REASONING,
        {"messages": "#effort", "output_config": {"effort": "max"}, "max_tokens": 2000},
        Expected(satisfies=has_effort_or_notes),
    ),
    Case(
        "thinking is off when disabled, with a call",
        "llama-cpp vllm sglang litellm transformers",
        {"messages": "#thinktool", "tools": TOOLS, "thinking": {"type": "disabled"}},
        Expected(thinking="", calls=[PARIS], stop="tool_use"),
    ),
    Case(
        "a budget of thinking is kept",
        "llama-cpp vllm litellm",
        {"messages": "#longthink", "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1500},
        Expected(satisfies=stays_within_budget, stop="end_turn"),
    ),
]

STOPS = [
    Case(
        "a stop sequence is named",
        ALL,
        {"messages": "#stop", "stop_sequences": ["STOP"]},
        Expected(text="one two ", stop="stop_sequence", sequence="STOP"),
    ),
    Case(
        "the fifth stop sequence is named",
        ALL,
        {"messages": "#stop", "stop_sequences": ["aaaa", "bbbb", "cccc", "dddd", "STOP"]},
        Expected(text="one two ", stop="stop_sequence", sequence="STOP"),
    ),
    *(
        Case(
            f"thinking and text are whole beside the stop sequence {sequence!r}",
            "llama-cpp vllm sglang litellm",
            {"messages": "#think", "stop_sequences": [sequence]},
            Expected(thinking=THOUGHT, text=SAID, stop="end_turn"),
        )
        for sequence in ("\n\nHuman:", "zzzzzz", "</tool_call>")
    ),
    *(
        Case(
            f"thinking and a call are whole beside the stop sequence {sequence!r}",
            "llama-cpp vllm sglang litellm",
            {"messages": "#thinktool", "tools": TOOLS, "stop_sequences": [sequence]},
            Expected(thinking=THOUGHT, text="", calls=[PARIS], stop="tool_use"),
        )
        for sequence in ("\n\nHuman:", "zzzzzz")
    ),
    Case(
        "a prefill is not repeated",
        "llama-cpp litellm",
        {"messages": [user("hi"), assistant("Hello from")]},
        Expected(text=" a real server."),
    ),
    Case(
        "a prefill is continued rather than started again",
        "vllm",
        {"messages": [user("hi"), assistant("Hello from")]},
        Expected(satisfies=lambda answer: "Hello" not in answer.text),
    ),
]

LIMITS = [
    Case(
        "an overflow has the prompt's true number of tokens",
        "llama-cpp litellm sglang llama-cpp-python",
        {"messages": TOO_LONG},
        Expected(error=(400, "invalid_request_error"), message="prompt is too long: 27015 tokens > 8192 maximum"),
    ),
    Case(
        "an overflow that the server did not count has a plausible number of tokens",
        "vllm",
        {"messages": TOO_LONG},
        Expected(error=(400, "invalid_request_error"), satisfies=has_plausible_count),
    ),
    Case(
        "an overflow that the server reports in characters has a plausible number of tokens",
        "vllm",
        {"messages": "word " * 80_000},
        Expected(
            error=(400, "invalid_request_error"),
            message=r"prompt is too long: (1[2-9]|2\d|3[0-4])\d{4} tokens > 8192 maximum",  # truly 240,016
        ),
    ),
    Case(
        "a full context is not reported as max_tokens",
        "llama-cpp vllm litellm llama-cpp-python",
        {"messages": NEARLY_FULL + "#long", "max_tokens": 5000},
        Expected(stop="model_context_window_exceeded", most_output=600),
    ),
    Case(
        "a prompt that fits, but not with max_tokens, is answered or refused in these words",
        "sglang",
        {"messages": NEARLY_FULL + "#long", "max_tokens": 5000},
        Expected(satisfies=fits_after_all, may_fail=True),
    ),
    Case(
        "max_tokens above the context is lowered and noted",
        "vllm sglang",
        {"messages": "hi", "max_tokens": 32_000},
        Expected(text=HELLO, noted="max_tokens"),
    ),
    Case(
        "max_tokens above the context is accepted",
        "llama-cpp litellm",
        {"messages": "hi", "max_tokens": 32_000},
        Expected(text=HELLO),
    ),
]

REFUSALS = [
    Case(
        "a model that the server does not have is not found",
        "vllm litellm transformers",
        {"messages": "hi", "model": "nope"},
        Expected(error=(404, "not_found_error")),
    ),
]

CASES = [*ANSWERS, *CONTENT, *TOOL_CHOICES, *OUTPUT_FORMATS, *REASONING, *STOPS, *LIMITS, *REFUSALS]

CONVERSATIONS = [
    Conversation(
        "an answer with a call is accepted with the result",
        WITH_TOOLS,
        {"messages": "#tool", "tools": TOOLS},
        Expected(text=ANSWERED),
        first=Expected(text="", calls=[PARIS]),
    ),
    Conversation(
        "an answer with two calls is accepted with the results",
        WITH_TOOLS,
        {"messages": "#two", "tools": TOOLS},
        Expected(text=ANSWERED),
        first=Expected(text="", calls=[PARIS, LONDON]),
    ),
    Conversation(
        "an answer with thinking and a call is accepted with the result",
        WITH_TOOLS,
        {"messages": "#thinktool", "tools": TOOLS},
        Expected(text=ANSWERED),
        first=Expected(thinking=THOUGHT, text="", calls=[PARIS]),
    ),
    Conversation(
        "reasoning goes back to the model after a call",
        WITH_REASONING,
        {"messages": "#thinktool", "tools": TOOLS},
        Expected(text="Reasoning is here."),
        replaced="#recall",
        first=Expected(thinking=THOUGHT),
    ),
    Conversation(
        "reasoning goes back to the model after a text",
        WITH_REASONING,
        {"messages": "#think"},
        Expected(text="Reasoning is here."),
        then="#recall",
        first=Expected(thinking=THOUGHT, text=SAID),
    ),
]
