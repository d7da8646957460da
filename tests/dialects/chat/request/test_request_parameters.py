"""A request's parameters on their way into the chat body: Anthropic's by chat's names, chat's own passed on."""

from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import pytest

from gateway.dialects.chat.request.convert import MAX_NOTES, to_chat_request
from gateway.dialects.chat.request.parameter_set import IDENTIFIERS, MAX_IDENTIFIER
from gateway.dialects.chat.request.parameters import MAX_STOP_CHARACTERS
from gateway.dialects.chat.vocabulary import OPENAI_ONLY, OPENROUTER_ONLY
from gateway.errors import InvalidRequest
from gateway.upstream.models.target import ReasoningSupport, Target, to_target
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER, VENDORS
from tests.messages.validation.test_validation_chat_parameters import PASSED_THROUGH
from tests.support.conversions import (
    CACHED,
    CLAUDE,
    DEEPSEEK,
    GEMINI,
    GPT,
    HELLO,
    KEYRING,
    OPENAI,
    OPENAI_PLAIN,
    STRICT,
    convert,
    losses,
    tool,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
CHAT_FORMAT = {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": SCHEMA}}

OPUS_5 = to_target("anthropic/claude-opus-5", OPENROUTER)
NO_BUDGET = replace(GEMINI, reasoning=ReasoningSupport())
ALWAYS_THINKS = replace(DEEPSEEK, reasoning=ReasoningSupport(mandatory=True))


def fields_of(target: Target, **fields: Any) -> dict[str, Any]:
    """The chat body without what every request has."""
    body = dict(convert(target, **fields).body)
    assert body.pop("model") == target.model
    assert body.pop("messages") == [HELLO]
    if body.get(target.max_tokens_field) == fields.get("max_tokens", 100):
        del body[target.max_tokens_field]
    return body


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


CARRIED = [
    pytest.param(DEEPSEEK, {}, {}, id="O27 what is absent stays absent"),
    pytest.param(
        DEEPSEEK,
        {"temperature": 0, "top_p": 0.5, "top_k": 0},
        {"temperature": 0, "top_p": 0.5, "top_k": 0},
        id="O27 zero is a value",
    ),
    pytest.param(DEEPSEEK, {"temperature": None, "top_p": None}, {}, id="O27 null is absent"),
    pytest.param(
        STRICT,
        {"frequency_penalty": -2, "presence_penalty": 0, "logit_bias": {"50256": -100}},
        {"frequency_penalty": -2, "presence_penalty": 0, "logit_bias": {"50256": -100}},
        id="O28 penalties and bias",
    ),
    pytest.param(STRICT, {"seed": 7}, {"seed": 7}, id="O29 seed"),
    pytest.param(STRICT, {"n": 1}, {}, id="O31 one answer is what a message has"),
    pytest.param(
        DEEPSEEK,
        {"min_p": 0.1, "top_a": 0.2, "repetition_penalty": 1.1, "top_k": 5},
        {"min_p": 0.1, "top_a": 0.2, "repetition_penalty": 1.1, "top_k": 5},
        id="R25 samplers of open models",
    ),
    pytest.param(
        DEEPSEEK,
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_object"}},
        id="O33 json",
    ),
    pytest.param(STRICT, {"output_config": {"format": FORMAT}}, {"response_format": CHAT_FORMAT}, id="O34 a schema"),
    pytest.param(STRICT, {"output_format": FORMAT}, {"response_format": CHAT_FORMAT}, id="O34 by its older name"),
    pytest.param(
        DEEPSEEK,
        {"output_format": FORMAT},
        {"response_format": CHAT_FORMAT, "provider": {"require_parameters": True}},
        id="R4 with a schema by its older name too",
    ),
    pytest.param(
        replace(STRICT, strict_schemas=False),
        {"output_config": {"format": FORMAT}},
        {"response_format": CHAT_FORMAT},
        id="O35 a schema that no provider keeps to stays strict, for the upstream to refuse",
    ),
    pytest.param(
        replace(STRICT, strict_fallback=True),
        {"output_config": {"format": FORMAT}},
        {"response_format": CHAT_FORMAT},
        id="O35 a schema stays strict where providers keep to it",
    ),
    pytest.param(
        DEEPSEEK,
        {"output_config": {"format": FORMAT}},
        {"response_format": CHAT_FORMAT, "provider": {"require_parameters": True}},
        id="O34 OpenRouter has to find a provider that keeps to the schema",
    ),
    pytest.param(
        DEEPSEEK,
        {"output_config": {"format": FORMAT}, "provider": {"sort": "price", "require_parameters": False}},
        {"response_format": CHAT_FORMAT, "provider": {"sort": "price", "require_parameters": False}},
        id="R4 unless the client turns it off",
    ),
    pytest.param(GPT, {"verbosity": "low"}, {"verbosity": "low"}, id="O37 verbosity"),
    pytest.param(
        OPENAI,
        {"prediction": {"type": "content", "content": "x"}},
        {"prediction": {"type": "content", "content": "x"}},
        id="O38 prediction",
    ),
    pytest.param(
        OPENAI,
        {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}},
        {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}},
        id="O41 prompt cache",
    ),
    pytest.param(DEEPSEEK, {"metadata": {"user_id": "u1"}}, {"user": "u1"}, id="O43 the user"),
    pytest.param(STRICT, {"metadata": {"user_id": "u1"}}, {"user": "u1"}, id="O43 the user on a strict upstream"),
    pytest.param(
        OPENAI, {"metadata": {"user_id": "u1"}}, {"user": "u1", "safety_identifier": "u1"}, id="O43 the user at OpenAI"
    ),
    pytest.param(
        OPENAI,
        {"metadata": {"user_id": "u" * 200}},
        dict.fromkeys(("user", "safety_identifier"), sha256(b"u" * 200).hexdigest()),
        id="O43 a user too long for OpenAI's field is hashed",
    ),
    pytest.param(
        OPENAI,
        {"metadata": {"user_id": "u" * 64}},
        {"user": "u" * 64, "safety_identifier": "u" * 64},
        id="O43 a user that just fits is not",
    ),
    pytest.param(
        OPENAI,
        {"metadata": {"user_id": "u1"}, "user": "u2", "safety_identifier": "s"},
        {"user": "u2", "safety_identifier": "s"},
        id="B03 an outright user wins",
    ),
    pytest.param(
        DEEPSEEK,
        {"metadata": {"user_id": "u1", "team": "red"}},
        {"user": "u1", "metadata": {"team": "red"}},
        id="O44 further metadata",
    ),
    pytest.param(
        OPENAI, {"store": True, "moderation": {}}, {"store": True, "moderation": {}}, id="O44 store, moderation"
    ),
    pytest.param(DEEPSEEK, {"service_tier": "auto"}, {"service_tier": "auto"}, id="O45 auto"),
    pytest.param(DEEPSEEK, {"service_tier": "standard_only"}, {"service_tier": "default"}, id="O45 standard_only"),
    pytest.param(OPENAI, {"service_tier": "flex"}, {"service_tier": "flex"}, id="O45 a tier of the upstream's"),
    pytest.param(STRICT, {"service_tier": "auto"}, {}, id="O45 auto is not noted where there are no tiers"),
    pytest.param(DEEPSEEK, {"speed": "fast"}, {"service_tier": "priority"}, id="R48 fast"),
    pytest.param(
        DEEPSEEK, {"speed": "fast", "service_tier": "auto"}, {"service_tier": "priority"}, id="R48 fast, and auto"
    ),
    pytest.param(DEEPSEEK, {"speed": "standard"}, {}, id="R48 standard"),
    pytest.param(STRICT, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, id="O46 usage"),
    pytest.param(DEEPSEEK, {"stream": True}, {"stream": True}, id="O46 OpenRouter always sends usage"),
    pytest.param(DEEPSEEK, {"stream": False}, {}, id="O46 no stream"),
    pytest.param(DEEPSEEK, {"cache_control": CACHED}, {"cache_control": CACHED}, id="R21 automatic caching"),
    pytest.param(
        DEEPSEEK, {"session_id": "s", "trace": {"a": 1}}, {"session_id": "s", "trace": {"a": 1}}, id="R23 R24"
    ),
    pytest.param(
        DEEPSEEK,
        {"metadata": {"user_id": '{"device_id":"d","session_id":"s-1"}'}},
        {"user": '{"device_id":"d","session_id":"s-1"}', "session_id": "s-1"},
        id="R23 the session in Claude Code's user id",
    ),
    pytest.param(
        DEEPSEEK,
        {"metadata": {"user_id": "user_ab_account__session_s-1"}},
        {"user": "user_ab_account__session_s-1", "session_id": "s-1"},
        id="R23 the session in an older Claude Code's user id",
    ),
    pytest.param(
        OPENAI_PLAIN,
        {"metadata": {"user_id": "x_session_s-1"}},
        {"user": "x_session_s-1", "safety_identifier": "x_session_s-1", "prompt_cache_key": "s-1"},
        id="O41 the session is the key of OpenAI's prompt cache",
    ),
    pytest.param(
        DEEPSEEK,
        {"metadata": {"user_id": "{not json"}},
        {"user": "{not json"},
        id="R23 a user id that only looks like JSON",
    ),
    pytest.param(
        DEEPSEEK, {"metadata": {"user_id": '{"session_id":7}'}}, {"user": '{"session_id":7}'}, id="R23 an odd session"
    ),
    pytest.param(
        DEEPSEEK,
        {"plugins": [{"id": "file-parser", "pdf": {"engine": "native"}}]},
        {"plugins": [{"id": "file-parser", "pdf": {"engine": "native"}}]},
        id="R26 plugins",
    ),
    pytest.param(
        DEEPSEEK,
        {"models": ["a/b"], "provider": {"only": ["x"]}},
        {"models": ["a/b"], "provider": {"only": ["x"]}},
        id="R2 R3 routing",
    ),
    pytest.param(
        DEEPSEEK,
        {"openrouter": {"seed": 1, "safe_prompt": True}, "openai": {"top_p": 0.1}},
        {"seed": 1, "safe_prompt": True, "top_p": 0.1},
        id="R10 parameters in an object for the upstream, known to us or not",
    ),
    pytest.param(
        DEEPSEEK,
        {"openrouter": {"reasoning_effort": "low"}},
        {"reasoning": {"effort": "low"}},
        id="reasoning in such an object, in OpenRouter's form",
    ),
    pytest.param(
        STRICT, {"openai": {"top_k": 3, "min_p": 0.1}}, {"top_k": 3, "min_p": 0.1}, id="an openai object is taken whole"
    ),
    pytest.param(
        DEEPSEEK, {"seed": 1, "openrouter": {"seed": 1}}, {"seed": 1}, id="saying the same twice is no conflict"
    ),
    pytest.param(DEEPSEEK, {"stop_sequences": ["A", "B"]}, {"stop": ["A", "B"]}, id="O32 up to four stops"),
    pytest.param(
        DEEPSEEK, {"stop": "A", "stop_sequences": ["B", "A"]}, {"stop": ["B", "A"]}, id="O32 stops by both names"
    ),
    pytest.param(STRICT, {"inference_geo": None, "diagnostics": None}, {}, id="null asks for nothing"),
]


