"""Cached turns change nothing but the cost (`fuzz_turns` compares with and without). What is cached, and when."""

import json
from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.chat.client.request import to_messages_request
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.encode import ChatMessages, to_json
from gateway.dialects.clients.parameters import ClientAsking
from gateway.dialects.clients.tools import ToolRegistry
from gateway.errors import InvalidRequest
from gateway.messages.envelope import seal
from gateway.messages.prompt import Received, to_unchecked
from gateway.messages.turn_cache import (
    MEMORY_PER_BYTE,
    MOST_ALIKE,
    MOST_REQUEST_BYTES,
    MOST_TARGETS,
    CachedMessages,
    TurnCache,
    all_hold,
    remember,
)
from gateway.messages.validation import check_messages_request
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER

Json = dict[str, Any]
KEYRING = Keyring.parse("k:s").of_tenant("red")
WRITER = to_target("acme/writer", COMPATIBLE)
OPENING = {"role": "user", "content": "Look at " + "a file, " * 1200}


def turn(number: int, *, text: str = "Done → é.", **fields: Any) -> list[Json]:
    call = {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {"path": f"{number}.py"}, **fields}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": [{"type": "text", "text": text}]}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": text}, call]},
        {"role": "user", "content": [result]},
    ]


def conversation(turns: int, **fields: Any) -> list[Json]:
    return [OPENING, *(message for number in range(turns) for message in turn(number, **fields))]


def body(messages: list[Json], **fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "max_tokens": 9, "messages": messages, **fields})


def cache(most_json: int = 1 << 20) -> TurnCache:
    return TurnCache("0123456789abcdef" * 2, most_json * MEMORY_PER_BYTE)


def parse(cache: TurnCache, raw: bytes, tenant: str = "red") -> Any:
    parsed: Any = cache.parse(raw, tenant)
    assert parsed == orjson.loads(raw)
    return parsed


def checked(cache: TurnCache, raw: bytes, tenant: str = "red") -> Any:
    return check_messages_request(parse(cache, raw, tenant), version="2023-06-01", betas=frozenset())[0]


def known(cache: TurnCache, messages: list[Json], tenant: str = "red", **fields: Any) -> int:
    """Return how many messages of a request are known, which is then checked."""
    request = parse(cache, body(messages, **fields), tenant)
    count = request["messages"].known if isinstance(request["messages"], CachedMessages) else 0
    check_messages_request(request, version="2023-06-01", betas=frozenset())
    return count


def converted(cache: TurnCache, messages: list[Json], target: Target = WRITER) -> Any:
    return to_chat_request(checked(cache, body(messages)), target, KEYRING)


def test_next_request_shares_messages_up_to_last_answer() -> None:
    turns = cache()
    assert [known(turns, conversation(number)) for number in range(5)] == [0, 0, 2, 4, 6]
    first, second = checked(turns, body(conversation(5)))["messages"], checked(turns, body(conversation(6)))["messages"]
    assert all(one is other for one, other in zip(first[:8], second[:8], strict=True))


def test_cached_messages_are_those_of_one_tenant() -> None:
    turns = cache()
    for number in range(3):
        known(turns, conversation(number), "red")
    assert known(turns, conversation(3), "blue") == 0
    assert known(turns, conversation(3), "red") == 4
    assert known(turns, conversation(3), "blue") == 6


@pytest.mark.parametrize("most_json", [0, 100])
def test_cache_without_room_knows_nothing(most_json: int) -> None:
    turns = cache(most_json)
    assert [known(turns, conversation(number)) for number in range(4)] == [0] * 4


def test_small_and_very_large_requests_are_left_alone() -> None:
    for opening in ("Hi", "a" * MOST_REQUEST_BYTES):
        messages = [{"role": "user", "content": opening}, *turn(0)]
        assert type(parse(cache(), body(messages))["messages"]) is list


