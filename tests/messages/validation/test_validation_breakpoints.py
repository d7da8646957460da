"""Cache breakpoints: how many, where, and in which order of lifetimes."""

from typing import Any

import pytest

from tests.support.bodies import (
    assistant,
    body,
    call,
    check_unchanged,
    document,
    refusal,
    result,
    text,
    tool,
    user,
)

SHORT = {"cache_control": {"type": "ephemeral"}}
LONG = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
NONE = {"cache_control": None}

ORDER = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
FOUR = [text(word, **SHORT) for word in "abcd"]


def too_many(found: int) -> str:
    return f"A maximum of 4 blocks with cache_control may be provided. Found {found}."


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "five in a message": ({"messages": [user(*FOUR, text("e", **SHORT))]}, too_many(5)),
    "five over tools, system and messages": (
        {
            "tools": [tool("a", **SHORT), tool("b", **SHORT)],
            "system": [text("s", **SHORT)],
            "messages": [user(text("a", **SHORT)), assistant("b"), user(text("c", **SHORT))],
        },
        too_many(5),
    ),
    "five with those inside tool results and documents": (
        {
            "messages": [
                user(text("a", **SHORT), document(type="content", content=[text("b", **SHORT)])),
                assistant(call(**SHORT)),
                user({**result(content=[text("c", **SHORT)]), **SHORT}),
            ]
        },
        too_many(5),
    ),
    "the automatic one as the fifth": ({**SHORT, "messages": [user(*FOUR, text("e"))]}, too_many(5)),
    "the automatic one as the fifth, after a string": (
        {**SHORT, "messages": [user(*FOUR), assistant("b"), user("c")]},
        too_many(5),
    ),
    "an hour after five minutes in the system prompt": (
        {"system": [text("a", **SHORT), text("b", **LONG)]},
        f"system.1.cache_control.ttl: {ORDER}",
    ),
    "an hour in the system prompt after five minutes in the tools": (
        {"tools": [tool(**SHORT)], "system": [text("a", **LONG)]},
        f"system.0.cache_control.ttl: {ORDER}",
    ),
    "an hour in a message after five minutes in the system prompt": (
        {"system": [text("s", **SHORT)], "messages": [user(text("a", **LONG))]},
        f"messages.0.content.0.cache_control.ttl: {ORDER}",
    ),
    "an automatic hour after five minutes": (
        {**LONG, "messages": [user(text("a", **SHORT), text("b"))]},
        f"cache_control.ttl: {ORDER}",
    ),
    "an automatic hour where five minutes are set": (
        {**LONG, "messages": [user(text("a", **SHORT))]},
        "cache_control.ttl: the last block already has cache_control with ttl='5m', not '1h'",
    ),
    "a thought": (
        {
            "messages": [
                user("a"),
                assistant({"type": "thinking", "thinking": "t", "signature": "s", **SHORT}),
                user("b"),
            ]
        },
        "messages.1.content.0.cache_control: Extra inputs are not permitted",
    ),
    "a hidden thought": (
        {"messages": [user("a"), assistant("b", {"type": "redacted_thinking", "data": "d", **SHORT}), user("c")]},
        "messages.1.content.1.cache_control: Extra inputs are not permitted",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_breakpoints_are_refused(changes: dict[str, Any], message: str) -> None:
    assert refusal(body(**changes)) == message


ACCEPTED: dict[str, dict[str, Any]] = {
    "four in a message": {"messages": [user(*FOUR)]},
    "four, and one that is null": {"messages": [user(*FOUR, text("e", **NONE))]},
    "three, and the automatic one": {**SHORT, "messages": [user(*FOUR[1:], text("e"))]},
    "four of which the last is the automatic one": {**SHORT, "messages": [user(*FOUR)]},
    "the automatic one on a string": {**LONG, "messages": [user("a")]},
    "the automatic one on a continued reply without blocks": {**SHORT, "messages": [user("a"), assistant()]},
    "hours before minutes": {
        "tools": [tool(**LONG)],
        "system": [text("s", **LONG)],
        "messages": [user(text("a", **LONG), text("b", **SHORT))],
    },
    "a thought with one that is null": {
        "messages": [user("a"), assistant({"type": "thinking", "thinking": "t", "signature": "s", **NONE}), user("b")]
    },
    "on a call, its result, and what is inside it": {
        "messages": [user("a"), assistant(call(**SHORT)), user({**result(content=[text("c", **SHORT)]), **SHORT})]
    },
    "inside an earlier MCP result": {
        "messages": [
            user("a"),
            assistant({"type": "mcp_tool_result", "tool_use_id": "m", "content": [text("c", **SHORT)]}),
        ]
    },
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_breakpoints_are_accepted(changes: dict[str, Any]) -> None:
    check_unchanged(body(**changes))
