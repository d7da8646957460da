"""Blocks from pieces: the quirks of upstreams that the orders and golden streams do not show."""

from typing import Any

import pytest

from gateway.dialects.chat.reasoning import to_reasoning_details
from gateway.dialects.chat.response.assembly import MAX_BLOCKS
from gateway.messages.notes import Note
from gateway.upstream.models.target import to_target
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.streams import KEYRING, Json, call, call_part, chunk, detail, finish, say, told

CLAUDE = "anthropic/claude-sonnet-4.5"


def calls_in(*payloads: Json, **fields: Any) -> list[tuple[str, str, Any]]:
    """(id, name, input) of each call."""
    result = told(*payloads, finish("tool_calls"), **fields)
    assert result.failure is None
    return [(block["id"], block["name"], block["input"]) for block in result.blocks]


def failure_of(*payloads: Json) -> str:
    failure = told(*payloads, finish("tool_calls")).failure
    assert failure is not None
    return failure.message


# What an upstream sends, and the calls that are meant.
QUIRKS: dict[str, tuple[list[Json], list[tuple[str, str, Any]]]] = {
    "the name after the arguments": (
        [call(0, '{"a":', "c"), call(0, "1}"), call(0, "", "c", "f")],
        [("c", "f", {"a": 1})],
    ),
    "the id after the name": (
        [call(0, "", None, "f"), call(0, "{}", "c")],
        [("c", "f", {})],
    ),
    "the id after the name, without an index": (
        [call(None, "", None, "f"), call(None, "{}", "c"), call(None, "", None, "g"), call(None, "{}", "d")],
        [("c", "f", {}), ("d", "g", {})],
    ),
    "the id after the arguments": (
        [call(0, '{"a":', None, "f"), call(0, "1}", "c")],
        [("toolu_msg_1_0", "f", {"a": 1})],
    ),
    "one id and one index for two calls of one tool": (
        [call(0, '{"a":1}', "c", "f"), call(0, "", "c", "f"), call(0, '{"a":'), call(0, "2}")],
        [("c", "f", {"a": 1}), ("toolu_msg_1_1", "f", {"a": 2})],
    ),
    "one id and no index for two calls of one tool": (
        [call(None, '{"a":1}', "c", "f"), call(None, '{"a":2}', "c", "f")],
        [("c", "f", {"a": 1}), ("toolu_msg_1_1", "f", {"a": 2})],
    ),
    "one id for two calls of two tools": (
        [call(None, "{}", "c", "f"), call(None, "{}", "c", "g")],
        [("c", "f", {}), ("toolu_msg_1_1", "g", {})],
    ),
    "nothing that parts two calls": (
        [call(0, '{"a":1}', "c", "f"), call(0, ' {"a":2}')],
        [("c", "f", {"a": 1}), ("toolu_msg_1_1", "f", {"a": 2})],
    ),
    "one index and no ids for two calls": (
        [call(0, '{"a":1}', None, "f"), call(0, '{"b":2}', None, "g")],
        [("toolu_msg_1_0", "f", {"a": 1}), ("toolu_msg_1_1", "g", {"b": 2})],
    ),
    "one index for two calls of one tool": (
        [call(0, '{"a":1}', "c", "f"), call(0, '{"a":2}', "d", "f")],
        [("c", "f", {"a": 1}), ("d", "f", {"a": 2})],
    ),
    "the same call twice, whole": (
        [call(0, '{"a":1}', "c", "f"), call(0, ' {"a":1}', "c", "f"), say("x"), call(0, '{"a":1} ', "c", "f")][:2],
        [("c", "f", {"a": 1})],
    ),
    "no index and an id in the first piece only": (
        [call(None, '{"a":', "c", "f"), call(None, "1}"), call(None, "{}", "d", "g")],
        [("c", "f", {"a": 1}), ("d", "g", {})],
    ),
    "no index and an id before its name": (
        [call(None, '{"a":1}', "c", "f"), call(None, "", "d"), call(None, "{}", "d", "g")],
        [("c", "f", {"a": 1}), ("d", "g", {})],
    ),
    "neither index nor id": (
        [call(None, '{"a":1}', None, "f"), call(None, "{}", None, "g")],
        [("toolu_msg_1_0", "f", {"a": 1}), ("toolu_msg_1_1", "g", {})],
    ),
    "indexes with gaps": (
        [call(7, "{}", "c", "f"), call(3, "{}", "d", "g"), call(None, "{}", "e", "h")],
        [("c", "f", {}), ("d", "g", {}), ("e", "h", {})],
    ),
    "characters that ids may not have": (
        [call(0, "{}", "functions.f:0", "f"), call(1, "{}", "functions/f 0", "f")],
        [("toolu_msg_1_0_gwe_ZnVuY3Rpb25zLmY6MA", "f", {}), ("toolu_msg_1_1_gwe_ZnVuY3Rpb25zL2YgMA", "f", {})],
    ),
    "an empty id": ([call(0, "{}", "", "f")], [("toolu_msg_1_0", "f", {})]),
    "another index for each piece": (
        [call(0, '{"a"', "c", "f"), call(1, ":1"), call(2, "}"), call(3, "{}", "d", "g")],
        [("c", "f", {"a": 1}), ("d", "g", {})],
    ),
    "an empty object before the arguments": (
        [call(0, "{}", "c", "f"), call(0, '{"a"'), call(0, ":1}"), call(1, "{}", "d", "g")],
        [("c", "f", {"a": 1}), ("d", "g", {})],
    ),
    "an id that is no string": (
        [chunk({"tool_calls": [{"index": 0, "id": 5, "function": {"name": "f", "arguments": "{}"}}]})],
        [("toolu_msg_1_0", "f", {})],
    ),
    "no arguments at all": (
        [chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]})],
        [("c", "f", {})],
    ),
    "null for arguments": ([call(0, None, "c", "f")], [("c", "f", {})]),
    "the word null for arguments": ([call(0, "null", "c", "f")], [("c", "f", {})]),
    "white space before the arguments": ([call(0, " \n", "c", "f"), call(0, '{"a":1}')], [("c", "f", {"a": 1})]),
    "white space for arguments": ([call(0, " ", "c", "f")], [("c", "f", {})]),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_calls_are_read_despite(quirk: str) -> None:
    payloads, expected = QUIRKS[quirk]
    assert calls_in(*payloads) == expected


