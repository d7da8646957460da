"""Parameters that are not Anthropic's: which pass to chat upstreams, and in which ranges."""

from typing import Any

import pytest

from gateway.schemas.openai import PassThrough
from tests.support.bodies import FORMAT, NEW, body, check, check_unchanged, refusal, text

PASSED_THROUGH: dict[str, list[Any]] = {
    "frequency_penalty": [-2, 2, 0.5],
    "presence_penalty": [-2, 2],
    "repetition_penalty": [0, 2],
    "min_p": [0, 1],
    "top_a": [0, 1],
    "seed": [0, -1, 2**63 - 1],
    "logit_bias": [{}, {"50256": -100, "0": 100.0}],
    "logprobs": [True, False],
    "top_logprobs": [0],
    "n": [1],
    "stop": ["\n", ["a", "b"]],
    "max_completion_tokens": [1],
    "response_format": [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "python"},
        {"type": "grammar", "grammar": "root ::= x"},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
    ],
    "reasoning": [{"effort": "minimal", "exclude": True}, {"max_tokens": 2000, "mode": "pro"}],
    "reasoning_effort": ["none", "minimal", "low", "medium", "high", "xhigh", "max"],
    "include_reasoning": [True],
    "verbosity": ["low", "max"],
    "prediction": [{"type": "content", "content": "x"}, {"type": "content", "content": [text("x")]}],
    "modalities": [["text", "audio"]],
    "audio": [{"voice": "alloy", "format": "wav"}],
    "image_config": [{"aspect_ratio": "1:1"}],
    "parallel_tool_calls": [False],
    "web_search_options": [{"search_context_size": "low"}],
    "prompt_cache_key": ["k"],
    "prompt_cache_options": [{"mode": "explicit"}],
    "prompt_cache_retention": ["24h"],
    "user": ["u" * 512],
    "safety_identifier": ["s" * 128],
    "store": [False],
    "moderation": [{"model": "m"}],
    "models": [["a/b", "c/d"]],
    "provider": [
        {
            "order": ["x"],
            "only": ["x"],
            "ignore": ["y"],
            "allow_fallbacks": False,
            "require_parameters": True,
            "data_collection": "deny",
            "zdr": True,
            "enforce_distillable_text": True,
            "quantizations": ["fp8", "unknown"],
            "sort": "price",
            "max_price": {"prompt": 1, "completion": "2.5"},
            "preferred_max_latency": {"p90": 2},
            "options": {"x": {"safe_prompt": True}},
        },
        {"sort": {"by": "throughput", "partition": "none"}, "later_addition": 1},
    ],
    "plugins": [[{"id": "file-parser", "pdf": {"engine": "native"}}]],
    "route": ["fallback"],
    "transforms": [["middle-out"]],
    "session_id": ["s" * 256],
    "trace": [{"trace_id": "t"}],
    "preset": ["p"],
    "max_tool_calls": [1, 30],
    "stop_server_tools_when": [[{"type": "step_count_is", "step_count": 3}]],
    "deferred_tools": [{"protocol": "v1"}],
}


@pytest.mark.parametrize("name", PASSED_THROUGH)
def test_a_chat_parameter_passes_under_its_own_name_and_in_a_namespace(name: str) -> None:
    for value in PASSED_THROUGH[name]:
        for fields in (body(**{name: value}), body(openrouter={name: value}), body(openai={name: value})):
            assert check(fields) == (fields, [])


def test_the_table_above_names_every_chat_parameter() -> None:
    assert PASSED_THROUGH.keys() == PassThrough.__optional_keys__


