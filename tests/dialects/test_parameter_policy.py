"""Effects of an operator's policy on a request's parameters."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.parameter_policy import filled_from_header, governed
from gateway.errors import InvalidRequest
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.policy import ParameterPolicy, RequestPolicy, combined, narrowed, to_policy
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER

ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
CHAT = Route("m", Upstream("u", "http://u/v1", vendor=COMPATIBLE), "chat", to_target("m", COMPATIBLE))
ROUTER = Route("m", Upstream("u", "http://u/v1", vendor=OPENROUTER), "chat", to_target("a/m", OPENROUTER))
NATIVE = Route("m", Upstream("u", "http://u/v1", vendor=COMPATIBLE), "messages", to_target("m", COMPATIBLE))


def policy_of(*layers: dict[str, Any], off: tuple[str, ...] = ()) -> RequestPolicy:
    return RequestPolicy(
        combined({name: to_policy(name, value) for name, value in layer.items()} for layer in layers), frozenset(off)
    )


def outcome(
    request: dict[str, Any], *layers: dict[str, Any], route: Route = CHAT, off: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    given_before = repr(request)
    found, notes = governed({**ASK, **request}, policy_of(*layers, off=off), route)
    assert repr(request) == given_before
    return {name: value for name, value in found.items() if name not in ASK}, [note.text for note in notes]


@pytest.mark.parametrize(
    ("layers", "request_", "result", "notes"),
    [
        pytest.param([{"seed": 7}], {}, {"seed": 7}, [], id="default fills in"),
        pytest.param([{"seed": 7}], {"seed": 0}, {"seed": 0}, [], id="zero of the client is a value"),
        pytest.param(
            [{"seed": 7}], {"openai": {"seed": 1}}, {"openai": {"seed": 1}}, [], id="client's namespace is a value"
        ),
        pytest.param([{"seed": 7}, {"seed": 8}], {}, {"seed": 8}, [], id="inner default wins"),
        pytest.param(
            [{"temperature": {"min": 0.2, "max": 0.5}}],
            {"temperature": 1},
            {"temperature": 0.5},
            ["changed:temperature"],
            id="number is clamped",
        ),
        pytest.param(
            [{"temperature": {"max": 1}}],
            {"openai": {"temperature": 1.7}},
            {"openai": {"temperature": 1}},
            ["changed:openai.temperature"],
            id="number in a namespace is clamped",
        ),
        pytest.param(
            [{"top_p": {"max": 0.5}}, {"top_p": {"max": 0.9}}],
            {"top_p": 0.8},
            {"top_p": 0.5},
            ["changed:top_p"],
            id="inner layer does not loosen a bound",
        ),
        pytest.param(
            [{"reasoning_effort": {"default": "low", "max": "medium"}}],
            {"output_config": {"effort": "high"}},
            {"output_config": {"effort": "medium"}},
            ["changed:output_config.effort"],
            id="word under another name is clamped",
        ),
        pytest.param(
            [{"reasoning_effort": {"default": "xhigh", "max": "medium"}}],
            {},
            {"reasoning_effort": "medium"},
            [],
            id="default obeys the bounds",
        ),
        pytest.param(
            [{"reasoning_effort": "low"}],
            {"thinking": {"type": "disabled"}},
            {"thinking": {"type": "disabled"}},
            [],
            id="client's thinking keeps the effort out",
        ),
        pytest.param([{"store": {"deny": "drop"}}], {"store": True}, {}, ["dropped:store"], id="denied and dropped"),
        pytest.param(
            [{"service_tier": {"lock": "flex"}}],
            {"openai": {"service_tier": "priority"}},
            {"openai": {}, "service_tier": "flex"},
            ["changed:openai.service_tier"],
            id="lock replaces the client's value at any place",
        ),
        pytest.param([{"seed": {"lock": 1}}, {"seed": {"lock": 2}}], {}, {"seed": 1}, [], id="outer lock wins"),
        pytest.param(
            [{"enable_thinking": False}], {}, {"upstream": {"enable_thinking": False}}, [], id="name of no API here"
        ),
        pytest.param(
            [{"enable_thinking": {"lock": False}}],
            {"upstream": {"enable_thinking": True, "x": 1}},
            {"upstream": {"x": 1, "enable_thinking": False}},
            ["changed:upstream.enable_thinking"],
            id="lock of a name of no API here",
        ),
        pytest.param([{"stop": {"in": ["a", "b"]}}], {"stop_sequences": ["a"]}, {"stop_sequences": ["a"]}, [], id="in"),
        pytest.param([{"provider": {"lock": {"zdr": True}}}], {}, {}, [], id="OpenRouter's lock elsewhere"),
    ],
)
@pytest.mark.covers("Chat parameters · defaults, limits, locks and refusals by the operator")
def test_policy_of_a_parameter(
    layers: list[dict[str, Any]], request_: dict[str, Any], result: dict[str, Any], notes: list[str]
) -> None:
    assert outcome(request_, *layers) == (result, notes)


@pytest.mark.parametrize(
    ("layers", "request_", "message"),
    [
        ([{"store": {"deny": True}}], {"store": True}, "store: store is not allowed here"),
        ([{"store": {"deny": True}}], {"upstream": {"store": True}}, "upstream.store: store is not allowed here"),
        ([{"store": {"deny": True}}, {"store": {"deny": False}}], {"store": True}, "store: store is not allowed here"),
        ([{"verbosity": {"in": ["low"]}}], {"verbosity": "high"}, "verbosity: must be one of low on this gateway"),
        (
            [{"stop": {"in": ["a", "b"]}}, {"stop": {"in": ["b", "c"]}}],
            {"stop_sequences": ["c"]},
            "stop_sequences: must be one of b on this gateway",
        ),
    ],
)
def test_policy_refuses(layers: list[dict[str, Any]], request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        outcome(request_, *layers)
    assert caught.value.message == message


PROVIDER = {
    "provider": {
        "lock": {"zdr": True, "only": ["a", "b"], "ignore": ["x"]},
        "max_price": {"prompt": 5},
    }
}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"provider": value}, id="body")
        if place == "provider"
        else pytest.param({place: {"provider": value}}, id=place)
        for place in ("provider", "openrouter", "openai", "upstream")
        for value in [
            {"zdr": False, "only": ["b", "c"], "ignore": ["y"], "max_price": {"prompt": "9"}, "sort": "price"},
        ]
    ],
)
@pytest.mark.covers("OpenRouter · provider preferences, with locks that clients cannot loosen")
def test_locks_of_provider_are_not_loosened_at_any_place(request_: dict[str, Any]) -> None:
    found, notes = outcome(request_, PROVIDER, {"provider": {"lock": {"zdr": False}}}, route=ROUTER)
    assert found["provider"] == {
        "zdr": True,
        "only": ["b"],
        "ignore": ["x", "y"],
        "max_price": {"prompt": 5},
        "sort": "price",
    }
    assert len(notes) == 1
    assert all(not found.get(place) for place in ("openrouter", "openai", "upstream"))


def test_ceiling_and_lock_are_set_for_a_client_without_a_value() -> None:
    found, notes = outcome({}, PROVIDER, route=ROUTER)
    assert found == {
        "provider": {"zdr": True, "only": ["a", "b"], "ignore": ["x"], "max_price": {"prompt": 5}},
    }
    assert notes == []


def test_chat_defaults_are_not_sent_to_an_upstream_that_speaks_messages() -> None:
    assert outcome({}, {"seed": 7, "temperature": 0.3}, route=NATIVE) == ({"temperature": 0.3}, [])


@pytest.mark.parametrize(
    ("off", "request_", "message"),
    [
        (
            "multimodal",
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages.0.content: multimodal input is off on this gateway",
        ),
        (
            "multimodal",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "document"}]}]}]},
            "messages.0.content: multimodal input is off on this gateway",
        ),
        ("web_tools", {"tools": [{"type": "web_search_20250305"}]}, "tools.0: web tools are off on this gateway"),
        ("web_tools", {"web_search_options": {}}, "web_search_options: web tools are off on this gateway"),
    ],
)
@pytest.mark.covers("Chat parameters · features switched off")
def test_content_of_a_feature_that_is_off_is_refused(off: str, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        outcome(request_, off=(off,))
    assert caught.value.message == message


def test_parameters_of_a_feature_that_is_off_are_dropped_with_a_note() -> None:
    request = {"openai": {"seed": 1}, "openrouter": {"x": 1}, "store": True, "top_a": 0.5}
    found, notes = outcome(request, off=("openai_params",))
    assert found == {"openrouter": {"x": 1}, "top_a": 0.5}
    assert notes == ["dropped:openai", "dropped:store"]
    found, notes = outcome(request, off=("openrouter_params",))
    assert found == {"openai": {"seed": 1}, "store": True}
    assert notes == ["dropped:openrouter", "dropped:top_a"]


def test_request_without_anything_to_change_stays_the_same_object() -> None:
    request = {**ASK, "temperature": 0.5}
    assert governed(request, policy_of({"temperature": {"max": 1}}), CHAT)[0] is request


@pytest.mark.parametrize(
    ("text", "request_", "result"),
    [
        ('{"seed": 1}', {}, {"seed": 1}),
        ('{"seed": 1}', {"seed": 2}, {"seed": 2}),
        ('{"seed": 1}', {"openai": {"seed": 0}}, {"openai": {"seed": 0}}),
        ('{"enable_thinking": true}', {}, {"upstream": {"enable_thinking": True}}),
        ('{"reasoning_effort": "low"}', {"output_config": {"effort": "high"}}, {"output_config": {"effort": "high"}}),
    ],
)
@pytest.mark.covers("Chat parameters · x-gateway-params")
def test_header_fills_in_what_the_body_lacks(text: str, request_: dict[str, Any], result: dict[str, Any]) -> None:
    body = dict(request_)
    filled_from_header(body, text)
    assert body == result


@pytest.mark.parametrize("text", ["[]", "{", '{"model": "x"}', '{"openai": {}}', '{"a": "' + "x" * 5000 + '"}'])
def test_header_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^x-gateway-params: "):
        filled_from_header({}, text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"mx": 1}, 'unknown key "mx"'),
        ({"min": 2, "max": 1}, "min is above max"),
        ({"min": "low", "max": 1}, "min is above max"),
        ({"max": "a lot"}, "max: expected a number"),
        ({"deny": "yes"}, "deny: expected"),
        ({"in": "a"}, "in: expected a list"),
    ],
)
def test_policy_of_a_wrong_form_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_policy("temperature", value)


NUMBERS = st.one_of(st.none(), st.floats(0, 2), st.integers(0, 2))


@settings(max_examples=200)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4), st.floats(0, 3))
def test_no_inner_layer_loosens_the_outermost_bounds(bounds: list[tuple[Any, Any]], value: float) -> None:
    ordered = [sorted(pair) if None not in pair else pair for pair in bounds]
    layers = [ParameterPolicy(minimum=low, maximum=high) for low, high in ordered]
    outermost, found = layers[0], layers[0]
    for layer in layers[1:]:
        found = narrowed(found, layer)
    clamped = found.clamped(value)
    assert outermost.maximum is None or clamped <= outermost.maximum
    assert outermost.minimum is None or clamped >= outermost.minimum
