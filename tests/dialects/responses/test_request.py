"""Messages requests as Responses requests, and the way of reasoning through both."""

from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.base import Asking, Prepared
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.errors import InvalidRequest, UpstreamWords
from gateway.messages.prompt import to_prompt
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import VENDORS
from tests.support.responses_events import CALLS, CUSTOM, MESSAGE, REASONING, response

DIALECT = ResponsesDialect(Keyring((("t", b"secret"),)))
CONTEXT = Context("req_1")


def route_to(model: str = "gpt-6", vendor: str = "openai") -> Route:
    row = VENDORS[vendor]
    return one_upstream_table(Upstream(vendor, row.base, "key", row, dialect="responses")).resolve(model)[0]


def prepare(route: Route | None = None, adaptations: tuple[Adaptation, ...] = (), **fields: Any) -> Prepared:
    request = {"model": "gpt-6", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}
    prompt = to_prompt(orjson.loads(orjson.dumps(request)), 100, CONTEXT)
    return DIALECT.prepare(prompt, route or route_to(), Asking("msg_1", "req_1", "acme", adaptations=adaptations))


def sent(prepared: Prepared) -> Any:
    return orjson.loads(bytes(prepared.body))


TOOL = {"name": "read", "description": "d", "input_schema": {"type": "object", "properties": {}}}
PATCH = {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}


@pytest.mark.covers("Upstreams · OpenAI's Responses")
def test_prompt_becomes_items_and_is_not_stored() -> None:
    body = sent(prepare(system="Be brief.", stop_sequences=["END"], stream=True))
    assert body["input"] == [
        {"type": "message", "role": "system", "content": "Be brief."},
        {"type": "message", "role": "user", "content": "hi"},
    ]
    assert (body["store"], body["include"], body["stream"]) == (False, ["reasoning.encrypted_content"], True)
    assert body["max_output_tokens"] == 100
    assert not {"messages", "max_tokens", "max_completion_tokens", "stop", "stream_options"} & body.keys() - {
        "stream_options"
    }


def test_tools_and_choice_are_flat() -> None:
    choice = {"type": "tool", "name": "read", "disable_parallel_tool_use": True}
    body = sent(prepare(tools=[TOOL, PATCH], tool_choice=choice))
    assert body["tools"] == [
        {"type": "function", "name": "read", "description": "d", "parameters": TOOL["input_schema"], "strict": False},
        {"type": "custom", "name": "patch", "format": {"type": "text"}},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "read"}
    assert body["parallel_tool_calls"] is False


