"""Rules for joining turns to one request: parts of earlier turns that stay, and fields that are refused."""

import copy
from typing import Any

import pytest

from gateway.errors import GatewayError, InvalidRequest
from gateway.messages.validation import check_messages_request
from gateway.threads.thread import Held, has_thread, merged, to_fields, to_thread_param, to_turn

TOOLS = [{"name": "get", "input_schema": {"type": "object"}}]
SYSTEM = [{"type": "text", "text": "Be brief."}]
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0;"}
FORMAT = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
CONTINUE = {"type": "continue", "previous_message_id": "msg_1"}


def user(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **fields}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "thread": CONTINUE, "messages": list(messages), **fields}


def held(*turns: list[Any], stop_reason: str = "end_turn", **fields: Any) -> Held:
    return Held(fields, turns, stop_reason)


def refusal(request: dict[str, Any], thread: Held) -> GatewayError:
    with pytest.raises(InvalidRequest) as raised:
        merged(request, thread)
    return raised.value


def marks(messages: list[Any]) -> list[str]:
    """The texts of the blocks with a breakpoint."""
    return [block["text"] for message in messages for block in message["content"] if "cache_control" in block]


def test_a_continued_thread_is_the_request_that_a_client_without_threads_would_send() -> None:
    thread = held([user("a"), assistant("b")], [user("c"), assistant("d")], system=SYSTEM, tools=TOOLS)
    request = body(user("e"), stream=True, temperature=0.5)
    before = copy.deepcopy(request)
    assert merged(request, thread) == {
        "model": "m",
        "max_tokens": 10,
        "stream": True,
        "temperature": 0.5,
        "system": SYSTEM,
        "tools": TOOLS,
        "messages": [user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
    }
    assert request == before


def test_the_whole_conversation_passes_the_checks_of_any_request() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
    thread = held([user("a"), {"role": "assistant", "content": [call]}], tools=TOOLS)
    check_messages_request(merged(body(result), thread), version="2026-10-21", betas=frozenset())


@pytest.mark.parametrize(
    ("thread", "asked"),
    [(None, False), ({}, False), ({"type": "create"}, True), ("yes", True), ([], True)],
)
def test_what_counts_as_a_thread(thread: Any, asked: bool) -> None:
    assert has_thread({"thread": thread}) is asked
    assert not has_thread({})
    assert not has_thread([])


@pytest.mark.parametrize(
    ("thread", "message"),
    [
        ("create", "thread: Input should be a valid dictionary"),
        ({"id": "x"}, "thread.type: Field required"),
        ({"type": "new"}, "thread: Input tag 'new' found using 'type' does not match any of the expected tags"),
        ({"type": "continue"}, "thread.previous_message_id: Field required"),
        ({"type": "continue", "previous_message_id": 1}, "thread.previous_message_id: Input should be a valid string"),
    ],
)  # fmt: skip
def test_a_malformed_thread_is_named(thread: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match="^" + message) as raised:
        to_thread_param({"thread": thread})
    assert raised.value.code is None


@pytest.mark.parametrize("thread", [{"type": "create"}, CONTINUE])
def test_a_thread_is_read(thread: Any) -> None:
    assert to_thread_param({"thread": thread}) == thread


DIFFERING = [
    pytest.param({"system": "Be long."}, {"system": "Be brief."}, "system", id="another system prompt"),
    pytest.param({"system": "Be long."}, {}, "system", id="a system prompt where there was none"),
    pytest.param({"tools": TOOLS}, {}, "tools", id="tools where there were none"),
    pytest.param({"output_config": {"effort": "low"}}, {"output_config": FORMAT}, "output_config", id="another output"),
    pytest.param({}, {"output_config": FORMAT}, "output_config", id="no output format where there was one"),
    pytest.param({"output_format": FORMAT["format"]}, {}, "output_format", id="an output format in the older field"),
    pytest.param({"system": "x", "tools": TOOLS}, {}, "system, tools", id="two fields"),
]


@pytest.mark.parametrize(("request_fields", "kept", "named"), DIFFERING)
def test_a_field_that_differs_from_the_threads_is_named(
    request_fields: dict[str, Any], kept: dict[str, Any], named: str
) -> None:
    error = refusal(body(user("b"), **request_fields), held([user("a"), assistant("x")], **kept))
    assert (error.status, error.code) == (400, "thread_fingerprint_mismatch")
    assert f"differing field(s): {named}. " in error.message


@pytest.mark.parametrize("name", ["system", "tools"])
def test_system_and_tools_may_not_be_repeated(name: str) -> None:
    kept = {"system": SYSTEM, "tools": TOOLS}
    error = refusal(body(user("b"), **{name: kept[name]}), held([user("a"), assistant("x")], **kept))
    assert (error.status, error.code) == (400, None)
    assert error.message.startswith(f"{name}: Extra inputs are not permitted")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"system": None, "tools": []}, id="fields that say nothing"),
        pytest.param({"system": [BILLING]}, id="the billing header that Claude Code sends each time"),
        pytest.param({"output_config": FORMAT}, id="what every turn repeats"),
        pytest.param(
            {"output_config": FORMAT, "model": "other", "tool_choice": {"type": "none"}}, id="what may change"
        ),
    ],
)
def test_a_request_that_agrees_with_its_thread_goes_on(fields: dict[str, Any]) -> None:
    kept = {"system": SYSTEM} | ({"output_config": FORMAT} if "output_config" in fields else {})
    request = merged(body(user("b"), **fields), held([user("a"), assistant("x")], **kept))
    assert request["system"] == SYSTEM
    assert request.get("output_config") == kept.get("output_config")


