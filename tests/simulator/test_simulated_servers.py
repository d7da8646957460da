"""Each hosted server that the simulator plays: one recorded stream, one recorded error, and what it refuses.

`python -m tests.simulator.test_simulated_servers` rewrites the recordings; read the difference before committing it.
"""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.simulator.script import Script
from gateway.simulator.vendors.checks import check_request
from gateway.simulator.vendors.play import to_vendor_list, to_vendor_script
from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.rows import ROWS, SIMULATED_NAMES, VENDOR_ROWS
from gateway.simulator.vendors.words import SENTENCES, RefusedRequest
from gateway.upstream.vendors.registry import VENDORS

RECORDINGS = Path(__file__).parent / "vendors"
CREATED = 1_790_000_000
TOOL = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
OPENING = {"role": "user", "content": "Use get_time."}


def body_for(row: SimulatedVendor, model: str, **fields: Any) -> bytes:
    length = sorted(row.length_fields)[-1]
    body = {"model": model, "messages": [OPENING], length: 100, **fields}
    return orjson.dumps({name: value for name, value in body.items() if value is not None})


def script_for(row: SimulatedVendor, model: str, **fields: Any) -> Script:
    return to_vendor_script(row.name, body_for(row.for_model(model), model, **fields), 7, CREATED)


def payload(script: Script) -> bytes:
    return b"".join(step for step in script.steps if isinstance(step, bytes))


def recordings_of(row: SimulatedVendor) -> dict[str, bytes]:
    """A call streamed, after thinking where the server shows it, and a prompt that is too long."""
    stream = script_for(row, row.models[0].id, tools=[TOOL], stream=True, **_asking_to_think(row))
    error = script_for(row, "sim/overflow", messages=[{"role": "user", "content": "Hello"}])
    head = f"{error.status}\n".encode()
    return {f"{row.name}.sse": payload(stream), f"{row.name}.error": head + payload(error)}


