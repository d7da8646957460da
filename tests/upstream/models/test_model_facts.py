"""Effects of a model's entry in the upstream's list on its target, and on requests for it."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.upstream.models.model_facts import DISPENSABLE, essentials, lengths_of, refined, sees_images
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.conversions import CLAUDE, DEEPSEEK, GPT, OPENAI_PLAIN, STRICT, convert, losses

EVERYTHING = [*sorted(DISPENSABLE), "stop", "tools", "reasoning", "response_format", "structured_outputs"]

# An entry, and the resulting field of the target.
READINGS = [
    pytest.param({"context_length": 1000}, "context_length", 1000, id="the context"),
    pytest.param(
        {"context_length": 1000, "top_provider": {"context_length": 800}}, "context_length", 800, id="its provider's"
    ),
    pytest.param({"max_model_len": 4096}, "context_length", 4096, id="vLLM's"),
    pytest.param({"context_length": 0, "max_model_len": True}, "context_length", None, id="no number"),
    pytest.param({"top_provider": {"max_completion_tokens": 64}}, "max_output", 64, id="the answer's limit"),
    pytest.param({"top_provider": {"max_completion_tokens": None}}, "max_output", None, id="an untold limit"),
    pytest.param({"top_provider": {"max_completion_tokens": 0}}, "max_output", None, id="a limit that cannot be meant"),
    pytest.param({"top_provider": "x", "reasoning": []}, "max_output", None, id="fields of another shape"),
    pytest.param({"supported_parameters": EVERYTHING}, "unsupported", frozenset(), id="all parameters"),
    pytest.param({"supported_parameters": []}, "unsupported", frozenset(), id="an empty list has no effect"),
    pytest.param({"supported_parameters": "seed"}, "unsupported", frozenset(), id="no list"),
    pytest.param({"supported_parameters": EVERYTHING[1:]}, "unsupported", {EVERYTHING[0]}, id="one is missing"),
    pytest.param({"supported_parameters": ["seed", 5]}, "unsupported", DISPENSABLE - {"seed"}, id="one is left"),
    pytest.param({"supported_parameters": EVERYTHING}, "stop_limit", 4, id="stop sequences"),
    pytest.param({"supported_parameters": ["seed"]}, "stop_limit", 0, id="no stop sequences"),
    pytest.param({"supported_parameters": EVERYTHING}, "strict_schemas", True, id="strict schemas"),
    pytest.param({"supported_parameters": ["response_format"]}, "strict_schemas", False, id="schemas that are not"),
    pytest.param({"supported_parameters": ["seed"]}, "strict_schemas", True, id="no schemas: the upstream says so"),
]


@pytest.mark.parametrize(("entry", "name", "expected"), READINGS)
@pytest.mark.covers("Models and tokens · facts from the upstream's list")
def test_r54_an_entry_sets_facts(entry: dict[str, Any], name: str, expected: Any) -> None:
    assert getattr(refined(DEEPSEEK, entry), name) == expected


REASONING = [
    pytest.param({"reasoning": {"mandatory": True}}, {"mandatory": True}, id="that it cannot be off"),
    pytest.param({"reasoning": {"mandatory": None}}, {}, id="nothing"),
    pytest.param({"reasoning": {"supports_max_tokens": True}}, {"supports_max_tokens": True}, id="a budget"),
    pytest.param(
        {"reasoning": {"supported_efforts": ["low", "high"]}}, {"supported_efforts": ("high", "low")}, id="its efforts"
    ),
    pytest.param({"reasoning": {"supported_efforts": None}}, {}, id="no efforts"),
    pytest.param({"supported_parameters": ["seed"]}, {"style": "none"}, id="that there is none"),
    pytest.param({"supported_parameters": ["reasoning"]}, {}, id="that there is some"),
    pytest.param({"supported_parameters": ["include_reasoning"]}, {}, id="that there is some, by an older name"),
    pytest.param({"supported_parameters": ["reasoning_effort"]}, {}, id="that there is some, by its short name"),
    pytest.param({"supported_parameters": ["seed"], "reasoning": {"x": 1}}, {}, id="that there is some, elsewhere"),
]


@pytest.mark.parametrize(("entry", "changes"), REASONING)
def test_an_entry_shows_reasoning(entry: dict[str, Any], changes: dict[str, Any]) -> None:
    assert refined(DEEPSEEK, entry).reasoning == replace(DEEPSEEK.reasoning, **changes)


def test_an_entry_without_efforts_leaves_those_that_were_guessed() -> None:
    guessed = to_target("gpt-5.5", COMPATIBLE).reasoning
    assert guessed.supported_efforts
    assert refined(to_target("gpt-5.5", COMPATIBLE), {"reasoning": {"mandatory": True}}).reasoning == replace(
        guessed, mandatory=True
    )


def test_another_upstreams_list_does_not_decide_how_models_are_asked_to_think() -> None:
    target = to_target("gpt-5.5", COMPATIBLE)
    assert refined(target, {"supported_parameters": ["seed"]}).reasoning == target.reasoning


def test_stop_sequences_that_a_model_was_not_trusted_with_stay_with_the_gateway() -> None:
    assert GPT.stop_limit == 0
    assert refined(GPT, {"supported_parameters": EVERYTHING}).stop_limit == 0


@pytest.mark.parametrize("target", [CLAUDE, GPT, STRICT, OPENAI_PLAIN])
def test_an_entry_that_says_nothing_changes_nothing(target: Target) -> None:
    assert refined(target, {"id": target.model, "owned_by": "x"}) == target


def test_essentials_of_an_entry_refine_a_target_as_the_whole_does() -> None:
    entry = {
        "context_length": 7,
        "top_provider": {"max_completion_tokens": 5},
        "supported_parameters": ["seed", "reasoning"],
        "reasoning": {"mandatory": True},
    }
    for whole in (entry, {"max_model_len": 9}):
        assert refined(DEEPSEEK, essentials({**whole, "name": "x"})) == refined(DEEPSEEK, whole)
        assert refined(DEEPSEEK, whole) != DEEPSEEK


def test_only_what_is_read_is_kept() -> None:
    entry = {"id": "m", "description": "long", "context_length": 5, "reasoning": {}}
    assert essentials(entry) == {"context_length": 5, "reasoning": {}}


# What it changes in requests

PLAIN = replace(DEEPSEEK, unsupported=DISPENSABLE, max_output=1000)


def test_parameters_that_the_model_does_not_take_are_left_out_and_noted() -> None:
    conversion = convert(PLAIN, temperature=0.5, top_p=0.9, top_k=3, seed=5, openrouter={"min_p": 0.1})
    assert not DISPENSABLE & conversion.body.keys()
    assert sorted(losses(conversion)) == [
        ("dropped", name) for name in ("openrouter.min_p", "seed", "temperature", "top_k", "top_p")
    ]


def test_every_parameter_that_can_be_left_out_is() -> None:
    asked = {
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "logprobs": True,
        "min_p": 0.1,
        "presence_penalty": 0.5,
        "repetition_penalty": 1.5,
        "seed": 5,
        "temperature": 0.5,
        "top_a": 0.5,
        "top_k": 5,
        "top_logprobs": 5,
        "top_p": 0.5,
    }
    taken = convert(DEEPSEEK, **asked).body
    assert {name: taken.get(name) for name in asked} == asked
    listed = refined(DEEPSEEK, {"supported_parameters": ["max_tokens"]})
    conversion = convert(listed, **asked)
    assert conversion.body.keys() == {"model", "messages", "max_tokens"}
    assert sorted(losses(conversion)) == [("dropped", name) for name in sorted(asked)]


def test_a_default_that_is_left_out_is_no_loss() -> None:
    conversion = convert(PLAIN, temperature=1.0, top_p=1)
    assert not DISPENSABLE & conversion.body.keys()
    assert losses(conversion) == []


@pytest.mark.parametrize(
    ("asked", "sent", "noted"),
    [
        pytest.param({"max_tokens": 1001}, 1000, [("changed", "max_tokens")], id="more than it writes"),
        pytest.param({"max_tokens": 1000}, 1000, [], id="as much as it writes"),
        pytest.param({"max_tokens": 5}, 5, [], id="less"),
    ],
)
def test_the_answers_limit_is_the_models(asked: dict[str, Any], sent: int, noted: list[Any]) -> None:
    conversion = convert(PLAIN, **asked)
    assert conversion.body["max_tokens"] == sent
    assert losses(conversion) == noted


@pytest.mark.parametrize(("most", "budget"), [(8000, 6000), (4000, 6000), (3000, 4500), (2000, 3000), (500, 1024)])
def test_a_thinking_budget_stays_the_same_part_of_what_the_model_writes(most: int, budget: int) -> None:
    """Claude Code asks for 31,999 of 32,000 tokens."""
    thinking = {"type": "enabled", "budget_tokens": 6000}
    body = convert(replace(CLAUDE, max_output=2 * most), max_tokens=8000, thinking=thinking).body
    assert (body["max_tokens"], body["reasoning"]["max_tokens"]) == (min(8000, 2 * most), budget)


OFF = {"id": "context-compression", "enabled": False}
OTHER = {"id": "file-parser"}
ON = {"id": "context-compression"}
COMPRESSION = [
    pytest.param(DEEPSEEK, 8192, {}, [OFF], id="R28 is off where it would be on"),
    pytest.param(DEEPSEEK, 8192, {"plugins": [OTHER]}, [OTHER, OFF], id="R28 is off beside other plugins"),
    pytest.param(DEEPSEEK, 8192, {"plugins": [ON]}, [ON], id="R28 is the client's to ask for"),
    pytest.param(DEEPSEEK, 8192, {"transforms": ["middle-out"]}, None, id="R28 also by its old name"),
    pytest.param(DEEPSEEK, 8193, {}, None, id="R28 is not mentioned for long contexts"),
    pytest.param(DEEPSEEK, None, {}, None, id="R28 nor for unknown ones"),
    pytest.param(STRICT, 4096, {}, None, id="R28 nor on other upstreams"),
]


@pytest.mark.parametrize(("target", "length", "asked", "plugins"), COMPRESSION)
def test_leaving_out_parts_of_a_conversation(
    target: Target, length: int | None, asked: dict[str, Any], plugins: list[Any] | None
) -> None:
    assert convert(replace(target, context_length=length), **asked).body.get("plugins") == plugins


LENGTHS = {
    "OpenRouter": (
        {"context_length": 100, "top_provider": {"context_length": 90, "max_completion_tokens": 9}},
        (90, 9),
    ),
    "vLLM and SGLang": ({"max_model_len": 40960}, (40960, None)),
    "Groq": ({"context_window": 131072, "max_completion_tokens": 65536}, (131072, 65536)),
    "Mistral": ({"max_context_length": 131072}, (131072, None)),
    "llama.cpp, a slot's": ({"meta": {"n_ctx_train": 131072, "n_ctx": 8192}}, (8192, None)),
    "LiteLLM": ({"max_input_tokens": 8000, "max_output_tokens": 4000}, (8000, 4000)),
    "LM Studio, as loaded": ({"max_context_length": 131072, "loaded_context_length": 4096}, (4096, None)),
    "Gemini": ({"inputTokenLimit": 1048576, "outputTokenLimit": 65536}, (1048576, 65536)),
    "Novita": ({"context_size": 163840, "max_output_tokens": 8000}, (163840, 8000)),
    "GitHub Models": ({"limits": {"max_input_tokens": 128000, "max_output_tokens": 4096}}, (128000, 4096)),
    "DeepInfra": ({"metadata": {"context_length": 40960, "max_tokens": 16384}}, (40960, 16384)),
    "models.dev": ({"limit": {"context": 200000, "output": 64000}}, (200000, 64000)),
    "Copilot": (
        {"capabilities": {"limits": {"max_context_window_tokens": 128000, "max_output_tokens": 16384}}},
        (128000, 16384),
    ),
    "Venice": ({"model_spec": {"availableContextTokens": 65536}}, (65536, None)),
    "no counts": ({"context_length": "many", "max_model_len": -1, "meta": None}, (None, None)),
}


@pytest.mark.parametrize(("entry", "lengths"), LENGTHS.values(), ids=LENGTHS)
def test_lengths_are_read_from_each_servers_list(entry: dict[str, Any], lengths: tuple[int | None, int | None]) -> None:
    assert lengths_of(entry) == lengths


SEEING: dict[str, dict[str, Any]] = {
    "OpenRouter": {"architecture": {"input_modalities": ["text", "image"]}},
    "xAI": {"input_modalities": ["text", "image"]},
    "models.dev": {"modalities": {"input": ["text", "image"]}},
    "Mistral": {"capabilities": {"vision": True}},
    "Copilot": {"capabilities": {"supports": {"vision": True}}},
    "Fireworks": {"supports_image_input": True},
    "LiteLLM": {"supports_vision": True},
    "LM Studio": {"type": "vlm"},
}


@pytest.mark.parametrize("entry", SEEING.values(), ids=SEEING)
def test_models_that_see_images_are_known_by_each_servers_list(entry: dict[str, Any]) -> None:
    assert sees_images(entry)


@pytest.mark.parametrize("entry", [{}, {"supports_vision": "yes"}, {"capabilities": ["vision"]}, {"type": "llm"}])
def test_models_that_no_list_calls_seeing_are_not(entry: dict[str, Any]) -> None:
    assert not sees_images(entry)