def test_a_call_waits_for_its_name_and_holds_back_only_what_comes_after_it() -> None:
    result = told(say("a"), call(0, "{}", "c"), say("b"), call(0, "", None, "f"), say("c"), finish())
    assert [block["type"] for block in result.blocks] == ["text", "tool_use", "text"]
    assert result.blocks[2]["text"] == "bc"


def test_names_and_toolsets_are_the_clients_again() -> None:
    result = told(call(0, "{}", "c", "short"), finish(), tool_names={"short": "long"}, toolsets={"short": "browser"})
    (block,) = result.blocks
    assert (block["name"], block["toolset_name"]) == ("long", "browser")
    assert "toolset_name" not in told(call(0, "{}", "c", "f"), finish()).blocks[0]


BROKEN: dict[str, tuple[list[Json], str]] = {
    "a call without a name": ([call(0, "{}", "c")], "a tool call without a name"),
    "arguments behind their end": ([call(0, "{}", "c", "f"), call(0, "1")], "went on"),
    "arguments behind the end of their block": ([call(0, "{}", "c", "f"), say("x"), call(0, "1")], "went on"),
    "text for arguments": ([call(0, "rm -rf", "c", "f")], "not a JSON object"),
    "a list for arguments": ([call(0, '["a"]', "c", "f")], "not a JSON object"),
    "arguments broken inside": ([call(0, '{"a":}', "c", "f")], "not a JSON object"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_answer_that_cannot_be_repaired_is_an_error(case: str) -> None:
    payloads, words = BROKEN[case]
    assert words in failure_of(*payloads)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (call(0, '{"a":[1]', "c", "f"), "tool_calls"),
        (call(0, '"{}"', "c", "f"), "tool_calls"),
        (call(0, "null", "c", "f"), "tool_calls"),
    ],
)
def test_mended_arguments_are_noted(payload: Json, reason: str) -> None:
    result = told(payload, finish(reason))
    assert result.stream.notes == (
        Note("changed", "content.0.input", "the upstream's tool arguments were not valid JSON"),
    )


