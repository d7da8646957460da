"""Refusals of servers that speak Messages, and the second try that answers each."""

from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from gateway.dialects.base import Prepared
from gateway.dialects.chat.vocabulary import SYSTEM_MARK
from gateway.dialects.native.heals import to_adapted
from gateway.messages.prompt import Received
from gateway.messages.tools.tool_cache import CachedTools, ToolCache
from gateway.upstream.vendors.adaptation import Adaptation
from tests.dialects.native.test_dialect import ANTHROPIC, ASKING, dialect, prompt_of, route_to, sent

Json = dict[str, Any]
LOCAL = route_to("llamacpp", "qwen3", "http://127.0.0.1:9/v1", "messages")
DEEP = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x)"}}, "additionalProperties": False}
BARE = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL: Json = {"name": "look", "description": "Look.", "input_schema": DEEP}
SERVER_TOOL: Json = {"type": "web_search_20250305", "name": "web_search"}
IMAGE: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
OMITTED: Json = {"type": "text", "text": "[image omitted: this model cannot read it]"}
GRAMMAR = "Failed to initialize samplers: failed to parse grammar"


def user(*content: Any) -> Json:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else [*content]}


def result_of(content: Any) -> Json:
    return user({"type": "tool_result", "tool_use_id": "a", "content": content})


# The refusal, the request, the fields after it.
CASES: dict[str, tuple[str, Json, Json]] = {
    "a grammar": (GRAMMAR, {"tools": [TOOL, SERVER_TOOL]}, {"tools": [{**TOOL, "input_schema": BARE}, SERVER_TOOL]}),
    "a grammar of the answer": (
        GRAMMAR,
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": DEEP}}},
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": BARE}}},
    ),
    "a pattern": (
        "Regex parse error: lookahead is not supported",
        {"tools": [TOOL]},
        {"tools": [{**TOOL, "input_schema": {**BARE, "additionalProperties": False}}]},
    ),
    "thinking": ('"qwen2" does not support thinking', {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {}),
    "more tokens than fit": (
        "max_tokens=9000 cannot be greater than max_model_len=8192.",
        {"max_tokens": 9000},
        {"max_tokens": 8192},
    ),
    "an image": (
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        {"messages": [user(IMAGE), result_of([IMAGE, "x"]), user("b")]},
        {"messages": [user(OMITTED), result_of([OMITTED, "x"]), user("b")]},
    ),
    "a document": (
        "unsupported content[].type: file is not supported",
        {"messages": [user({**IMAGE, "type": "document", "title": "a"})]},
        {"messages": [user({"type": "text", "text": "[document 'a' omitted: this model cannot read it]"})]},
    ),
    "a system message within the conversation": (
        "Jinja Exception: System message must be at the beginning.",
        {
            "system": "S",
            "messages": [user("a"), {"role": "assistant", "content": "b"}, {"role": "system", "content": "c"}],
        },
        {"system": "S", "messages": [user("a"), {"role": "assistant", "content": "b"}, user(f"{SYSTEM_MARK}\nc")]},
    ),
    "a named tool": (
        "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
        {"tools": [TOOL, {**TOOL, "name": "b"}], "tool_choice": {"type": "tool", "name": "look"}},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
    ),
}


def refused(prepared: Prepared, words: str, route: Any = LOCAL) -> Prepared | None:
    body = orjson.dumps({"error": {"code": 400, "message": words, "type": "invalid_request_error"}})
    native = dialect()
    return native.heal(prepared, route, native.error(400, {}, body, prepared))


@pytest.mark.parametrize("name", CASES)
def test_refused_part_is_rewritten_for_a_second_try(name: str) -> None:
    words, fields, expected = CASES[name]
    prepared = dialect().prepare(prompt_of(**fields), LOCAL, ASKING)
    healed = refused(prepared, words)
    assert healed is not None
    assert healed.notes
    assert healed.is_edited
    rest = {name: value for name, value in sent(prepared).items() if name not in fields}
    assert sent(healed) == rest | expected


@pytest.mark.parametrize("name", CASES)
def test_later_requests_avoid_what_was_refused(name: str) -> None:
    words, fields, _ = CASES[name]
    first = refused(dialect().prepare(prompt_of(**fields), LOCAL, ASKING), words)
    assert first is not None
    later = dialect().prepare(prompt_of(**fields), LOCAL, replace(ASKING, adaptations=first.healed))
    assert later.body == first.body
    assert later.is_edited
    other = prompt_of(stop_sequences=["x"])
    untouched = dialect().prepare(other, LOCAL, replace(ASKING, adaptations=first.healed))
    assert untouched.body == dialect().prepare(other, LOCAL, ASKING).body


def test_members_beside_the_refused_one_keep_their_bytes() -> None:
    wide = (
        b'[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n",'
        b'"input":{"id":123456789012345678901234567890,"text":"\\u00e9"}}]}]'
    )
    body = b'{"messages": %b, "top_k":3, "max_tokens":9}' % wide
    drop = Adaptation("drop_fields", ("top_k",))
    assert to_adapted(body, [drop])[0] == b'{"messages": %b,"max_tokens":9}' % wide
    assert to_adapted(body, [Adaptation("drop_fields", ("top_p",))])[0] is body


@pytest.mark.parametrize("name", CASES)
def test_refusals_of_claude_are_left_to_the_client(name: str) -> None:
    words, fields, _ = CASES[name]
    assert refused(dialect().prepare(prompt_of(**fields), ANTHROPIC, ASKING), words, ANTHROPIC) is None


def test_a_refusal_of_something_else_is_not_answered() -> None:
    prepared = dialect().prepare(prompt_of(tools=[TOOL, "no tool"], tool_choice="x", max_tokens="y"), LOCAL, ASKING)
    assert refused(prepared, "something is wrong") is None


@pytest.mark.parametrize(
    ("words", "fields", "is_tried_again"),
    [
        # A value that Anthropic's API takes, and this model does not.
        ("temperature must be 1 for this model", {"temperature": 0.5}, True),
        ("temperature: Input should be less than or equal to 1", {"temperature": 3}, False),
        ("top_p: Input should be a valid number", {"top_p": "x"}, False),
        ("top_k: Input should be greater than or equal to 0", {"top_k": -1}, False),
        ("thinking.type: Input should be 'enabled'", {"thinking": {"type": "on"}}, False),
        (
            "`max_tokens` must be greater than `thinking.budget_tokens`",
            {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 5000}},
            False,
        ),
        # The model has no such field, so its value does not matter.
        ("temperature is not supported by this model", {"temperature": 3}, True),
    ],
)
def test_a_value_that_no_messages_api_takes_is_refused(words: str, fields: Json, is_tried_again: bool) -> None:
    fields = {"max_tokens": 9000, **fields}
    prepared = dialect().prepare(prompt_of(**fields), LOCAL, ASKING)
    assert (refused(prepared, words) is not None) is is_tried_again


