"""Requests to known vendors' servers: reasoning there and back, samplers, choices, prefill."""

from typing import Any

import pytest

from gateway.dialects.chat.reasoning import to_call_entry
from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import adapted
from gateway.messages.envelope import seal
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import VENDORS
from tests.support.bodies import assistant, user
from tests.support.conversions import HELLO, KEYRING, convert, losses, text, tool, tool_result, tool_use

CALL = [HELLO, assistant(tool_use()), user(tool_result(content="r"))]
FORMAT = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}


def at(vendor: str, model: str = "some-model") -> Target:
    return to_target(model, VENDORS[vendor])


def sent(target: Target, **fields: Any) -> Conversion:
    """Return the first try: converted, then adapted."""
    return adapted(convert(target, **fields), target.adaptations)


def body_of(target: Target, **fields: Any) -> Any:
    return sent(target, **fields).body


# Reasoning that is asked for.

ENABLED = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}
DISABLED = {"thinking": {"type": "disabled"}}
HIGH = {"output_config": {"effort": "high"}}

SNAPPED = ["changed:thinking.budget_tokens"]  # DeepSeek has no effort "medium"

ASKED: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("compatible", "qwen3", HIGH, {"reasoning_effort": "high"}, []),
    ("compatible", "qwen3", ENABLED, {"reasoning_effort": "medium"}, []),
    ("compatible", "qwen3", DISABLED, {"reasoning_effort": "none"}, []),
    ("compatible", "qwen3", {"thinking": {"type": "adaptive"}}, {}, []),
    ("vllm", "qwen3", ENABLED, {"thinking_token_budget": 2000}, []),
    ("vllm", "qwen3", {**ENABLED, **HIGH}, {"thinking_token_budget": 2000, "reasoning_effort": "high"}, []),
    ("llamacpp", "qwen3", ENABLED, {"thinking_budget_tokens": 2000}, []),
    ("transformers", "qwen3", DISABLED, {"chat_template_kwargs": {"enable_thinking": False}}, []),
    ("transformers", "qwen3", HIGH, {}, ["dropped:output_config.effort"]),
    ("transformers", "qwen3", ENABLED, {}, ["dropped:thinking.budget_tokens"]),
    ("llama-cpp-python", "qwen3", HIGH, {}, ["dropped:output_config.effort"]),
    ("deepseek", "deepseek-v4", ENABLED, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, SNAPPED),
    ("deepseek", "deepseek-v4", DISABLED, {"thinking": {"type": "disabled"}}, []),
    ("deepseek", "deepseek-reasoner", DISABLED, {}, ["dropped:thinking"]),
    ("qwen", "qwen3-max", ENABLED, {"enable_thinking": True, "thinking_budget": 2000}, []),
    ("qwen", "qwen3-max", DISABLED, {"enable_thinking": False}, []),
    ("qwen", "qwen3-max", HIGH, {}, ["dropped:output_config.effort"]),
    ("mistral", "mistral-medium", HIGH, {"reasoning_effort": "high"}, []),
    ("moonshot", "kimi-k3", DISABLED, {}, ["dropped:thinking"]),
    ("moonshot", "kimi-k2.6", ENABLED, {"thinking": {"type": "enabled"}}, ["dropped:thinking.budget_tokens"]),
    ("together", "a/b", DISABLED, {"reasoning": {"enabled": False}}, []),
    ("minimax", "MiniMax-M2", {}, {"reasoning_split": True}, []),
    ("openai", "gpt-4o", HIGH, {}, ["dropped:output_config.effort"]),
]
REASONING_FIELDS = (
    *("chat_template_kwargs", "enable_thinking", "reasoning", "reasoning_effort", "reasoning_split", "thinking"),
    *("thinking_budget", "thinking_budget_tokens", "thinking_token_budget"),
)


@pytest.mark.parametrize(("vendor", "model", "fields", "expected", "noted"), ASKED)
@pytest.mark.covers("Thinking · per vendor")
def test_thinking_is_asked_for_as_the_upstream_takes_it(
    vendor: str, model: str, fields: dict[str, Any], expected: dict[str, Any], noted: list[str]
) -> None:
    conversion = sent(at(vendor, model), **fields)
    body: Any = conversion.body
    assert {name: body[name] for name in REASONING_FIELDS if name in body} == expected
    assert [f"{kind}:{field}" for kind, field in losses(conversion)] == noted


def test_an_effort_beside_disabled_thinking_is_noted() -> None:
    conversion = sent(at("vllm"), **DISABLED, **HIGH)
    assert losses(conversion) == [("dropped", "output_config.effort")]


# Reasoning that goes back.

THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "RAW"}


@pytest.mark.parametrize(
    ("vendor", "field"),
    [
        ("compatible", "reasoning_content"),
        ("llamacpp", "reasoning_content"),
        ("sglang", "reasoning_content"),
        ("vllm", "reasoning"),
        ("groq", "reasoning"),
        ("deepseek", "reasoning_content"),
    ],
)
def test_thinking_goes_back_as_text_in_the_upstreams_field_from_any_model(vendor: str, field: str) -> None:
    sealed = seal([{"type": "reasoning.text", "text": "Hm."}], "another/model", KEYRING)
    for signature in ("RAW", sealed):
        conversion = sent(
            at(vendor), messages=[HELLO, assistant({**THOUGHT, "signature": signature}, text("A")), HELLO]
        )
        message: Any = conversion.body["messages"][1]
        assert message == {"role": "assistant", "content": "A", field: "Hm."}
        assert conversion.notes == ()