def test_arguments_that_were_left_out_are_no_change() -> None:
    assert told(call(0, "", "c", "f"), finish()).stream.notes == ()


def many(count: int, waiting: bool) -> list[Json]:
    first = [call(0, "{", "c_0", "f")] if waiting else []
    return first + [call(index, "{}", f"c_{index}", "f") for index in range(1, count + 1 - len(first))]


@pytest.mark.parametrize("waiting", [False, True], ids=["closed", "waiting"])
def test_an_upstream_that_never_stops_making_blocks_is_stopped(waiting: bool) -> None:
    assert told(*many(MAX_BLOCKS, waiting), finish()).failure is None
    assert (
        failure_of(*many(MAX_BLOCKS + 1, waiting)) == "The upstream sent more content blocks than the gateway accepts."
    )


def test_many_calls_in_one_chunk_stand_in_their_order() -> None:
    parts = [call_part(index, f'{{"n":{index}}}', f"c_{index}", "f") for index in range(20)]
    assert [given["n"] for _, _, given in calls_in(chunk({"tool_calls": parts}))] == list(range(20))


# Reasoning


def claude_entry(**fields: Any) -> Json:
    return detail(type="reasoning.text", format="anthropic-claude-v1", **fields)


def replayed(blocks: list[Json], model: str) -> list[Any]:
    """Return the reasoning that the next request gives back to the same model."""
    thinking = [block for block in blocks if block["type"].endswith("thinking")]
    replay = to_reasoning_details(thinking, to_target(model, OPENROUTER), KEYRING)
    return [*(replay.details or [])]


SIGNED = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "text": "Hmm.", "signature": "S"}


@pytest.mark.parametrize(
    "between", [[], [say("So")], [call(0, "{}", "c", "f")], [say("So"), call(0, "{}", "c", "f")]], ids=str
)
def test_a_signature_is_given_back_with_its_text_however_late_it_came(between: list[Json]) -> None:
    payloads = [claude_entry(text="Hm", index=0), claude_entry(text="m.", index=0), *between]
    result = told(*payloads, claude_entry(signature="S", index=0), say(" be it."), finish(), upstream_model=CLAUDE)
    assert replayed(result.blocks, CLAUDE) == [SIGNED]
    assert [block["thinking"] for block in result.blocks if block["type"] == "thinking"] == ["Hmm."]


def test_a_late_signature_finds_its_own_part() -> None:
    parts = [claude_entry(text="One.", index=0), claude_entry(text="Two.", index=1), say("So.")]
    late = [claude_entry(signature="S1", index=1), claude_entry(signature="S0", index=0)]
    result = told(*parts, *late, finish(), upstream_model=CLAUDE)
    assert [(entry["text"], entry["signature"]) for entry in replayed(result.blocks, CLAUDE)] == [
        ("Two.", "S1"),
        ("One.", "S0"),
    ]


def test_a_second_signature_does_not_replace_the_first() -> None:
    parts = [claude_entry(text="One.", index=0), claude_entry(signature="S0", index=0), say("So.")]
    result = told(*parts, claude_entry(signature="X", index=0), finish(), upstream_model=CLAUDE)
    assert result.blocks[0]["signature"] == "S0"


