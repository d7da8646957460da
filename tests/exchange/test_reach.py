"""Models that a request reaches beside its own."""

from typing import Any

import pytest

from gateway.exchange.reach import MOST_CALLS, NOTHING_ELSE, USUAL_ANSWER, USUAL_CALLS, Reach, joined, reach_of
from gateway.messages.tools.tool_cache import CachedTools

ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "m/dear"}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}
OWN_TOOL = {"name": "advisor", "input_schema": {"type": "object"}}


def of_openrouter(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": f"openrouter:{kind}", "parameters": parameters}


def system(definition: Any) -> dict[str, Any]:
    tool = {"type": "tool_definition", "definition": definition}
    return {"role": "system", "content": [{"type": "tool_addition", "tool": tool}]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, NOTHING_ELSE, id="a plain request"),
        pytest.param({"fallbacks": [{"model": "m/b"}, {"model": 3}]}, Reach(("m/b",)), id="fallbacks of Anthropic"),
        pytest.param({"fallbacks": ["m/b"]}, Reach(("m/b",)), id="fallbacks by name alone"),
        pytest.param({"models": ["m/b", "m/c", "m/b"]}, Reach(("m/b", "m/c")), id="models of OpenRouter"),
        *(
            pytest.param({name: {"models": ["m/b"]}}, Reach(("m/b",)), id=f"models in {name}")
            for name in ("openrouter", "openai", "upstream")
        ),
        pytest.param({"preset": "mine"}, Reach(presets=("@preset/mine",)), id="a preset"),
        pytest.param({"preset": "@preset/mine"}, Reach(presets=("@preset/mine",)), id="a preset with its mark"),
        pytest.param({"upstream": {"preset": "mine"}}, Reach(presets=("@preset/mine",)), id="a preset in an object"),
        pytest.param(
            {"models": ["m/b@preset/mine"]}, Reach(("m/b@preset/mine",)), id="a fallback with one"
        ),
        pytest.param({"model": "m/a:online"}, Reach(calls=1), id="a model that searches first"),
        pytest.param({"web_search_options": {}}, Reach(calls=1), id="a search by options"),
        pytest.param({"plugins": [{"id": "web"}, {"id": "response-healing"}, "web"]}, Reach(calls=1), id="a plugin"),
        pytest.param({"plugins": [{"id": "web", "enabled": False}]}, NOTHING_ELSE, id="a plugin that is off"),
        pytest.param(
            {"plugins": [{"id": "auto-router", "allowed_models": ["m/*"]}]}, Reach(("m/*",)), id="models of a router"
        ),
        pytest.param(
            {"openrouter": {"plugins": [{"id": "fusion", "model": "m/judge"}]}},
            Reach(("m/judge",), (), ("openrouter.plugins.0",), 32, USUAL_ANSWER),
            id="a panel that OpenRouter chooses",
        ),
        pytest.param(
            {"plugins": [{"id": "fusion", "model": "m/j", "analysis_models": ["m/b"], "max_tool_calls": 4}]},
            Reach(("m/j", "m/b"), calls=8, longest=USUAL_ANSWER),
            id="a panel that the request names",
        ),
        pytest.param({"tools": [OWN_TOOL, {"type": "custom", **OWN_TOOL}, "advisor"]}, NOTHING_ELSE, id="own tools"),
        pytest.param(
            {"tools": [{"type": "tool_search_tool_regex", "name": "s"}, {"type": 1}]}, NOTHING_ELSE, id="a tool search"
        ),
        pytest.param({"tools": [SEARCH]}, Reach(calls=USUAL_CALLS), id="a web search"),
        pytest.param({"tools": [SEARCH | {"max_uses": 2}, ADVISOR | {"max_uses": 1, "max_tokens": 70}]},
                     Reach(("m/dear",), calls=3, longest=70), id="tools with their limits"),
        pytest.param({"tools": [SEARCH | {"max_uses": 9**9}]}, Reach(calls=MOST_CALLS), id="a limit that is none"),
        pytest.param({"tools": [SEARCH | {"max_uses": "2"}]}, Reach(calls=USUAL_CALLS), id="a limit that is no number"),
        pytest.param({"tools": [SEARCH], "max_tool_calls": 2}, Reach(calls=2), id="a limit of the request"),
        pytest.param({"tools": [ADVISOR]}, Reach(("m/dear",), calls=5, longest=USUAL_ANSWER), id="an advisor"),
        pytest.param(
            {"tools": [of_openrouter("advisor", model="m/dear", max_completion_tokens=90)]},
            Reach(("m/dear",), calls=5, longest=90),
            id="an advisor of OpenRouter",
        ),
        pytest.param(
            {"tools": [OWN_TOOL, of_openrouter("advisor", model="")]},
            Reach((), (), ("tools.1",), 5, USUAL_ANSWER),
            id="an advisor that the model chooses",
        ),
        pytest.param(
            {"tools": [{"type": "openrouter:image_generation"}]},
            Reach((), (), ("tools.0",), 5, USUAL_ANSWER),
            id="a model for images by default",
        ),
        pytest.param(
            {"tools": [of_openrouter("fusion", model="m/j", analysis_models=["m/b", "m/c"])]},
            Reach(("m/j", "m/b", "m/c"), calls=24, longest=USUAL_ANSWER),
            id="a panel as a tool",
        ),
        pytest.param(
            {"tools": [of_openrouter("subagent", model="m/b", tools=[of_openrouter("advisor", model="m/c"), {}])]},
            Reach(("m/b", "m/c"), calls=10, longest=USUAL_ANSWER),
            id="an advisor of a subagent",
        ),
        pytest.param(
            {"tools": [of_openrouter("subagent", model="m/b", tools=[
                of_openrouter("subagent", model="m/c", tools=[of_openrouter("advisor", model="m/d")])])]},
            Reach(("m/b", "m/c"), (), ("tools.0",), 10, USUAL_ANSWER),
            id="tools that nest deeper than is looked",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "hi"}, system(ADVISOR), system(OWN_TOOL), system(None)]},
            Reach(("m/dear",), calls=5, longest=USUAL_ANSWER),
            id="an advisor that joins later",
        ),
        pytest.param(
            {"fallbacks": 1, "models": {"a": 1}, "plugins": 3, "tools": {"type": 1}, "messages": "hi", "openai": [1]},
            Reach(),
            id="values of wrong types",
        ),
    ],
)  # fmt: skip
def test_request_reaches(fields: dict[str, Any], expected: Reach) -> None:
    request = {"model": "m/a", "messages": [{"role": "user", "content": "hi"}], **fields}
    assert reach_of(request) == expected
    names_all = not (expected.presets or expected.open_choices or "m/b@preset/mine" in expected.models)
    assert expected.is_unknown is not names_all
    if isinstance(fields.get("tools"), list):
        assert reach_of({**request, "tools": CachedTools(fields["tools"])}) == expected


def test_reach_of_several_requests_is_added_up() -> None:
    one, other = Reach(("m/a",), ("@preset/x",), ("tools.0",), 2, 30), Reach(("m/b", "m/a"), (), (), 3, 20)
    assert joined(one, NOTHING_ELSE, other) == Reach(("m/a", "m/b"), ("@preset/x",), ("tools.0",), 5, 30)
    assert joined(NOTHING_ELSE, one) is one
    assert joined(NOTHING_ELSE, NOTHING_ELSE) is NOTHING_ELSE
