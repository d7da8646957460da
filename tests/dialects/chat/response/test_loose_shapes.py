"""Answers that say the right things in the wrong places: read where they have one meaning, streamed and as JSON."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.response.calls.tool_names import joined_name, to_offered_name
from gateway.dialects.chat.response.convert import to_message
from gateway.errors import UpstreamError
from gateway.messages.fold import fold_events
from tests.support.streams import Json, call, call_part, chunk, completion, convert, finish, reply, say, sse, told

TEXT = [{"type": "text", "text": "Hi", "citations": None}]

# Deltas, or messages of a JSON answer, that are the text "Hi".
TEXTS: dict[str, Any] = {
    "parts": {"content": [{"type": "text", "text": "Hi"}]},
    "parts of another type": {"content": [{"type": "output_text", "text": "Hi"}]},
    "parts that are texts": {"content": ["H", "i"]},
    "one part": {"content": {"type": "text", "text": "Hi"}},
    "nulls beside it": {"content": "Hi", "tool_calls": None, "function_call": None, "refusal": None, "audio": None},
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_in_another_place_is_read(case: str) -> None:
    assert told(chunk(TEXTS[case]), finish()).blocks == TEXT
    assert to_message(completion(TEXTS[case]), reply()).message["content"] == TEXT


STREAMS: dict[str, list[Any]] = {
    "the old completions' text": [{"choices": [{"text": "H"}]}, {"choices": [{"text": "i", "finish_reason": "stop"}]}],
    "the whole message beside the last delta": [
        say("Hi"),
        {"choices": [{"delta": {}, "message": {"content": "Hi"}, "finish_reason": "stop"}]},
    ],
    "the message so far beside each delta": [
        {"choices": [{"delta": {"content": "H"}, "message": {"content": "H"}}]},
        {"choices": [{"delta": {"content": "i"}, "message": {"content": "Hi"}}]},
        finish(),
    ],
    "the whole message behind the deltas": [
        say("Hi"),
        {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]},
    ],
    "the whole answer in one event": [completion({"content": "Hi"})],
    "no choices and no delta": [{"choices": None}, {"choices": [{"index": 0}]}, chunk(None), say("Hi"), finish()],
    "an empty list in place of a chunk": [b"[]", say("Hi"), finish()],
    "a reason that comes with every chunk": [chunk({"content": "H"}, "stop"), chunk({"content": "i"}, "stop")],
    "a sentence behind the end": [say("Hi"), finish(), b"bye"],
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_in_another_form_is_read(case: str) -> None:
    result = told(*STREAMS[case])
    assert (result.failure, result.blocks, result.stream.stop_reason) == (None, TEXT, "end_turn")


BODY = sse(say("Hi"), finish())
FRAMES: dict[str, bytes] = {
    "single line ends": BODY.replace(b"\n\n", b"\n") + b"data: [DONE]\n",
    "single CRLF line ends": BODY.replace(b"\n\n", b"\r\n") + b"data: [DONE]\r\n",
    "a byte order mark": b"\xef\xbb\xbf" + BODY + b"data: [DONE]\n\n",
    "byte order marks of joined streams": sse(say("H")) + b"\xef\xbb\xbf" + sse(say("i"), finish()),
    "the end in small letters": BODY + b"data: [done]\n\n",
    "the end without brackets": BODY + b"data: DONE\n\n",
    "the end as an event": BODY + b"event: done\ndata: \n\n",
    "JSON behind comments": b": PROCESSING\n\n: PROCESSING\n\n" + orjson.dumps(completion({"content": "Hi"})),
    "JSON behind a byte order mark": b"\xef\xbb\xbf" + orjson.dumps(completion({"content": "Hi"})),
    "JSON twice": orjson.dumps(completion({"content": "Hi"})) + b"\n" + orjson.dumps(completion({"content": "Hi"})),
}


@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.parametrize("size", [5, 10_000])
def test_a_body_in_another_frame_is_read(case: str, size: int) -> None:
    body = FRAMES[case]
    if case == "a byte order mark" and size < len(b"\xef\xbb\xbf"):
        return
    result = convert([body[at : at + size] for at in range(0, len(body), size)])
    assert (result.failure, result.blocks) == (None, TEXT)


FAILURES: dict[str, bytes] = {
    "a bare line of JSON": b'{"error": "the engine died"}\n',
    "a field named error": b'error: {"code": 500, "message": "the engine died"}\n\n',
    "a problem document": b'data: {"type": "about:blank", "title": "the engine died", "status": 500}\n\n',
    "an event named error": b'event: error\ndata: {"message": "the engine died"}\n\n',
}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("said", [b"", sse(say("The first hal"))], ids=["at first", "in the middle"])
def test_a_failure_in_another_form_is_an_error_with_its_words(case: str, said: bytes) -> None:
    result = convert(said + FAILURES[case])
    assert result.failure is not None
    assert "the engine died" in result.failure.message


# Deltas with the thought "Hm." before the text.
THOUGHTS: dict[str, Json] = {
    "reasoning_text": {"reasoning_text": "Hm."},
    "a part that is reasoning": {"content": [{"type": "reasoning", "text": "Hm."}]},
    "a detail without a type": {"reasoning_details": [{"text": "Hm."}]},
    "one detail": {"reasoning_details": {"type": "reasoning.text", "text": "Hm."}},
    "both names": {"reasoning": "Hm.", "reasoning_content": "Hm."},
}


@pytest.mark.parametrize("case", THOUGHTS)
def test_thinking_in_another_place_is_read(case: str) -> None:
    blocks = told(chunk(THOUGHTS[case]), say("Hi"), finish()).blocks
    assert [block["type"] for block in blocks] == ["thinking", "text"]
    assert (blocks[0]["thinking"], blocks[1]["text"]) == ("Hm.", "Hi")


ARGUMENTS = '{"city": "Rome"}'
CALLS: dict[str, list[Json]] = {
    "a call that is no list": [chunk({"tool_calls": call_part(0, ARGUMENTS, "c", "look")})],
    "a call without the level between": [
        chunk({"tool_calls": [{"index": 0, "id": "c", "name": "look", "arguments": ARGUMENTS}]})
    ],
    "an index that is a text": [
        chunk({"tool_calls": [{**call_part(0, "", "c", "look"), "index": "0"}]}),
        chunk({"tool_calls": [{**call_part(0, ARGUMENTS), "index": "0"}]}),
    ],
    "an index that is a float": [
        chunk({"tool_calls": [{**call_part(0, "", "c", "look"), "index": 0.0}]}),
        chunk({"tool_calls": [{**call_part(0, ARGUMENTS), "index": 0.0}]}),
    ],
    "an id that is a number": [chunk({"tool_calls": [{**call_part(0, ARGUMENTS, "c", "look"), "id": 5}]})],
    "a piece without a function": [
        call(0, ARGUMENTS, "c", "look"),
        chunk({"tool_calls": [{"index": 0}]}),
        chunk({"tool_calls": [{"index": 0, "function": None}]}),
    ],
    "nulls in later pieces": [
        call(0, "", "c", "look"),
        chunk({"tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": ARGUMENTS}}]}),
    ],
    "a name in two pieces": [call(0, "", "c", "lo"), call(0, ARGUMENTS, None, "ok")],
    "a name that grows": [call(0, "", "c", "lo"), call(0, ARGUMENTS, "c", "look")],
    "an empty call behind it": [call(0, ARGUMENTS, "c", "look"), call(1, "", "", "")],
    "arguments twice": [call(0, ARGUMENTS * 2, "c", "look")],
    "arguments in a list": [call(0, f"[{ARGUMENTS}]", "c", "look")],
    "arguments behind a byte order mark": [call(0, f"\ufeff{ARGUMENTS}", "c", "look")],
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_in_another_form_is_read(case: str) -> None:
    result = told(*CALLS[case], finish("tool_calls"), offered=frozenset({"look", "list"}))
    assert result.failure is None
    [block] = result.blocks
    assert (block["name"], block["input"]) == ("look", {"city": "Rome"})
    assert result.stream.stop_reason == "tool_use"


@pytest.mark.parametrize("nothing", ["", "None", "undefined", "null"])
def test_a_word_for_no_arguments_is_an_empty_object(nothing: str) -> None:
    assert told(call(0, nothing, "c", "look"), finish("tool_calls")).blocks[0]["input"] == {}


OFFERED = frozenset({"Bash", "get_weather", "mcp__files__read"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Bash", "Bash"),
        ("bash", "Bash"),
        ("get-weather", "get_weather"),
        ("Get_Weather", "get_weather"),
        ("get_weather()", "get_weather"),
        ("`get_weather`", "get_weather"),
        ('"get_weather"', "get_weather"),
        ("<get_weather>", "get_weather"),
        ("functions.get_weather", "get_weather"),
        ("mcp.get_weather", "get_weather"),
        ("default_api:Bash", "Bash"),
        ("Bash<|channel|>commentary", "Bash"),
        ("assistant<|channel|>commentary to=functions.get_weather", "get_weather"),
        ("mcp__files__write", "mcp__files__write"),
        ("Bash get_weather", "Bash_get_weather"),
        ("not offered", "not_offered"),
    ],
)
def test_the_tool_that_is_meant_is_one_that_was_offered(name: str, meant: str) -> None:
    assert to_offered_name(name, OFFERED) == meant


def test_of_two_tools_that_are_alike_none_is_meant() -> None:
    assert to_offered_name("read", frozenset({"Read", "READ"})) == "read"
    assert to_offered_name("read", frozenset()) == "read"


def test_a_name_goes_on_only_to_a_tool_that_was_offered() -> None:
    assert joined_name("get_", "weather", OFFERED) == "get_weather"
    assert joined_name("get_", "get_weather", OFFERED) == "get_weather"
    assert joined_name("Ba", "x", OFFERED) == ""
    assert joined_name("Bash", "get_weather", OFFERED) == ""


def test_two_calls_of_tools_with_names_that_were_not_offered_stay_two() -> None:
    result = told(call(0, "{}", "c", "one"), call(1, "{}", "d", "two"), finish("tool_calls"), offered=OFFERED)
    assert [block["name"] for block in result.blocks] == ["one", "two"]


@pytest.mark.parametrize(
    ("counts", "read"),
    [
        ({"input_tokens": 9, "output_tokens": 4}, (9, 0, 4)),
        ({"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 100}, (9, 100, 4)),
        ({"input_tokens": 19, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 10}}, (9, 10, 4)),
    ],
    ids=["names of Responses", "names of Messages", "details of Responses"],
)
def test_usage_by_other_names_is_read(counts: Json, read: tuple[int, int, int]) -> None:
    message = fold_events(told(say("Hi"), finish(), {"choices": [], "usage": counts}).events)
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == read


def test_an_answer_that_nothing_explains_is_an_error() -> None:
    result = told({"choices": [{"delta": 5}]})
    assert isinstance(result.failure, UpstreamError)
