"""`context_management` done by the gateway: what is forgotten, what is kept, and what the answer says of it."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.request.context_editing import SIZE_ERROR
from gateway.errors import InvalidRequest
from gateway.messages.tokens.estimate import estimate_by_size
from gateway.messages.tokens.profiles import Profile, to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import OPENROUTER
from tests.messages.tokens.table import PROFILES, SAMPLES
from tests.support.bodies import assistant, user
from tests.support.conversions import CLAUDE, GPT, HELLO, convert, losses, text, tool, tool_result, tool_use

CLEARED = "[old tool result cleared]"

CLEAR_USES = "clear_tool_uses_20250919"
CLEAR_THINKING = "clear_thinking_20251015"


def edited(messages: list[Any], *edits: dict[str, Any], is_checked: bool = True) -> Any:
    return convert(
        CLAUDE,
        messages=messages,
        tools=[tool("look"), tool("keep")],
        context_management={"edits": list(edits)},
        is_checked=is_checked,
    )


def called(number: int, name: str = "look", result: str = "r" * 400) -> list[Any]:
    call_id = f"call_{number}"
    return [assistant(tool_use(call_id, name, number=number)), user(tool_result(call_id, content=result))]


def history(*names: str) -> list[Any]:
    return [HELLO, *(message for number, name in enumerate(names or ["look"] * 5) for message in called(number, name))]


def results(conversion: Any) -> list[str]:
    contents = [message["content"] for message in conversion.body["messages"] if message["role"] == "tool"]
    return ["gone" if content == CLEARED else "kept" for content in contents]


def uses(count: int) -> dict[str, Any]:
    return {"type": "tool_uses", "value": count}


def tokens(count: int) -> dict[str, Any]:
    return {"type": "input_tokens", "value": count}


ALWAYS = {"trigger": uses(0)}

TOOL_EDITS = [
    pytest.param(ALWAYS, "gone gone kept kept kept", id="all but the last three, by default"),
    pytest.param({**ALWAYS, "keep": uses(1)}, "gone gone gone gone kept", id="all but as many as are kept"),
    pytest.param({**ALWAYS, "keep": uses(0)}, "gone gone gone gone gone", id="all"),
    pytest.param({**ALWAYS, "keep": uses(9)}, "kept kept kept kept kept", id="none, where fewer were made"),
    pytest.param({"trigger": uses(5), "keep": uses(1)}, "gone gone gone gone kept", id="once there are so many uses"),
    pytest.param({"trigger": uses(6)}, "kept kept kept kept kept", id="not before"),
    pytest.param({"trigger": tokens(500)}, "gone gone kept kept kept", id="once there are so many tokens"),
    pytest.param({"trigger": tokens(5000)}, "kept kept kept kept kept", id="not before there are"),
    pytest.param({}, "kept kept kept kept kept", id="not before 100,000 tokens, by default"),
    pytest.param({**ALWAYS, "clear_at_least": tokens(150)}, "gone gone kept kept kept", id="if that frees enough"),
    pytest.param(
        {**ALWAYS, "clear_at_least": tokens(250)}, "kept kept kept kept kept", id="not if it frees too little"
    ),
]


@pytest.mark.parametrize(("settings", "expected"), TOOL_EDITS)
def test_old_tool_results_are_cleared(settings: dict[str, Any], expected: str) -> None:
    conversion = edited(history(), {"type": CLEAR_USES, **settings})
    assert results(conversion) == expected.split()
    was_cleared = "gone" in expected
    assert losses(conversion) == ([("emulated", "context_management.edits.0")] if was_cleared else [])
    assert bool(conversion.applied_edits) is was_cleared


def test_results_of_excluded_tools_are_kept_and_not_counted() -> None:
    messages = history("keep", "look", "keep", "look", "look")
    conversion = edited(messages, {"type": CLEAR_USES, **ALWAYS, "keep": uses(1), "exclude_tools": ["keep"]})
    assert results(conversion) == ["kept", "gone", "kept", "gone", "kept"]


INPUTS = [
    pytest.param(None, ['{"number":0}', '{"number":1}'], id="kept by default"),
    pytest.param(False, ['{"number":0}', '{"number":1}'], id="kept"),
    pytest.param(True, ["{}", "{}"], id="cleared"),
    pytest.param(["keep"], ['{"number":0}', "{}"], id="cleared for the tools named"),
]


@pytest.mark.parametrize(("setting", "expected"), INPUTS)
def test_inputs_of_cleared_uses_may_go_as_well(setting: Any, expected: list[str]) -> None:
    messages = history("look", "keep", "look", "look", "look")
    conversion = edited(messages, {"type": CLEAR_USES, **ALWAYS, "clear_tool_inputs": setting})
    calls = [message["tool_calls"][0] for message in conversion.body["messages"] if "tool_calls" in message]
    assert [call["function"]["arguments"] for call in calls[:2]] == expected
    assert calls[2]["function"]["arguments"] == '{"number":2}'


def test_an_id_that_comes_again_in_a_later_turn_is_another_use() -> None:
    messages = [HELLO, *called(0), HELLO, *called(0), HELLO, *called(1)]
    conversion = edited(messages, {"type": CLEAR_USES, **ALWAYS, "keep": uses(2)})
    assert results(conversion) == ["gone", "kept", "kept"]
    assert conversion.applied_edits[0]["cleared_tool_uses"] == 1


@pytest.mark.parametrize("other_id", ["call_0", ["call_0"], None], ids=repr)
def test_an_id_of_another_sort_of_block_is_no_tool_use(other_id: Any) -> None:
    """Such a key is unchecked, and a server tool's call keeps its input."""
    search = {"type": "server_tool_use", "id": "call_0", "name": "look", "input": {"query": "q"}}
    messages = [HELLO, assistant(search, text("Look.", id=other_id)), *history()]
    conversion = edited(messages, {"type": CLEAR_USES, **ALWAYS, "clear_tool_inputs": True})
    assert results(conversion) == ["gone", "gone", "kept", "kept", "kept"]
    assert '"query"' in str(conversion.body["messages"][1]["content"])


