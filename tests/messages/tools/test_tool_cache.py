"""Tools that are remembered change nothing but what they cost: read, checked, converted and written they are equal."""

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.keyring import Keyring
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.encode import to_json
from gateway.errors import InvalidRequest
from gateway.messages.tools.tool_cache import (
    LEAST_BYTES,
    MOST_LIST_BYTES,
    MOST_TRIES,
    CachedTools,
    ChatTools,
    ToolCache,
)
from gateway.messages.validation import check_messages_request
from gateway.messages.validation.tools import is_checked
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER

STAND_IN = "0123456789abcdef" * 2
TARGET = to_target("acme/writer", OPENROUTER)
KEYRING = Keyring.parse("k:s")
Json = dict[str, Any]


def tool(name: str, **fields: Any) -> Json:
    properties = {f"field_{number}": {"type": "string", "description": "é " * 40} for number in range(12)}
    return {
        "name": name,
        "description": f"Tool {name}",
        "input_schema": {"type": "object", "properties": properties},
        **fields,
    }


TOOLS = [tool(f"tool_{number}") for number in range(12)]


def body(tools: Any = TOOLS, **fields: Any) -> Json:
    return {"model": "m", "tools": tools, "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], **fields}


def memory(**limits: int) -> ToolCache:
    return ToolCache(STAND_IN, **limits)


def knows(memory: ToolCache, request: Json, *, times: int = 2) -> ToolCache:
    """The memory after it has seen the request, checked and converted, so often."""
    for _ in range(times):
        converted(memory, request)
    return memory


def converted(memory: ToolCache, request: Json, target: Target = TARGET) -> tuple[Any, bytes]:
    """Return the request as the gateway has it, and the bytes that go upstream."""
    raw = orjson.dumps(request)
    checked, _ = check_messages_request(memory.parse(raw), version="2023-06-01", betas=frozenset())
    return checked, bytes(to_json(to_chat_request(checked, target, KEYRING).body, len(raw)))


def plainly(request: Json, target: Target = TARGET) -> bytes:
    return converted(memory(most_bytes=0), request, target)[1]


def test_a_list_that_comes_for_the_second_time_is_known_from_then_on() -> None:
    seen = memory()
    lists = [converted(seen, body(messages=[{"role": "user", "content": str(turn)}]))[0]["tools"] for turn in range(4)]
    assert [type(tools) for tools in lists] == [list, CachedTools, CachedTools, CachedTools]
    assert lists[1] is lists[2] is lists[3]
    assert lists[3] == TOOLS


@pytest.mark.parametrize("target", [TARGET, to_target("gpt-5", COMPATIBLE), to_target("m", COMPATIBLE)], ids=str)
def test_upstream_bytes_are_the_same_with_cached_tools(target: Target) -> None:
    seen = memory()
    request = body(system="Be kind.", tool_choice={"type": "any"}, stream=True)
    assert {converted(seen, request, target)[1] for _ in range(4)} == {plainly(request, target)}


TYPED = [*TOOLS, tool("cached", cache_control={"type": "ephemeral"}), {"type": "bash_20250124", "name": "bash"}]
LOSSY = [*TOOLS, tool("lossy", input_examples=[{"field_1": "a"}])]
LONG_NAMES = [*TOOLS, tool("n" * 100)]


@pytest.mark.parametrize("tools", [TYPED, LOSSY, LONG_NAMES], ids=["typed and cached", "with notes", "long names"])
def test_lists_of_all_sorts_come_out_as_ever(tools: list[Json]) -> None:
    seen, raw = memory(), orjson.dumps(body(tools))
    outcomes = []
    for _ in range(4):
        checked, _ = check_messages_request(seen.parse(raw), version="2023-06-01", betas=frozenset())
        outcomes.append(to_chat_request(checked, to_target("gpt-5", COMPATIBLE), KEYRING))
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert bytes(to_json(outcomes[3].body, len(raw))) == bytes(to_json(outcomes[0].body, len(raw)))


def test_each_model_has_its_own_form_and_the_latest_few_are_kept() -> None:
    seen = knows(memory(), body())
    targets = [to_target(f"acme/writer-{number}", OPENROUTER) for number in range(6)]
    for target in (*targets, *targets):
        assert converted(seen, body(), target)[1] == plainly(body(), target)
    (known,) = [entry.tools for entry in seen._known]

    def convert() -> None:
        converted_again.append(target)

    converted_again: list[Target] = []
    for target in reversed(targets):
        known.derive_for(target, convert)
    assert converted_again == [targets[1], targets[0]]


def test_a_choice_among_known_tools_is_still_checked() -> None:
    seen = knows(memory(), body())
    assert converted(seen, body(tool_choice={"type": "tool", "name": "tool_3"}))[0]["tools"] == TOOLS
    with pytest.raises(InvalidRequest, match="Tool 'nobody' not found"):
        converted(seen, body(tool_choice={"type": "tool", "name": "nobody"}))


def test_everything_else_is_still_checked() -> None:
    seen = knows(memory(), body())
    with pytest.raises(InvalidRequest, match="max_tokens"):
        converted(seen, body(max_tokens="many"))


def test_tools_that_are_wrong_are_wrong_each_time() -> None:
    seen, wrong = memory(), body([*TOOLS, tool("tool_1")])
    for _ in range(4):
        with pytest.raises(InvalidRequest, match="Tool names must be unique"):
            converted(seen, wrong)
    assert not is_checked(seen.parse(orjson.dumps(wrong))["tools"])  # type: ignore[index]  # a dict


def test_tools_added_on_the_way_leave_the_known_list_as_it_is() -> None:
    seen, before = knows(memory(), body()), copy.deepcopy(TOOLS)
    addition = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("late")}}
    turns = [{"role": "user", "content": "Hi"}, {"role": "system", "content": [addition]}]
    request = body(messages=turns)
    assert converted(seen, request)[1] == plainly(request)
    assert converted(seen, body())[0]["tools"] == before


