"""Ids of tool calls: what the client gets for an upstream's, and that the upstream gets its own back."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.call_ids import to_client_id, to_upstream_id
from gateway.dialects.chat.response.calls.tool_names import to_legal_name
from gateway.dialects.chat.response.convert import to_message
from gateway.messages.fold import fold_events
from tests.support.bodies import assistant, user
from tests.support.conversions import CLAUDE, DEEPSEEK, HELLO, STRICT, convert, tool_result, tool_use
from tests.support.streams import Json, call, call_part, completion, finish, reply, told

LEGAL = re.compile(r"[a-zA-Z0-9_-]+")
UPSTREAM_IDS = ["call_0", "functions.Bash:0", "a b", "é", "x" * 300, "_gwp_", "toolu_1_0_gwp_call_0", "..", "工具:1"]


@pytest.mark.parametrize("upstream_id", UPSTREAM_IDS)
@pytest.mark.covers("Tools · ids are legal, unique and come back as they were")
def test_an_id_within_a_clients_id_comes_back(upstream_id: str) -> None:
    client_id = to_client_id(upstream_id, "msg_0a", 3)
    assert LEGAL.fullmatch(client_id)
    assert client_id.startswith("toolu_msg_0a_3")
    assert to_upstream_id(client_id) == upstream_id


@given(upstream_id=st.text(min_size=1), index=st.integers(0, 2000))
def test_any_id_comes_back(upstream_id: str, index: int) -> None:
    client_id = to_client_id(upstream_id, "msg_0a", index)
    assert LEGAL.fullmatch(client_id)
    assert to_upstream_id(client_id) == upstream_id


@pytest.mark.parametrize(
    "client_id",
    [
        *(
            "call_0",
            "toolu_01A09q90qw90lq917835lq9",
            "toolu_msg_1_0",
            "_gw",
            "_gwp_",
            "toolu_1_0_gwp_",
            "toolu_1_gwp_a",
        ),
        *("call_1_0_gwp_a", "toolu_1_0_gwe_a", "toolu_1_0_gwe__w", "toolu_1_0_gwx_a"),
    ],
)
def test_an_id_that_carries_none_is_the_upstreams(client_id: str) -> None:
    assert to_upstream_id(client_id) == client_id


def message_with(*ids: str, used: frozenset[str] = frozenset(), message_id: str = "msg_1") -> Json:
    parts = [call_part(index, f'{{"n":{index}}}', call_id, "f") for index, call_id in enumerate(ids)]
    to = reply(used_call_ids=used, message_id=message_id)
    return to_message(completion({"tool_calls": parts}, "tool_calls"), to).message


def ids_of(message: Json) -> list[str]:
    return [block["id"] for block in message["content"]]


def test_a_legal_id_that_is_new_to_the_conversation_stays() -> None:
    assert ids_of(message_with("call_a", "call_b", used=frozenset({"call_c"}))) == ["call_a", "call_b"]


def test_an_id_that_the_conversation_has_is_carried_in_another() -> None:
    (client_id,) = ids_of(message_with("call_0", used=frozenset({"call_0"})))
    assert client_id != "call_0"
    assert to_upstream_id(client_id) == "call_0"


def test_the_second_of_two_calls_with_one_id_gets_a_new_id() -> None:
    first, second = ids_of(message_with("call_0", "call_0"))
    assert (first, to_upstream_id(second)) == ("call_0", second)


def conversation(count: int, upstream_id: str) -> list[Json]:
    """Return turns as a client gives them back, each with one call under the same id."""
    turns: list[Json] = [HELLO]
    for number in range(count):
        used = frozenset(block["id"] for turn in turns if turn["role"] == "assistant" for block in turn["content"])
        message = message_with(upstream_id, used=used, message_id=f"msg_{number}")
        turns += [assistant(*message["content"]), user(tool_result(ids_of(message)[0], content="r"))]
    return turns


@pytest.mark.parametrize("upstream_id", ["call_0", "functions.Bash:0"])
def test_ids_are_unique_over_a_conversation_and_the_upstreams_own_upstream(upstream_id: str) -> None:
    turns = conversation(4, upstream_id)
    client_ids = [turn["content"][0]["id"] for turn in turns if turn["role"] == "assistant"]
    assert len(set(client_ids)) == 4
    for target in (DEEPSEEK, STRICT):
        conversion = convert(target, messages=turns)
        assert conversion.used_call_ids == set(client_ids)
        messages: Any = conversion.body["messages"]
        for called, answered in zip(messages[1::2], messages[2::2], strict=True):
            assert called["tool_calls"][0]["id"] == answered["tool_call_id"] == upstream_id


def test_claude_gets_the_clients_ids_which_are_legal_and_unique() -> None:
    turns = conversation(3, "functions.Bash:0")
    messages: Any = convert(CLAUDE, messages=turns).body["messages"]
    ids = [message["tool_calls"][0]["id"] for message in messages[1::2]]
    assert ids == [message["tool_call_id"] for message in messages[2::2]]
    assert len(set(ids)) == 3
    assert all(map(LEGAL.fullmatch, ids))


def test_a_pointer_to_a_tools_picture_names_the_upstreams_id() -> None:
    client_id = to_client_id("functions.look:0", "msg_1", 0)
    image = {"type": "image", "source": {"type": "url", "url": "https://images.example/a.png"}}
    turns = [HELLO, assistant(tool_use(client_id)), user(tool_result(client_id, content=[image]))]
    parts: Any = convert(STRICT, messages=turns).body["messages"][-1]["content"]
    assert parts[0]["text"] == "[from the result of tool call functions.look:0]"


# What a model calls a tool, and the tool that it means.
NAMES: dict[str, tuple[str, str]] = {
    "the name itself": ("mcp__server__read-file", "mcp__server__read-file"),
    "a harmony mark": ("Bash<|channel|>commentary", "Bash"),
    "another harmony mark": ("Bash<|constrain|>json", "Bash"),
    "a mark with space": ("Bash <|channel|>", "Bash"),
    "the namespace of harmony": ("functions.Bash", "Bash"),
    "both": ("functions.Bash<|channel|>json", "Bash"),
    "the namespace of Gemini": ("default_api:Bash", "Bash"),
    "another one of Gemini": ("default_api.Bash", "Bash"),
    "a name that begins like a namespace": ("functions_list", "functions_list"),
    "characters that names may not have": ("weather.get now", "weather_get_now"),
    "too many characters": ("x" * 300, "x" * 128),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_tool_that_a_name_means(case: str) -> None:
    said, meant = NAMES[case]
    assert to_legal_name(said) == meant
    result = told(call(0, "{}", "c", said), finish("tool_calls"))
    assert fold_events(result.events)["content"][0]["name"] == meant
    assert [note.field for note in result.stream.notes] == ([] if said == meant else ["content.0.name"])


def test_a_mark_around_a_shortened_name_is_taken_off_before_it_is_restored() -> None:
    result = told(
        call(0, "{}", "c", "short<|channel|>x"), finish(), tool_names={"short": "long"}, toolsets={"short": "t"}
    )
    assert (result.blocks[0]["name"], result.blocks[0]["toolset_name"]) == ("long", "t")


def test_a_name_of_marks_alone_is_none() -> None:
    failure = told(call(0, "{}", "c", "<|channel|>"), finish()).failure
    assert failure is not None
    assert "without a name" in failure.message
