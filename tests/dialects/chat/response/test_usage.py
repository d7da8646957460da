"""Token arithmetic: an upstream counts the cached parts inside the prompt, Anthropic beside it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.usage import counts_of, estimated_usage, read_counts, requested_ttl, to_usage
from gateway.messages.fold import fold_events
from gateway.messages.usage import to_cost, to_delta_usage
from tests.support.streams import chunk, completion, finish, reply, say, told, usage


def counts(
    prompt: Any, completion: Any = 5, cached: Any = None, written: Any = None, thinking: Any = None
) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


# Upstream's counts; then input, cache read, cache written, output, thinking.
ROWS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int, int | None]]] = {
    "no cache": (counts(100), (100, 0, 0, 5, None)),
    "a cached part is subtracted": (counts(100, cached=60), (40, 60, 0, 5, None)),
    "a written part is subtracted": (counts(100, written=30), (70, 0, 30, 5, None)),
    "both are subtracted": (counts(100, cached=60, written=30), (10, 60, 30, 5, None)),
    "parts beyond the prompt leave zero": (counts(100, cached=90, written=30), (0, 90, 30, 5, None)),
    "DeepSeek's name for the cached part": (
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 64},
        (36, 64, 0, 5, None),
    ),
    "thinking is part of the output": (counts(10, 50, thinking=20), (10, 0, 0, 50, 20)),
    "thinking beyond the output is cut": (counts(10, 5, thinking=20), (10, 0, 0, 5, 5)),
    "the cached part under Anthropic's name": (
        {"prompt_tokens": 100, "completion_tokens": 5, "cache_read_input_tokens": 64},
        (36, 64, 0, 5, None),
    ),
    "the cached part under the name of Responses": (
        {"prompt_tokens": 100, "completion_tokens": 5, "input_tokens_details": {"cached_tokens": 64}},
        (36, 64, 0, 5, None),
    ),
    "thinking beside the output (xAI)": (
        {**counts(100, 7, thinking=100), "total_tokens": 207},
        (100, 0, 0, 107, 100),
    ),
    "thinking at the top, beside the output": (
        {"prompt_tokens": 100, "completion_tokens": 7, "reasoning_tokens": 50, "total_tokens": 157},
        (100, 0, 0, 57, None),
    ),
    "thinking at the top, part of the output": (
        {"prompt_tokens": 100, "completion_tokens": 57, "reasoning_tokens": 50, "total_tokens": 157},
        (100, 0, 0, 57, None),
    ),
    "a total that holds cached tokens too": (
        {**counts(100, 7, cached=60), "total_tokens": 167},
        (40, 60, 0, 7, None),
    ),
    "missing figures, of which the prompt is estimated": ({"total_tokens": 3}, (7, 0, 0, 0, None)),
    "broken figures": (
        {**counts("9", -1, True, 1.5, None), "prompt_tokens_details": [], "completion_tokens_details": "x"},
        (9, 0, 0, 0, None),
    ),
    "figures as texts": (counts("9", "2", "4", "0", "1"), (5, 4, 0, 2, 1)),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.covers("Messages · usage, with tokens read from and written to a cache")
def test_usage_of(row: str) -> None:
    given_counts, (uncached, read, written, output, thinking) = ROWS[row]
    result = to_usage(read_counts(given_counts), reply())
    assert result["input_tokens"] == uncached
    assert result["cache_read_input_tokens"] == read
    assert result["cache_creation_input_tokens"] == written
    assert result["output_tokens"] == output
    assert result.get("output_tokens_details") == (None if thinking is None else {"thinking_tokens": thinking})
    assert result["service_tier"] == "standard"


TIERS = [
    pytest.param("default", "standard", id="default"),
    pytest.param("auto", "standard", id="auto"),
    pytest.param("priority", "priority", id="priority"),
    pytest.param("flex", "flex", id="one that Anthropic has not"),
    pytest.param(None, "standard", id="null"),
    pytest.param("", "standard", id="empty"),
    pytest.param(5, "standard", id="no text"),
]


@pytest.mark.parametrize(("tier", "expected"), TIERS)
@pytest.mark.covers("OpenRouter · service tiers")
def test_o45_the_tier_that_answered_is_reported(tier: Any, expected: str) -> None:
    message = to_message(completion({"content": "a"}, service_tier=tier), reply()).message
    assert message["usage"]["service_tier"] == expected
    result = told(chunk({"content": "a"}, service_tier=tier), finish(service_tier=tier))
    assert fold_events(result.events)["usage"]["service_tier"] == expected
    assert result.events[0]["message"]["usage"]["service_tier"] == expected
    assert ("service_tier" in result.usage) == (expected != "standard")


def test_a_tier_that_comes_late_is_reported_at_the_end() -> None:
    result = told(say("a"), finish(service_tier="priority"))
    assert result.events[0]["message"]["usage"]["service_tier"] == "standard"
    assert result.usage["service_tier"] == "priority"


SUMS = [
    pytest.param({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, True, id="equal"),
    pytest.param({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}, False, id="more in the total"),
    pytest.param({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 4}, False, id="less in the total"),
    pytest.param({"prompt_tokens": 3, "completion_tokens": 2}, True, id="without a total"),
    pytest.param({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": "5 or so"}, False, id="no number"),
]


@pytest.mark.parametrize(("told_counts", "expected"), SUMS)
def test_a_sum_that_is_none_is_seen(told_counts: dict[str, int], expected: bool) -> None:
    assert read_counts(told_counts).adds_up is expected
    origin = to_message(completion({"content": "a"}, usage=told_counts), reply()).origin
    assert origin.mismatched is not expected
    assert not to_message(completion({"content": "a"}), reply()).origin.mismatched


NUMBERS = st.integers(0, 10_000)


@given(
    prompt=NUMBERS, cached=NUMBERS, written=NUMBERS, output=NUMBERS, thinking=NUMBERS, ttl=st.sampled_from(["5m", "1h"])
)
def test_the_parts_add_up(prompt: int, cached: int, written: int, output: int, thinking: int, ttl: Any) -> None:
    result = to_usage(read_counts(counts(prompt, output, cached, written, thinking)), reply(cache_ttl=ttl))
    parts = [result[name] for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")]
    assert sum(parts) == max(prompt or 7, cached + written)  # 7 is the estimate
    assert sum(result["cache_creation"].values()) == result["cache_creation_input_tokens"]
    assert result.get("output_tokens_details", {}).get("thinking_tokens", 0) <= result["output_tokens"]


@pytest.mark.parametrize(("ttl", "split"), [("5m", (30, 0)), ("1h", (0, 30))])
def test_written_tokens_belong_to_the_ttl_that_was_asked_for(ttl: Any, split: tuple[int, int]) -> None:
    result = to_usage(read_counts(counts(100, written=30)), reply(cache_ttl=ttl))
    assert tuple(result["cache_creation"].values()) == split
    assert list(result["cache_creation"]) == ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]


@pytest.mark.parametrize("name", ["server_tool_use_details", "server_tool_use"])
def test_web_searches_are_counted_under_either_name(name: str) -> None:
    result = to_usage(read_counts({**counts(1), name: {"web_search_requests": 2}}), reply())
    assert result["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}
    assert "server_tool_use" not in to_usage(read_counts({**counts(1), name: {"web_search_requests": 0}}), reply())


@pytest.mark.parametrize(
    ("said", "cost"),
    [(0.25, 0.25), (0, 0.0), (3, 3.0), (-1, None), (1e300, None), (True, None), ("1", None), (None, None)],
)
@pytest.mark.covers("OpenRouter · cost of each answer")
def test_cost_in_dollars(said: Any, cost: float | None) -> None:
    assert to_cost({"cost": said}) == cost


def test_a_message_delta_carries_what_is_known_only_at_the_end() -> None:
    whole = to_usage(
        read_counts({**counts(100, 50, 60, 30, 20), "server_tool_use": {"web_search_requests": 1}}),
        reply(cache_ttl="1h"),
    )
    assert to_delta_usage(whole, 0.5) == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30},
        "cost": 0.5,
    }
    assert to_delta_usage(estimated_usage(7, 9), None) == {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 3,
    }


@pytest.mark.parametrize("empty", [None, {}, [], 0, "none"])
def test_an_answer_without_a_count_has_none(empty: Any) -> None:
    assert counts_of({"usage": empty}) is None
    assert counts_of({}) is None


def test_a_stream_takes_the_last_count() -> None:
    counted = {**say("a"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    assert told(counted, finish(), usage(10, 5)).usage["output_tokens"] == 5
    assert told(counted, finish(), {"choices": [], "usage": {}}).usage["output_tokens"] == 1


def test_a_count_within_groqs_own_object_is_taken() -> None:
    end = {**finish(), "x_groq": {"id": "req_1", "usage": {"prompt_tokens": 40, "completion_tokens": 3}}}
    result = told(say("a"), end)
    assert (result.usage["input_tokens"], result.usage["output_tokens"]) == (40, 3)
    assert told({**say("a"), "x_groq": {"id": "req_1"}}, finish()).stream.origin.estimated
    behind = {"choices": [], "x_groq": {"usage": {"prompt_tokens": 40, "completion_tokens": 3}}}
    assert told(say("a"), finish(), behind).usage["input_tokens"] == 40


def test_a_stream_without_a_count_says_an_estimate() -> None:
    result = told(say("x" * 41), finish(), input_estimate=1234)
    assert (result.usage["input_tokens"], result.usage["output_tokens"]) == (1234, 11)
    assert result.stream.origin.estimated
    assert result.events[0]["message"]["usage"] == estimated_usage(1234)


def test_the_count_of_a_broken_stream_is_what_was_said_or_estimated() -> None:
    result = told(say("x" * 40), b"broken")
    assert result.failure is not None
    assert result.stream.usage == estimated_usage(7, 40)


CONTROL = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing cached": ({"messages": [{"role": "user", "content": "a"}]}, "5m"),
    "a string system": ({"system": "be brief", "messages": []}, "5m"),
    "five minutes": ({"messages": [{"content": [{"type": "text", "cache_control": SHORT}]}]}, "5m"),
    "an hour in a message": ({"messages": [{"content": [{"type": "text", "cache_control": CONTROL}]}]}, "1h"),
    "an hour in the system": ({"system": [{"type": "text", "cache_control": CONTROL}], "messages": []}, "1h"),
    "an hour on a tool": ({"tools": [{"name": "f", "cache_control": CONTROL}], "messages": []}, "1h"),
    "an hour for the whole request": ({"cache_control": CONTROL, "messages": []}, "1h"),
    "an hour beside five minutes": (
        {"cache_control": SHORT, "system": [{"cache_control": CONTROL}], "messages": []},
        "1h",
    ),
    "a null control": ({"cache_control": None, "messages": []}, "5m"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_the_ttl_of(case: str) -> None:
    request, ttl = REQUESTS[case]
    assert requested_ttl(request) == ttl


def test_a_count_may_come_before_the_end() -> None:
    assert told(say("a"), usage(3, 2), finish()).usage["output_tokens"] == 2