def _asking_to_think(row: SimulatedVendor) -> dict[str, Any]:
    row = row.for_model(row.models[0].id)
    if not row.tools_with_effort:
        return {"reasoning_effort": "none"}
    for path, value in row.thinking.on:
        outer, _, inner = path.partition(".")
        return {outer: {inner: value} if inner else value}
    return {"reasoning_effort": "high"} if row.thinking.efforts else {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_simulated_server_answers_as_recorded(row: SimulatedVendor) -> None:
    for name, content in recordings_of(row).items():
        assert (RECORDINGS / name).read_bytes() == content, name


def test_each_simulated_server_has_a_row_in_the_table_of_vendors() -> None:
    assert [row.name for row in ROWS if row.name not in VENDORS] == []
    assert len(SIMULATED_NAMES) == sum(1 + len(row.aliases) for row in ROWS)


def test_each_hosted_vendor_with_chat_completions_can_be_simulated() -> None:
    hosted = {vendor.name for vendor in VENDORS.values() if vendor.hosts} - {"anthropic", "openrouter"}
    assert hosted - VENDOR_ROWS.keys() == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_list_of_models_names_those_that_answer(row: SimulatedVendor) -> None:
    listed = to_vendor_list(row.name)["data"]
    assert [entry["id"] for entry in listed] == [model.id for model in row.models]


def test_wordings_are_of_known_problems_and_their_names_are_filled_in() -> None:
    known = SENTENCES.keys()
    for row in ROWS:
        assert row.errors.words.keys() - known == set(), row.name
        assert row.errors.envelopes.keys() - known == set(), row.name


# What a server refuses: its name, the request's further fields, and a part of the refusal.
REFUSED: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "a field that OpenAI does not know": ("openai", "gpt-4o", {"top_k": 5}, 400, "argument supplied: top_k"),
    "a field that Gemini does not know": ("gemini", "g", {"metadata": {}}, 400, 'Unknown name \\"metadata'),
    "a field that Mistral does not know": ("mistral", "m", {"user": "u"}, 422, '"loc":["body","user"]'),
    "temperature at a reasoner": ("openai", "gpt-5.2", {"temperature": 0.5}, 400, "'temperature' is not supported"),
    "the old name of a reasoner's limit": (
        "openai",
        "o3",
        {"max_tokens": 5, "max_completion_tokens": None},
        400,
        "Use",
    ),
    "tools with effort": ("openai", "gpt-5.6", {"tools": [TOOL]}, 400, "set reasoning_effort to 'none'"),
    "an effort that there is not": ("deepseek", "deepseek-v4-pro", {"reasoning_effort": "low"}, 400, "'high', 'max'"),
    "too many stop sequences": ("groq", "m", {"stop": list("abcde")}, 400, "maximum length 4"),
    "a long user": ("zhipu", "glm-4.6", {"user": "u" * 129}, 400, "between 6 and 128"),
    "more tokens than the model writes": ("deepseek", "deepseek-chat", {"max_tokens": 9000}, 400, "[1, 8192]"),
    "a forced call while thinking": (
        "qwen",
        "m",
        {"tools": [TOOL], "tool_choice": "required", "enable_thinking": True},
        400,
        "in thinking mode",
    ),
    "a choice of Zhipu": ("zhipu", "m", {"tools": [TOOL], "tool_choice": "required"}, 400, "only auto"),
    "a schema for DeepSeek's old models": (
        "deepseek",
        "deepseek-chat",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        400,
        "unavailable now",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_simulated_server_refuses(case: str) -> None:
    vendor, model, fields, status, said = REFUSED[case]
    script = script_for(VENDOR_ROWS[vendor], model, **fields)
    assert script.status == status, payload(script)
    assert said in payload(script).decode()


ASSISTANT = {"role": "assistant", "content": "Hi."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Noon."}
PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}

REFUSED_MESSAGES: dict[str, tuple[str, str, list[Any], str]] = {
    "an image for a text model": ("groq", "m", [PICTURE], "value must be a string"),
    "an address that is not fetched": ("moonshot", "m", [PICTURE], "unsupported image url"),
    "a result without a call": ("openai", "gpt-4o", [OPENING, RESULT], "preceeding message"),
    "a call without its result": ("openai", "gpt-4o", [OPENING, CALLING, OPENING], "did not have response"),
    "a user behind a result": ("mistral", "m", [OPENING, CALLING, RESULT, OPENING], "length of 9"),
    "an assistant at the end": ("mistral", "m", [OPENING, ASSISTANT], "prefix True"),
    "a call without its thinking": ("moonshot", "m", [OPENING, CALLING, RESULT], "reasoning_content is missing"),
    "a call without its signature": ("gemini", "m", [OPENING, CALLING, RESULT], "thought_signature"),
    "a key that Cerebras does not know": (
        "cerebras",
        "m",
        [OPENING, {**ASSISTANT, "reasoning_content": "Hm."}, OPENING],
        "reasoning_content' is unsupported",
    ),
    "thinking that R1 is given back": (
        "deepseek",
        "deepseek-reasoner",
        [OPENING, {**ASSISTANT, "reasoning_content": "Hm."}, OPENING],
        "Please remove the reasoning_content",
    ),
    "a role": ("mistral", "m", [{"role": "developer", "content": "Be brief."}, OPENING], "developer"),
    "nothing": ("openai", "gpt-4o", [{"role": "user", "content": None}], "got null"),
}


@pytest.mark.parametrize("case", REFUSED_MESSAGES)
def test_a_simulated_server_refuses_in_messages(case: str) -> None:
    vendor, model, messages, said = REFUSED_MESSAGES[case]
    fields = {"thinking": {"type": "enabled"}} if vendor == "moonshot" else {}
    script = script_for(VENDOR_ROWS[vendor], model, messages=messages, **fields)
    assert script.status >= 400
    assert said in payload(script).decode()


@pytest.mark.parametrize(
    ("schema", "strict", "said"),
    [
        ({"type": "object"}, False, "missing properties"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, False, "missing items"),
        ({"type": "object", "properties": {}}, True, "'additionalProperties' is required"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, True, "Missing 'a'"),
    ],
)
def test_openai_refuses_a_schema(schema: dict[str, Any], strict: bool, said: str) -> None:
    tool = {"type": "function", "function": {"name": "go", "parameters": schema, "strict": strict}}
    script = script_for(VENDOR_ROWS["openai"], "gpt-4o", tools=[tool])
    assert script.status == 400
    assert said in payload(script).decode()


def test_gemini_lists_all_that_it_does_not_know_of_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"], "const": "x"}}, "if": {}}
    tool = {"type": "function", "function": {"name": "go", "parameters": schema}}
    said = payload(script_for(VENDOR_ROWS["gemini"], "g", tools=[tool])).decode()
    assert re.findall(r'Unknown name \\"(\w+)\\"', said) == ["if", "const", "type"]


def test_an_accepted_request_raises_nothing() -> None:
    row = VENDOR_ROWS["openai"].for_model("gpt-4o")
    check_request(orjson.loads(body_for(row, "gpt-4o")), row)
    with pytest.raises(RefusedRequest):
        check_request(orjson.loads(body_for(row, "gpt-4o", stop=list("abcde"))), row)


@pytest.mark.parametrize(
    ("model", "status"), [("sim/error-429", 429), ("sim/error-500", 500), ("sim/echo", 200), ("any-model", 200)]
)
def test_a_simulator_name_asks_for_one_behaviour_in_the_servers_form(model: str, status: int) -> None:
    script = script_for(VENDOR_ROWS["gemini"], model, messages=[{"role": "user", "content": "Hello"}])
    assert script.status == status
    assert isinstance(orjson.loads(payload(script)), list) == (status != 200)


def test_a_body_that_is_no_request_is_refused() -> None:
    for body in (b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "messages": 5}'):
        assert to_vendor_script("openai", body, 1, CREATED).status == 400


if __name__ == "__main__":
    RECORDINGS.mkdir(exist_ok=True)
    for simulated in ROWS:
        for recording, written in recordings_of(simulated).items():
            (RECORDINGS / recording).write_bytes(written)