@pytest.mark.parametrize("target", [STRICT, GPT])
def test_fields_of_the_upstream_object_are_sent_as_they_are(target: Target) -> None:
    own = {"chat_template_kwargs": {"enable_thinking": False}, "min_p": 0.1}
    assert fields_of(target, upstream=own) == own
    with pytest.raises(InvalidRequest, match="conflicts with seed"):
        fields_of(target, seed=1, upstream={"seed": 2})


@pytest.mark.parametrize(("target", "fields", "expected"), CARRIED)
@pytest.mark.covers("Messages · temperature, top_p, top_k, metadata")
def test_a_parameter_reaches_the_upstream(target: Target, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields_of(target, **fields) == expected
    assert convert(target, **fields).notes == ()


# Parameters that are joined with others; each has separate cases.
JOINED = {"max_completion_tokens", "n", "reasoning", "reasoning_effort", "stop"}
PLAIN = sorted(PASSED_THROUGH.keys() - JOINED)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(("target", "foreign"), [(DEEPSEEK, OPENAI_ONLY), (OPENAI, OPENROUTER_ONLY)])
@pytest.mark.covers("Chat parameters · seed, penalties, logit_bias, logprobs and others")
def test_a_chat_parameter_reaches_the_upstream_that_has_it(target: Target, foreign: frozenset[str], name: str) -> None:
    """Elsewhere it is noted."""
    for value in PASSED_THROUGH[name]:
        fields = {"logprobs": True, name: value} if name == "top_logprobs" else {name: value}
        conversion = convert(target, **fields)
        sent = sha256(value.encode()).hexdigest() if name in IDENTIFIERS and len(value) > MAX_IDENTIFIER else value
        assert conversion.body.get(name) == (None if name in foreign else sent)
        assert losses(conversion) == ([("dropped", name)] if name in foreign else [])


LENGTHS = [
    pytest.param(DEEPSEEK, {"max_tokens": 100}, id="O26 max_tokens"),
    pytest.param(STRICT, {"max_tokens": 100}, id="O26 max_tokens on a strict upstream"),
    pytest.param(OPENAI, {"max_completion_tokens": 100}, id="O26 max_completion_tokens for OpenAI's reasoning models"),
    pytest.param(OPENAI_PLAIN, {"max_tokens": 100}, id="O26 max_tokens for OpenAI's others"),
]


@pytest.mark.parametrize(("target", "expected"), LENGTHS)
@pytest.mark.covers("Chat parameters · max_completion_tokens by model")
def test_the_limit_goes_into_the_field_that_the_upstream_has(target: Target, expected: dict[str, int]) -> None:
    for request in ({}, {"max_completion_tokens": 100}):
        body = convert(target, **request).body
        assert {key: value for key, value in body.items() if key.startswith("max_")} == expected


def test_a_limit_of_zero_becomes_the_least_that_a_chat_upstream_takes() -> None:
    conversion = convert(max_tokens=0)
    assert conversion.body["max_tokens"] == 1
    assert losses(conversion) == [("changed", "max_tokens")]


def test_o32_more_stops_than_the_upstream_takes_are_all_matched_by_the_gateway() -> None:
    conversion = convert(stop_sequences=["A", "B", "C", "D", "E"])
    assert conversion.body["stop"] == ["A", "B", "C", "D"]
    assert conversion.stop_sequences == ("A", "B", "C", "D", "E")


def test_o32_up_to_four_stops_are_left_to_the_upstream() -> None:
    assert convert(stop_sequences=["A", "B", "C", "D"]).stop_sequences == ()


def test_o32_models_without_stops_get_none_and_the_gateway_matches() -> None:
    conversion = convert(GPT, stop_sequences=["A"])
    assert "stop" not in conversion.body
    assert conversion.stop_sequences == ("A",)


def test_more_stop_characters_than_can_be_looked_for_are_refused() -> None:
    assert convert(STRICT, stop_sequences=["a" * MAX_STOP_CHARACTERS]).stop_sequences
    with pytest.raises(InvalidRequest, match="stop_sequences: at most 16384 characters in all"):
        convert(STRICT, stop_sequences=["a" * MAX_STOP_CHARACTERS, "b"])


@pytest.mark.parametrize("target", [STRICT, OPENAI, OPENAI_PLAIN], ids=lambda target: target.model)
@pytest.mark.parametrize(
    "fields", [{"stop_sequences": ["A", "B"]}, {"stop": ["A", "B"]}, {"openai": {"stop": ["A", "B"]}}]
)
def test_o32_a_strict_upstream_gets_no_stops_and_the_gateway_matches(target: Target, fields: dict[str, Any]) -> None:
    conversion = convert(target, **fields)
    assert "stop" not in conversion.body
    assert conversion.stop_sequences == ("A", "B")


THINKING = [
    pytest.param(CLAUDE, {}, {}, id="R11 absent: nothing is sent"),
    pytest.param(CLAUDE, {"thinking": budget(2000)}, {"reasoning": {"max_tokens": 2000}}, id="R11 a budget"),
    pytest.param(GEMINI, {"thinking": budget(2000)}, {"reasoning": {"max_tokens": 2000}}, id="R11 a budget for Gemini"),
    *(
        pytest.param(
            DEEPSEEK,
            {"thinking": budget(tokens), "max_tokens": 20_000},
            {"reasoning": {"enabled": True, "effort": effort}},
            id=f"R11 {tokens} of 20,000 tokens are effort {effort}",
        )
        for tokens, effort in (
            (2000, "minimal"),
            (2001, "low"),
            (4000, "low"),
            (4001, "medium"),
            (10_000, "medium"),
            (10_001, "high"),
            (16_000, "high"),
            (16_001, "xhigh"),
        )
    ),
    pytest.param(CLAUDE, {"thinking": {"type": "adaptive"}}, {"reasoning": {"enabled": True}}, id="R11 adaptive"),
    pytest.param(
        CLAUDE,
        {"thinking": {"type": "adaptive", "budget_tokens": "much"}},
        {"reasoning": {"enabled": True}},
        id="R11 a budget has no effect unless thinking is enabled",
    ),
    pytest.param(CLAUDE, {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}, id="R11 disabled"),
    pytest.param(
        CLAUDE,
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"reasoning": {"enabled": True}},
        id="R11 an omitted display is never an exclude, which would lose the signatures",
    ),
    pytest.param(CLAUDE, {"output_config": {"effort": "max"}}, {"verbosity": "max"}, id="R11 effort for Claude"),
    pytest.param(
        GPT, {"output_config": {"effort": "max"}}, {"reasoning": {"effort": "max"}}, id="R11 effort for others"
    ),
    pytest.param(
        OPUS_5,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"reasoning": {"enabled": True}, "verbosity": "low"},
        id="R11 adaptive with effort for Claude",
    ),
    pytest.param(
        GPT,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"reasoning": {"enabled": True, "effort": "low"}},
        id="R11 adaptive with effort for others",
    ),
    pytest.param(
        NO_BUDGET,
        {"thinking": budget(1024), "output_config": {"effort": "high"}, "max_tokens": 20_000},
        {"reasoning": {"enabled": True, "effort": "high"}},
        id="R11 an outright effort beats one derived from a budget",
    ),
    pytest.param(
        CLAUDE,
        {"thinking": {"type": "adaptive"}, "reasoning": {"summary": "auto", "context": None}},
        {"reasoning": {"enabled": True, "summary": "auto"}},
        id="R12 chat's reasoning settings join those of thinking",
    ),
    pytest.param(
        DEEPSEEK, {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}, id="R12 effort by chat's name"
    ),
    pytest.param(
        DEEPSEEK,
        {"reasoning": {"effort": "low"}, "reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        id="O36 the same effort twice",
    ),
    *(
        pytest.param(DEEPSEEK, {"reasoning_effort": effort}, {"reasoning": {"effort": effort}}, id=f"O36 {effort}")
        for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    ),
    pytest.param(
        OPENAI, {"thinking": {"type": "adaptive"}}, {}, id="adaptive is what OpenAI's models do by themselves"
    ),
    pytest.param(OPENAI, {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}, id="disabled at OpenAI"),
    pytest.param(OPENAI, {"output_config": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}, id="effort at OpenAI"),
    pytest.param(
        OPENAI,
        {"thinking": budget(5000), "max_tokens": 20_000},
        {"reasoning_effort": "medium"},
        id="a budget at OpenAI is an effort",
    ),
    pytest.param(OPENAI, {"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}, id="O36 OpenAI's own field"),
    pytest.param(
        OPENAI_PLAIN, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}, id="O36 what the client insists on"
    ),
    pytest.param(
        OPENAI_PLAIN, {"thinking": {"type": "disabled"}}, {}, id="a model that does not reason gets no parameter"
    ),
]


@pytest.mark.parametrize(("target", "fields", "expected"), THINKING)
@pytest.mark.covers("Thinking · modes, budgets and efforts")
def test_thinking_and_effort_reach_the_upstream(
    target: Target, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    request = {"max_tokens": 4096, **fields}
    assert fields_of(target, **request) == expected
    assert convert(target, **request).notes == ()


def test_a_claude_that_sets_its_budget_itself_is_asked_to_think() -> None:
    fields = fields_of(OPUS_5, thinking=budget(2000), max_tokens=4096)
    assert fields == {"reasoning": {"enabled": True}}


def having(*efforts: str, target: Target = DEEPSEEK) -> Target:
    return replace(target, reasoning=replace(target.reasoning, supported_efforts=efforts))


SNAPPED = [
    pytest.param(having("low", "high"), "medium", "low", id="O36 the next lower effort"),
    pytest.param(having("low", "high"), "max", "high", id="O36 the highest there is"),
    pytest.param(
        having("high", "low"), "minimal", "low", id="O36 the lowest there is, in whatever order they are listed"
    ),
    pytest.param(having("none", "high"), "low", "high", id="O36 an effort never becomes none"),
    pytest.param(having("low", "high"), "none", "low", id="O36 none where thinking is mandatory"),
]


@pytest.mark.parametrize(("target", "asked", "sent"), SNAPPED)
def test_an_effort_that_the_model_has_not_becomes_one_that_it_has(target: Target, asked: str, sent: str) -> None:
    conversion = convert(target, reasoning_effort=asked)
    assert conversion.body["reasoning"] == {"effort": sent}
    assert losses(conversion) == [("changed", "reasoning_effort")]


def test_an_effort_goes_as_it_is_to_a_model_that_lists_none_to_choose_from() -> None:
    conversion = convert(having("none"), reasoning_effort="low")
    assert conversion.body["reasoning"] == {"effort": "low"}
    assert conversion.notes == ()


def test_an_effort_of_claudes_is_snapped_as_well() -> None:
    conversion = convert(having("low", "medium", "high", target=OPUS_5), output_config={"effort": "max"})
    assert conversion.body["verbosity"] == "high"
    assert losses(conversion) == [("changed", "output_config.effort")]


LOST = [
    pytest.param(STRICT, {"top_k": 5}, [("dropped", "top_k")], id="top_k on a strict upstream"),
    pytest.param(
        STRICT,
        {"min_p": 0.1, "provider": {}},
        [("dropped", "min_p"), ("dropped", "provider")],
        id="OpenRouter's on others",
    ),
    pytest.param(DEEPSEEK, {"store": False}, [("dropped", "store")], id="O44 OpenAI's own on OpenRouter"),
    pytest.param(
        DEEPSEEK,
        {"openai": {"store": True, "future": 1}},
        [("dropped", "openai.store"), ("dropped", "openai.future")],
        id="in an object that is meant for OpenAI",
    ),
    pytest.param(
        STRICT, {"openrouter": {"seed": 1}}, [("dropped", "openrouter")], id="an object that is meant for OpenRouter"
    ),
    pytest.param(STRICT, {"openrouter": {}}, [], id="an empty object has no effect"),
    pytest.param(DEEPSEEK, {"openrouter": {"seed": None}}, [], id="nor does a null in one"),
    pytest.param(STRICT, {"service_tier": "flex"}, [("dropped", "service_tier")], id="O45 a tier where there are none"),
    pytest.param(STRICT, {"speed": "fast"}, [("dropped", "speed")], id="R48 speed where there are no tiers"),
    pytest.param(
        STRICT, {"cache_control": CACHED}, [("dropped", "cache_control")], id="R21 automatic caching elsewhere"
    ),
    pytest.param(DEEPSEEK, {"metadata": {"n": 1}}, [("dropped", "metadata.n")], id="O44 metadata that is no text"),
    pytest.param(DEEPSEEK, {"inference_geo": "eu"}, [("dropped", "inference_geo")], id="where to run"),
    pytest.param(
        DEEPSEEK, {"diagnostics": {"previous_message_id": "m"}}, [("dropped", "diagnostics")], id="cache diagnostics"
    ),
    pytest.param(
        DEEPSEEK,
        {"output_config": {"task_budget": {"type": "tokens", "total": 9}}},
        [("dropped", "output_config.task_budget")],
        id="a task budget",
    ),
    pytest.param(
        DEEPSEEK,
        {"thinking": {"type": "between_tools"}},
        [("changed", "thinking.type")],
        id="thinking between tools only",
    ),
    pytest.param(
        CLAUDE,
        {"thinking": {"type": "adaptive", "block_binding": {"a": 1}}},
        [("dropped", "thinking.block_binding")],
        id="block binding",
    ),
    pytest.param(
        ALWAYS_THINKS, {"thinking": {"type": "disabled"}}, [("dropped", "thinking")], id="no thinking, of one that must"
    ),
    pytest.param(
        to_target("o3", COMPATIBLE),
        {"thinking": {"type": "disabled"}},
        [("dropped", "thinking")],
        id="no thinking, of o3",
    ),
    pytest.param(
        OPUS_5,
        {"thinking": budget(1024), "max_tokens": 2000},
        [("changed", "thinking.budget_tokens")],
        id="a budget, of adaptive Claude",
    ),
    pytest.param(
        CLAUDE,
        {"thinking": budget(1024), "max_tokens": 2000, "reasoning": {"exclude": None}},
        [],
        id="a null in reasoning has no effect",
    ),
    pytest.param(
        GEMINI,
        {"thinking": budget(1024), "max_tokens": 2000, "output_config": {"effort": "low"}},
        [("dropped", "output_config.effort")],
        id="an effort beside a budget",
    ),
    pytest.param(
        DEEPSEEK,
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        [("dropped", "output_config.effort")],
        id="an effort without thinking",
    ),
    pytest.param(
        OPENAI_PLAIN, {"thinking": {"type": "adaptive"}}, [("dropped", "thinking")], id="thinking, of one that cannot"
    ),
    pytest.param(
        OPENAI_PLAIN,
        {"output_config": {"effort": "low"}},
        [("dropped", "output_config.effort")],
        id="effort, of one that cannot",
    ),
    pytest.param(
        OPENAI,
        {"reasoning": {"effort": "low", "summary": "auto"}},
        [("dropped", "reasoning.summary")],
        id="R12 a reasoning setting that OpenAI's field cannot say",
    ),
    pytest.param(
        OPENAI,
        {"reasoning": {"exclude": True}},
        [("dropped", "reasoning.exclude")],
        id="a reasoning setting where no effort is asked for",
    ),
]


@pytest.mark.parametrize(("target", "fields", "expected"), LOST)
@pytest.mark.covers("Chat parameters · those that the upstream does not know", "noted")
def test_a_parameter_that_cannot_be_carried_is_noted(
    target: Target, fields: dict[str, Any], expected: list[Any]
) -> None:
    assert losses(convert(target, **fields)) == expected


REFUSED = [
    pytest.param(
        DEEPSEEK,
        {"seed": 1, "openrouter": {"seed": 2}},
        "openrouter.seed: conflicts with seed; set only one of them",
        id="two seeds",
    ),
    pytest.param(
        STRICT,
        {"openai": {"temperature": 1.5}, "temperature": 1},
        "temperature: conflicts with openai.temperature; set only one of them",
        id="two temperatures",
    ),
    pytest.param(
        DEEPSEEK,
        {"max_completion_tokens": 7},
        "max_completion_tokens: conflicts with max_tokens; set only one of them",
        id="O26 two limits",
    ),
    pytest.param(
        CLAUDE,
        {"thinking": {"type": "disabled"}, "reasoning": {"enabled": True}},
        "reasoning.enabled: conflicts with thinking; set only one of them",
        id="to think and not to think",
    ),
    pytest.param(
        CLAUDE,
        {"thinking": budget(1024), "max_tokens": 2000, "reasoning_effort": "low"},
        "reasoning.effort: conflicts with thinking; set only one of them",
        id="a budget and an effort, of which OpenRouter takes one",
    ),
    pytest.param(
        DEEPSEEK,
        {"output_config": {"effort": "high"}, "reasoning": {"max_tokens": 9}},
        "reasoning.max_tokens: conflicts with output_config.effort; set only one of them",
        id="an effort and a budget",
    ),
    pytest.param(
        GPT,
        {"reasoning_effort": "low", "openrouter": {"reasoning": {"effort": "high"}}},
        "reasoning_effort: conflicts with openrouter.reasoning.effort; set only one of them",
        id="O36 two efforts in two places",
    ),
    pytest.param(
        GPT,
        {"output_config": {"effort": "high"}, "reasoning_effort": "low"},
        "reasoning.effort: conflicts with output_config.effort; set only one of them",
        id="O36 two efforts",
    ),
    pytest.param(
        CLAUDE,
        {"output_config": {"effort": "high"}, "verbosity": "low"},
        "output_config.effort: conflicts with verbosity; set only one of them",
        id="O37 an effort and another verbosity, which are one for Claude",
    ),
    pytest.param(
        DEEPSEEK,
        {"service_tier": "flex", "speed": "fast"},
        "speed: conflicts with service_tier; set only one of them",
        id="R48 flexible and fast",
    ),
    pytest.param(
        DEEPSEEK,
        {
            "tools": [tool()],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "parallel_tool_calls": True,
        },
        "tool_choice: conflicts with the parallel_tool_calls of chat; set only one of them",
        id="O17 parallel and not parallel",
    ),
]


@pytest.mark.parametrize(("target", "fields", "message"), REFUSED)
def test_contradicting_parameters_are_refused(target: Target, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(target, **fields)
    assert caught.value.message == message


def test_two_formats_are_refused_even_where_the_door_lets_them_in() -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(response_format={"type": "json_object"}, output_config={"format": FORMAT}, is_checked=False)
    assert caught.value.message == "output_config.format: conflicts with response_format; set only one of them"
    with pytest.raises(InvalidRequest) as caught:
        convert(response_format={"type": "json_object"}, output_format=FORMAT, is_checked=False)
    assert caught.value.message == "output_format: conflicts with response_format; set only one of them"


def test_an_override_cannot_change_the_model_or_the_messages() -> None:
    body = convert(openrouter={"model": "expensive", "messages": []}, is_checked=False).body
    assert (body["model"], body["messages"]) == (DEEPSEEK.model, [HELLO])


FALLBACKS = [{"model": "claude-haiku-4-5-20251001"}, {"model": "openai/gpt-5"}]


@pytest.mark.covers("OpenRouter · models and fallbacks")
def test_r2_fallbacks_become_models_of_openrouters() -> None:
    conversion = convert(fallbacks=FALLBACKS)
    assert conversion.body["models"] == ["anthropic/claude-haiku-4.5", "openai/gpt-5"]
    assert conversion.notes == ()


def test_settings_of_a_fallback_are_noted() -> None:
    conversion = convert(fallbacks=[{"model": "a/b", "max_tokens": 5}])
    assert losses(conversion) == [("dropped", "fallbacks.0")]


BAD_FALLBACKS = [
    pytest.param(STRICT, FALLBACKS, "fallbacks: this upstream takes one model only", id="R2 fallbacks elsewhere"),
    pytest.param(
        DEEPSEEK, "default", "fallbacks: Input should be a valid list", id="R2 Anthropic's own chain of fallbacks"
    ),
    pytest.param(
        DEEPSEEK,
        [*FALLBACKS, *FALLBACKS],
        "fallbacks: List should have at most 3 items after validation, not 4",
        id="R2 too many fallbacks",
    ),
    pytest.param(DEEPSEEK, [{"name": "x"}], "fallbacks.0.model: Field required", id="R2 a fallback without a model"),
]


@pytest.mark.parametrize(("target", "fallbacks", "message"), BAD_FALLBACKS)
def test_fallbacks_that_cannot_be_tried_are_refused(target: Target, fallbacks: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(target, fallbacks=fallbacks)
    assert caught.value.message == message


def test_unknown_field_is_noted_and_not_sent() -> None:
    conversion = convert(future_field=1, is_checked=False)
    assert "future_field" not in conversion.body
    assert losses(conversion) == [("dropped", "future_field")]


def test_of_very_many_losses_the_first_are_noted() -> None:
    fields = {"x" * length: 1 for length in range(1, MAX_NOTES + 10)}
    conversion = convert(**fields, is_checked=False)
    assert losses(conversion) == [("dropped", name) for name in list(fields)[:MAX_NOTES]]


def test_o46_stream_options_of_the_client_are_kept() -> None:
    options = {"include_obfuscation": False}
    body = convert(STRICT, stream=True, openai={"stream_options": options}).body
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert "stream_options" not in convert(STRICT, openai={"stream_options": options}).body


def test_o57_openai_is_asked_to_leave_its_padding_out() -> None:
    """It changes every chunk's frame; servers that only look like OpenAI's might refuse the option."""
    plain = {"include_usage": True}
    assert convert(OPENAI, stream=True).body["stream_options"] == {**plain, "include_obfuscation": False}
    asked = {"stream_options": {"include_obfuscation": True}}
    assert convert(OPENAI, stream=True, openai=asked).body["stream_options"] == {**plain, "include_obfuscation": True}
    assert convert(STRICT, stream=True).body["stream_options"] == plain
    assert "stream_options" not in convert(GPT, stream=True).body


@pytest.mark.parametrize(("length", "sent"), [(256, "s" * 256), (257, None)])
def test_a_session_longer_than_openrouter_takes_is_none(length: int, sent: str | None) -> None:
    conversion = convert(metadata={"user_id": "x_session_" + "s" * length}, is_checked=False)
    assert conversion.body.get("session_id") == sent


SESSIONS = [
    pytest.param(DEEPSEEK, {}, "h", id="R23 the session of the client's headers"),
    pytest.param(DEEPSEEK, {"session_id": "b"}, "b", id="R23 the body's session wins over the header's"),
    pytest.param(
        DEEPSEEK,
        {"metadata": {"user_id": "x_session_m"}},
        "m",
        id="R23 so does the session in the user id",
    ),
    pytest.param(STRICT, {}, None, id="R23 a strict upstream knows no sessions"),
]


@pytest.mark.parametrize(("target", "fields", "expected"), SESSIONS)
@pytest.mark.covers("OpenRouter · sessions stay at one provider")
def test_a_session_keeps_its_provider(target: Target, fields: dict[str, Any], expected: str | None) -> None:
    request = cast(Any, {"model": "any", "max_tokens": 1, "messages": [HELLO], **fields})
    assert to_chat_request(request, target, KEYRING, "h").body.get("session_id") == expected


@pytest.mark.parametrize(
    ("vendor", "asked", "sent", "notes"),
    [
        ("vllm", 32_000, 8192, [("changed", "max_tokens")]),
        ("sglang", 8192, 8192, []),
        ("llamacpp", 32_000, 32_000, []),
    ],
)
def test_max_tokens_is_lowered_to_the_context_where_the_server_refuses_more(
    vendor: str, asked: int, sent: int, notes: list[tuple[str, str]]
) -> None:
    target = replace(to_target("qwen3", VENDORS[vendor]), context_length=8192)
    conversion = convert(target, max_tokens=asked)
    assert (conversion.body["max_tokens"], losses(conversion)) == (sent, notes)
