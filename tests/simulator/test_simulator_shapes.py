"""The simulator's bodies, chunks and errors against the documented shapes of OpenRouter (2026-08/09)."""

from typing import Any

import pytest

from gateway.simulator.failures import (
    FAILURES,
    error_script,
    moderated_script,
    overflow_script,
    to_error_chunk,
    unavailable_script,
)
from gateway.simulator.script import Script
from gateway.simulator.shapes import (
    Completion,
    Generation,
    SimulatedToolCall,
    riffle,
    to_body,
    to_call_deltas,
    to_chunks,
    to_deltas,
    to_encrypted,
    to_fragments,
    to_signature,
    to_thinking,
    to_tokens,
    to_usage,
    to_usage_chunk,
    usage_of,
)
from tests.simulator.reading import body_of, joined_calls

GENERATION = Generation(7, 1_790_000_000, "sim/echo")
CALL = SimulatedToolCall("toolu_1", "get_weather", '{"city":"Zürich","days":3}')
HEAD = {
    "id": "gen-1790000000-sim000007",
    "provider": "Simulator",
    "model": "sim/echo",
    "created": 1_790_000_000,
    "system_fingerprint": "fp_simulator",
    "service_tier": "default",
}


def test_a_body_has_the_documented_keys() -> None:
    body = to_body(GENERATION, Completion(10, "Hello there"))
    assert body == {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "end_turn",
                "message": {"role": "assistant", "content": "Hello there", "refusal": None, "reasoning": None},
            }
        ],
        "usage": usage_of(Completion(10, "Hello there")),
    }


def test_a_body_carries_thinking_with_its_signature_and_calls_without_content() -> None:
    message = to_body(GENERATION, Completion(1, details=(to_thinking("Hm."),), calls=(CALL,)))["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning": "Hm.",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "Hm.",
                "signature": to_signature("Hm."),
                "format": "anthropic-claude-v1",
                "index": 0,
            }
        ],
        "tool_calls": [
            {
                "index": 0,
                "id": "toolu_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": CALL.arguments},
            }
        ],
    }


def test_usage_names_every_documented_count_and_its_cost() -> None:
    usage = to_usage(1000, 200, reasoning_tokens=50, cached_tokens=600, cache_write_tokens=100)
    assert usage == {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "cost": pytest.approx(0.002),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": pytest.approx(0.001),
            "upstream_inference_completions_cost": pytest.approx(0.001),
        },
        "completion_tokens_details": {"reasoning_tokens": 50},
    }


def test_usage_counts_thinking_text_and_calls_as_completion() -> None:
    usage = usage_of(Completion(5, "four", (to_thinking("thinking"),), (SimulatedToolCall("id", "name", "{}  "),)))
    assert usage["completion_tokens"] == to_tokens("thinking") + to_tokens("fourname{}  ") == 2 + 3
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("", 0, id="nothing is no token"),
        pytest.param("a", 1, id="a part of a token is a token"),
        pytest.param("abcd", 1, id="four bytes are one token"),
        pytest.param("üüü", 2, id="bytes are counted, not characters"),
    ],
)
def test_tokens_are_estimated_as_a_quarter_of_the_bytes(text: str, tokens: int) -> None:
    assert to_tokens(text) == to_tokens(text.encode()) == tokens


def test_a_stream_is_thinking_then_signature_then_text_then_calls_then_two_endings() -> None:
    chunks = to_chunks(
        GENERATION, Completion(9, "Hi you", (to_thinking("So so"),), (CALL,), finish_reason="tool_calls")
    )
    assert [_kind_of(chunk) for chunk in chunks] == [
        "reasoning",
        "reasoning",
        "signature",
        "text",
        "text",
        "call",
        *["arguments"] * 6,
        "finish tool_calls",
        "finish tool_calls with usage",
    ]


def test_every_chunk_repeats_the_head_and_every_delta_the_role() -> None:
    for chunk in to_chunks(GENERATION, Completion(9, "Hi", (to_thinking("So"),), (CALL,))):
        assert HEAD.items() <= chunk.items()
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["choices"][0]["delta"]["role"] == "assistant"
        assert "content" in chunk["choices"][0]["delta"]


def test_a_thinking_delta_says_its_text_twice_and_the_signature_comes_alone() -> None:
    first, signature = to_deltas(Completion(1, details=(to_thinking("So"),)))
    assert first == {
        "role": "assistant",
        "content": "",
        "reasoning": "So",
        "reasoning_details": [{"type": "reasoning.text", "text": "So", "format": "anthropic-claude-v1", "index": 0}],
    }
    assert signature == {
        "role": "assistant",
        "content": "",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "signature": to_signature("So"),
                "format": "anthropic-claude-v1",
                "index": 0,
            }
        ],
    }


def test_an_encrypted_detail_is_one_delta_under_the_id_of_its_call() -> None:
    detail = to_encrypted("toolu_1")
    assert detail["id"] == "toolu_1"
    assert to_deltas(Completion(1, details=(detail,))) == [
        {"role": "assistant", "content": "", "reasoning_details": [detail]}
    ]