REFUSED_PARAMETERS = {
    "frequency_penalty above 2": ("frequency_penalty", 2.1, "Input should be less than or equal to 2"),
    "frequency_penalty below -2": ("frequency_penalty", -2.1, "Input should be greater than or equal to -2"),
    "presence_penalty above 2": ("presence_penalty", 3, "Input should be less than or equal to 2"),
    "repetition_penalty above 2": ("repetition_penalty", 2.5, "Input should be less than or equal to 2"),
    "min_p above 1": ("min_p", 1.01, "Input should be less than or equal to 1"),
    "top_a below 0": ("top_a", -1, "Input should be greater than or equal to 0"),
    "a seed as text": ("seed", "1", "Input should be a valid integer"),
    "a seed beyond 64 bits": ("seed", 1.8446744073709552e19, "Input should be a valid integer"),
    "two replies": ("n", 2, "Input should be less than or equal to 1"),
    "no reply": ("n", 0, "Input should be greater than or equal to 1"),
    "too many logprobs": ("top_logprobs", 21, "Input should be less than or equal to 20"),
    "logprobs of tokens that are not asked for": ("top_logprobs", 5, "can only be used when logprobs is true"),
    "bias as a list": ("logit_bias", [1], "Input should be a valid dictionary"),
    "bias of a word": ("logit_bias", {"word": 1}, "keys should be token ids, not 'word'"),
    "bias of too many tokens": (
        "logit_bias",
        {str(i): 0 for i in range(1025)},
        "Dictionary should have at most 1024 items",
    ),
    "an unknown response format": (
        "response_format",
        {"type": "xml"},
        (
            "Input tag 'xml' found using 'type' does not match any of the expected tags: "
            "'text', 'json_object', 'python', 'json_schema', 'grammar'"
        ),
    ),
    "an unknown modality": ("modalities", ["smell"], "modalities.0: Input should be 'text', 'image' or 'audio'"),
    "a user beyond bounds": ("user", "u" * 513, "String should have at most 512 characters"),
    "too many tool calls": ("max_tool_calls", 31, "Input should be less than or equal to 30"),
    "an unknown verbosity": ("verbosity", "all", "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"),
    "a provider's order as text": ("provider", {"order": "x"}, "provider.order: Input should be a valid list"),
    "an unknown provider sort": (
        "provider",
        {"sort": {"by": "mood"}},
        "provider.sort.by: Input should be 'price', 'throughput', 'latency' or 'exacto'",
    ),
    "a named schema without name": (
        "response_format",
        {"type": "json_schema", "json_schema": {}},
        "response_format.json_schema.name: Field required",
    ),
    "a reserved price as a list": (
        "provider",
        {"max_price": {"prompt": []}},
        "provider.max_price.prompt: Input should be a valid number",
    ),
}


@pytest.mark.parametrize(("name", "value", "message"), REFUSED_PARAMETERS.values(), ids=REFUSED_PARAMETERS.keys())
@pytest.mark.covers("Chat parameters · ranges")
def test_a_chat_parameter_out_of_range_is_refused_by_its_path(name: str, value: Any, message: str) -> None:
    expected = message if message.startswith(name) else f"{name}: {message}"
    assert refusal(body(**{name: value})) == expected
    assert refusal(body(openrouter={name: value})) == f"openrouter.{expected}"


@pytest.mark.parametrize("value", [101, -101, "1", True, None, {}], ids=repr)
def test_a_bias_that_is_no_number_in_range_is_refused(value: Any) -> None:
    assert refusal(body(logit_bias={"7": value})) == "logit_bias.7: Input should be a number from -100 to 100"


def test_top_logprobs_are_accepted_with_logprobs() -> None:
    check_unchanged(body(logprobs=True, top_logprobs=20))


def test_two_different_efforts_are_refused() -> None:
    message = "reasoning_effort: differs from reasoning.effort; give only one of them"
    assert refusal(body(reasoning_effort="low", reasoning={"effort": "high"})) == message
    check_unchanged(body(reasoning_effort="low", reasoning={"effort": "low"}))
    check_unchanged(body(reasoning_effort="low", reasoning={"max_tokens": 1000}))


CONTRADICTING_FORMATS = [
    ({"output_config": {"format": FORMAT}, "output_format": FORMAT}, "output_format", "output_config.format"),
    (
        {"output_config": {"format": FORMAT}, "response_format": {"type": "json_object"}},
        "response_format",
        "output_config.format",
    ),
    ({"output_format": FORMAT, "response_format": {"type": "text"}}, "response_format", "output_format"),
]


@pytest.mark.parametrize(("changes", "second", "first"), CONTRADICTING_FORMATS)
def test_two_output_formats_are_refused(changes: dict[str, Any], second: str, first: str) -> None:
    assert refusal(body(**changes)) == f"{second}: cannot be combined with {first}"


@pytest.mark.parametrize("namespace", ["openrouter", "openai"])
@pytest.mark.parametrize("name", ["model", "messages", "tools", "stream", "max_tokens"])
def test_a_namespace_cannot_change_what_the_request_itself_says(namespace: str, name: str) -> None:
    assert refusal(body(**{namespace: {name: None}})) == f"{namespace}.{name}: Extra inputs are not permitted"


def test_a_namespace_carries_fields_with_other_ranges_and_unknown_ones() -> None:
    fields = body(openrouter={"temperature": 1.7, "service_tier": "flex", "brand_new": [1]}, openai=None)
    assert check(fields, NEW) == (fields, [])
