"""The order of a conversation: roles, empty texts, and tool calls with their results."""

from typing import Any

import orjson
import pytest

from gateway.messages.validation import check_count_tokens_request
from tests.support.bodies import (
    NEW,
    OLD,
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
    user,
)

EMPTY_MESSAGE = "all messages must have non-empty content except for the optional final assistant message"
EMPTY_TEXT = "messages: text content blocks must be non-empty"
BLANK_TEXT = "messages: text content blocks must contain non-whitespace text"
MISPLACED = (
    "a system message must follow a user message, or an assistant message that ends in a server tool's result, "
    "and be the last message or be followed by an assistant message"
)
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def unanswered(index: int, ids: str) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def unexpected(path: str, call_id: str) -> str:
    return (
        f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. "
        "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
    )


REFUSED: dict[str, tuple[list[Any], str]] = {
    "the first message is the system's": (
        [system("be brief"), user("a")],
        (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            "and the first message may not have role system."
        ),
    ),
    "a system message follows an assistant's": (
        [user("a"), assistant("b"), system("c"), user("d")],
        f"messages.2: {MISPLACED}",
    ),
    "a system message precedes a user's": ([user("a"), system("b"), user("c")], f"messages.1: {MISPLACED}"),
    "a section of two system messages precedes a user's": (
        [user("a"), system("b"), system("c"), user("d")],
        f"messages.2: {MISPLACED}",
    ),
    "a system message stands between a call and its result": (
        [user("a"), assistant(call()), system("b"), user(result())],
        f"messages.2: {MISPLACED}",
    ),
    "a system message that says nothing": (
        [user("a"), {"role": "system"}],
        "messages.1.content: Field required",
    ),
    "an empty system message": ([user("a"), system("")], f"messages.1: {EMPTY_MESSAGE}"),
    "an empty text": ([user("")], f"messages.0: {EMPTY_MESSAGE}"),
    "no blocks": ([user("a"), assistant("b"), user()], f"messages.2: {EMPTY_MESSAGE}"),
    "an empty text block": ([user(text("a"), text(""))], EMPTY_TEXT),
    "a blank text": ([user(" \n\t")], BLANK_TEXT),
    "a blank text block": ([user(text("a"), text("\n"))], BLANK_TEXT),
    "an assistant's blank text at the end": ([user("a"), assistant(" ")], BLANK_TEXT),
    "a call without result": (
        [user("a"), assistant(call("t1")), user("b")],
        unanswered(1, "t1"),
    ),
    "a call as the last word": ([user("a"), assistant("I look", call("t1"))], unanswered(1, "t1")),
    "two calls of three without result": (
        [user("a"), assistant(call("t1"), call("t2"), call("t3")), user(result("t2"))],
        unanswered(1, "t1, t3"),
    ),
    "a call answered one turn too late": (
        [user("a"), assistant(call("t1")), user("b"), assistant("c"), user(result("t1"))],
        unanswered(1, "t1"),
    ),
    "a result after a text": (
        [user("a"), assistant(call("t1")), user(text("here"), result("t1"))],
        unanswered(1, "t1"),
    ),
    "a result after a message of text in the same turn": (
        [user("a"), assistant(call("t1")), user("here"), user(result("t1"))],
        unanswered(1, "t1"),
    ),
    "a result after an image": (
        [user("a"), assistant(call("t1"), call("t2")), user(result("t1"), image(), result("t2"))],
        unanswered(1, "t2"),
    ),
    "a call without result in the second message of a turn": (
        [user("a"), assistant("b"), assistant(call("t1")), user("c")],
        unanswered(2, "t1"),
    ),
    "a result of no call": ([user(result("t1"))], unexpected("messages.0.content.0", "t1")),
    "a result of a call that was answered before": (
        [user("a"), assistant(call("t1")), user(result("t1")), assistant("b"), user(text("c"), result("t1"))],
        unexpected("messages.4.content.1", "t1"),
    ),
    "a second result": (
        [user("a"), assistant(call("t1")), user(result("t1"), result("t1"))],
        (
            "messages.2.content.1: each tool_use must have a single result. "
            "Found multiple `tool_result` blocks with id: t1"
        ),
    ),
    "two calls of the same id": (
        [user("a"), assistant(call("t1"), call("t1")), user(result("t1"))],
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    "two calls of the same id in two messages of a turn": (
        [user("a"), assistant(call("t1")), assistant(call("t1")), user(result("t1"))],
        "messages.2.content.0: `tool_use` ids must be unique",
    ),
    "a user's call": ([user(call())], "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
    "a user's thought": (
        [user(text("a"), THINKING)],
        "messages.0.content.1: `thinking` blocks can only be in `assistant` messages",
    ),
    "an assistant's result": (
        [user("a"), assistant(call()), assistant(result())],
        "messages.2.content.0: `tool_result` blocks can only be in `user` messages",
    ),
}


@pytest.mark.parametrize(("messages", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.covers("Tools · results without calls and calls without results", "refused")
def test_a_conversation_out_of_order_is_refused(messages: list[Any], message: str) -> None:
    assert refusal(body(messages=messages)) == message


ACCEPTED: dict[str, list[Any]] = {
    "consecutive messages of one role": [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
    "an assistant's message at the start": [assistant("a"), user("b")],
    "an assistant's message at the end, for the model to continue": [user("a"), assistant("b")],
    "an empty one at the end": [user("a"), assistant("")],
    "one without blocks at the end": [user("a"), assistant()],
    "a system message at the end": [user("a"), system("b")],
    "a system message before an assistant's": [user("a"), system("b"), assistant("c"), user("d")],
    "a section of system messages": [user("a"), system("b"), system(text("c"), text("d"))],
    "a system message after a tool's result": [user("a"), assistant(call()), user(result()), system("b")],
    "a system message after a server tool's result": [user("a"), assistant(SEARCH, FOUND), system("b")],
    "a system message that only sets the effort": [user("a"), {"role": "system", "output_config": {"effort": "low"}}],
    "a system message that is cleared later": [user("a"), system("b", clear_at="next_user_message")],
    "results in another order than calls": [
        user("a"),
        assistant(call("t1"), call("t2")),
        user(result("t2"), result("t1")),
    ],
    "calls and results in several messages": [
        user("a"),
        assistant(call("t1")),
        assistant(call("t2")),
        user(result("t1")),
        user(result("t2"), text("and now?")),
    ],
    "text and media after the results": [user("a"), assistant(call()), user(result(), "look", image())],
    "results of every form": [
        user("a"),
        assistant(call("t1"), call("t2"), call("t3"), call("t4"), call("t5")),
        user(
            result("t1"),
            result("t2", content="", is_error=True),
            result("t3", content=[]),
            result("t4", content=None),
            result(
                "t5",
                content=[
                    text(""),
                    image(),
                    document(type="text", media_type="text/plain", data="d"),
                    {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]},
                    {"type": "tool_reference", "tool_name": "get"},
                    {"type": "browser_state", "tabs": [{"tab_id": "1", "title": "t", "url": "u"}]},
                ],
            ),
        ),
    ],
    "the same id in two turns": [
        user("a"),
        assistant(call("call_0")),
        user(result("call_0")),
        assistant(call("call_0")),
        user(result("call_0")),
    ],
    "thoughts before and between calls": [
        user("a"),
        assistant(THINKING, "b", {"type": "redacted_thinking", "data": "d"}, call()),
        user(result()),
    ],
    "a server tool's call without result, to be resumed": [user("a"), assistant(SEARCH)],
    "replayed blocks of every server tool": [
        user("a"),
        assistant(
            SEARCH,
            *(
                {"type": f"{name}_tool_result", "tool_use_id": "srvtoolu_1", "content": {"type": "any"}}
                for name in (
                    "web_search",
                    "web_fetch",
                    "code_execution",
                    "bash_code_execution",
                    "text_editor_code_execution",
                    "tool_search",
                    "advisor",
                )
            ),
            {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [text("x")]},
            {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": None},
            {"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []},
            {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        ),
        user({"type": "container_upload", "file_id": "file_1"}),
    ],
    "a compaction in place of what went before": [assistant({"type": "compaction", "content": "so far …"}), user("b")],
    "tools that come and go": [
        user("a"),
        system(
            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "get"}},
            {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "put"}},
        ),
    ],
}


@pytest.mark.parametrize("messages", ACCEPTED.values(), ids=ACCEPTED.keys())
@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_conversation_in_order_is_accepted(messages: list[Any], version: str) -> None:
    assert check(body(messages=messages), version) == (body(messages=messages), [])


# A conversation with blank answers, the messages that remain, and the place of the note.
BLANK_ANSWERS: dict[str, tuple[list[Any], list[Any], int]] = {
    "a blank block before a call": (
        [user("a"), assistant(THINKING, text("\n\n"), call()), user(result())],
        [user("a"), assistant(THINKING, call()), user(result())],
        1,
    ),
    "blank blocks around calls": (
        [
            user("a"),
            assistant(text(" "), call("t1"), text(""), call("t2"), text("\n")),
            user(result("t1"), result("t2")),
        ],
        [user("a"), assistant(call("t1"), call("t2")), user(result("t1"), result("t2"))],
        1,
    ),
    "blank blocks alone": ([user("a"), assistant(text("\n"), text("")), user("b")], [user("a"), user("b")], 1),
    "an empty block": ([user("a"), assistant(text("")), user("b")], [user("a"), user("b")], 1),
    "a blank text": ([user("a"), assistant(" \n"), user("b")], [user("a"), user("b")], 1),
    "an empty text": ([user("a"), assistant(""), user("b")], [user("a"), user("b")], 1),
    "no blocks": ([user("a"), assistant(), user("b")], [user("a"), user("b")], 1),
    "blank blocks at the end": ([user("a"), assistant(text("\n"))], [user("a"), assistant()], 1),
    "a blank block with a breakpoint": (
        [user("a"), assistant(text("b"), text("\n", cache_control={"type": "ephemeral"})), user("c")],
        [user("a"), {"role": "assistant", "content": [text("b")]}, user("c")],
        1,
    ),
    "several of them": (
        [user("a"), assistant(""), user("b"), assistant(text("\n"), text("c")), user("d"), assistant(), user("e")],
        [user("a"), user("b"), {"role": "assistant", "content": [text("c")]}, user("d"), user("e")],
        1,
    ),
    "before a system message": (
        [user("a"), assistant(""), user("b"), system("s")],
        [user("a"), user("b"), system("s")],
        1,
    ),
}


@pytest.mark.parametrize(("messages", "kept", "index"), BLANK_ANSWERS.values(), ids=BLANK_ANSWERS.keys())
@pytest.mark.parametrize("version", [OLD, NEW])
def test_an_answers_blank_text_is_dropped_with_a_note(
    messages: list[Any], kept: list[Any], index: int, version: str
) -> None:
    sent = body(messages=messages)
    before = orjson.dumps(sent)
    request, notes = check(sent, version)
    assert request["messages"] == kept
    assert [(note.kind, note.field) for note in notes] == [("dropped", f"messages.{index}.content")]
    assert orjson.dumps(sent) == before


def test_an_answers_blank_text_is_dropped_before_tokens_are_counted() -> None:
    conversation = body(messages=[user("a"), assistant(text("\n")), user("b")])
    request, _ = check_count_tokens_request(conversation, version=OLD, betas=frozenset())
    assert request["messages"] == [user("a"), user("b")]


CITATION = {"type": "char_location", "cited_text": "x"}

SINCE_2026_10_21: dict[str, tuple[list[Any], str]] = {
    "a document in an assistant's message": (
        [user("a"), assistant("b", document(type="text", media_type="text/plain", data="d"))],
        "messages.1.content.1: `document` blocks can only be in `user` messages",
    ),
    "citations in a user's text": (
        [user(text("a"), text("b", citations=[CITATION]))],
        "messages.0.content.1.citations: citations are not permitted on text blocks in user messages",
    ),
}


@pytest.mark.parametrize(("messages", "message"), SINCE_2026_10_21.values(), ids=SINCE_2026_10_21.keys())
def test_messages_that_version_2026_10_21_refuses(messages: list[Any], message: str) -> None:
    check_unchanged(body(messages=messages), OLD)
    assert refusal(body(messages=messages), NEW) == message


@pytest.mark.parametrize("citations", [None, []], ids=repr)
def test_version_2026_10_21_takes_absent_citations_and_those_of_the_assistant(citations: Any) -> None:
    replayed = assistant(text("b", citations=[CITATION]), text("c"))
    check_unchanged(body(messages=[user(text("a", citations=citations)), replayed, user("d")]), NEW)


def test_many_or_long_ids_are_quoted_in_part() -> None:
    calls = [call(f"{index:03}" + "x" * 5000) for index in range(500)]
    message = refusal(body(messages=[user("a"), assistant(*calls), user("b")]))
    assert "blocks immediately after: 000x" in message
    assert "019x" in message
    assert "020x" not in message
    assert len(message) < 3000