def test_thinking_that_the_client_did_not_want_to_see_goes_back_from_its_seal() -> None:
    sealed = seal([{"type": "reasoning.text", "text": "Hm."}], "some-model", KEYRING)
    hidden = {"type": "thinking", "thinking": "", "signature": sealed}
    message: Any = body_of(at("vllm"), messages=[HELLO, assistant(hidden, text("A")), HELLO])["messages"][1]
    assert message["reasoning"] == "Hm."


def test_mistral_gets_thinking_as_a_part_of_the_content() -> None:
    body = body_of(at("mistral", "magistral"), messages=[HELLO, assistant(THOUGHT, text("A")), HELLO])
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    assert body["messages"][1]["content"] == [thought, {"type": "text", "text": "A"}]


@pytest.mark.parametrize("vendor", ["openai", "xai", "ollama", "transformers"])
def test_thinking_that_an_upstream_does_not_take_is_noted(vendor: str) -> None:
    conversion = sent(at(vendor), messages=[HELLO, assistant(THOUGHT, text("A")), HELLO])
    assert losses(conversion) == [("dropped", "messages.1.content")]


def test_an_assistant_message_without_thinking_gets_a_blank_field_where_one_is_demanded() -> None:
    for vendor, model in (("deepseek", "deepseek-v4"), ("moonshot", "kimi-k3")):
        assert body_of(at(vendor, model), messages=CALL)["messages"][1]["reasoning_content"] == " "


def test_a_signature_goes_back_with_its_call_and_to_its_own_model_only() -> None:
    extra = {"google": {"thought_signature": "SIG"}}
    sealed = seal([to_call_entry("call_1", extra)], "gemini-3-pro", KEYRING)
    turn = assistant({"type": "redacted_thinking", "data": sealed}, tool_use(), tool_use("call_2"))
    messages = [HELLO, turn, user(tool_result(), tool_result("call_2"))]
    own = sent(at("gemini", "gemini-3-pro"), messages=messages)
    calls: Any = own.body["messages"][1]["tool_calls"]  # type: ignore[typeddict-item]
    assert calls[0]["extra_content"] == extra
    assert "extra_content" not in calls[1]
    assert own.notes == ()
    other = body_of(at("gemini", "gemini-2.5-flash"), messages=messages)["messages"][1]["tool_calls"]
    assert all("extra_content" not in call for call in other)


# Samplers, and other fields.


