"""Second tries of refused requests: once, noted, and with every schema kept."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import OF_SCHEMAS, adapted, apply
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.chat.response.errors.client_error import to_embedded_error, to_error
from gateway.errors import GatewayError, InvalidRequest
from gateway.messages.tools.tool_cache import ChatTools
from gateway.upstream.models.target import Target
from gateway.upstream.vendors.adaptation import Adaptation
from tests.support.bodies import assistant, system, user
from tests.support.conversions import CLAUDE, DEEPSEEK, HELLO, STRICT, convert, losses, text, tool
from tests.support.streams import reply

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}
NO_ENDPOINT = "No endpoints found that can handle the requested parameters."
THOUGHT = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}

ALLOWED = replace(DEEPSEEK, strict_fallback=True)


def refused(message: str = NO_ENDPOINT, status: int = 404) -> GatewayError:
    return to_error(status, {}, orjson.dumps({"error": {"message": message, "code": status}}), reply())


def healed(conversion: Conversion, target: Target = ALLOWED, error: GatewayError | None = None) -> Conversion | None:
    """Return the request after the refusal; None when there is no second try."""
    adaptation = to_adaptation(error or refused(), conversion, target)
    return None if adaptation is None else adapted(conversion, [adaptation])


def said(first: Conversion, second: Conversion) -> list[str]:
    """Return the notes that the second try adds."""
    return [f"{note.kind}:{note.field}" for note in second.notes[len(first.notes) :]]


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
@pytest.mark.covers("Messages · structured output")
def test_o35_refused_strict_schemas_are_sent_without_strict_the_second_time(case: str) -> None:
    fields, of_tools, of_format, notes = STRICT_ONES[case]
    first = convert(ALLOWED, **fields)
    before = deepcopy(first.body)
    second = healed(first)
    assert second is not None
    assert said(first, second) == notes
    body: Any = second.body
    assert [one["function"].get("strict") for one in body.get("tools", ())] == of_tools
    assert (body.get("response_format") or {}).get("json_schema", {}).get("strict") is of_format
    assert first.body == before, "the first body stays as it was"


@pytest.mark.parametrize("case", STRICT_ONES)
def test_o35_only_strictness_is_given_up(case: str) -> None:
    first = convert(ALLOWED, **STRICT_ONES[case][0])
    second = healed(first)
    assert second is not None
    assert loosened(first.body) == loosened(second.body)
    assert replace(second, body=first.body, notes=first.notes, refused=()) == first


def loosened(body: Any) -> Any:
    """Return it without the word, wherever that stands; schemas, names and the demand for a provider remain."""
    if isinstance(body, dict):
        return {name: loosened(value) for name, value in body.items() if name != "strict"}
    return [loosened(value) for value in body] if isinstance(body, list) else body


def test_o35_a_second_refusal_is_final() -> None:
    second = healed(convert(ALLOWED, tools=[strict_tool()], output_config=FORMAT))
    assert second is not None
    assert healed(second) is None


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
    assert healed(convert(target, **fields), target, error) is None


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
    "a schema beyond xgrammar": (400, "The provided JSON schema contains features not supported by xgrammar.", True),
    "a model that is not there": (404, "No endpoints found for acme/writer.", False),
    "a word that only holds it": (400, "This region is restricted.", False),
    "a limit": (429, "strict", False),
    "an account": (401, "strict", False),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_o35_a_refusal_of_strict_schemas_is_recognised(case: str) -> None:
    status, message, expected = REFUSALS[case]
    first = convert(ALLOWED, tools=[strict_tool()])
    embedded = to_embedded_error({"code": status, "message": message}, reply())
    for error in (refused(message, status), embedded):
        assert (healed(first, error=error) is not None) is expected


def test_o35_words_of_a_provider_behind_openrouter_are_read() -> None:
    raw = {"raw": "Invalid schema for function 'f'", "provider_name": "Azure"}
    error = to_embedded_error({"message": "Provider returned error", "code": 400, "metadata": raw}, reply())
    assert healed(convert(ALLOWED, tools=[strict_tool()]), error=error) is not None


# Reasoning that cannot be verified: leaving it out needs no permission.


def with_thought(target: Target = CLAUDE, **fields: Any) -> Conversion:
    return convert(target, messages=[HELLO, assistant(THOUGHT, text("Hi.")), user(text("Well?"))], **fields)


def test_refused_reasoning_is_left_out_once() -> None:
    first = with_thought()
    assert "reasoning_details" in first.body["messages"][1]
    error = refused("Invalid `signature` in `thinking` block", 400)
    second = healed(first, CLAUDE, error)
    assert second is not None
    assert said(first, second) == ["dropped:reasoning"]
    assert "reasoning_details" not in second.body["messages"][1]
    assert healed(second, CLAUDE, error) is None


@pytest.mark.parametrize(
    "message",
    [
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "Corrupted thought signature.",
        "Expected a thinking block first",
        "reasoning_details[0] is unknown",
        "The encrypted_content could not be verified",
    ],
)
def test_a_refusal_of_replayed_reasoning_is_recognised(message: str) -> None:
    assert healed(with_thought(), CLAUDE, refused(message, 400)) is not None
    assert healed(with_thought(), CLAUDE, refused("temperature: too high", 400)) is None


def test_one_adaptation_may_follow_another() -> None:
    target = replace(CLAUDE, strict_fallback=True)
    first = healed(with_thought(target, tools=[strict_tool()]), target)
    assert first is not None
    assert "reasoning_details" in first.body["messages"][1]
    second = healed(first, target, refused("Invalid signature", 400))
    assert second is not None
    assert "reasoning_details" not in second.body["messages"][1]
    tools: Any = second.body["tools"]
    assert "strict" not in tools[0]["function"]


# System messages that an upstream takes at the start only.

AT_THE_START = "System message must be at the beginning."


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, AT_THE_START),
        (500, f"While executing CallExpression at line 9 … Error: Jinja Exception: {AT_THE_START}"),
        (500, "Internal Server Error"),
        (500, ""),
        (400, "Unexpected role 'system' after role 'user'"),
        (400, "Only one system message is allowed"),
    ],
)
def test_a_refused_system_message_in_the_middle_is_sent_as_user_text_in_its_place(status: int, message: str) -> None:
    turns = [HELLO, assistant(text("Two.")), user(text("Three.")), system(text("Few tokens left."))]
    first = convert(STRICT, system="Be kind.", messages=turns)
    before = deepcopy(first.body)
    second = healed(first, STRICT, refused(message, status))
    assert second is not None
    assert said(first, second) == ["changed:messages"]
    assert second.body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three.\n\n[system message]\nFew tokens left."},
    ]
    assert first.body == before, "the first body stays as it was"


def test_system_text_waits_for_the_results_of_calls_and_joins_the_users_words() -> None:
    body: Any = {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "system", "content": [{"type": "text", "text": "Hurry."}]},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "user", "content": [{"type": "text", "text": "Well?"}]},
        ]
    }
    rewritten, _ = apply(Adaptation("system_as_user"), body)
    assert [message["role"] for message in rewritten["messages"]] == ["user", "assistant", "tool", "tool", "user"]
    texts = [part["text"] for part in rewritten["messages"][-1]["content"]]
    assert texts == ["[system message]", "Hurry.", "Well?"]


def test_system_messages_at_the_start_become_one() -> None:
    body: Any = {
        "messages": [{"role": "developer", "content": "A"}, {"role": "system", "content": "B"}, dict(HELLO)],
    }
    rewritten, _ = apply(Adaptation("system_as_user"), body)
    assert rewritten["messages"] == [{"role": "developer", "content": "A\n\nB"}, HELLO]


@pytest.mark.parametrize("status", [500, 502])
def test_a_failure_is_no_refusal_where_nothing_in_the_request_can_be_meant(status: int) -> None:
    in_place = convert(STRICT, system="Be kind.", messages=[HELLO])
    assert healed(in_place, STRICT, refused("Internal Server Error", status)) is None
    turns = [HELLO, system(text("Be kind."))]
    assert healed(convert(STRICT, messages=turns), STRICT, refused("CUDA error", status)) is None


def test_500_of_a_chat_template_is_the_requests_fault() -> None:
    error = refused(f"Jinja Exception: {AT_THE_START}", 500)
    assert isinstance(error, InvalidRequest)
    assert not error.retryable


def test_o35_schema_that_the_upstream_does_not_enforce_is_noted_without_strict() -> None:
    listed = replace(STRICT, strict_schemas=False)
    said: dict[str, Any] = {"output_config": FORMAT, "output_format": FORMAT["format"]}
    for name, path in {"output_config": "output_config.format", "output_format": "output_format"}.items():
        conversion = convert(replace(listed, strict_fallback=True), **{name: said[name]})
        wish = {"name": "output", "strict": False, "schema": SCHEMA}
        assert conversion.body["response_format"] == {"type": "json_schema", "json_schema": wish}
        assert losses(conversion) == [("changed", path)]
        assert convert(listed, **{name: said[name]}).notes == ()


def test_an_adaptation_does_not_undo_the_one_before_it() -> None:
    open_schema = {name: value for name, value in SCHEMA.items() if name != "additionalProperties"}
    refusal = refused("Invalid schema for function 'f': 'additionalProperties' is required to be supplied.", 400)
    first = convert(ALLOWED, tools=[strict_tool(input_schema=open_schema)])
    second = healed(first, error=refusal)
    assert second is not None
    third = healed(second, error=refusal)
    assert third is not None
    assert third.body not in (first.body, second.body)
    assert said(second, third) == ["dropped:tools.strict"]


@pytest.mark.parametrize("kind", sorted(OF_SCHEMAS))
@pytest.mark.parametrize("with_format", [True, False])
def test_shared_tools_are_rewritten_as_others_and_once(kind: Any, with_format: bool) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "format": "uri", "pattern": "x"},
            "b": {"type": "array"},
            "c": True,
        },
        "required": ["a", "z"],
    }
    function = {"name": "look", "parameters": {**schema, "minProperties": 1}, "strict": True}
    tools = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "bare"}}]
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema, "strict": True}}
    more = {"response_format": form} if with_format else {}
    adaptation = Adaptation(kind, ("minProperties",))
    expected = apply(adaptation, cast(Any, {"model": "m", "tools": tools, "messages": [], **more}))
    body: Any = {"model": "m", "tools": ChatTools(tools, orjson.dumps(tools)), "messages": [], **more}
    first, second = apply(adaptation, body), apply(adaptation, body)
    assert first == second == expected
    assert list(first[0]) == list(expected[0])
    assert first[0]["tools"] is second[0]["tools"]
    assert isinstance(first[0]["tools"], ChatTools)
    assert first[0]["tools"].written == orjson.dumps(expected[0]["tools"])
    assert orjson.loads(body["tools"].written) == tools


def test_body_with_shared_tools_that_is_not_concerned_stays() -> None:
    tools = [{"type": "function", "function": {"name": "bare"}}]
    body: Any = {"model": "m", "tools": ChatTools(tools, orjson.dumps(tools)), "messages": []}
    assert apply(Adaptation("bare_schemas"), body) == (body, ())
    assert apply(Adaptation("bare_schemas"), body)[0] is body
