"""Reasoning there and back: an upstream's entries through thinking blocks into the next request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.keyring import Keyring
from gateway.dialects.chat.reasoning import (
    ReasoningReplay,
    continues,
    drop_repeated_entries,
    merge_entry,
    to_reasoning_details,
    to_redacted_data,
    to_signature,
)
from gateway.dialects.chat.request.fallbacks.apply import apply
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.reply import Reply
from gateway.messages.envelope import Envelope, open_envelope, seal
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER
from tests.support.bodies import assistant, user
from tests.support.conversions import (
    CLAUDE,
    DEEPSEEK,
    GEMINI,
    GPT,
    HELLO,
    KEYRING,
    OPENAI,
    convert,
    losses,
    text,
    tool_result,
    tool_use,
)

CLAUDE_FORMAT = "anthropic-claude-v1"
GEMINI_FORMAT = "google-gemini-v1"
OPENAI_FORMAT = "openai-responses-v1"

DEEPSEEK_DIRECT = to_target("deepseek-v4", COMPATIBLE)


def entry(kind: str, **fields: Any) -> Any:
    return {"type": f"reasoning.{kind}", **fields}


def merged(*entries: Any) -> tuple[list[Any], str]:
    result: list[Any] = []
    shown = "".join([merge_entry(result, one) for one in entries])
    return result, shown


MERGES = [
    pytest.param(
        [entry("text", text="I ", index=0, format=CLAUDE_FORMAT), entry("text", text="think", index=0)],
        [entry("text", text="I think", index=0, format=CLAUDE_FORMAT)],
        "I think",
        id="fragments of one text are joined",
    ),
    pytest.param(
        [entry("text", text="I think", index=0), entry("text", signature="S", index=0, format=CLAUDE_FORMAT)],
        [entry("text", text="I think", index=0, signature="S", format=CLAUDE_FORMAT)],
        "I think",
        id="R14 a detail with nothing but a signature completes its text",
    ),
    pytest.param(
        [entry("text", signature="S", index=0), entry("text", signature="T", text="x", index=0)],
        [entry("text", signature="S", text="x", index=0)],
        "x",
        id="the first signature stays",
    ),
    pytest.param(
        [
            entry("text", text="a", index=0, id=None),
            entry("text", text="b", index=0, id="r1"),
            entry("text", id=None, index=0),
        ],
        [entry("text", text="ab", index=0, id="r1")],
        "ab",
        id="an id that comes later is taken",
    ),
    pytest.param(
        [entry("text", text="a", index=0, id="r1"), entry("text", text="b", index=0, id="r2")],
        [entry("text", text="a", index=0, id="r1"), entry("text", text="b", index=0, id="r2")],
        "ab",
        id="another id is another entry",
    ),
    pytest.param(
        [entry("text", text="a", index=0), entry("text", text="b", index=1), entry("text", text="c", index=0)],
        [entry("text", text="ac", index=0), entry("text", text="b", index=1)],
        "abc",
        id="fragments find their entry by index, wherever it is",
    ),
    pytest.param(
        [entry("text", text="a"), entry("encrypted", data="D"), entry("text", text="b")],
        [entry("text", text="a"), entry("encrypted", data="D"), entry("text", text="b")],
        "ab",
        id="without an index only neighbours are one entry",
    ),
    pytest.param(
        [entry("text", text="a"), entry("text", text="b")], [entry("text", text="ab")], "ab", id="and neighbours are"
    ),
    pytest.param(
        [entry("summary", summary="a", index=0), entry("summary", summary="b", index=0)],
        [entry("summary", summary="ab", index=0)],
        "ab",
        id="summaries are joined",
    ),
    pytest.param(
        [entry("summary", summary="a", index=0), entry("text", text="b", index=0)],
        [entry("summary", summary="a", index=0), entry("text", text="b", index=0)],
        "ab",
        id="a summary and a text are two entries",
    ),
    pytest.param(
        [entry("encrypted", data="D", id="c", index=0), entry("encrypted", data="E", id="c", index=0)],
        [entry("encrypted", data="D", id="c", index=0), entry("encrypted", data="E", id="c", index=0)],
        "",
        id="encrypted data is never joined",
    ),
    pytest.param(
        [entry("encrypted", data="D", id="c"), entry("text", text="x"), entry("encrypted", data="D", id="c")],
        [entry("encrypted", data="D", id="c"), entry("text", text="x")],
        "x",
        id="the same encrypted entry again is no news",
    ),
    pytest.param(
        [entry("server_tool_call", tool_name="t", arguments="{}"), entry("future", new=[1])],
        [entry("server_tool_call", tool_name="t", arguments="{}"), entry("future", new=[1])],
        "",
        id="R18 kinds that show nothing are kept",
    ),
    pytest.param(
        [entry("future", text="shown")], [entry("future", text="shown")], "shown", id="R18 unknown kinds may show"
    ),
    pytest.param(
        [entry("text", text={"odd": 1}, index=0), entry("text", text="a", index=0), entry("text", text=7, index=0)],
        [entry("text", text="a", index=0)],
        "a",
        id="text that is no text is not shown",
    ),
]


@pytest.mark.parametrize(("entries", "expected", "shown"), MERGES)
def test_streamed_entries_are_folded(entries: list[Any], expected: list[Any], shown: str) -> None:
    assert merged(*entries) == (expected, shown)


def test_folding_leaves_what_came_in_alone() -> None:
    first, second = entry("text", text="a", index=0), entry("text", text="b", index=0)
    merged(first, second)
    assert (first, second) == (entry("text", text="a", index=0), entry("text", text="b", index=0))


@given(st.text(min_size=1), st.data())
def test_however_a_text_is_cut_it_folds_into_one_entry(whole: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    entries, shown = merged(*(entry("text", text=piece, index=0, format=CLAUDE_FORMAT) for piece in pieces))
    assert shown == whole
    assert entries == [entry("text", text=whole, index=0, format=CLAUDE_FORMAT)]


SIGNED = entry("text", text="I think", signature="RAW", format=CLAUDE_FORMAT, index=0)
REDACTED = entry("encrypted", data="SECRET", format=CLAUDE_FORMAT, index=1)

SIGNATURES = [
    pytest.param([SIGNED], CLAUDE, "RAW", id="R14 Claude's signature travels as it is"),
    pytest.param([{**SIGNED, "format": None}], CLAUDE, "RAW", id="an absent format is Claude's, from Claude"),
    pytest.param([SIGNED], DEEPSEEK, None, id="not from another model, which could not be given a bare signature back"),
    pytest.param([{**SIGNED, "signature": None}], CLAUDE, None, id="a text without a signature"),
    pytest.param([SIGNED, REDACTED], CLAUDE, None, id="two entries"),
    pytest.param([entry("summary", summary="s", format=OPENAI_FORMAT)], GPT, None, id="R17 a summary"),
    pytest.param([], DEEPSEEK, None, id="plain reasoning without entries"),
]


@pytest.mark.parametrize(("entries", "target", "raw"), SIGNATURES)
def test_a_signature_is_raw_or_an_envelope_of_every_entry(entries: list[Any], target: Target, raw: str | None) -> None:
    signature = to_signature(entries, target.model, KEYRING)
    if raw is None:
        assert open_envelope(signature, KEYRING) == Envelope(target.model, entries)
    else:
        assert signature == raw


DATA = [
    pytest.param([REDACTED], CLAUDE, "SECRET", id="R15 Claude's redacted thinking travels as it is"),
    pytest.param([REDACTED], GPT, None, id="from another model it does not"),
    pytest.param([{**REDACTED, "format": OPENAI_FORMAT}], CLAUDE, None, id="of another format it does not"),
    pytest.param([{**REDACTED, "data": None}], CLAUDE, None, id="without data there is nothing to travel"),
    pytest.param([REDACTED, SIGNED], CLAUDE, None, id="two entries"),
    pytest.param([{**SIGNED, "text": ""}], CLAUDE, None, id="a text that shows nothing"),
]


@pytest.mark.parametrize(("entries", "target", "raw"), DATA)
@pytest.mark.covers("Thinking · redacted thinking")
def test_redacted_data_is_raw_or_an_envelope_of_every_entry(
    entries: list[Any], target: Target, raw: str | None
) -> None:
    data = to_redacted_data(entries, target.model, KEYRING)
    if raw is None:
        assert open_envelope(data, KEYRING) == Envelope(target.model, entries)
    else:
        assert data == raw


BLOCK_BORDERS = [
    pytest.param([], SIGNED, CLAUDE, True, id="the first entry begins the block"),
    pytest.param([entry("text", text="I", index=0)], SIGNED, CLAUDE, True, id="a further fragment"),
    pytest.param([SIGNED], {**SIGNED, "index": 1}, CLAUDE, False, id="Claude's next thought has its own signature"),
    pytest.param([SIGNED], REDACTED, CLAUDE, False, id="as have its redacted ones"),
    pytest.param(
        [entry("text", text="I", index=0)], entry("encrypted", data="D"), GEMINI, True, id="others' go together"
    ),
]


@pytest.mark.parametrize(("entries", "following", "target", "expected"), BLOCK_BORDERS)
def test_where_one_thinking_block_ends(entries: list[Any], following: Any, target: Target, expected: bool) -> None:
    assert continues(entries, following, target.model) is expected


# There and back, through both halves of conversion.


def answered(message: dict[str, Any], target: Target) -> list[dict[str, Any]]:
    """The content blocks that a client gets for a chat answer."""
    reply = Reply("msg_1", "req_1", "asked", target.model, KEYRING)
    completion = {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}
    return cast(list[dict[str, Any]], to_message(completion, reply).message["content"])


def replayed(blocks: Sequence[dict[str, Any]], target: Target) -> Any:
    """The assistant message of the next request, and the whole conversion."""
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    follow_up = user(*(tool_result(call, content="r") for call in calls)) if calls else HELLO
    conversion = convert(target, messages=[HELLO, assistant(*blocks), follow_up])
    return conversion.body["messages"][1], conversion


CALL = {"id": "tool_0_look", "type": "function", "function": {"name": "look", "arguments": "{}"}}

ROUND_TRIPS = [
    pytest.param(CLAUDE, [SIGNED], id="R14 Claude's thought"),
    pytest.param(CLAUDE, [{**REDACTED, "index": 0}], id="R15 Claude's redacted thought"),
    pytest.param(
        CLAUDE,
        [SIGNED, REDACTED, {**SIGNED, "text": "And then", "signature": "RAW2", "index": 2}],
        id="R15 redacted between two thoughts",
    ),
    pytest.param(
        GEMINI,
        [entry("encrypted", data="SIG", id="tool_0_look", format=GEMINI_FORMAT, index=0)],
        id="R16 Gemini's signature of a call",
    ),
    pytest.param(
        GPT,
        [
            entry("summary", summary="**Cats**", format=OPENAI_FORMAT, index=0, id="rs_1"),
            entry("encrypted", data="ENC", format=OPENAI_FORMAT, index=0, id="rs_1"),
        ],
        id="R17 OpenAI's summary and encrypted reasoning",
    ),
    pytest.param(
        to_target("x-ai/grok-5", OPENROUTER),
        [entry("text", text="Hm", format="xai-responses-v1", index=0)],
        id="an unsigned text of xAI's",
    ),
    pytest.param(
        DEEPSEEK,
        [
            entry("server_tool_call", tool_name="fusion", arguments="{}", result="r", tool_call_id="c", index=0),
            entry("future", anything={"b": 1, "a": [None]}, text="shown", format="future-v9"),
        ],
        id="R18 a server tool's call and a kind not known yet",
    ),
]


@pytest.mark.parametrize(("target", "entries"), ROUND_TRIPS)
@pytest.mark.covers("OpenRouter · reasoning_details both ways")
def test_reasoning_of_the_upstream_comes_back_to_it(target: Target, entries: list[Any]) -> None:
    blocks = answered({"content": "Look!", "reasoning_details": entries, "tool_calls": [CALL]}, target)
    message, conversion = replayed(blocks, target)
    assert message == {"role": "assistant", "content": "Look!", "tool_calls": [CALL], "reasoning_details": entries}
    assert conversion.notes == ()


@pytest.mark.covers("Thinking · Gemini's signatures over three tool turns")
def test_r16_geminis_signatures_survive_three_tool_turns_though_their_ids_repeat() -> None:
    messages: list[Any] = [HELLO]
    sent = []
    for turn in range(3):
        details = [entry("encrypted", data=f"SIG{turn}", id="tool_0_look", format=GEMINI_FORMAT, index=0)]
        sent.append(details)
        blocks = answered({"content": None, "reasoning_details": details, "tool_calls": [CALL]}, GEMINI)
        messages += [assistant(*blocks), user(tool_result("tool_0_look", content="r"))]
    chat = convert(GEMINI, messages=messages).body["messages"]
    assert [message["reasoning_details"] for message in chat if message["role"] == "assistant"] == sent


def test_r18_an_explicit_empty_list_is_given_back_beside_the_plain_reasoning() -> None:
    blocks = answered({"content": "Hi", "reasoning": "Hm", "reasoning_details": []}, DEEPSEEK)
    message, _ = replayed(blocks, DEEPSEEK)
    assert message == {"role": "assistant", "content": "Hi", "reasoning": "Hm", "reasoning_details": []}


def test_plain_reasoning_goes_back_into_the_field_that_the_upstream_has() -> None:
    blocks = answered({"content": "Hi", "reasoning_content": "Hm"}, DEEPSEEK_DIRECT)
    message, _ = replayed(blocks, DEEPSEEK_DIRECT)
    assert message == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}


# What is not given back.


def thinking(signature: str, thought: str = "I think") -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought, "signature": signature}


def redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


GPT_SEALED = seal([entry("encrypted", data="ENC", format=OPENAI_FORMAT)], GPT.model, KEYRING)
FORGED = seal([SIGNED], CLAUDE.model, Keyring.parse("k1:another-key"))

LEFT_OUT = [
    pytest.param(
        thinking("RAW"), GPT, "reasoning that only Claude can read", id="R19 Claude's thought, to another model"
    ),
    pytest.param(redacted("RAW"), GEMINI, "reasoning that only Claude can read", id="R19 Claude's redacted thought"),
    pytest.param(redacted(GPT_SEALED), CLAUDE, "reasoning that another model made", id="R19 OpenAI's, to Claude"),
    pytest.param(
        thinking(GPT_SEALED),
        replace(GPT, model="openai/gpt-6"),
        "reasoning that another model made",
        id="R19 a newer model",
    ),
    pytest.param(
        thinking(FORGED), CLAUDE, "reasoning in an envelope that could not be opened (forged)", id="a forged envelope"
    ),
    pytest.param(
        thinking(seal([SIGNED], CLAUDE.model, Keyring.parse("k9:x"))),
        CLAUDE,
        "reasoning in an envelope that could not be opened (unknown key)",
        id="an envelope of another deployment",
    ),
    pytest.param(thinking(""), CLAUDE, "reasoning without a signature", id="unsigned, to Claude"),
    pytest.param(thinking(""), GEMINI, "reasoning without a signature", id="unsigned, to Gemini"),
    pytest.param(
        thinking(seal([entry("text", text="Hm", format=GEMINI_FORMAT)], GEMINI.model, KEYRING)),
        GEMINI,
        "reasoning that this model could not verify",
        id="Gemini's own text without a signature",
    ),
    pytest.param(
        thinking(seal([SIGNED], GPT.model, KEYRING)),
        GPT,
        "reasoning that this model could not verify",
        id="R19 what a fallback model of another family made",
    ),
    pytest.param(
        thinking("RAW"), OPENAI, "this upstream takes no earlier reasoning", id="an upstream without a field for it"
    ),
]


@pytest.mark.parametrize(("block", "target", "reason"), LEFT_OUT)
def test_reasoning_that_the_model_could_not_verify_is_left_out_and_noted(
    block: dict[str, Any], target: Target, reason: str
) -> None:
    message, conversion = replayed([block, text("Hi")], target)
    assert message == {"role": "assistant", "content": "Hi"}
    assert [(note.kind, note.field, note.reason) for note in conversion.notes] == [
        ("dropped", "messages.1.content", reason)
    ]


GIVEN_BACK = [
    pytest.param(
        [thinking("RAW", "")],
        CLAUDE,
        ReasoningReplay([{**SIGNED, "text": ""}]),
        id="Claude's thought whose display was omitted",
    ),
    pytest.param(
        [thinking("RAW"), redacted("SECRET")],
        to_target("anthropic/claude-opus-5", OPENROUTER),
        ReasoningReplay([SIGNED, REDACTED]),
        id="R19 one Claude's to another Claude",
    ),
    pytest.param(
        [thinking("")], DEEPSEEK, ReasoningReplay(None, "I think"), id="unsigned text, to a model that never signs"
    ),
    pytest.param(
        [thinking("", "A"), thinking("", "B")], DEEPSEEK, ReasoningReplay(None, "A\n\nB"), id="two plain thoughts"
    ),
    pytest.param(
        [thinking(GPT_SEALED)],
        replace(GPT, model=GPT.model + ":nitro"),
        ReasoningReplay([entry("encrypted", data="ENC", format=OPENAI_FORMAT)]),
        id="to another variant of the model",
    ),
    pytest.param(
        [thinking(seal([SIGNED], "openrouter/auto", KEYRING))],
        to_target("openrouter/auto", OPENROUTER),
        ReasoningReplay([SIGNED]),
        id="to a router, whatever model it had chosen",
    ),
    pytest.param(
        [
            thinking(seal([entry("text", text="Hm", format=GEMINI_FORMAT)], GEMINI.model, KEYRING)),
            redacted(seal([entry("encrypted", data="SIG", format=GEMINI_FORMAT)], GEMINI.model, KEYRING)),
        ],
        GEMINI,
        [entry("encrypted", data="SIG", format=GEMINI_FORMAT)],
        id="encrypted entries stay when an unsigned text goes",
    ),
]


@pytest.mark.parametrize(("blocks", "target", "expected"), GIVEN_BACK)
def test_reasoning_that_the_model_can_use_is_given_back(blocks: list[Any], target: Target, expected: Any) -> None:
    replay = to_reasoning_details(blocks, target, KEYRING)
    if isinstance(expected, ReasoningReplay):
        assert replay == expected
    else:
        assert replay.details == expected


def test_a_turn_of_nothing_but_reasoning_that_is_left_out_is_not_sent() -> None:
    conversion = convert(GPT, messages=[HELLO, assistant(thinking("RAW")), HELLO])
    assert [message["role"] for message in conversion.body["messages"]] == ["user"]
    assert losses(conversion) == [("dropped", "messages.1.content")]


def test_a_turn_of_nothing_but_reasoning_is_sent_with_empty_content() -> None:
    message, _ = replayed([thinking("RAW")], CLAUDE)
    assert message == {"role": "assistant", "content": "", "reasoning_details": [SIGNED]}


def test_reasoning_of_consecutive_assistant_messages_is_joined() -> None:
    messages = [HELLO, assistant(thinking("RAW"), text("A")), assistant(redacted("SECRET"), text("B")), HELLO]
    (_, message, _) = convert(CLAUDE, messages=messages).body["messages"]
    assert message["reasoning_details"] == [SIGNED, {**REDACTED, "index": 0}]
    plain = [HELLO, assistant(thinking("", "A"), text("A")), assistant(thinking("", "B"), text("B")), HELLO]
    for target, field in ((DEEPSEEK, "reasoning"), (DEEPSEEK_DIRECT, "reasoning_content")):
        (_, message, _) = convert(target, messages=plain).body["messages"]
        assert message[field] == "A\n\nB"


def test_an_id_in_several_messages_stays_in_the_newest_for_openai() -> None:
    first = entry("encrypted", data="ENC", id="rs_1", format=OPENAI_FORMAT)
    again = seal([first, entry("summary", summary="s", id="rs_1"), entry("text", text="t")], GPT.model, KEYRING)
    messages = [HELLO, assistant(thinking(again), text("A")), HELLO, assistant(thinking(again), text("A")), HELLO]
    conversion = convert(GPT, messages=messages)
    older, newer = (message for message in conversion.body["messages"] if message["role"] == "assistant")
    assert older["reasoning_details"] == [entry("text", text="t")]
    assert newer["reasoning_details"] == [first, entry("summary", summary="s", id="rs_1"), entry("text", text="t")]
    assert losses(conversion) == [("dropped", "messages")]


def test_a_message_left_without_entries_has_none() -> None:
    messages = [
        {"reasoning_details": [entry("encrypted", id="r")]},
        {"reasoning_details": [entry("encrypted", id="r")]},
    ]
    assert drop_repeated_entries(messages)
    assert messages == [{}, {"reasoning_details": [entry("encrypted", id="r")]}]


# One try without, after the upstream refused a signature.


def without_reasoning(body: Any) -> Any:
    return apply(Adaptation("drop_reasoning"), body)[0]


def test_the_second_try_goes_without_the_reasoning_and_leaves_the_first_alone() -> None:
    messages = [HELLO, assistant(thinking("RAW"), tool_use()), user(tool_result(content="r"), text("Well?"))]
    body = convert(CLAUDE, messages=messages, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000).body
    healed = without_reasoning(body)
    assert "reasoning_details" not in healed["messages"][1]
    assert healed["messages"][1]["tool_calls"] == body["messages"][1]["tool_calls"]
    assert healed["reasoning"] == {"max_tokens": 2000}
    assert body["messages"][1]["reasoning_details"] == [SIGNED]


def test_within_a_tool_turn_the_second_try_asks_for_no_thinking_budget_either() -> None:
    messages = [HELLO, assistant(thinking("RAW"), tool_use()), user(tool_result(content="r"))]
    body = convert(CLAUDE, messages=messages, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000).body
    assert "reasoning" not in without_reasoning(body)
    adaptive = convert(CLAUDE, messages=messages, thinking={"type": "adaptive"}).body
    assert without_reasoning(adaptive)["reasoning"] == {"enabled": True}
    unasked = convert(CLAUDE, messages=messages).body
    assert without_reasoning(unasked).keys() == unasked.keys()


@pytest.mark.parametrize("target", [DEEPSEEK, DEEPSEEK_DIRECT])
def test_plain_reasoning_goes_as_well_on_the_second_try(target: Target) -> None:
    body = convert(target, messages=[HELLO, assistant(thinking(""), text("A")), HELLO]).body
    assert len(body["messages"][1]) == 3
    assert without_reasoning(body)["messages"][1] == {"role": "assistant", "content": "A"}


def test_a_body_without_earlier_reasoning_stays_the_very_same() -> None:
    turn = [HELLO, assistant(thinking("RAW"), tool_use()), user(tool_result())]
    body = convert(OPENAI, messages=turn).body
    assert without_reasoning(body) is body