def test_only_a_paused_reply_is_continued_without_messages() -> None:
    turn = [user("a"), assistant("x")]
    assert merged(body(), held(turn, stop_reason="pause_turn"))["messages"] == turn
    assert "at least one message" in refusal(body(), held(turn)).message


@pytest.mark.parametrize("messages", [None, "text", {}])
def test_messages_that_are_none_are_left_to_the_checks_of_any_request(messages: Any) -> None:
    request = merged(body() | {"messages": messages}, held([user("a"), assistant("x")]))
    with pytest.raises(InvalidRequest, match=r"^messages: "):
        check_messages_request(request, version="2023-06-01", betas=frozenset())


def test_a_nest_of_blocks_is_refused_and_not_walked() -> None:
    nested: Any = {}
    for _ in range(900):
        nested = {"content": [nested]}
    assert "nested more than" in refusal(body(nested), held([user("a"), assistant("x")])).message


def test_only_the_latest_turn_that_set_breakpoints_keeps_them() -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    turns = [[user("a", **cached), assistant("x")], [user("b", **cached), assistant("y")], [user("c"), assistant("z")]]
    for request, kept in (
        (body(user("d")), ["b"]),
        (body(user("d", **cached)), ["d"]),
        (body(user("d"), **cached), []),
    ):
        assert marks(merged(request, held(*copy.deepcopy(turns)))["messages"]) == kept


def test_breakpoints_within_results_and_documents_are_settled_too() -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    inner = {"type": "text", "text": "inner", **cached}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [inner]}
    document = {"type": "document", "source": {"type": "content", "content": [dict(inner)]}}
    turn = [{"role": "user", "content": [result, document]}, assistant("x")]
    merged(body(user("b", **cached)), held(turn))
    assert "cache_control" not in str(turn)


def test_a_tools_input_is_not_taken_for_a_block() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"cache_control": {"type": "ephemeral"}}}
    turn = [user("a"), {"role": "assistant", "content": [call]}]
    merged(body(user("b", cache_control={"type": "ephemeral"})), held(turn))
    assert call["input"] == {"cache_control": {"type": "ephemeral"}}


def test_a_thread_keeps_the_fields_that_stay_and_no_others() -> None:
    request = body(user("a"), system="s", tools=[], output_config=FORMAT, temperature=1, stream=True)
    assert to_fields(request) == {"system": "s", "output_config": FORMAT}


def test_a_turn_is_the_requests_messages_and_the_reply() -> None:
    reply = {"id": "msg_2", "role": "assistant", "content": [{"type": "text", "text": "x"}], "usage": {}}
    assert to_turn(body(user("a")), reply) == [user("a"), assistant("x")]
    assert to_turn(body(user("a")), {**reply, "content": []}) == [user("a")]
