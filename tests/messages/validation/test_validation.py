"""Shape and parameters of a request: what is refused, in which words, and what passes untouched."""

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.encode import SMALL_BODY, to_json
from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.validation import check_count_tokens_request
from gateway.messages.validation.depth import check_depth
from gateway.messages.validation.request import MESSAGES
from tests.support.bodies import (
    ABSENT,
    FORMAT,
    NEW,
    assistant,
    body,
    call,
    check,
    check_unchanged,
    document,
    image,
    refusal,
    result,
    system,
    text,
    tool,
    user,
)
from tests.support.conversions import CLAUDE, KEYRING

INTERLEAVED = frozenset({"interleaved-thinking-2025-05-14"})

ENABLED = {"type": "enabled", "budget_tokens": 1024}
FORCED = {"tools": [tool()], "tool_choice": {"type": "any"}}

MISSING_OR_MALFORMED = {
    "no model": (body(model=ABSENT), "model: Field required"),
    "an empty model": (body(model=""), "model: String should have at least 1 character"),
    "a model's name beyond bounds": (body(model="m" * 257), "model: String should have at most 256 characters"),
    "no max_tokens": (body(max_tokens=ABSENT), "max_tokens: Field required"),
    "negative max_tokens": (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    "max_tokens as text": (body(max_tokens="100"), "max_tokens: Input should be a valid integer"),
    "max_tokens as a fraction": (body(max_tokens=1.5), "max_tokens: Input should be a valid integer"),
    "max_tokens as a truth value": (body(max_tokens=True), "max_tokens: Input should be a valid integer"),
    "max_tokens beyond 64 bits": (
        body(max_tokens=1.8446744073709552e19),
        "max_tokens: Input should be a valid integer",
    ),
    "no messages": (body(messages=ABSENT), "messages: Field required"),
    "empty messages": (body(messages=[]), "messages: at least one message is required"),
    "messages as an object": (body(messages={}), "messages: Input should be a valid list"),
    "a message as text": (
        body(messages=["hi"]),
        "messages.0: Input should be a valid dictionary or object to extract fields from",
    ),
    "no role": (body(messages=[{"content": "hi"}]), "messages.0.role: Field required"),
    "an unknown role": (
        body(messages=[user("a"), {"role": "tool", "content": "b"}]),
        "messages.1.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "a role that is a list": (
        body(messages=[{"role": ["user"], "content": "b"}]),
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "no content": (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    "content that is null": (
        body(messages=[{"role": "user", "content": None}]),
        "messages.0.content: Input should be a valid list",
    ),
    "a block as text": (
        body(messages=[{"role": "user", "content": ["hi"]}]),
        "messages.0.content.0: Input should be a valid dictionary or object to extract fields from",
    ),
    "a block without type": (
        body(messages=[{"role": "user", "content": [{"text": "hi"}]}]),
        "messages.0.content.0.type: Field required",
    ),
    "a text block without text": (
        body(messages=[user(text("a"), {"type": "text"})]),
        "messages.0.content.1.text: Field required",
    ),
    "a text that is a number": (
        body(messages=[user(text("a"), {"type": "text", "text": 1})]),
        "messages.0.content.1.text: Input should be a valid string",
    ),
    "a thinking block without signature": (
        body(messages=[user("a"), assistant({"type": "thinking", "thinking": "hm"})]),
        "messages.1.content.0.signature: Field required",
    ),
    "a tool call's input as text": (
        body(messages=[user("a"), assistant(call(input="{}"))]),
        "messages.1.content.0.input: Input should be a valid dictionary",
    ),
    "a tool call's id with a space": (
        body(messages=[user("a"), assistant(call("a b"))]),
        "messages.1.content.0.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "a block within a tool result": (
        body(messages=[user("a"), assistant(call()), user(result(content=[{"type": "text"}]))]),
        "messages.2.content.0.content.0.text: Field required",
    ),
    "a block within a document": (
        body(messages=[user(document(type="content", content=[{"type": "text", "text": None}]))]),
        "messages.0.content.0.source.content.0.text: Input should be a valid string",
    ),
    "a block within a search result": (
        body(messages=[user({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text"}]})]),
        "messages.0.content.0.content.0.text: Field required",
    ),
    "an image's media type": (
        body(messages=[user(image(media_type="image/bmp"))]),
        (
            "messages.0.content.0.source.media_type: "
            "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ),
    ),
    "an image without source": (
        body(messages=[user({"type": "image"})]),
        "messages.0.content.0.source: Field required",
    ),
    "a source of unknown type": (
        body(messages=[user({"type": "image", "source": {"type": "path", "path": "/"}})]),
        (
            "messages.0.content.0.source: Input tag 'path' found using 'type' does not match any of the expected tags: "
            "'base64', 'url', 'file'"
        ),
    ),
    "a cache breakpoint of a day": (
        body(messages=[user(text("a", cache_control={"type": "ephemeral", "ttl": "1d"}))]),
        "messages.0.content.0.cache_control.ttl: Input should be '5m' or '1h'",
    ),
    "a system prompt as a number": (body(system=1), "system: Input should be a valid list"),
    "an image in the system prompt": (body(system=[image()]), "system.0.type: Input should be 'text'"),
    "an empty block in the system prompt": (
        body(system=[text("a"), text("")]),
        "system: text content blocks must be non-empty",
    ),
    "an image in a system message": (
        body(messages=[user("a"), system(image())]),
        (
            "messages.1.content.0: Input tag 'image' found using 'type' does not match any of the expected tags: "
            "'text', 'tool_addition', 'tool_removal'"
        ),
    ),
    "stream as text": (body(stream="yes"), "stream: Input should be a valid boolean"),
    "temperature beyond 1": (body(temperature=1.5), "temperature: Input should be less than or equal to 1"),
    "temperature below 0": (body(temperature=-0.1), "temperature: Input should be greater than or equal to 0"),
    "top_p beyond 1": (body(top_p=1.1), "top_p: Input should be less than or equal to 1"),
    "top_k below 0": (body(top_k=-1), "top_k: Input should be greater than or equal to 0"),
    "a user id beyond bounds": (
        body(metadata={"user_id": "u" * 513}),
        "metadata.user_id: String should have at most 512 characters",
    ),
    "an unknown effort": (
        body(output_config={"effort": "huge"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    "an output format without schema": (
        body(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.schema: Field required",
    ),
    "a stop sequence as a number": (body(stop_sequences=["a", 1]), "stop_sequences.1: Input should be a valid string"),
    "a blank stop sequence": (
        body(stop_sequences=["END", " \n"]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    "an empty stop sequence": (
        body(stop_sequences=[""]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    "an unknown service tier": (
        body(service_tier="best"),
        (
            "service_tier: Input should be 'auto', 'standard_only', 'default', 'flex', 'scale', 'priority', 'fast' "
            "or 'ultrafast'"
        ),
    ),
}


@pytest.mark.parametrize(("fields", "message"), MISSING_OR_MALFORMED.values(), ids=MISSING_OR_MALFORMED.keys())
@pytest.mark.covers("Messages · fields are checked, and named when wrong")
def test_a_malformed_request_is_refused_with_the_path_and_anthropics_words(fields: Any, message: str) -> None:
    assert refusal(fields) == message


@pytest.mark.parametrize("fields", [[], "{}", 1, None, True, [{"model": "m"}]], ids=repr)
def test_a_body_other_than_an_object_is_refused(fields: Any) -> None:
    assert refusal(fields) == "The request body must be a JSON object."


def test_an_unknown_block_type_is_refused_with_its_path_and_the_known_types() -> None:
    message = refusal(body(messages=[user("a"), assistant("b"), user(text("c"), {"type": "hologram"})]))
    assert message.startswith("messages.2.content.1: Input tag 'hologram' found using 'type' does not match any of the")
    assert "'redacted_thinking'" in message


def test_a_block_type_that_is_no_text_is_refused() -> None:
    assert refusal(body(messages=[user({"type": ["text"]}, "b")])).startswith("messages.0.content.0: Input tag 'list'")


def test_only_a_part_of_what_the_client_sent_is_quoted() -> None:
    message = refusal(body(messages=[user("a", {"type": "x" * 1_000_000})]))
    assert "x" * 100 + "…'" in message
    assert len(message) < 2000


def test_a_million_wrong_items_cost_no_more_than_one() -> None:
    """Every list stops at its first error; with all errors collected this would take seconds, and gigabytes."""
    wrong = [{}] * 200_000
    for fields in (
        body(messages=wrong),
        body(messages=[{"role": "user", "content": wrong}]),
        body(tools=wrong),
        body(stop_sequences=wrong),
        body(models=wrong, plugins=wrong, transforms=wrong, modalities=wrong),
        body(provider={"order": wrong, "quantizations": wrong}),
    ):
        with pytest.raises(ValidationError) as raised:
            MESSAGES.validate_python(fields, strict=True)
        assert raised.value.error_count() < 10
        assert len(refusal(fields)) < 200


THINKING = {
    "a budget below the least": (
        body(thinking={"type": "enabled", "budget_tokens": 1023}, max_tokens=5000),
        "thinking.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "no budget": (body(thinking={"type": "enabled"}), "thinking.budget_tokens: Field required"),
    "a budget as large as max_tokens": (
        body(thinking=ENABLED, max_tokens=1024),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    "a budget beside a forced tool": (
        body(thinking=ENABLED, max_tokens=2000, **FORCED),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "a display of what is disabled": (
        body(thinking={"type": "disabled", "display": "omitted"}),
        "thinking.display: Extra inputs are not permitted",
    ),
    "an unknown kind": (
        body(thinking={"type": "deep"}),
        (
            "thinking: Input tag 'deep' found using 'type' does not match any of the expected tags: "
            "'enabled', 'adaptive', 'disabled', 'between_tools'"
        ),
    ),
    "no kind": (body(thinking={}), "thinking.type: Field required"),
}


@pytest.mark.parametrize(("fields", "message"), THINKING.values(), ids=THINKING.keys())
def test_thinking_that_cannot_be_is_refused(fields: Any, message: str) -> None:
    assert refusal(fields) == message


def test_a_budget_beyond_max_tokens_is_accepted_with_interleaved_thinking() -> None:
    check_unchanged(body(thinking=ENABLED, max_tokens=512), betas=INTERLEAVED)


EMPTY_REPLY = {
    "streaming": ({"stream": True}, "`stream` is true"),
    "an output format": ({"output_config": {"format": FORMAT}}, "`output_config.format` is set"),
    "an output format by its old name": ({"output_format": FORMAT}, "`output_format` is set"),
    "a forced tool": (FORCED, "`tool_choice` forces tool use"),
}


@pytest.mark.parametrize(("changes", "condition"), EMPTY_REPLY.values(), ids=EMPTY_REPLY.keys())
def test_no_tokens_to_reply_with_exclude(changes: dict[str, Any], condition: str) -> None:
    message = f"max_tokens: Input should be greater than or equal to 1 when {condition}"
    assert refusal(body(max_tokens=0, **changes)) == message


def test_no_tokens_to_reply_with_exclude_enabled_thinking() -> None:
    message = "max_tokens: Input should be greater than or equal to 1 when `thinking` is enabled"
    assert refusal(body(max_tokens=0, thinking=ENABLED), betas=INTERLEAVED) == message


def test_no_tokens_to_reply_with_are_accepted_to_warm_a_cache() -> None:
    check_unchanged(
        body(max_tokens=0, stream=False, thinking={"type": "adaptive"}, tools=[tool()], tool_choice={"type": "auto"})
    )


SAMPLING = [("temperature", 1), ("temperature", None), ("top_p", 0.9), ("top_k", 5)]


@pytest.mark.parametrize(("name", "value"), SAMPLING)
def test_sampling_parameters_are_refused_since_version_2026_10_21(name: str, value: Any) -> None:
    assert refusal(body(**{name: value}), NEW) == f"{name}: Extra inputs are not permitted"


@pytest.mark.parametrize(("name", "value"), [*SAMPLING, ("temperature", 0), ("temperature", 0.5), ("top_p", 1)])
def test_sampling_parameters_are_accepted_before(name: str, value: Any) -> None:
    request, notes = check(body(**{name: value}))
    assert (request[name], notes) == (value, [])  # type: ignore[literal-required]


UNSUPPORTED = {
    "compaction": {"type": "summarize"},
    "fallback_credit_token": "token",
    "billing_policy": {"type": "billing_policy"},
    "mcp_servers": [{"type": "url", "name": "n", "url": "https://example.com"}],
    "container": "container_1",
}


@pytest.mark.parametrize(("name", "value"), UNSUPPORTED.items(), ids=UNSUPPORTED.keys())
@pytest.mark.covers("Messages · container, mcp_servers and compaction on chat upstreams", "refused")
def test_a_field_that_changes_what_the_rest_means_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(body(**{name: value})).startswith(f"{name}: Extra inputs are not permitted. ")


@pytest.mark.parametrize("name", [*UNSUPPORTED, "thread"])
@pytest.mark.parametrize("nothing", [None, [], {}], ids=repr)
def test_such_a_field_that_asks_for_nothing_is_dropped_in_silence(name: str, nothing: Any) -> None:
    request, notes = check(body(**{name: nothing}))
    assert name not in request
    assert notes == []


def test_a_thread_is_refused_with_the_code_on_which_sdks_send_the_whole_conversation() -> None:
    """The code has priority: a continued thread brings a tool's result without its call, and no tools."""
    fields = body(thread={"type": "continue", "previous_message_id": "msg_1"}, messages=[user(result())])
    with pytest.raises(InvalidRequest, match="thread: Extra inputs are not permitted") as raised:
        check(fields)
    assert raised.value.code == "thread_unsupported_request"


def test_compaction_as_a_context_edit_is_refused() -> None:
    edits = [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]
    message = "context_management.edits.1: compact_20260112 is not supported here"
    assert refusal(body(context_management={"edits": edits})) == message


@pytest.mark.parametrize("management", [1, {"edits": 1}, {"edits": [1]}], ids=repr)
def test_malformed_context_edits_are_refused(management: Any) -> None:
    assert refusal(body(context_management=management)).startswith("context_management")


@pytest.mark.covers("Messages · unknown fields", "noted")
def test_unknown_fields_are_dropped_with_a_note_each() -> None:
    fields = body(zeta=1, betas=["x"])
    request, notes = check(fields)
    assert request == body()
    assert notes == [Note("dropped", name, "no such field is known") for name in ("zeta", "betas")]
    assert "zeta" in fields, "the caller's data stays as it is"


def test_unknown_fields_cannot_flood_a_header_or_break_it() -> None:
    _, notes = check(body(**{f"field\r\n{i}": 1 for i in range(1000)}))
    assert notes == [Note("dropped", "?", "no such field is known")] * 20


ACCEPTED: dict[str, dict[str, Any]] = {
    "the first request of Claude Code": body(
        stream=True,
        max_tokens=128_000,
        thinking={"type": "adaptive", "display": "omitted"},
        output_config={"effort": "medium"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
        system=[text("x-anthropic-billing-header: v"), text("You are …", cache_control={"type": "ephemeral"})],
        tools=[tool("Read"), tool("Task", defer_loading=True)],
        messages=[user(text("hi")), system("Today is …", output_config={"effort": "high"})],
    ),
    "nulls wherever the API calls a field nullable": body(
        cache_control=None,
        diagnostics={"previous_message_id": None},
        inference_geo=None,
        metadata={"user_id": None},
        output_config={"effort": None, "format": None, "task_budget": None},
        speed=None,
        tools=[tool(cache_control=None, type=None, eager_input_streaming=None)],
        messages=[user(text("a", citations=None, cache_control=None), image(transformations=None))],
    ),
    "thinking between tools": body(thinking={"type": "between_tools"}),
    "disabled thinking": body(thinking={"type": "disabled"}),
    "enabled thinking": body(thinking={**ENABLED, "display": "summarized"}, max_tokens=1025),
    "adaptive thinking beside a forced tool": body(thinking={"type": "adaptive"}, **FORCED),
    "the older name of the output format": body(output_format=FORMAT),
    "a task budget": body(output_config={"task_budget": {"type": "tokens", "total": 1000}}),
    "blocks of sound and film for chat upstreams": body(
        messages=[
            user(
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
            )
        ]
    ),
    "whole numbers for fractions": body(temperature=1, top_p=1, min_p=0, frequency_penalty=-2),
    "an empty system prompt": body(system=""),
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_valid_request_comes_out_as_the_very_data_it_came_in(fields: dict[str, Any]) -> None:
    as_sent = orjson.dumps(fields)
    request, notes = check(fields)
    assert request is fields  # type: ignore[comparison-overlap]
    assert orjson.dumps(fields) == as_sent
    assert notes == []


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# What is small is written in a shorter way: the same must come of both.
SIZES = (0, SMALL_BODY + 1)


def written(request: Any, size: int) -> bytes:
    """Return the upstream's bytes for a valid body. Raises JSONEncodeError."""
    return bytes(to_json(to_chat_request(check(request)[0], CLAUDE, KEYRING).body, size))


@pytest.mark.parametrize("size", SIZES)
def test_64_levels_within_a_schema_and_an_input_are_accepted(size: int) -> None:
    conversation = [user("a"), assistant(call(input=nested(64))), user(result())]
    request = body(tools=[tool(input_schema={"type": "object", **nested(64)})], messages=conversation)
    check_depth(request)
    assert b'{"a":' * 63 in written(request, size)


@pytest.mark.parametrize("levels", [1, 71, 72, 73, 74, 100])
def test_a_small_body_may_nest_as_deep_as_a_large_one(levels: int) -> None:
    def outcome(size: int) -> bytes | None:
        try:
            return bytes(to_json(nested(levels), size))
        except orjson.JSONEncodeError:
            return None

    assert outcome(SIZES[0]) == outcome(SIZES[1])


DEEP: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a tool's schema": (
        lambda deep: body(tools=[tool(input_schema={"type": "object", "properties": deep})]),
        "tools.0.input_schema.properties.a",
    ),
    "a call's input": (
        lambda deep: body(messages=[user("a"), assistant(call(input=deep)), user(result())]),
        "messages.1.content.0.input",
    ),
    "a key that no type lists": (
        lambda deep: body(messages=[user(text("a", mood=deep))]),
        "messages.0.content.0.mood",
    ),
    "an unknown field": (lambda deep: body(zeta=deep), "zeta.a.a.a.a"),
    "a list of lists": (lambda deep: body(zeta=[[deep]]), "zeta.0.0.a.a"),
}


@pytest.mark.parametrize(("place", "path"), DEEP.values(), ids=DEEP.keys())
@pytest.mark.parametrize("levels", [80, 300, 1000])
def test_deeper_nesting_is_refused_with_the_start_of_its_path(place: Any, path: str, levels: int) -> None:
    with pytest.raises(InvalidRequest, match=f"^{re.escape(path)}: nested more than 72 levels deep$"):
        check_depth(place(nested(levels)))


@pytest.mark.parametrize(
    ("case", "levels"), [("a tool's schema", 80), ("a tool's schema", 1000), ("a call's input", 300)]
)
@pytest.mark.parametrize("size", SIZES)
def test_deeper_nesting_is_not_written(case: str, levels: int, size: int) -> None:
    with pytest.raises(orjson.JSONEncodeError):
        written(DEEP[case][0](nested(levels)), size)


@pytest.mark.parametrize("case", ["a key that no type lists", "an unknown field", "a list of lists"])
def test_dropped_fields_may_nest_at_any_depth(case: str) -> None:
    assert b'{"a":' not in written(DEEP[case][0](nested(1000)), SIZES[1])


def test_a_body_that_could_not_be_written_again_is_refused() -> None:
    """Not what orjson parses; and still no crash."""
    with pytest.raises(InvalidRequest, match=r"^body: nested more than 72 levels deep$"):
        check_depth(body(trace={"a": 2**70}))


WIDE = {
    "beyond 64 bits": (b'{"id": 123456789012345678901}', True),
    "beyond 64 bits, negative, and in a list": (b'{"ids": ["a", [-9223372036854775809]]}', True),
    "as wide as 64 bits": (b'{"id": 18446744073709551615}', False),
    "fractions and texts": (b'{"a": 1.5, "b": "123456789012345678901", "c": [null, true]}', False),
}


@pytest.mark.parametrize(("source", "is_noted"), WIDE.values(), ids=WIDE.keys())
def test_an_integer_that_became_floating_point_in_a_calls_input_is_noted(source: bytes, is_noted: bool) -> None:
    conversation = [
        user(text("a")),
        assistant("I look", call(input=orjson.loads(source))),
        user(result()),
        assistant("b"),
    ]
    _, notes = check(body(messages=conversation))
    note = Note("changed", "messages.1.content.1.input", "numbers beyond 64 bits are carried as floating point")
    assert notes == ([note] if is_noted else [])


def test_counting_tokens_needs_no_max_tokens_and_has_all_other_rules() -> None:
    fields = body(max_tokens=ABSENT, thinking=ENABLED, tools=[tool()], system="s")
    assert check_count_tokens_request(fields, version=NEW, betas=frozenset()) == (fields, [])
    for wrong, message in (
        ({"max_tokens": "x"}, "max_tokens: Input should be a valid integer"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
        ({"tools": [tool(), tool()]}, "tools: Tool names must be unique."),
    ):
        with pytest.raises(InvalidRequest) as raised:
            check_count_tokens_request(fields | wrong, version=NEW, betas=frozenset())
        assert raised.value.message == message


def test_counting_tokens_drops_unknown_fields_with_a_note() -> None:
    _, notes = check_count_tokens_request(body(zeta=1), version=NEW, betas=frozenset())
    assert notes == [Note("dropped", "zeta", "no such field is known")]