def test_a_call_opens_with_id_and_name_and_its_fragments_have_only_the_index() -> None:
    opening, first, *_rest = to_call_deltas(1, CALL)
    assert opening["tool_calls"] == [
        {"index": 1, "id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    ]
    assert first["tool_calls"] == [{"index": 1, "type": "function", "function": {"arguments": '{"cit'}}]
    assert joined_calls([opening, first, *_rest]) == {1: ("toolu_1", "get_weather", CALL.arguments)}


def test_riffled_calls_alternate_until_the_shorter_ends_and_lose_nothing() -> None:
    short, long = to_call_deltas(0, SimulatedToolCall("a", "a", "{}")), to_call_deltas(1, CALL)
    deltas = list(riffle(short, long))
    assert [delta["tool_calls"][0]["index"] for delta in deltas] == [0, 1, 0, 1, *[1] * (len(long) - 2)]
    assert joined_calls(deltas) == {0: ("a", "a", "{}"), 1: ("toolu_1", "get_weather", CALL.arguments)}
    assert joined_calls(list(riffle(long, short))) == joined_calls(deltas)


def test_late_usage_comes_on_a_chunk_without_choices() -> None:
    chunk = to_usage_chunk(GENERATION, Completion(3, "Hi"))
    assert chunk["choices"] == []
    assert chunk["usage"] == usage_of(Completion(3, "Hi"))


@pytest.mark.parametrize("text", ["", "one", " two  words\n", "\n\n", "a\n\nb c", "  "])
def test_fragments_join_to_the_text(text: str) -> None:
    assert "".join(to_fragments(text)) == text


@pytest.mark.parametrize("status", sorted(FAILURES))
def test_each_status_has_its_error_body(status: int) -> None:
    script = error_script(status, reset_at=1_790_000_000)
    body = body_of(script)
    assert script.status == status == body["error"]["code"]
    assert body["error"]["message"]
    assert body["error"]["metadata"]["error_type"] == FAILURES[status].error_type
    assert body["user_id"]


def test_a_status_outside_the_table_is_unmapped() -> None:
    assert body_of(error_script(418))["error"]["metadata"] == {"error_type": "unmapped"}


@pytest.mark.parametrize("status", [502, 504, 524, 529])
def test_a_providers_failure_names_the_provider_and_its_words(status: int) -> None:
    metadata = body_of(error_script(status))["error"]["metadata"]
    assert metadata.keys() == {"error_type", "raw", "provider_name", "provider_code", "previous_errors"}


@pytest.mark.parametrize(
    ("status", "names"),
    [
        pytest.param(
            429,
            {"Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
            id="a rate limit says when and how much",
        ),
        pytest.param(503, {"Retry-After"}, id="no capacity says when"),
        pytest.param(400, set(), id="a wrong request says nothing"),
    ],
)
def test_hints_about_retries_come_with_the_statuses_that_have_them(status: int, names: set[str]) -> None:
    headers = dict(error_script(status, reset_at=1_790_000_000).headers)
    assert headers.keys() - {"Content-Type", "Content-Length"} == names
    if status == 429:
        assert headers["X-RateLimit-Reset"] == "1790000001000"


def test_an_error_chunk_has_a_choice_that_finished_with_error_beside_the_error() -> None:
    chunk = to_error_chunk(GENERATION)
    assert chunk["choices"][0]["finish_reason"] == "error"
    assert chunk["error"]["code"] == 502
    assert chunk["error"]["metadata"]["error_type"] == "provider_unavailable"


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        pytest.param(
            overflow_script(10),
            400,
            {"code": 400, "metadata": {"error_type": "context_length_exceeded"}},
            id="an overflow is a 400 that names itself",
        ),
        pytest.param(
            moderated_script("a/b", "x" * 500),
            403,
            {
                "code": 403,
                "metadata": {
                    "error_type": "content_policy_violation",
                    "reasons": ["violence"],
                    "flagged_input": "x" * 100,
                    "provider_name": "Simulator",
                    "model_slug": "a/b",
                },
            },
            id="a moderated prompt is quoted up to 100 characters",
        ),
        pytest.param(
            unavailable_script("a/b"),
            503,
            {"error_type": "provider_unavailable", "http_status": 503},
            id="the newest form has no code",
        ),
    ],
)
def test_special_refusals_have_their_own_bodies(script: Script, status: int, error: dict[str, Any]) -> None:
    body = body_of(script)["error"]
    assert script.status == status
    assert {key: body[key] for key in error} == error


def test_an_overflow_names_the_limit_and_a_size_above_it() -> None:
    assert "maximum context length is 200000 tokens" in body_of(overflow_script(10))["error"]["message"]
    assert "about 200001 tokens" in body_of(overflow_script(10))["error"]["message"]
    assert "about 300000 tokens" in body_of(overflow_script(300_000))["error"]["message"]


def test_an_unavailable_model_comes_with_the_way_out() -> None:
    error = body_of(unavailable_script("a/b"))["error"]
    assert "code" not in error
    assert error["availability"]["retryable"] is True
    assert error["availability"]["requested_models"] == ["a/b"]
    assert error["availability"]["fallback_models"] == ["sim/echo"]


def _kind_of(chunk: dict[str, Any]) -> str:
    choice = chunk["choices"][0]
    delta = choice["delta"]
    if choice["finish_reason"]:
        return f"finish {choice['finish_reason']}" + (" with usage" if "usage" in chunk else "")
    if "tool_calls" in delta:
        return "call" if "id" in delta["tool_calls"][0] else "arguments"
    if "reasoning_details" in delta:
        return "signature" if "signature" in delta["reasoning_details"][0] else "reasoning"
    return "text"