def test_answer_goes_back_as_the_items_it_came_in() -> None:
    prepared = prepare(tools=[TOOL, PATCH, {**TOOL, "name": "list"}], thinking={"type": "adaptive"})
    answered = DIALECT.answer(orjson.dumps(response([REASONING, MESSAGE, *CALLS, CUSTOM])), prepared)
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": f"result {index}"}
        for index, block in enumerate(answered.message["content"])
        if block["type"] == "tool_use"
    ]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": answered.message["content"]},
        {"role": "user", "content": results},
    ]
    _, reasoning, text, read, listing, patch, *outputs = sent(
        prepare(tools=[TOOL, PATCH, {**TOOL, "name": "list"}], messages=messages)
    )["input"]
    assert reasoning == REASONING
    assert text["content"] == MESSAGE["content"]
    for item, expected in zip((read, listing, patch), (*CALLS, CUSTOM), strict=True):
        assert item == {name: value for name, value in expected.items() if name != "id"}
    assert [(output["type"], output["call_id"], output["output"]) for output in outputs] == [
        ("function_call_output", "call_1", "result 2"),
        ("function_call_output", "call_2", "result 3"),
        ("custom_tool_call_output", "call_3", "result 4"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "adaptive"}}, {"summary": "auto"}),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            {"effort": "low"},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            {"summary": "auto", "effort": "high"},
        ),
        ({"thinking": {"type": "disabled"}}, {"effort": "none"}),
    ],
)
def test_thinking_becomes_effort_and_summary(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(prepare(tools=[TOOL], **fields))["reasoning"] == expected


def test_output_format_and_media_have_their_parts() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, image, pdf]}]
    body = sent(prepare(messages=messages, output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert body["text"] == {"format": {"type": "json_schema", "name": "output", "strict": True, "schema": schema}}
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]


def test_media_stay_in_a_tools_result() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": [image]}]},
    ]
    item = sent(prepare(messages=messages, tools=[TOOL]))["input"][-1]
    assert item["output"] == [{"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}]


def test_parameters_that_responses_has_not_are_noted() -> None:
    prepared = prepare(seed=7, top_k=3, max_tokens=5, temperature=0.5)
    assert {note.text for note in prepared.notes} == {"dropped:seed", "dropped:top_k", "changed:max_tokens"}
    assert sent(prepared)["max_output_tokens"] == 16
    assert sent(prepared)["temperature"] == 0.5


def test_session_becomes_the_prompt_cache_key() -> None:
    user = orjson.dumps({"session_id": "s-1"}).decode()
    assert sent(prepare(metadata={"user_id": user}))["prompt_cache_key"] == "s-1"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Your organization must be verified to generate reasoning summaries.", "reasoning.summary"),
        ("Encrypted content is not supported.", "include"),
    ],
)
def test_refused_part_is_left_out_and_learned(words: str, name: str) -> None:
    prepared = prepare(thinking={"type": "adaptive"})
    error = InvalidRequest(words)
    error.said = UpstreamWords(400, words)
    healed = DIALECT.heal(prepared, route_to(), error)
    assert healed is not None
    part = b'"summary"' if name == "reasoning.summary" else b'"include"'
    assert part not in bytes(healed.body)
    assert [note.text for note in healed.notes] == [f"dropped:{name}"]
    assert prepare(adaptations=healed.healed, thinking={"type": "adaptive"}).body == healed.body
    assert DIALECT.heal(healed, route_to(), error) is None


def test_request_without_a_stream_stays_so_when_a_refused_part_is_left_out() -> None:
    plain = DIALECT.unstreamed(prepare(thinking={"type": "adaptive"}, stream=True))
    assert "stream" not in sent(plain)
    healed = DIALECT.heal(plain, route_to(), InvalidRequest("Encrypted content is not supported."))
    assert healed is not None
    assert not {"stream", "stream_options", "include"} & sent(healed).keys()


def test_length_that_a_client_leaves_to_the_model_is_not_sent() -> None:
    request = {"model": "gpt-6", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    prompt = to_prompt(orjson.loads(orjson.dumps(request)), 100, CONTEXT)
    prompt.has_default_length = True
    assert "max_output_tokens" not in sent(DIALECT.prepare(prompt, route_to(), Asking("msg_1", "req_1", "acme")))


@pytest.mark.parametrize(
    ("vendor", "model", "expected"),
    [
        ("openai", "gpt-5.4", "responses"),
        ("openai", "gpt-6-mini", "responses"),
        ("azure", "gpt-5.6", "responses"),
        ("openai", "gpt-4.1", "chat"),
        ("openai", "gpt-5.1", "chat"),
        ("openai", "gpt-6-chat-latest", "chat"),
        ("openrouter", "openai/gpt-6", "chat"),
    ],
)
def test_auto_takes_responses_for_models_that_refuse_tools_on_chat(vendor: str, model: str, expected: str) -> None:
    row = VENDORS[vendor]
    assert one_upstream_table(Upstream(vendor, row.base, "key", row)).resolve(model)[0].dialect == expected


def test_reasoning_reaches_openrouters_responses() -> None:
    route = route_to("anthropic/claude-opus-4.5", "openrouter")
    budget = prepare(route, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=3000)
    assert sent(budget)["reasoning"]["max_tokens"] == 1024
    route = route_to("x-ai/grok-4", "openrouter")
    effort = prepare(route, thinking={"type": "adaptive"}, output_config={"effort": "high"}, max_tokens=3000)
    assert sent(effort)["reasoning"]["effort"] == "high"
    assert not [note for prepared in (budget, effort) for note in prepared.notes if note.field == "reasoning"]


COMMENTED = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "c", "name": "read", "input": {}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]},
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "again"},
]