@pytest.mark.parametrize(
    ("vendor", "fields", "expected"),
    [
        (
            "vllm",
            {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1},
            {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1},
        ),
        ("llamacpp", {"top_k": 5, "repetition_penalty": 1.1}, {"top_k": 5, "repeat_penalty": 1.1}),
        ("mistral", {"seed": 7}, {"random_seed": 7}),
    ],
)
def test_a_sampler_is_sent_under_the_upstreams_own_name(
    vendor: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    conversion = sent(at(vendor), **fields)
    body: Any = conversion.body
    assert {name: body.get(name) for name in expected} == expected
    assert conversion.notes == ()
    assert not (fields.keys() - expected.keys()) & body.keys()


def test_a_sampler_that_is_not_known_to_be_taken_is_noted() -> None:
    assert losses(sent(at("compatible"), top_k=5, min_p=0.1)) == [("dropped", "top_k"), ("dropped", "min_p")]


def test_a_parameter_that_the_vendor_refuses_is_left_out_and_noted_where_it_was_set() -> None:
    conversion = sent(at("mistral"), metadata={"user_id": "u1"}, logprobs=True)
    assert "user" not in conversion.body
    assert losses(conversion) == [("dropped", "logprobs")]


def test_usage_is_asked_for_from_the_first_chunk_on_where_it_can_be_had() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert body_of(at("vllm"), stream=True)["stream_options"] == options
    assert body_of(at("compatible"), stream=True)["stream_options"] == {"include_usage": True}


# Tools and formats.

TWO = {"tools": [tool("one"), tool("two")]}


def offered(body: Any) -> list[str]:
    return [each["function"]["name"] for each in body.get("tools", ())]


def test_a_named_tool_is_offered_alone_where_names_are_ignored() -> None:
    body = body_of(at("llamacpp"), **TWO, tool_choice={"type": "tool", "name": "two"})
    assert (offered(body), body["tool_choice"]) == (["two"], "required")
    named = body_of(at("compatible"), **TWO, tool_choice={"type": "tool", "name": "two"})
    assert named["tool_choice"] == {"type": "function", "function": {"name": "two"}}


NAMED = {"tool_choice": {"type": "tool", "name": "two"}}
OFF = {"thinking": {"type": "disabled"}}
FORCED: list[tuple[str, str, dict[str, Any]]] = [
    ("moonshot", "kimi-k2.6", OFF),
    ("moonshot", "kimi-k2-thinking", {}),
    ("moonshot", "kimi-k3", {}),
    ("deepseek", "deepseek-v4-flash", OFF),
    ("deepseek", "deepseek-reasoner", {}),
    ("qwen", "qwen3.8-max", {"enable_thinking": False}),
    ("qwen", "qwen3-max", {}),
]


@pytest.mark.parametrize(("vendor", "model", "off"), FORCED)
def test_thinking_is_off_where_a_model_that_thinks_by_default_is_forced_to_call(
    vendor: str, model: str, off: dict[str, Any]
) -> None:
    conversion = sent(at(vendor, model), **TWO, **NAMED, **HIGH)
    assert {name: conversion.body.get(name) for name in off} == off
    assert conversion.body["tool_choice"] == {"type": "function", "function": {"name": "two"}}
    assert (("changed", "thinking") in losses(conversion), "reasoning_effort" in conversion.body and bool(off)) == (
        bool(off),
        False,
    )
    free = sent(at(vendor, model), **TWO)
    assert not {*off} & free.body.keys()


def test_thinking_that_is_off_already_is_not_noted_where_a_call_is_forced() -> None:
    conversion = sent(at("deepseek", "deepseek-v4-flash"), **TWO, **NAMED, **DISABLED)
    assert (conversion.body["thinking"], losses(conversion)) == ({"type": "disabled"}, [])  # type: ignore[typeddict-item]


def test_tools_of_a_forced_call_are_strict_where_only_that_holds_arguments_to_the_schema() -> None:
    forced = body_of(at("vllm"), **TWO, tool_choice={"type": "any"})
    assert [each["function"]["strict"] for each in forced["tools"]] == [True, True]
    free = body_of(at("vllm"), **TWO)
    assert all("strict" not in each["function"] for each in free["tools"])


def test_a_choice_that_the_upstream_ignores_is_noted() -> None:
    conversion = sent(at("transformers"), **TWO, tool_choice={"type": "any"})
    assert "tool_choice" not in conversion.body
    assert losses(conversion) == [("dropped", "tool_choice")]


def test_tools_are_hidden_where_none_may_be_called_until_the_conversation_has_calls() -> None:
    none = {"tool_choice": {"type": "none"}, **TWO}
    assert "tools" not in body_of(at("llamacpp"), **none)
    assert "tools" in body_of(at("llamacpp"), messages=CALL, **none)
    assert "tools" in body_of(at("compatible"), **none)


def test_a_flag_that_the_upstream_ignores_is_noted() -> None:
    one = {**TWO, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert losses(sent(at("llamacpp"), **one)) == [("dropped", "tool_choice.disable_parallel_tool_use")]
    assert losses(sent(at("vllm"), **one)) == []


def test_a_format_beside_tools_is_noted_where_it_excludes_them() -> None:
    for vendor in ("vllm", "sglang", "llamacpp"):
        assert losses(sent(at(vendor), output_config=FORMAT, **TWO)) == [("changed", "output_config.format")]
        assert losses(sent(at(vendor), output_config=FORMAT)) == []


def test_a_format_is_asked_for_in_the_prompt_where_there_is_none() -> None:
    conversion = sent(at("transformers"), output_config=FORMAT)
    assert "response_format" not in conversion.body
    assert '"properties"' in str(conversion.body["messages"][0]["content"])
    assert losses(conversion) == [("changed", "output_config.format")]


# Prefill.

PREFILL = [HELLO, assistant(text("So"))]


@pytest.mark.parametrize(
    ("vendor", "of_body", "of_message"),
    [
        ("vllm", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("sglang", {"continue_final_message": True}, {}),
        ("mistral", {}, {"prefix": True}),
        ("moonshot", {}, {"partial": True}),
        ("llamacpp", {}, {}),
    ],
)
def test_a_prefill_is_marked_as_the_upstream_wants_it(
    vendor: str, of_body: dict[str, Any], of_message: dict[str, Any]
) -> None:
    body = body_of(at(vendor), messages=PREFILL)
    marks = ("add_generation_prompt", "continue_final_message")
    assert {name: body[name] for name in marks if name in body} == of_body
    last = body["messages"][-1]
    assert {name: last[name] for name in ("partial", "prefix") if name in last} == of_message
    without = body_of(at(vendor), messages=[HELLO])
    assert not {*of_body} & without.keys()


# Stop sequences.


@pytest.mark.parametrize(
    ("vendor", "fields", "sent_stops"),
    [
        ("sglang", TWO, ["a", "b", "c", "d"]),
        ("sglang", {}, None),
        ("sglang", {**TWO, "thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        ("vllm", TWO, None),
    ],
)
def test_stop_sequences_go_where_calls_are_cut_and_the_sequence_is_named(
    vendor: str, fields: dict[str, Any], sent_stops: list[str] | None
) -> None:
    conversion = sent(at(vendor), stop_sequences=list("abcde"), max_tokens=2048, **fields)
    assert conversion.body.get("stop") == sent_stops
    assert list(conversion.stop_sequences) == list("abcde")