# What is no list of tools of the request's own, though it looks like one.
NESTED = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "tool_1", "input": {"tools": TOOLS}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
]
KNOWN = orjson.dumps(TOOLS)
DISGUISED: dict[str, bytes] = {
    "in a call": orjson.dumps(body([], messages=NESTED)),
    "in a call, before the request's own": orjson.dumps(
        {"messages": NESTED, "model": "m", "tools": TOOLS, "max_tokens": 10}
    ),
    "in a text": orjson.dumps(body([], system='"tools":' + KNOWN.decode())),
    "at the end of another key": b'{"a\\"tools":%b,"tools":[]}' % KNOWN,
    "twice, the last counts": b'{"tools":%b,"tools":[]}' % KNOWN,
    "twice, the known one last": b'{"tools":[],"tools":%b}' % KNOWN,
    "with the stand-in as a value": b'{"tools":"%b","a":{"tools":%b}}' % (b"x" * 32, KNOWN),
    "with spaces": b'{"tools": %b}' % KNOWN,
    "in a list": b'[{"tools":%b}]' % KNOWN,
    "alone": b'{"tools":%b}' % KNOWN,
}


@pytest.mark.parametrize("case", DISGUISED)
def test_cached_tools_are_read_like_uncached_ones(case: str) -> None:
    seen = knows(memory(), body())
    assert seen.parse(DISGUISED[case]) == orjson.loads(DISGUISED[case])


BROKEN = [
    b'{"tools":%b' % KNOWN,
    b'{"tools":%b]}' % KNOWN,
    b'{"a":"b,"tools":%b}' % KNOWN,
    b'{,"tools":%b}' % KNOWN,
    b'{"tools":%b,"a":\xff}' % KNOWN,
]


@pytest.mark.parametrize("raw", BROKEN)
def test_what_is_no_json_is_refused_with_the_place_in_the_body_that_was_sent(raw: bytes) -> None:
    seen = knows(memory(), body())
    with pytest.raises(orjson.JSONDecodeError) as plain:
        orjson.loads(raw)
    with pytest.raises(orjson.JSONDecodeError) as told:
        seen.parse(raw)
    assert (told.value.msg, told.value.pos) == (plain.value.msg, plain.value.pos)


@given(st.integers(0, len(KNOWN)), st.binary(min_size=1, max_size=3))
@settings(max_examples=200)
def test_a_list_that_differs_by_a_few_bytes_is_another_one(place: int, change: bytes) -> None:
    seen = knows(memory(), body())
    raw = b'{"tools":%b%b%b}' % (KNOWN[:place], change, KNOWN[place + len(change) :])

    def outcome(parse: Callable[[bytes], object]) -> object:
        try:
            return parse(raw)
        except orjson.JSONDecodeError as error:
            return error.msg, error.pos

    assert outcome(seen.parse) == outcome(orjson.loads)