@pytest.mark.parametrize(
    ("model", "phases"),
    [
        ("gpt-6", ["commentary", "final_answer"]),
        ("gpt-5.3-codex", ["commentary", "final_answer"]),
        ("gpt-5.3", [None, None]),
        ("gpt-4.1", [None, None]),
        ("grok-5", [None, None]),
    ],
)
def test_messages_of_the_model_have_their_phase(model: str, phases: list[str | None]) -> None:
    items = sent(prepare(route_to(model), model=model, messages=COMMENTED, tools=[TOOL]))["input"]
    assert [item.get("phase") for item in items if item.get("role") == "assistant"] == phases


def test_settings_of_reasoning_and_cache_reach_openai() -> None:
    settings = {"summary": "detailed", "context": "all_turns", "mode": "pro"}
    body = sent(prepare(reasoning={**settings, "effort": "low"}, prompt_cache_options={"mode": "explicit"}))
    assert body["reasoning"] == {**settings, "effort": "low"}
    assert body["prompt_cache_options"] == {"mode": "explicit"}
    other = prepare(route_to("grok-5"), model="grok-5", reasoning=settings)
    assert {note.text for note in other.notes} == {f"dropped:reasoning.{name}" for name in settings}


def test_cache_breakpoint_of_openai_stays_on_its_text() -> None:
    mark = {"mode": "explicit", "ttl": "30m"}
    block = {"type": "text", "text": "hi", "prompt_cache_breakpoint": mark}
    [item] = sent(prepare(messages=[{"role": "user", "content": [block, {"type": "text", "text": "go"}]}]))["input"]
    assert item["content"][0] == {"type": "input_text", "text": "hi", "prompt_cache_breakpoint": mark}


@pytest.mark.parametrize(("vendor", "status"), [("vllm", "in_progress"), ("openai", "completed")])
def test_answer_to_continue_has_a_status_that_vllm_continues(vendor: str, status: str) -> None:
    route = route_to("m", vendor)
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello from"}]
    prepared = prepare(route, messages=turns)
    assert sent(prepared)["input"][-1]["status"] == status
    assert "continue_final_message" not in sent(prepared)
    assert not [note for note in prepared.notes if "continue" in note.field]


MARK = {"mode": "explicit"}
MARKED = {"type": "text", "text": "a", "prompt_cache_breakpoint": MARK}


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"messages": [{"role": "user", "content": [MARKED]}]}, []),
        (
            {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [MARKED, MARKED]}]},
            ["dropped:messages.prompt_cache_breakpoint"],
        ),
        ({"tools": [{**TOOL, "prompt_cache_breakpoint": MARK}]}, ["dropped:tools.prompt_cache_breakpoint"]),
    ],
)
def test_cache_breakpoint_that_responses_have_no_place_for_is_noted_once(fields: Any, notes: list[str]) -> None:
    prepared = prepare(**fields)
    assert [note.text for note in prepared.notes] == notes
    assert ("prompt_cache_breakpoint" in str(sent(prepared))) == (not notes)


def test_cache_control_is_noted_where_responses_of_openrouter_are_asked() -> None:
    control = {"type": "ephemeral"}
    text = {"type": "text", "text": "a", "cache_control": control}
    prepared = prepare(route_to("other/m", "openrouter"), messages=[{"role": "user", "content": [text]}])
    assert [note.text for note in prepared.notes if "cache" in note.field] == ["dropped:messages.cache_control"]
    assert "cache_control" not in str(sent(prepared))


def test_reasoning_that_nothing_follows_is_left_out_with_one_note() -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": ""}
    user, alone = {"role": "user", "content": "hi"}, {"role": "assistant", "content": [thinking]}
    said = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    kept = prepare(messages=[user, said, user])
    assert "reasoning" in [item["type"] for item in sent(kept)["input"]]
    assert not kept.notes
    lost = prepare(messages=[user, alone, user, alone, user])
    assert "reasoning" not in [item["type"] for item in sent(lost)["input"]]
    assert [note.text for note in lost.notes].count("dropped:messages.thinking") == 1
