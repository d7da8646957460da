"""Chat requests that go out as their client wrote them."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat.original.request import is_plain, suits_model, to_body
from gateway.errors import InvalidRequest
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE, VENDORS

ASK: dict[str, Any] = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
USAGE = {"include_usage": True}


def route(vendor: str = "", model: str = "m") -> Route:
    row = VENDORS[vendor] if vendor else COMPATIBLE
    return Route("quick", Upstream("up", "http://up/v1", vendor=row), "chat", to_target(model, row))


KEYS = st.text(min_size=1, max_size=8).filter(lambda key: key not in ("model", "stream", "stream_options"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, database=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans(), st.integers(0, 2))
def test_bytes_go_out_but_for_model_and_usage(extra: dict[str, Any], streams: bool, place: int) -> None:
    members = [b"%b: %b" % (b'"' + key.encode().hex().encode() + b'"', _spelled(value)) for key, value in extra.items()]
    members.insert(min(place, len(members)), b'"model" :"quick"')
    written = b"{ " + b" ,\n".join(members) + b" }"
    request = {"model": "quick", "stream": streams}
    sent = to_body(written, request, "vendor/m")
    unnamed = written.replace(b'"model" :"quick"', b'"model" :"vendor/m"', 1)
    assert sent == (unnamed.replace(b"{", b'{"stream_options":{"include_usage":true},', 1) if streams else unnamed)


def _spelled(value: Any) -> bytes:
    """Numbers and escapes as no writer of ours spells them."""
    import json

    return json.dumps(value, ensure_ascii=True, separators=(", ", " : ")).encode()


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"include_usage": True}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({}, {"include_usage": True}),
        (None, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
def test_usage_is_asked_for_in_any_case(options: Any, sent: Any) -> None:
    request = {**ASK, "stream": True, "stream_options": options}
    assert orjson.loads(to_body(orjson.dumps(request), request, "m"))["stream_options"] == sent


@pytest.mark.parametrize("key", ["model", "stream_options"])
def test_key_that_is_named_twice_is_refused(key: str) -> None:
    request = {**ASK, "stream": True, "stream_options": {}}
    written = orjson.dumps(request)[:-1] + b',"%b":"other"}' % key.encode()
    with pytest.raises(InvalidRequest, match=f"{key} is named twice"):
        to_body(written, request, "m")


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("unknown fields", {"chat_template_kwargs": {"a": 1}, "n": 3, "logit_bias": {"5": 1}, "seed": 2**70}),
        ("a schema with a label", {"tools": [{**TOOL, "function": {"name": "a", "parameters": {"$schema": "x"}}}]}),
        ("tools", {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}),
        ("media", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        ("audio", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
        (
            "signed reasoning of the upstream",
            {"messages": [{"role": "assistant", "reasoning_details": [{"data": "x"}]}]},
        ),
    ],
)
def test_requests_that_pass(sentence: str, change: dict[str, Any]) -> None:
    assert is_plain(ASK | change), sentence


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("Responses' input", {"messages": None, "input": "Hello"}),
        ("flat tools", {"tools": [{"type": "function", "name": "look"}]}),
        ("custom tools", {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}),
        ("parameters to place", {"openai": {"seed": 1}}),
        ("storing", {"store": True}),
        (
            "a file of the account",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        ),
        ("parts of Responses", {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}),
        ("a custom call", {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "custom": {}}]}]}),
        ("sealed reasoning", {"messages": [{"role": "assistant", "reasoning_details": [{"signature": "gw1.x"}]}]}),
        ("no messages", {"messages": []}),
        ("a message that is none", {"messages": ["Hello"]}),
    ],
)
def test_requests_that_are_converted(sentence: str, change: dict[str, Any]) -> None:
    assert not is_plain(ASK | change), sentence


@pytest.mark.parametrize(
    ("vendor", "model", "change", "passes"),
    [
        ("", "m", {"max_completion_tokens": 5}, True),
        ("", "gpt-5", {"max_tokens": 5}, False),
        ("together", "m", {"max_tokens": 5}, True),
        ("groq", "m", {"max_tokens": 5}, False),
        ("groq", "m", {"max_completion_tokens": 5}, True),
        ("groq", "m", {"presence_penalty": 1}, False),
        ("mistral", "m", {}, False),
        ("openrouter", "m", {"reasoning_effort": "high", "provider": {}}, True),
        ("groq", "m", {"reasoning_effort": "xhigh"}, False),
        ("openai", "gpt-4o", {"reasoning_effort": "low"}, False),
        ("vllm", "m", {}, False),
        ("vllm", "m", {"chat_template_kwargs": {"enable_thinking": False}}, True),
        ("vllm", "m", {"chat_template_kwargs": {}, "tool_choice": "required", "tools": [TOOL]}, False),
        ("vllm", "m", {"min_tokens": 5, "tool_choice": "auto", "tools": [TOOL]}, True),
        ("vllm", "m", {"n": 2}, True),
        ("vllm", "m", {"n": 1, "seed": 5, "user": "u"}, False),
        ("vllm", "m", {"messages": [{"role": "user", "content": [{"type": "audio_url", "audio_url": {}}]}]}, True),
        ("vllm", "m", {"messages": [{"role": "assistant", "content": "It is"}], "min_tokens": 5}, False),
        ("mistral", "m", {"safe_prompt": True}, False),
        ("", "m", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, False),
        ("", "m", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}, "n": 2}, True),
        ("openai", "gpt-4o", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, True),
    ],
)
def test_request_suits_a_model_unless_its_row_says_otherwise(
    vendor: str, model: str, change: dict[str, Any], passes: bool
) -> None:
    assert suits_model(ASK | change, route(vendor, model), replays=False) is passes


def test_reasoning_that_comes_back_passes_where_the_server_takes_it() -> None:
    assert suits_model(ASK, route(), replays=True)
    assert not suits_model(ASK, route("openai", "gpt-4o"), replays=True)
    assert not suits_model(
        ASK, replace(route(), target=replace(route().target, reasoning_field="reasoning")), replays=True
    )