def test_of_two_uses_in_one_message_the_older_may_be_cleared_alone() -> None:
    messages = [
        HELLO,
        assistant(text("Both"), tool_use("a"), tool_use("b")),
        user(tool_result("a", content="A"), tool_result("b", content="B"), text("Well?")),
    ]
    conversion = edited(messages, {"type": CLEAR_USES, **ALWAYS, "keep": uses(1), "clear_tool_inputs": True})
    assert results(conversion) == ["gone", "kept"]
    assert conversion.body["messages"][-1]["content"] == "Well?"


def test_the_answer_reports_what_was_cleared() -> None:
    (applied,) = edited(history(), {"type": CLEAR_USES, **ALWAYS}).applied_edits
    assert applied == {"type": CLEAR_USES, "cleared_tool_uses": 2, "cleared_input_tokens": 227}


def thought(label: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": label, "signature": f"S{label}"}


THINKING_HISTORY = [
    HELLO,
    assistant(thought("1"), text("one")),
    {"role": "user", "content": "Next"},
    assistant(thought("2a"), tool_use()),
    user(tool_result(content="r")),
    assistant(thought("2b"), {"type": "redacted_thinking", "data": "D"}, text("two")),
    {"role": "user", "content": "Next"},
    assistant(thought("3"), text("three")),
]


def thoughts(conversion: Any) -> list[str]:
    return [
        entry.get("text") or entry["data"]
        for message in conversion.body["messages"]
        for entry in message.get("reasoning_details", ())
    ]


ALL_THOUGHTS = ["1", "2a", "2b", "D", "3"]

THINKING_EDITS = [
    pytest.param(THINKING_HISTORY, {}, ["3"], 2, id="all but the last turn's, by default"),
    pytest.param(
        THINKING_HISTORY,
        {"keep": {"type": "thinking_turns", "value": 2}},
        ["2a", "2b", "D", "3"],
        1,
        id="a turn with its tool calls is one turn",
    ),
    pytest.param(THINKING_HISTORY, {"keep": {"type": "thinking_turns", "value": 0}}, [], 3, id="all of it"),
    pytest.param(THINKING_HISTORY, {"keep": {"type": "thinking_turns", "value": 9}}, ALL_THOUGHTS, 0, id="nothing"),
    pytest.param(THINKING_HISTORY, {"keep": "all"}, ALL_THOUGHTS, 0, id="nothing, in a word"),
    pytest.param(THINKING_HISTORY, {"keep": {"type": "all"}}, ALL_THOUGHTS, 0, id="nothing, by type"),
    pytest.param(
        [*THINKING_HISTORY[:6], HELLO, *THINKING_HISTORY[6:]],
        {"keep": {"type": "thinking_turns", "value": 2}},
        ["2a", "2b", "D", "3"],
        1,
        id="two user messages in a row begin one turn",
    ),
    pytest.param([*THINKING_HISTORY, HELLO], {}, ["3"], 2, id="a question not yet answered is no turn"),
    pytest.param(THINKING_HISTORY[:5], {}, ["2a"], 1, id="a turn that waits for its tool's result is the last"),
    pytest.param([HELLO, assistant(text("one")), HELLO, assistant(text("two"))], {}, [], 0, id="where there is none"),
]


@pytest.mark.parametrize(("messages", "settings", "kept", "turns"), THINKING_EDITS)
def test_old_thinking_is_cleared(messages: list[Any], settings: dict[str, Any], kept: list[str], turns: int) -> None:
    conversion = edited(messages, {"type": CLEAR_THINKING, **settings})
    assert thoughts(conversion) == kept
    assert [edit["cleared_thinking_turns"] for edit in conversion.applied_edits] == ([turns] if turns else [])


NEWEST = to_target("anthropic/claude-opus-4.8", OPENROUTER)
PROSE = (SAMPLES / "english.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", [CLAUDE, NEWEST, GPT], ids=["Claude 4.5", "Claude 4.8", "GPT"])
@pytest.mark.parametrize("system", ["", PROSE * 3], ids=["without a system prompt", "with a long one"])
def test_a_trigger_counts_what_count_tokens_counts(target: Target, system: str) -> None:
    """Newer Claude models make more tokens of the same text; the whole prompt counts, not its messages alone."""
    request: Any = {"messages": history(), "tools": [tool("look", description=PROSE)], "system": system}
    counted = prompt_estimate(request, to_profile(target.model)).tokens()
    for asked, expected in ((counted, "gone"), (counted + 1, "kept")):
        edits = {"edits": [{"type": CLEAR_USES, "trigger": tokens(asked)}]}
        assert results(convert(target, **request, context_management=edits))[0] == expected


@pytest.mark.parametrize("kind", sorted(path.stem for path in SAMPLES.glob("*.txt")))
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_the_size_of_a_prompt_decides_only_where_it_leaves_no_doubt(kind: str, profile: Profile) -> None:
    request = {"messages": [{"role": "user", "content": (SAMPLES / f"{kind}.txt").read_text(encoding="utf-8")}]}
    by_size = estimate_by_size(len(orjson.dumps(request)), request, profile).tokens()
    by_characters = prompt_estimate(request, profile).tokens()
    assert 1 / SIZE_ERROR < by_size / by_characters < SIZE_ERROR


def test_edits_are_applied_in_order_and_each_is_reported() -> None:
    conversion = edited(
        [*THINKING_HISTORY, HELLO], {"type": CLEAR_THINKING}, {"type": CLEAR_USES, **ALWAYS, "keep": uses(0)}
    )
    assert [edit["type"] for edit in conversion.applied_edits] == [CLEAR_THINKING, CLEAR_USES]
    assert losses(conversion) == [("emulated", "context_management.edits.0")]
    assert results(conversion) == ["gone"]


@pytest.mark.parametrize("management", [None, {}, {"edits": None}, {"edits": []}])
def test_no_edits_change_nothing(management: Any) -> None:
    conversion = convert(CLAUDE, messages=THINKING_HISTORY, context_management=management)
    assert thoughts(conversion) == ALL_THOUGHTS
    assert conversion.notes == ()


BAD_EDITS = [
    pytest.param(
        {"type": "compact_20260112"},
        "context_management: Extra inputs are not permitted ('compact_20260112' needs Anthropic's API)",
        id="compaction, in the words on which Claude Code goes on without",
    ),
    pytest.param(
        {"type": CLEAR_THINKING, "keep": 3},
        "context_management.edits.0.keep: expected {'type': 'thinking_turns', 'value': <number>}",
        id="a bare number",
    ),
    pytest.param(
        {"type": CLEAR_USES, "trigger": {"type": "weather", "value": 1}},
        "context_management.edits.0.trigger: expected {'type': 'input_tokens', 'value': <number>}",
        id="an unknown trigger",
    ),
    pytest.param(
        {"type": CLEAR_USES, **ALWAYS, "keep": {"type": "tool_uses", "value": -1}},
        "context_management.edits.0.keep: expected {'type': 'tool_uses', 'value': <number>}",
        id="less than nothing",
    ),
    *(
        pytest.param(
            {"type": CLEAR_USES, **ALWAYS, "clear_tool_inputs": setting},
            "context_management.edits.0.clear_tool_inputs: Input should be a boolean or a list of tool names",
            id=f"inputs of {setting}",
        )
        for setting in ("look", 1, [["look"]])
    ),
]


@pytest.mark.parametrize(("edit", "message"), BAD_EDITS)
def test_an_edit_that_cannot_be_made_is_refused(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        edited(history(), edit, is_checked=False)
    assert caught.value.message == message