@pytest.mark.parametrize("name", CASES)
def test_parsed_request_gives_the_same_bytes(name: str) -> None:
    words, fields, _ = CASES[name]
    first = refused(dialect().prepare(prompt_of(**fields), LOCAL, ASKING), words)
    assert first is not None
    # Large enough for the cache of tools, which shares a list from its third occurrence on.
    more = {"tools": [TOOL], **fields, "vendor_field": "x" * 9000}
    body, cache = orjson.dumps({"model": "m", "max_tokens": 9000, "messages": [user("a")], **more}), ToolCache("?" * 32)
    parsed: Any = None
    for _ in range(4):
        parsed = cache.parse(body)
        assert to_adapted(body, first.healed, parsed) == to_adapted(body, first.healed)
    assert isinstance(parsed["tools"], CachedTools)


def test_parsed_request_does_not_stand_for_a_body_that_was_edited() -> None:
    learned = replace(ASKING, adaptations=(Adaptation("media_as_text", ("image_url",)),))
    foreign: Json = {"type": "thinking", "thinking": "Hm", "signature": "gw1.foreign"}
    prompt = prompt_of(foreign, {"type": "text", "text": "a"})
    cast(Any, prompt.request)["messages"].append(user(IMAGE))
    prompt.received = Received(orjson.dumps(prompt.request))
    prepared = dialect().prepare(prompt, LOCAL, learned)
    assert sent(prepared)["messages"][-1] == user(OMITTED)
    assert b"foreign" not in bytes(prepared.body)


def test_checked_request_does_not_stand_for_the_body_that_has_more_fields() -> None:
    learned = replace(ASKING, adaptations=(Adaptation("drop_fields", ("top_k",)),))
    prompt = prompt_of(top_k=1, vendor_field=1)
    prompt.check_as("2023-06-01", frozenset())
    prepared = dialect().prepare(prompt, LOCAL, learned)
    assert sent(prepared).keys() == {"model", "max_tokens", "messages", "vendor_field"}
