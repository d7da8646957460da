"""What a refused request is sent without: what the refusal may be about, once, noted, with every schema kept."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks import Remedy, to_remedy
from gateway.dialects.chat.response.errors import rejects_strict, to_embedded_error, to_error
from gateway.errors import GatewayError
from gateway.upstream.target import Target
from tests.support.conversions import CLAUDE, DEEPSEEK, HELLO, STRICT, assistant, convert, losses, text, tool, user
from tests.support.streams import reply

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}
NO_ENDPOINT = "No endpoints found that can handle the requested parameters."
THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}

ALLOWED = replace(DEEPSEEK, strict_fallback=True)


def refused(message: str = NO_ENDPOINT, status: int = 404) -> GatewayError:
    return to_error(status, {}, orjson.dumps({"error": {"message": message, "code": status}}), reply())


def remedy_for(conversion: Conversion, target: Target = ALLOWED, error: GatewayError | None = None) -> Remedy | None:
    return to_remedy(conversion, target, error or refused())


def strict_tool(**more: Any) -> dict[str, Any]:
    return tool(strict=True, **more)


# The request; strict of each tool and of the schema as they go the second time; what is noted.
STRICT_ONES: dict[str, tuple[dict[str, Any], list[Any], Any, list[str]]] = {
    "a strict tool": ({"tools": [strict_tool()]}, [None], None, ["dropped:tools.strict"]),
    "a strict tool among others": (
        {"tools": [tool("a"), strict_tool(), tool("b", strict=False)]},
        [None, None, None],
        None,
        ["dropped:tools.strict"],
    ),
    "a schema": ({"output_config": FORMAT}, [], False, ["changed:response_format.strict"]),
    "a schema of chat's": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "mine", "schema": SCHEMA, "strict": True, "description": "d"},
            }
        },
        [],
        False,
        ["changed:response_format.strict"],
    ),
    "both": (
        {"tools": [strict_tool()], "output_config": FORMAT},
        [None],
        False,
        ["dropped:tools.strict", "changed:response_format.strict"],
    ),
}


@pytest.mark.parametrize("case", STRICT_ONES)
def test_o35_refused_strict_schemas_go_as_wishes_the_second_time(case: str) -> None:
    fields, of_tools, of_format, notes = STRICT_ONES[case]
    first = convert(ALLOWED, **fields)
    before = deepcopy(first.body)
    remedy = remedy_for(first)
    assert remedy is not None
    assert [f"{note.kind}:{note.field}" for note in remedy.notes] == notes
    body: Any = remedy.conversion.body
    assert [one["function"].get("strict") for one in body.get("tools", ())] == of_tools
    assert (body.get("response_format") or {}).get("json_schema", {}).get("strict") is of_format
    assert first.body == before, "the first body stays as it was"


@pytest.mark.parametrize("case", STRICT_ONES)
def test_o35_nothing_but_strictness_is_given_up(case: str) -> None:
    first = convert(ALLOWED, **STRICT_ONES[case][0])
    remedy = remedy_for(first)
    assert remedy is not None
    assert loosened(first.body) == loosened(remedy.conversion.body)
    assert replace(remedy.conversion, body=first.body) == first


def loosened(body: Any) -> Any:
    """Without the word, wherever it stands; schemas, names and the demand for a provider that knows them remain."""
    if isinstance(body, dict):
        return {name: loosened(value) for name, value in body.items() if name != "strict"}
    return [loosened(value) for value in body] if isinstance(body, list) else body


def test_o35_a_second_refusal_is_final() -> None:
    first = remedy_for(convert(ALLOWED, tools=[strict_tool()], output_config=FORMAT))
    assert first is not None
    assert remedy_for(first.conversion) is None


NO_REMEDY: dict[str, tuple[Target, dict[str, Any], GatewayError]] = {
    "the operator allows none": (DEEPSEEK, {"tools": [strict_tool()]}, refused()),
    "nothing was strict": (ALLOWED, {"tools": [tool(), tool("b", strict=False)]}, refused()),
    "it was JSON without a schema": (ALLOWED, {"response_format": {"type": "json_object"}}, refused()),
    "there were no tools": (ALLOWED, {}, refused()),
    "the refusal is about something else": (ALLOWED, {"tools": [strict_tool()]}, refused("temperature: too high", 400)),
    "the upstream failed": (ALLOWED, {"tools": [strict_tool()]}, refused("strict", 500)),
    "a server tool has no schema": (
        ALLOWED,
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        refused(),
    ),
}


@pytest.mark.parametrize("case", NO_REMEDY)
def test_o35_everything_else_is_refused_once(case: str) -> None:
    target, fields, error = NO_REMEDY[case]
    assert to_remedy(convert(target, **fields), target, error) is None


# OpenRouter's router, then single providers, as public issues of 2025 and 2026 quote them; the status with it.
REFUSALS: dict[str, tuple[int, str, bool]] = {
    "no endpoint with all parameters": (404, NO_ENDPOINT, True),
    "no endpoint with structured outputs": (404, "No endpoints found that support structured outputs", True),
    "no endpoint within the policy": (
        404,
        "No endpoints available matching your guardrail restrictions and data policy. Configure: x",
        True,
    ),
    "no endpoint within the policy, earlier": (404, "No endpoints found matching your data policy", True),
    "no endpoint, counted": (404, "0 endpoints out of 5 requested are available matching your guardrails", True),
    "no endpoint, as unavailable": (503, "No endpoints found that support the requested parameters.", True),
    "a field that a server does not know": (
        422,
        "body.tools.0.function.strict: Extra inputs are not permitted",
        True,
    ),
    "tools that differ": (422, "Tools with mixed values for 'strict' are not allowed.", True),
    "a schema that is none of strict ones": (
        400,
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be false.",
        True,
    ),
    "a schema of the answer": (400, "Invalid schema for response_format 'output': 'required' is required", True),
    "a schema that is too large": (400, "The compiled grammar is too large. Simplify your tool schemas", True),
    "a model that is not there": (404, "No endpoints found for acme/writer.", False),
    "a word that only holds it": (400, "This region is restricted.", False),
    "a limit": (429, "strict", False),
    "an account": (401, "strict", False),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_o35_a_refusal_of_strict_schemas_is_recognised(case: str) -> None:
    status, message, expected = REFUSALS[case]
    assert rejects_strict(refused(message, status)) is expected
    assert rejects_strict(to_embedded_error({"code": status, "message": message}, reply())) is expected


def test_o35_what_a_provider_behind_openrouter_said_counts() -> None:
    raw = {"raw": "Invalid schema for function 'f'", "provider_name": "Azure"}
    error = {"message": "Provider returned error", "code": 400, "metadata": raw}
    assert rejects_strict(to_embedded_error(error, reply()))


# Reasoning that cannot be verified, which needs nobody's permission.


def with_thought(target: Target = CLAUDE, **fields: Any) -> Conversion:
    return convert(target, messages=[HELLO, assistant(THOUGHT, text("Hi.")), user(text("Well?"))], **fields)


def test_refused_reasoning_is_left_out_once() -> None:
    first = with_thought()
    assert "reasoning_details" in first.body["messages"][1]
    error = refused("Invalid `signature` in `thinking` block", 400)
    remedy = to_remedy(first, CLAUDE, error)
    assert remedy is not None
    assert [f"{note.kind}:{note.field}" for note in remedy.notes] == ["dropped:reasoning"]
    assert "reasoning_details" not in remedy.conversion.body["messages"][1]
    assert to_remedy(remedy.conversion, CLAUDE, error) is None


def test_one_remedy_may_follow_the_other() -> None:
    target = replace(CLAUDE, strict_fallback=True)
    first = to_remedy(with_thought(target, tools=[strict_tool()]), target, refused())
    assert first is not None
    assert "reasoning_details" in first.conversion.body["messages"][1]
    second = to_remedy(first.conversion, target, refused("Invalid signature", 400))
    assert second is not None
    assert "reasoning_details" not in second.conversion.body["messages"][1]
    again: Any = second.conversion.body["tools"]
    assert "strict" not in again[0]["function"]


def test_o35_a_schema_that_nobody_keeps_to_is_noted_where_it_goes_as_a_wish() -> None:
    listed = replace(STRICT, strict_schemas=False)
    said: dict[str, Any] = {"output_config": FORMAT, "output_format": FORMAT["format"]}
    for name, path in {"output_config": "output_config.format", "output_format": "output_format"}.items():
        conversion = convert(replace(listed, strict_fallback=True), **{name: said[name]})
        wish = {"name": "output", "strict": False, "schema": SCHEMA}
        assert conversion.body["response_format"] == {"type": "json_schema", "json_schema": wish}
        assert losses(conversion) == [("changed", path)]
        assert convert(listed, **{name: said[name]}).notes == ()