def test_thinking_that_was_left_out_keeps_its_signature() -> None:
    result = told(claude_entry(signature="S", index=0), say("So."), finish(), upstream_model=CLAUDE)
    assert result.blocks[0] == {"type": "thinking", "thinking": "", "signature": "S"}


def test_reasoning_beside_its_details_is_not_shown_twice() -> None:
    both = {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}]}
    assert told(chunk(both), say("x"), finish()).blocks[0]["thinking"] == "Hm"


def test_reasoning_beside_empty_details_is_shown() -> None:
    both = {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}
    (block, _) = told(chunk(both), say("x"), finish()).blocks
    assert block["thinking"] == "Hm"
    assert replayed([block], "acme/writer") == [{"type": "reasoning.encrypted", "data": "x"}]


def test_hidden_thinking_gives_back_all_of_it() -> None:
    entry = {"type": "reasoning.summary", "summary": "Hm", "format": "openai-responses-v1", "index": 0}
    result = told(detail(**entry), say("x"), finish(), upstream_model="openai/gpt-5", show_thinking=False)
    assert result.blocks[0]["thinking"] == ""
    assert replayed(result.blocks, "openai/gpt-5") == [entry]


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    result = told(chunk({"content": parts}), finish())
    assert [block["text"] for block in result.blocks] == ["ab"]
    assert result.stream.notes == ()


MIXED = [{"type": "text", "text": "a"}, {"type": "file"}, 5]
UNKNOWN = "annotations of an unknown kind"
LOST: dict[str, tuple[Json, str]] = {
    "citations of nothing": ({"content": "a", "annotations": [{"type": "url_citation"}]}, UNKNOWN),
    "annotations of later kinds": ({"content": "a", "annotations": [{"type": "x", "url": "u"}]}, UNKNOWN),
    "annotations that are none": ({"content": "a", "annotations": ["x"]}, UNKNOWN),
    "sound": ({"content": "a", "audio": {"data": "QQ=="}}, "audio"),
    "sound of an unknown shape": ({"content": "a", "audio": ["QQ=="]}, "audio"),
    "parts that are not text": ({"content": MIXED}, "content that is not text"),
}


@pytest.mark.parametrize("stops", [(), ("END",)], ids=["plain", "guarded"])
@pytest.mark.parametrize("case", LOST)
def test_content_without_a_place_in_messages_is_noted_once(case: str, stops: tuple[str, ...]) -> None:
    delta, what = LOST[case]
    result = told(chunk(delta), chunk(delta), finish(), stop_sequences=stops)
    assert result.blocks[0]["text"] == "aa"
    assert result.stream.notes == (Note("dropped", "content", f"the answer's {what} could not be carried over"),)


def test_transcript_of_a_sound_is_text() -> None:
    spoken = [chunk({"audio": {"id": "a", "transcript": "Good "}}), chunk({"audio": {"transcript": "day."}})]
    result = told(*spoken, chunk({"audio": {"data": "QQ==", "expires_at": 9}}), finish())
    assert [block["text"] for block in result.blocks] == ["Good day."]
    assert [note.reason for note in result.stream.notes] == ["the answer's audio could not be carried over"]


@pytest.mark.parametrize("empty", [None, [], {}])
def test_empty_content_is_not_noted_as_lost(empty: Any) -> None:
    delta = {"content": "a", "annotations": empty, "images": empty, "audio": empty}
    assert told(chunk(delta), finish()).stream.notes == ()


def test_a_call_that_the_client_forbade_is_left_out_and_noted() -> None:
    result = told(say("No."), call(0, '{"a": 1}', "c", "f"), finish("tool_calls"), forbids_calls=True)
    assert [block["type"] for block in result.blocks] == ["text"]
    assert result.stop["stop_reason"] == "end_turn"
    assert [str(note.field) for note in result.stream.notes] == ["content"]