HELD = {
    "media": {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.com/b.png"}}]},
    "a breakpoint": {
        "role": "user",
        "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
    },
    "an unknown key": {"role": "user", "content": "a", "name": "b"},
    "instructions": {"role": "system", "content": "Be brief."},
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_prefix_ends_before_message_that_rules_look_at(held: Json) -> None:
    turns, more = cache(), [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    messages = [*conversation(2), held, *more, *more]
    assert [known(turns, messages), known(turns, messages)] == [0, 4]


def test_prefix_ends_before_number_beyond_64_bits() -> None:
    turns, wide = cache(), [{**turn(8)[0]}, turn(8)[1]]
    wide[0]["content"] = [{**turn(8)[0]["content"][1], "input": {"n": 2.0**70}}]
    messages = [*conversation(2), *wide, *turn(9)]
    assert [known(turns, messages), known(turns, messages)] == [0, 4]


def test_refused_request_leaves_nothing() -> None:
    turns, messages = cache(), [*conversation(2), turn(3)[0]]
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="without `tool_result` blocks"):
            known(turns, [*messages, {"role": "user", "content": "Never mind."}])
    assert known(turns, conversation(3)) == 0


def test_error_after_known_messages_names_its_place() -> None:
    turns = cache()
    for number in range(3):
        known(turns, conversation(number))
    with pytest.raises(InvalidRequest, match=r"^messages\.7\.content\.0\.text: Field required"):
        known(turns, [*conversation(3), {"role": "assistant", "content": [{"type": "text"}]}])


def test_known_bytes_elsewhere_in_request_are_not_its_messages() -> None:
    turns = cache()
    for number in range(4):
        known(turns, conversation(number))
    other = [{"role": "user", "content": "Another."}]
    raw = orjson.dumps({"metadata": {"messages": conversation(3)}, "model": "m", "max_tokens": 9, "messages": other})
    assert checked(turns, raw)["messages"] == other
    twice = body(conversation(3))[:-1] + b',"messages":[{"role":"user","content":"Another."}]}'
    assert checked(turns, twice)["messages"] == other


@pytest.mark.parametrize("written", [{"separators": (",", ":")}, {"ensure_ascii": False}], ids=["escapes", "spaces"])
def test_conversation_written_otherwise_is_not_cached(written: Json) -> None:
    turns = cache()
    for number in range(4):
        request = {"model": "m", "max_tokens": 9, "messages": conversation(number)}
        messages = checked(turns, json.dumps(request, **written).encode())["messages"]
        assert not isinstance(messages, CachedMessages) or messages.known <= 1
    assert not turns._alike or turns._count <= 1


def test_oldest_conversations_make_room() -> None:
    turns = cache(200_000)
    openings = [{"role": "user", "content": f"{number} " + "a" * 20_000} for number in range(12)]
    for opening in openings:
        known(turns, [opening, *turn(0)])
    found = [known(turns, [opening, *turn(0), *turn(1)]) for opening in reversed(openings)]
    assert found == [2] * 9 + [0] * 3
    assert turns._json == sum(len(entry.written.json) for alike in turns._alike.values() for entry in alike) <= 200_000


def test_of_long_conversation_the_beginning_is_cached() -> None:
    turns, length = cache(100_000), len(body(conversation(40)))
    assert length > 15_000
    found = [known(turns, conversation(number)) for number in range(0, 90, 10)]
    longest = max(found)
    assert 20 < longest < 160
    assert found[-1] == longest
    (alike,) = turns._alike.values()
    assert 24_000 < len(alike[0].written.json) <= 25_000


def test_conversations_that_begin_alike_are_limited() -> None:
    turns = cache(1 << 24)
    for number in range(MOST_ALIKE + 5):
        known(turns, [OPENING, *turn(number), *turn(1000)])
    (alike,) = turns._alike.values()
    assert len(alike) == turns._count == MOST_ALIKE
    assert known(turns, [OPENING, *turn(0), *turn(1000)]) == 0
    assert known(turns, [OPENING, *turn(20), *turn(1000)]) == 4


# Conversion


def test_chat_messages_of_known_turns_are_converted_once() -> None:
    turns = cache()
    for number in range(3):
        converted(turns, conversation(number))
    first, second = (converted(turns, conversation(number)).body["messages"] for number in (3, 4))
    assert isinstance(first, ChatMessages)
    assert len(first.prefix.messages) == 6
    assert all(one is other for one, other in zip(first.prefix.messages, second[:6], strict=True))
    plain = converted(cache(0), conversation(4))
    assert second == plain.body["messages"]
    assert bytes(to_json({"messages": second}, 9999)) == orjson.dumps({"messages": plain.body["messages"]})


def test_edits_that_change_nothing_leave_conversion_shared() -> None:
    turns, keep = cache(), {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    for number in range(3):
        converted(turns, conversation(number))
    request = checked(turns, body(conversation(3), context_management=keep))
    messages = to_chat_request(request, WRITER, KEYRING).body["messages"]
    assert isinstance(messages, ChatMessages)
    assert messages == converted(cache(0), conversation(3)).body["messages"]


def test_each_target_has_its_own_conversion_and_few_are_kept() -> None:
    turns, targets = cache(), [to_target(f"acme/writer-{number}", OPENROUTER) for number in range(4)]
    for target in targets:
        converted(turns, conversation(3), target)
    messages = checked(turns, body(conversation(3)))["messages"]
    assert [entry[0] for entry in messages.prefix.converted] == [targets[3], targets[2]]
    assert len(messages.prefix.converted) == MOST_TARGETS
    assert messages.prefix.converted_for(targets[3], KEYRING) is not None
    assert messages.prefix.converted_for(targets[3], KEYRING.of_tenant("blue")) is None


def test_answer_that_continues_known_answer_is_merged_into_copy() -> None:
    turns, more = cache(), [{"role": "assistant", "content": "And more."}, {"role": "user", "content": "Go on."}]
    said = [OPENING, {"role": "assistant", "content": "Said."}, {"role": "user", "content": "Go on."}]
    converted(turns, said)
    before = converted(turns, said).body["messages"][1]
    continued = converted(turns, [*said[:2], *more]).body["messages"]
    assert continued[1]["content"] == [{"type": "text", "text": "Said."}, {"type": "text", "text": "And more."}]
    assert before == {"role": "assistant", "content": "Said."}


def test_reasoning_that_may_not_repeat_is_converted_anew() -> None:
    turns, gpt = cache(), to_target("openai/gpt-5", OPENROUTER)
    signature = seal([{"type": "reasoning.encrypted", "data": "d", "id": "rs_1"}], "openai/gpt-5", KEYRING)
    thought = {"type": "thinking", "thinking": "", "signature": signature}
    messages: list[Json] = [OPENING]
    for number in range(4):
        answer, result = turn(number)
        messages = [*messages, {"role": "assistant", "content": [thought, *answer["content"]]}, result]
        seen, plain = converted(turns, messages, gpt), converted(cache(0), messages, gpt)
        assert seen == plain
        assert bytes(to_json(seen.body, 9999)) == bytes(to_json(plain.body, 9999))
    replayed = ["reasoning_details" in message for message in seen.body["messages"] if message["role"] == "assistant"]
    assert replayed == [False, False, False, True]


def test_notes_and_names_belong_to_each_request() -> None:
    for odd in ({"name": "n" * 80}, {"cache_control": None, "caller": {"type": "direct"}}):
        turns = cache()
        for number in range(1, 4):
            messages = [OPENING, *turn(0, **odd), *conversation(number)[3:]]
            seen, plain = converted(turns, messages), converted(cache(0), messages)
            assert seen == plain
            assert bytes(to_json(seen.body, 9999)) == bytes(to_json(plain.body, 9999))


def unchecked(cache: TurnCache, messages: list[Json], **fields: Any) -> Any:
    raw = body(messages, **fields)
    prompt = to_unchecked(parse(cache, raw), len(raw), Received(raw))
    assert prompt is not None
    prompt.remember()
    return prompt.request["messages"]


def test_conversation_that_its_upstream_validates_is_only_not_parsed_again() -> None:
    turns = cache()
    unchecked(turns, conversation(1))
    again = parse(turns, body(conversation(2)))["messages"]
    assert again.repeated.messages == conversation(2)[:2]
    assert known(turns, conversation(2)) == 0  # nothing was validated


@pytest.mark.parametrize("end", [{"cache_control": {"type": "ephemeral"}}, {"source": {"type": "base64"}}])
def test_unchecked_messages_are_cached_up_to_what_moves_or_is_large(end: Json) -> None:
    turns = cache()
    first, *rest = conversation(2)
    marked = [first, rest[0], {**rest[1], "content": [{**rest[1]["content"][0], **end}]}, *rest[2:]]
    unchecked(turns, marked)
    assert unchecked(turns, marked).repeated.messages == marked[:2]


@pytest.mark.parametrize("odd", ["text", None, {"role": 5}, {}])
def test_unchecked_messages_of_any_kind_are_taken(odd: Any) -> None:
    turns, messages = cache(), [*conversation(1), odd, *turn(7)]
    unchecked(turns, messages)
    assert list(unchecked(turns, messages)) == messages


def chat_conversation(turns: int) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": "Be brief."}, OPENING]
    for number in range(turns):
        function = {"name": "look", "arguments": f'{{"path":"{number}.py"}}'}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        parts = [{"type": "text", "text": "Done → é."}]
        messages.append(
            {"role": "tool", "tool_call_id": f"call_{number}", "content": parts, "prompt_cache_breakpoint": True}
        )
    return messages


def test_chat_conversation_is_not_parsed_again_and_converted_alike() -> None:
    turns = cache()
    remember(parse(turns, body(chat_conversation(2)))["messages"])
    for _ in range(2):
        request = parse(turns, body(chat_conversation(3)))
        assert request["messages"].repeated.messages == chat_conversation(2)[:5]
        found = to_messages_request(request, ClientAsking(WRITER, KEYRING), ToolRegistry()).request
        fresh = orjson.loads(body(chat_conversation(3)))
        assert found == to_messages_request(fresh, ClientAsking(WRITER, KEYRING), ToolRegistry()).request
        assert request["messages"] == chat_conversation(3)  # what requests share is not changed


def test_predicate_is_asked_once_of_each_known_message() -> None:
    turns, asked = cache(), list[Json]()

    def has_role(message: Json) -> bool:
        asked.append(message)
        return "role" in message

    def ask(messages: list[Json]) -> tuple[bool, int]:
        asked.clear()
        parsed = parse(turns, body(messages))["messages"]
        answer = all_hold(has_role, parsed)
        remember(parsed)
        return answer, len(asked)

    assert ask(conversation(2)) == (True, 5)
    assert ask(conversation(2)) == (True, 5)  # the beginning is known from here on
    assert ask(conversation(2)) == (True, 1)
    assert ask(conversation(3)) == (True, 3)
    assert ask(conversation(3)) == (True, 3)
    assert ask(conversation(3)) == (True, 1)
    assert ask([*conversation(3), {"content": "nobody says this"}])[0] is False
    assert ask([*conversation(4)[:-1], {"content": "nor this"}])[0] is False
    assert ask(conversation(1)) == (True, 3)
