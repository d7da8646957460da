"""Answers that may be kept, and values of the header. Hits are tested in tests/e2e/test_cache.py."""

from typing import Any

import pytest

from gateway.cache.policy import MAX_REQUEST_BYTES, CachePolicy, Demand, is_storable, to_demand
from gateway.context import Context
from gateway.errors import InvalidRequest
from tests.cache.conftest import to_message

HEADERS = {
    "use": Demand("use"),
    " USE ": Demand("use"),
    "refresh": Demand("refresh"),
    "bypass": Demand("bypass"),
    "max-age=60": Demand("use", max_age=60),
    "max-age=0": Demand("refresh"),
    "tools": Demand("use", tools=True),
    "use, tools": Demand("use", tools=True),
    "tools,max-age=5": Demand("use", max_age=5, tools=True),
    "refresh,tools": Demand("refresh", tools=True),
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.covers("Prompt cache · bypass, refresh and age per request")
def test_the_header_says(header: str) -> None:
    assert to_demand(header) == HEADERS[header]


@pytest.mark.parametrize(
    "header", ["", "yes", "use, refresh", "max-age=", "max-age=-1", "max-age=1.5", "max-age=9999999999", "use,"]
)
def test_the_header_may_not_say(header: str) -> None:
    with pytest.raises(InvalidRequest, match="use, refresh, bypass or max-age"):
        to_demand(header)


TEXT = {"type": "text", "text": "x", "citations": None}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {}}
WEB = {"type": "web_search_result_location", "url": "https://x.example/"}
USAGE = to_message()["usage"]

# Fields of a message, whether it may be kept, and whether it may where tools are asked for.
ANSWERS: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "text": ({}, True, True),
    "thinking and text": ({"content": [{"type": "thinking", "thinking": "", "signature": "s"}, TEXT]}, True, True),
    "a stop sequence": ({"stop_reason": "stop_sequence"}, True, True),
    "a quotation": ({"content": [{**TEXT, "citations": [{"type": "char_location"}]}]}, True, True),
    "a call": ({"content": [TEXT, CALL], "stop_reason": "tool_use"}, False, True),
    "a call that is said to be an end": ({"content": [CALL]}, False, True),
    "cut off": ({"stop_reason": "max_tokens"}, False, False),
    "cut off by the context": ({"stop_reason": "model_context_window_exceeded"}, False, False),
    "a refusal": ({"stop_reason": "refusal"}, False, False),
    "paused": ({"stop_reason": "pause_turn"}, False, False),
    "without an end": ({"stop_reason": None}, False, False),
    "nothing": ({"content": []}, False, False),
    "a search": ({"content": [{"type": "server_tool_use"}, TEXT]}, False, False),
    "found by a search": ({"usage": {**USAGE, "server_tool_use": {"web_search_requests": 1}}}, False, False),
    "no search": ({"usage": {**USAGE, "server_tool_use": {"web_search_requests": 0}}}, True, True),
    "a page of the web": ({"content": [{**TEXT, "citations": [WEB]}]}, False, False),
    "an unknown block": ({"content": [{"type": "of tomorrow"}]}, False, False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_may_be_stored(name: str) -> None:
    fields, without, with_tools = ANSWERS[name]
    message = to_message(**fields)
    assert (is_storable(message, tools=False), is_storable(message, tools=True)) == (without, with_tools)


def test_a_request_that_takes_long_to_fingerprint_goes_past_it() -> None:
    policy, request = CachePolicy(), {"model": "m"}
    assert policy.demand("use", Context("r"), request, MAX_REQUEST_BYTES) == Demand("use")
    assert policy.demand("use", Context("r"), request, MAX_REQUEST_BYTES + 1) == Demand("bypass", reason="size")


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (CachePolicy("off", routes=("*",)), True),
        (CachePolicy(), True),
        (CachePolicy(routes=("m",)), False),
        (CachePolicy(keys=frozenset("k")), False),
        (CachePolicy("on"), False),
    ],
)
def test_a_request_without_the_header_is_only_looked_at_where_something_else_may_ask(
    policy: CachePolicy, waits: bool
) -> None:
    assert policy.waits_to_be_asked is waits


def test_a_key_asks_by_its_id() -> None:
    policy = CachePolicy(keys=frozenset({"0123abcd"}))
    asked = [policy.demand(None, Context("r", key_id=key), {"model": "m"}, 10) for key in ("0123abcd", "other")]
    assert asked == [Demand("use"), None]