def test_nesting_is_still_bounded() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    schema = {"type": "object", "properties": deep}
    seen, raw = memory(), orjson.dumps(body([*TOOLS, {**tool("deep"), "input_schema": schema}]))
    for _ in range(3):
        checked, _ = check_messages_request(seen.parse(raw), version="2023-06-01", betas=frozenset())
        with pytest.raises(orjson.JSONEncodeError):
            to_json(to_chat_request(checked, TARGET, KEYRING).body, len(raw))


# How much is remembered


def test_small_requests_are_not_looked_at() -> None:
    small = body([tool("a")])
    assert len(orjson.dumps(small)) < LEAST_BYTES
    assert not knows(memory(), small, times=3)._known


def test_the_lists_that_were_used_last_are_kept() -> None:
    size = len(orjson.dumps(TOOLS))
    seen = memory(most_bytes=3 * size + 100)
    requests = [body([*TOOLS[1:], tool(f"own_{number}")]) for number in range(4)]
    for request in requests[:3]:
        knows(seen, request)
    converted(seen, requests[0])  # the oldest, used again
    knows(seen, requests[3])
    assert [entry.tools[-1]["name"] for entry in seen._known] == ["own_3", "own_0", "own_2"]


def test_a_list_that_is_too_long_is_not_kept() -> None:
    long = body([tool("long", description="x" * MOST_LIST_BYTES)])
    assert not knows(memory(), long, times=3)._known


def test_a_list_that_differs_each_time_is_soon_left_alone() -> None:
    seen = memory()
    for number in range(MOST_TRIES + 5):
        converted(seen, body([*TOOLS[1:], tool("clock", description=f"It is {number} o'clock.")]))
    assert len(seen._known) == MOST_TRIES


def test_written_once_a_list_is_not_written_again() -> None:
    seen = knows(memory(), body(), times=3)
    chat = seen._known[0].tools.derive_for(TARGET, list)
    assert isinstance(chat, ChatTools)
    assert chat.written == orjson.dumps(chat)


MUTATIONS: dict[str, Callable[[list[Any]], object]] = {
    "append": lambda tools: tools.append({}),
    "extend": lambda tools: tools.extend([{}]),
    "insert": lambda tools: tools.insert(0, {}),
    "remove": lambda tools: tools.remove(tools[0]),
    "pop": lambda tools: tools.pop(),
    "clear": lambda tools: tools.clear(),
    "sort": lambda tools: tools.sort(key=str),
    "reverse": lambda tools: tools.reverse(),
    "set an item": lambda tools: operator.setitem(tools, 0, {}),
    "delete an item": lambda tools: operator.delitem(tools, 0),
    "+=": lambda tools: operator.iadd(tools, [{}]),
    "*=": lambda tools: operator.imul(tools, 2),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("tools", [CachedTools(TOOLS), ChatTools(TOOLS, b"")], ids=["of requests", "of chat requests"])
def test_a_cached_list_refuses_to_be_changed(tools: list[Any], mutation: str) -> None:
    with pytest.raises(TypeError, match="change a copy of it"):
        MUTATIONS[mutation](tools)
    assert tools == TOOLS


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, list, lambda tools: tools[:]])
def test_a_copy_of_a_cached_list_may_be_changed(make_copy: Callable[[list[Any]], list[Any]]) -> None:
    changed = make_copy(CachedTools(TOOLS))
    changed.append({})
    assert changed == [*TOOLS, {}]


def test_an_error_while_a_result_is_derived_is_not_cached() -> None:
    tools, outcomes = CachedTools(TOOLS), iter([ValueError("first"), None])

    def fail_once(tools: Sequence[Any]) -> int:
        error = next(outcomes)
        if error is not None:
            raise error
        return len(tools)

    with pytest.raises(ValueError, match="first"):
        tools.derive(fail_once)
    assert not tools.has_derived(fail_once)
    assert [tools.derive(fail_once), tools.derive(fail_once)] == [len(TOOLS)] * 2
