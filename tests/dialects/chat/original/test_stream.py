"""Chat streams that are passed on: bytes, what is corrected in them, and what is read from them."""

from dataclasses import replace
from itertools import groupby
from random import Random
from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.chat.client.stream import KEEP_ALIVE
from gateway.dialects.chat.original import call_order, call_starts
from gateway.dialects.chat.original.answer import to_passed_on
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.chat.response.calls.near_json import MAX_REST
from gateway.dialects.chat.response.calls.tool_arguments import REPAIRED
from gateway.dialects.chat.response.chunks import BrokenChunk
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.reply import Reply
from gateway.errors import AnswerCut, EmptyAnswer, RateLimited, UpstreamError
from gateway.messages.notes import Note
from tests.dialects.chat.response.calls.test_near_json import NEARLY, UNCLEAR
from tests.support.streams import DONE

REPLY = Reply("msg_12345678", "req_1", "quick", "vendor/m", Keyring((("t", b"secret"),)), input_estimate=7)
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    told = {"id": "gen-1", "object": "chat.completion.chunk", "created": 5, "model": "vendor/m", "choices": choices}
    return b"data: " + orjson.dumps(told | fields) + b"\n\n"


START = chunk({"role": "assistant", "content": ""})
WHOLE = (
    START,
    chunk({"content": "Hal"}),
    chunk({"content": 'lo "error": [DONE]'}),
    chunk({}, "stop"),
    chunk(usage=USAGE),
    DONE,
)


def passed(*pieces: bytes, shows_usage: bool | None = None) -> tuple[bytes, OriginalStream]:
    """`shows_usage`: as if the client had asked for it where the upstream reports it, unless another is given."""
    shows_usage = b'"usage"' in b"".join(pieces) if shows_usage is None else shows_usage
    stream = OriginalStream(REPLY, shows_usage=shows_usage)
    return b"".join([stream.feed(piece) for piece in pieces]) + stream.end(), stream


def chunks_of(told: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(event[6:]) for event in told.split(b"\n\n") if event.startswith(b"data: {")]


def calls_of(told: bytes) -> list[dict[str, Any]]:
    choices = [choice for each in chunks_of(told) for choice in each["choices"]]
    return [call for choice in choices for call in choice["delta"].get("tool_calls") or ()]


def test_bytes_pass_but_for_the_models_name() -> None:
    told, stream = passed(*WHOLE)
    assert told == b"".join(WHOLE).replace(b'"model":"vendor/m"', b'"model":"quick"')
    assert stream.done
    assert (stream.origin.model, stream.stop_reason) == ("vendor/m", "end_turn")
    assert (stream.usage["input_tokens"], stream.usage["output_tokens"]) == (9, 4)


def test_cut_at_every_byte_the_stream_is_the_same() -> None:
    data, whole = b"".join(WHOLE), passed(*WHOLE)[0]
    for cut in range(len(data)):
        assert passed(data[:cut], data[cut:])[0] == whole


def test_usage_chunk_is_hidden_from_a_client_that_has_not_asked() -> None:
    told, stream = passed(*WHOLE, shows_usage=False)
    assert b'"usage"' not in told
    assert stream.usage["output_tokens"] == 4


def test_usage_beside_the_last_choice_stays() -> None:
    told, stream = passed(START, chunk({"content": "Hi"}), chunk({}, "stop", usage=USAGE), DONE, shows_usage=False)
    assert chunks_of(told)[-1]["usage"] == USAGE
    assert stream.has_usage


def test_nothing_is_returned_before_content() -> None:
    stream = OriginalStream(REPLY, shows_usage=True)
    assert stream.feed(b": waiting\n\n" + START) == b""
    assert not stream.started
    assert stream.open() == KEEP_ALIVE
    assert stream.feed(chunk({"content": "Hi"})).count(b"data: ") == 2
    assert stream.started


@pytest.mark.parametrize("has_mark", [True, False])
def test_stream_that_ends_is_marked_as_done(has_mark: bool) -> None:
    told, _ = passed(START, chunk({"content": "Hi"}), chunk({}, "stop"), *([DONE] if has_mark else []))
    assert told.endswith(DONE)
    assert told.count(DONE) == 1


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        ({"content": "Hi"}, "stop"),
        ({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "look"}}]}, "tool_calls"),
    ],
)
@pytest.mark.covers("Chat clients · a finish_reason in any case")
def test_missing_finish_reason_is_added(delta: Any, reason: str) -> None:
    told, _ = passed(START, chunk(delta), DONE)
    last = chunks_of(told)[-1]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": reason}]
    assert (last["id"], last["model"]) == ("gen-1", "quick")


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((START, chunk({"content": "Hi"})), AnswerCut),
        ((START,), AnswerCut),
        ((), EmptyAnswer),
        ((DONE,), EmptyAnswer),
        ((START, chunk({"content": "Hi"}), b'data: {"error":{"message":"slow down","code":429}}\n\n'), RateLimited),
        ((START, b'event: error\ndata: {"message":"no"}\n\n'), UpstreamError),
        ((START, chunk({}, "error")), AnswerCut),
        ((START, b"data: {oops\n\n"), BrokenChunk),
        ((START, b"data: 5\n\n"), BrokenChunk),
        ((START, b'data: {"choices":[5]}\n\n'), UpstreamError),
        ((START, chunk({"tool_calls": [5]})), UpstreamError),
    ],
)
def test_broken_streams_fail_after_what_was_whole(pieces: tuple[bytes, ...], error: type[Exception]) -> None:
    told, stream = passed(*pieces)
    assert type(stream.failure) is error
    assert (b"Hi" in told) == any(b"Hi" in piece for piece in pieces)
    assert not told.endswith(DONE)
    assert stream.feed(START) == stream.end() == stream.fail(UpstreamError("late")) == b""


CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": ""}}


@pytest.mark.parametrize(
    ("sentence", "calls"),
    [
        ("as they should be", [CALL, {"index": 0, "function": {"arguments": "{}"}}]),
        ("name and id in each", [CALL, {**CALL, "function": {"name": "look", "arguments": "{}"}}]),
        ("no index", [{k: v for k, v in CALL.items() if k != "index"}, {"function": {"arguments": "{}"}}]),
        ("no type", [{k: v for k, v in CALL.items() if k != "type"}, {"index": 0, "function": {"arguments": "{}"}}]),
    ],
)
@pytest.mark.covers("Chat clients · calls by index, with id, name and type once")
def test_one_call_says_its_name_once(sentence: str, calls: list[Any]) -> None:
    told, _ = passed(START, *[chunk({"tool_calls": [call]}) for call in calls], chunk({}, "tool_calls"), DONE)
    first, second = (one["choices"][0]["delta"]["tool_calls"][0] for one in chunks_of(told)[1:3])
    assert first == CALL, sentence
    assert second == {"index": 0, "function": {"arguments": "{}"}}, sentence


WHOLE_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.mark.parametrize("together", [True, False])
def test_finish_reason_of_calls_is_tool_calls_where_the_upstream_says_stop(together: bool) -> None:
    calls = {"tool_calls": [{"index": 0, **WHOLE_CALL}]}
    pieces = [chunk(calls, "stop")] if together else [chunk(calls), chunk({}, "stop")]
    told, stream = passed(START, *pieces, DONE)
    assert [each["choices"][0]["finish_reason"] for each in chunks_of(told)][-1] == "tool_calls"
    assert stream.stop_reason == "tool_use"
    assert told.endswith(DONE)


def test_finish_reason_of_calls_is_tool_calls_in_json_too() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [WHOLE_CALL]}, "finish_reason": "stop"}
    answered = to_passed_on(orjson.dumps({"choices": [choice], "model": "vendor/m"}), REPLY)
    assert orjson.loads(answered.written or b"")["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("told_reason", "reason", "stop"),
    [
        ("content_filter: PROHIBITED_CONTENT", "content_filter", "refusal"),
        ("MAX_TOKENS", "length", "max_tokens"),
        ("SAFETY", "content_filter", "refusal"),
        ("eos_token", "stop", "end_turn"),
        ("function_call", "function_call", "tool_use"),
    ],
)
def test_finish_reason_in_a_vendors_words_becomes_openais(told_reason: str, reason: str, stop: str) -> None:
    told, stream = passed(START, chunk({"content": "a"}), chunk({}, told_reason), DONE)
    assert [each["choices"][0]["finish_reason"] for each in chunks_of(told)][-1] == reason
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": told_reason}
    answered = to_passed_on(orjson.dumps({"choices": [choice], "model": "vendor/m"}), REPLY)
    assert orjson.loads(answered.written or b"")["choices"][0]["finish_reason"] == reason
    assert (stream.stop_reason, answered.message["stop_reason"]) == (stop, stop)


def test_completion_within_an_object_of_a_proxy_is_passed_on_without_it() -> None:
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    completion = {"choices": [choice], "model": "vendor/m", "usage": USAGE}
    answered = to_passed_on(orjson.dumps({"success": True, "data": completion}), REPLY)
    assert orjson.loads(answered.written or b"") == completion | {"model": "quick"}


def test_two_calls_under_one_index_are_distinguished_by_their_ids() -> None:
    calls = [CALL, {**CALL, "id": "b"}, {"index": 0, "function": {"arguments": "{}"}}]
    told, _ = passed(START, chunk({"tool_calls": calls}), chunk({}, "tool_calls"), DONE)
    assert [(call["index"], call.get("id")) for call in calls_of(told)] == [(0, "a"), (0, None), (1, "b")]
    assert [call["function"]["arguments"] for call in calls_of(told)] == ["", "{}", "{}"]


PARTS = (['{"a":', ' "\\u00e9 \\\\', '"}'], ["", '{"b"', ": [1", "]}"], ["{}"])


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("ending", ["finish", "together", "done"])
@pytest.mark.covers("Chat clients · parallel calls one after the other")
def test_calls_whose_pieces_are_mixed_come_one_after_the_other(seed: int, ending: str) -> None:
    drawn = Random(seed)
    begun = [{**CALL, "index": index, "id": f"c{index}"} for index in range(len(PARTS))]
    left = [[{"index": index, "function": {"arguments": part}} for part in parts] for index, parts in enumerate(PARTS)]
    pieces = begun if drawn.random() < 0.5 else []
    left = left if pieces else [[call, *rest] for call, rest in zip(begun, left, strict=True)]
    pieces = [*pieces]
    while any(left):
        pieces.append(drawn.choice([rest for rest in left if rest]).pop(0))
    size = drawn.choice([1, 1, 2])
    chunks = [chunk({"tool_calls": pieces[at : at + size]}) for at in range(0, len(pieces), size)]
    last = orjson.loads(chunks.pop()[6:])["choices"][0]["delta"]
    chunks += [chunk(last, "tool_calls")] if ending == "together" else [chunk(last)]
    chunks += [chunk({}, "tool_calls")] if ending == "finish" else []
    told, _ = passed(*([START, *chunks, DONE] if drawn.random() < 0.5 else [b"".join([START, *chunks, DONE])]))
    sent = calls_of(told)
    indexes = [call["index"] for call in sent]
    assert [place for place, _ in groupby(indexes)] == list(dict.fromkeys(indexes)), "a call is not in one run"
    assert sorted(call["id"] for call in sent if "id" in call) == ["c0", "c1", "c2"]
    for begun_call in begun:
        own = [call for call in sent if call["index"] in index_of(sent, begun_call["id"])]
        parts = PARTS[int(begun_call["id"][1:])]
        assert "".join(call["function"]["arguments"] for call in own) == "".join(parts)
    reasons = [each["choices"][0]["finish_reason"] for each in chunks_of(told)]
    assert reasons == [*[None] * (len(reasons) - 1), "tool_calls"]


def index_of(calls: list[dict[str, Any]], call_id: str) -> list[int]:
    return [call["index"] for call in calls if call.get("id") == call_id]


def test_call_without_an_id_gets_one() -> None:
    told, _ = passed(START, chunk({"tool_calls": [{**CALL, "id": None}]}), chunk({}, "tool_calls"), DONE)
    assert chunks_of(told)[1]["choices"][0]["delta"]["tool_calls"][0]["id"] == "call_12345678_0_0"


def test_completion_in_place_of_a_stream_becomes_one() -> None:
    body = {"id": "gen-1", "model": "vendor/m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    told, stream = passed(orjson.dumps(body | {"usage": USAGE}))
    assert [one["choices"][0]["delta"].get("content") for one in chunks_of(told) if one["choices"]] == ["", "Hi", None]
    assert told.endswith(DONE)
    assert stream.usage["output_tokens"] == 4


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_stream_that_was_left_is_estimated_from_its_text(newline: bytes) -> None:
    stream = OriginalStream(REPLY, shows_usage=True)
    for piece in (START, *[chunk({"content": "word and word "})] * 40):
        stream.feed(piece.replace(b"\n", newline))
    assert 60 < stream.usage["output_tokens"] < 400
    assert stream.usage["input_tokens"] == 7


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_plain_deltas_are_recognised_with_any_text(field: str) -> None:
    texts = ["one", 'quoted "usage":{ }', "\\", "\n\n", "data: [DONE]", "é😀", '"},"finish_reason":"stop"}]}']
    told, stream = passed(START, *[chunk({field: text}) * 2 for text in texts], chunk({}, "stop"), DONE)
    said = "".join([one["choices"][0]["delta"].get(field, "") for one in chunks_of(told)])
    assert said == "".join([text * 2 for text in texts])
    assert stream.stop_reason == "end_turn"


def test_arguments_are_recognised_and_the_next_call_is_begun() -> None:
    pieces = [{"index": 0, "function": {"arguments": text}} for text in ('{"a":', ' "b', '"}')]
    other = {**CALL, "index": 1, "id": "b"}
    calls = [CALL, *pieces, other, *({**piece, "index": 1} for piece in pieces)]
    told, _ = passed(START, *[chunk({"tool_calls": [call]}) for call in calls], chunk({}, "tool_calls"), DONE)
    sent = [one["choices"][0]["delta"]["tool_calls"][0] for one in chunks_of(told)[1:-1]]
    assert sent == calls


def test_stream_whose_chunks_all_differ_in_form_passes() -> None:
    chunks = [chunk({"content": "x"}, created=number, obfuscation="o" * number) for number in range(40)]
    told, _ = passed(START, *chunks, chunk({}, "stop"), DONE)
    assert told == b"".join((START, *chunks, chunk({}, "stop"), DONE)).replace(b"vendor/m", b"quick")


LOOK = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"days": {"type": "array"}}}}}
WITH_TOOLS = replace(REPLY, offered=frozenset({"look"}), tools=[LOOK], think_tags=True)
MARKUP = (
    "<tool_call>\n<function=look>\n<parameter=days>\n[1, 2]\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=look>\n</function>\n</tool_call>"
)
# A text, and what of it stays text.
WRITTEN = {
    "behind text": ("I look: `x < 3`.\n" + MARKUP, "I look: `x < 3`.\n", True),
    "alone": (MARKUP, "", True),
    "in code": (f"As in:\n```xml\n{MARKUP}\n```\n", f"As in:\n```xml\n{MARKUP}\n```\n", False),
    "unfinished": ("So: " + MARKUP[:70], "So: " + MARKUP[:70], False),
}


def converted(text: str, size: int, ending: str, field: str) -> tuple[str, list[dict[str, Any]], list[Any]]:
    """Return the text, the calls and the finish reasons of a stream of this text in this field."""
    stream = OriginalStream(WITH_TOOLS, shows_usage=True)
    pieces = [chunk({field: text[at : at + size]}) for at in range(0, len(text), size)]
    if ending == "together":
        last = orjson.loads(pieces.pop()[6:])["choices"][0]["delta"]
        pieces.append(chunk(last, "stop"))
    elif ending == "finish":
        pieces.append(chunk({}, "stop"))
    told = b"".join([stream.feed(piece) for piece in (START, *pieces, chunk(usage=USAGE), DONE)]) + stream.end()
    assert stream.failure is None
    choices = [choice for each in chunks_of(told) for choice in each["choices"]]
    said = "".join([choice["delta"].get(field) or "" for choice in choices])
    return said, calls_of(told), [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ending", ["finish", "together", "done"])
@pytest.mark.covers("Chat clients · calls that a server leaves in the text")
@pytest.mark.parametrize("field", ["content", "reasoning"])
def test_calls_written_as_text_are_calls_of_a_stream_that_is_passed_on(
    case: str, size: int, ending: str, field: str
) -> None:
    text, lead, is_call = WRITTEN[case]
    said, calls, reasons = converted(text, size, ending, field)
    assert (said, reasons) == (lead, ["tool_calls" if is_call else "stop"])
    named = [(call["index"], call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls]
    assert named == ([(0, "look", {"days": [1, 2]}), (1, "look", {})] if is_call else [])
    assert len({call["id"] for call in calls}) == len(calls)
    choice = {"index": 0, "message": {"role": "assistant", "content": None, field: text}, "finish_reason": "stop"}
    answered = to_passed_on(orjson.dumps({"choices": [choice], "model": "vendor/m"}), WITH_TOOLS)
    whole = orjson.loads(answered.written or b"")["choices"][0]
    assert (whole["message"][field] or "", whole["finish_reason"]) == (lead, reasons[0])
    functions = [call["function"] for call in whole["message"].get("tool_calls", ())]
    assert functions == [call["function"] for call in calls]


def test_text_before_a_call_of_the_server_is_not_held_back_for_ever() -> None:
    stream = OriginalStream(WITH_TOOLS, shows_usage=False)
    pieces = (START, chunk({"content": "a <tool_call>{"}), chunk({"tool_calls": [CALL]}), chunk({}, "tool_calls"), DONE)
    told = b"".join([stream.feed(piece) for piece in pieces])
    assert "".join([each["choices"][0]["delta"].get("content") or "" for each in chunks_of(told)]) == "a <tool_call>{"
    assert [call["id"] for call in calls_of(told) if "id" in call] == ["a"]


@pytest.mark.parametrize(("pieces", "is_refused"), [(4, False), (5, True)])
def test_calls_that_wait_are_bounded(pieces: int, is_refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_order, "MAX_WAITING", 9)
    first, second = [{"index": index, "function": {"arguments": "{ "}} for index in (0, 1)]
    begun = [{**CALL, "index": index, "id": f"c{index}"} for index in (0, 1)]
    calls = [*begun, first, *[second] * pieces]
    _, stream = passed(START, *[chunk({"tool_calls": [call]}) for call in calls], DONE)
    assert (stream.failure is not None and "longer tool calls" in stream.failure.message) == is_refused


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
def test_mark_at_the_start_and_other_line_ends_lose_nothing(ending: bytes) -> None:
    data, whole = b"\xef\xbb\xbf" + b"".join(WHOLE).replace(b"\n", ending), passed(*WHOLE)[0]
    for cut in (1, 2, *range(3, len(data), 7)):
        assert passed(data[:cut], data[cut:])[0] == whole
    assert passed(data[:1], data[1:2], data[2:])[0] == whole


def test_data_over_several_lines_become_one() -> None:
    told, _ = passed(START, chunk({"content": "a"}).replace(b'"choices"', b'\ndata: "choices"'), *WHOLE[3:])
    assert [each["choices"][0]["delta"].get("content") for each in chunks_of(told)[:2]] == ["", "a"]


def test_chunk_without_choices_has_an_empty_list() -> None:
    told, _ = passed(chunk(choices=None), *WHOLE)
    assert chunks_of(told)[0]["choices"] == []


def called(call_id: str | None, index: int, arguments: str, name: str | None = "look") -> bytes:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    part = {"index": index, "function": function} | ({"id": call_id, "type": "function"} if call_id else {})
    return chunk({"tool_calls": [part]})


def test_two_calls_of_one_id_stay_two() -> None:
    told, _ = passed(START, called("a", 0, "{}"), called("a", 1, "{}"), chunk({}, "tool_calls"), DONE)
    calls = calls_of(told)
    assert [(call["index"], call["function"]["arguments"]) for call in calls] == [(0, "{}"), (1, "{}")]
    assert len({call["id"] for call in calls}) == 2


def test_piece_under_another_index_continues_its_call() -> None:
    told, _ = passed(START, called("a", 0, '{"b"'), called(None, 1, ":1}", None), chunk({}, "tool_calls"), DONE)
    assert [(call["index"], call["function"]["arguments"]) for call in calls_of(told)] == [(0, '{"b"'), (0, ":1}")]


LOOSE = {"index": 0, "id": 17, "function": {"name": "look", "arguments": {"a": 1}}}


@pytest.mark.parametrize("told", [LOOSE, [LOOSE]])
def test_calls_of_a_loose_shape_are_a_list_of_texts(told: Any) -> None:
    streamed, _ = passed(START, chunk({"tool_calls": told}), chunk({}, "tool_calls"), DONE)
    answer = {"choices": [{"index": 0, "message": {"tool_calls": told}, "finish_reason": "tool_calls"}]}
    whole = orjson.loads(to_passed_on(orjson.dumps(answer), REPLY).written or b"")["choices"][0]["message"][
        "tool_calls"
    ]
    for (call,) in (calls_of(streamed), whole):
        assert (call["id"], call["type"], call["function"]["arguments"]) == ("17", "function", '{"a":1}')


@pytest.mark.parametrize("told", ["look", [5], [{"index": 0, "function": "look"}]])
def test_calls_of_no_shape_are_an_error(told: Any) -> None:
    stream = passed(START, chunk({"tool_calls": told}), chunk({}, "tool_calls"))[1]
    assert isinstance(stream.failure, UpstreamError)


@pytest.mark.parametrize("ending", [[chunk({}, "tool_calls")], [chunk({}, "stop")], []])
@pytest.mark.parametrize("pieces", [['{"a": "b'], ['{"a', '": '], ['{"a', '": 1, "b']])
def test_call_without_its_end_is_not_to_be_run(ending: list[bytes], pieces: list[str]) -> None:
    first, *more = pieces
    calls = [called("a", 0, first), *[called(None, 0, piece, None) for piece in more]]
    told, stream = passed(START, *calls, *ending, DONE)
    assert [each["choices"][0]["finish_reason"] for each in chunks_of(told)][-1] == "length"
    assert stream.stop_reason == "max_tokens"


@pytest.mark.parametrize("arguments", ["", "{}", '{"a": "}"}'])
def test_whole_call_is_to_be_run(arguments: str) -> None:
    told, _ = passed(START, called("a", 0, arguments), chunk({}, "tool_calls"), DONE)
    assert chunks_of(told)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_choice_without_a_message_gets_one() -> None:
    answer = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    whole = orjson.loads(to_passed_on(orjson.dumps(answer), REPLY).written or b"")["choices"][0]
    assert whole["message"] == {"role": "assistant", "content": "a"}


PARTS_OF_CONTENT = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "a"}]


def test_content_in_parts_is_a_text_beside_its_reasoning() -> None:
    told, _ = passed(START, chunk({"content": "b"}), chunk({"content": PARTS_OF_CONTENT}), chunk({}, "stop"), DONE)
    delta = chunks_of(told)[2]["choices"][0]["delta"]
    assert (delta["content"], delta["reasoning_content"]) == ("a", "Hm")
    answer = {"choices": [{"index": 0, "message": {"content": PARTS_OF_CONTENT}, "finish_reason": "stop"}]}
    message = orjson.loads(to_passed_on(orjson.dumps(answer), REPLY).written or b"")["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("a", "Hm")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("odd", [{"text": "Hm"}, ["Hm"], [{"type": "text", "text": "Hm"}]])
def test_reasoning_in_parts_is_a_text_under_its_name(name: str, odd: Any) -> None:
    told, _ = passed(START, chunk({"content": "b"}), chunk({name: odd}), chunk({name: {}}), chunk({}, "stop"), DONE)
    assert [each["choices"][0]["delta"] for each in chunks_of(told)][1:] == [{"content": "b"}, {name: "Hm"}, {}, {}]
    [choice] = whole_choices({"message": {"content": "a", name: odd}, "finish_reason": "stop"})
    assert choice["message"] == {"content": "a", name: "Hm"}


def test_reasoning_that_cannot_be_read_fails_and_such_a_refusal_is_noted() -> None:
    _, failed = passed(START, chunk({"content": "b"}), chunk({"reasoning": 5}), chunk({}, "stop"), DONE)
    assert failed.failure is not None
    told, stream = passed(START, chunk({"content": "b", "refusal": ["No"]}), chunk({}, "stop"), DONE)
    assert chunks_of(told)[1]["choices"][0]["delta"] == {"content": "b"}
    assert [note.text for note in stream.notes] == ["dropped:content"]


@pytest.mark.parametrize(
    ("odd", "usual"),
    [
        ({"delta": None, "finish_reason": None}, {"delta": {}, "finish_reason": None}),
        ({"message": {"content": "a"}}, {"delta": {"content": "a"}}),
        (
            {"delta": {"content": "a"}, "finish_reason": {"type": "stop"}},
            {"delta": {"content": "a"}, "finish_reason": None},
        ),
    ],
)
def test_choice_of_an_odd_shape_is_a_usual_one(odd: dict[str, Any], usual: dict[str, Any]) -> None:
    odd_chunk = b"data: " + orjson.dumps({"id": "gen-1", "choices": [{"index": 0, **odd}]}) + b"\n\n"
    told, _ = passed(START, chunk({"content": "b"}), odd_chunk, chunk({}, "stop"), DONE)
    shown = chunks_of(told)[2]["choices"][0]
    assert {name: shown[name] for name in usual} == usual


@pytest.mark.parametrize("call_type", [{}, {"type": "function"}])
def test_whole_calls_with_one_id_have_an_id_each(call_type: dict[str, str]) -> None:
    calls = [{"id": "a", **call_type, "function": {"name": name, "arguments": "{}"}} for name in ("look", "find")]
    answer = {"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    message = orjson.loads(to_passed_on(orjson.dumps(answer), REPLY).written or b"")["choices"][0]["message"]
    shown = [(call["id"], call["type"], call["function"]["name"]) for call in message["tool_calls"]]
    assert shown == [("a", "function", "look"), ("call_12345678_0_1", "function", "find")]


DEEP = b'"more":' + b"[" * 400 + b"]" * 400


def test_corrected_chunk_that_nests_too_deeply_is_a_failure_of_the_upstream() -> None:
    deep = b'{"choices":[{"delta":null}],%b}' % DEEP
    told, stream = passed(START, chunk({"content": "a"}), b"data: " + deep + b"\n\n", DONE)
    assert len(chunks_of(told)) == 2
    assert isinstance(stream.failure, UpstreamError)
    with pytest.raises(UpstreamError, match="too deeply"):
        to_passed_on(deep, REPLY)


def test_calls_that_wait_in_another_choice_are_sent_at_the_end() -> None:
    pieces = [(0, "look", '{"a"'), (1, "find", "{}")]
    calls = [
        {"index": at, "id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, name, arguments in pieces
    ]
    chunks = [chunk(choices=[{"index": 1, "delta": {"tool_calls": [call]}, "finish_reason": None}]) for call in calls]
    told, _ = passed(START, *chunks, DONE)
    assert [call["function"]["name"] for call in calls_of(told)] == ["look", "find"]


@pytest.mark.parametrize("broken", [b"\\x", b"\xff", b"\x01"])
def test_broken_arguments_that_were_passed_on_are_a_failure_of_the_upstream(broken: bytes) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": ""}}
    pieces = [chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}) for text in ('{"a":"', "b", "ODD")]
    _, stream = passed(
        START, chunk({"tool_calls": [call]}), *[piece.replace(b"ODD", broken) for piece in pieces], chunk({}, "stop")
    )
    assert isinstance(stream.failure, UpstreamError)


IMAGE_URL = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": IMAGE_URL}}
CALL_PART = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
PARTS_BESIDE_TEXT = [{"type": "text", "text": "a"}, IMAGE, CALL_PART, {"type": "sound"}, {"type": "sound"}]


def test_parts_that_are_no_text_become_fields_or_are_noted() -> None:
    told, stream = passed(START, chunk({"content": PARTS_BESIDE_TEXT}), chunk({}, "stop"), DONE)
    answer = {"choices": [{"index": 0, "message": {"content": PARTS_BESIDE_TEXT}, "finish_reason": "stop"}]}
    answered = to_passed_on(orjson.dumps(answer), REPLY)
    [choice] = orjson.loads(answered.written or b"")["choices"]
    assert choice["finish_reason"] == chunks_of(told)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    for message in (chunks_of(told)[1]["choices"][0]["delta"], choice["message"]):
        assert (message["content"], message["images"]) == ("a", [IMAGE])
        [call] = message["tool_calls"]
        assert (call["id"], call["function"]) == ("t1", {"name": "look", "arguments": '{"a":1}'})
    assert [note.text for note in stream.notes] == [note.text for note in answered.notes] == ["dropped:content"]


def whole_choices(*choices: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a JSON answer as the client gets them."""
    numbered = [{"index": number, **choice} for number, choice in enumerate(choices)]
    told: list[dict[str, Any]] = orjson.loads(to_passed_on(orjson.dumps({"choices": numbered}), REPLY).written or b"")[
        "choices"
    ]
    return told


def test_each_choice_of_an_answer_is_corrected() -> None:
    loose = {"message": {"tool_calls": LOOSE}, "finish_reason": "stop"}
    first, second, third = whole_choices({"message": {"content": "a"}, "finish_reason": "EOS"}, loose, loose)
    assert [choice["finish_reason"] for choice in (first, second, third)] == ["stop", "tool_calls", "tool_calls"]
    assert [choice["message"]["tool_calls"][0]["function"]["arguments"] for choice in (second, third)] == [
        '{"a":1}'
    ] * 2


def test_each_choice_that_broke_is_an_error() -> None:
    good = {"message": {"content": "a"}, "finish_reason": "stop"}
    with pytest.raises(AnswerCut):
        whole_choices(good, {"message": {"content": "b"}, "finish_reason": "error"})
    with pytest.raises(UpstreamError):
        to_passed_on(orjson.dumps({"choices": [good, "b"]}), REPLY)


@pytest.mark.parametrize(("arguments", "reason"), [('{"a": "b', "length"), ('{"a": 1}', "tool_calls")])
def test_call_without_its_end_is_not_to_be_run_in_json(arguments: str, reason: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": arguments}}
    [choice] = whole_choices({"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"})
    assert choice["finish_reason"] == reason


def test_calls_of_a_choice_without_a_message_have_their_shape() -> None:
    [choice] = whole_choices({"delta": {"tool_calls": LOOSE}, "finish_reason": "tool_calls"})
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


NAMELESS = {"index": 0, "id": "a", "type": "function", "function": {"arguments": ""}}
NAMED_LATER = {"index": 0, "function": {"name": "look", "arguments": "{}"}}
LATE_NAME = {"index": 0, "function": {"name": "look"}}
ODD_CALLS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a name in the second piece": ([NAMELESS, NAMED_LATER], "{}"),
    "a name in pieces": (
        [
            {**CALL, "function": {"name": "lo", "arguments": ""}},
            {"index": 0, "function": {"name": "o"}},
            {"index": 0, "function": {"name": "k", "arguments": "{}"}},
        ],
        "{}",
    ),
    "a name behind the arguments": (
        [{**NAMELESS, "function": {"arguments": '{"a"'}}, {"index": 0, "function": {"arguments": ":1}"}}, LATE_NAME],
        '{"a":1}',
    ),
    "a name with the marks of its template": (
        [{**CALL, "function": {"name": "look<|channel|>x", "arguments": "{}"}}],
        "{}",
    ),
    "a name in a namespace": ([{**CALL, "function": {"name": "functions.look", "arguments": "{}"}}], "{}"),
    "a name in another case": ([{**CALL, "function": {"name": "Look", "arguments": "{}"}}], "{}"),
    "no arguments": ([CALL], "{}"),
    "arguments that are null": ([{**CALL, "function": {"name": "look", "arguments": None}}], "{}"),
    "no arguments before a piece": ([CALL, {"index": 0, "function": {"arguments": '{"a":1}'}}], '{"a":1}'),
}


@pytest.mark.parametrize("case", ODD_CALLS)
def test_calls_have_the_name_of_an_offered_tool_and_arguments(case: str) -> None:
    pieces, arguments = ODD_CALLS[case]
    stream = OriginalStream(WITH_TOOLS, shows_usage=True)
    told = [stream.feed(chunk({"tool_calls": [piece]})) for piece in pieces]
    calls = calls_of(b"".join([*told, stream.feed(chunk({}, "tool_calls") + DONE)]))
    assert [call["function"].get("name") for call in calls] == ["look", *[None] * (len(calls) - 1)]
    assert "".join([call["function"].get("arguments") or "" for call in calls]) == arguments
    if len(pieces) == 1:
        choice = {"index": 0, "message": {"tool_calls": pieces}, "finish_reason": "tool_calls"}
        body = to_passed_on(orjson.dumps({"choices": [choice]}), WITH_TOOLS).written or b""
        [call] = orjson.loads(body)["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": "look", "arguments": arguments}


@pytest.mark.parametrize("reason", ["tool_calls", "length"])
def test_call_whose_name_no_tool_has_ends_its_wait_with_the_stream_or_another_call(reason: str) -> None:
    stream = OriginalStream(WITH_TOOLS, shows_usage=True)
    strange = {**CALL, "function": {"name": "elsewhere", "arguments": ""}}
    assert stream.feed(chunk({"tool_calls": [strange]})) == b""
    assert not stream.started
    told = stream.feed(chunk({"tool_calls": [{**CALL, "index": 1, "id": "b"}]}))
    assert [call["function"]["name"] for call in calls_of(told)] == ["elsewhere"]
    more = stream.feed(chunk({}, reason) + DONE)
    assert "look" in [call["function"].get("name") for call in calls_of(more)]


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "length"])
@pytest.mark.parametrize("ending", [DONE, b""])
def test_call_that_never_gets_a_name_is_a_failure(reason: str, ending: bytes) -> None:
    stream = OriginalStream(WITH_TOOLS, shows_usage=True)
    told = stream.feed(chunk({"content": "a"}) + chunk({"tool_calls": [NAMELESS]}) + chunk({}, reason) + ending)
    told += stream.end()
    assert calls_of(told) == []
    assert "without a name" in str(stream.failure)
    assert b'finish_reason":"' not in told


def test_whole_answer_with_a_call_without_a_name_is_a_failure() -> None:
    choice = {"index": 0, "message": {"tool_calls": [NAMELESS]}, "finish_reason": "tool_calls"}
    with pytest.raises(UpstreamError, match="without a name"):
        to_passed_on(orjson.dumps({"choices": [choice]}), WITH_TOOLS)


def test_arguments_that_wait_for_a_name_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_starts, "MAX_HELD", 10)
    stream = OriginalStream(WITH_TOOLS, shows_usage=True)
    stream.feed(chunk({"tool_calls": [{**NAMELESS, "function": {"arguments": "x" * 11}}]}))
    assert isinstance(stream.failure, UpstreamError)


def test_finish_reason_that_is_an_empty_text_is_null() -> None:
    told, _ = passed(START, chunk({"content": "a"}, ""), chunk({"content": "b"}, ""), chunk({}, "stop"), DONE)
    assert [each["choices"][0]["finish_reason"] for each in chunks_of(told)] == [None, None, None, "stop"]


def test_call_that_the_limit_cut_before_its_arguments_gets_none() -> None:
    told, _ = passed(START, chunk({"tool_calls": [CALL]}), chunk({}, "length"), DONE)
    assert [call["function"]["arguments"] for call in calls_of(told)] == [""]
    [choice] = whole_choices({"message": {"tool_calls": [CALL]}, "finish_reason": "length"})
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ""


def test_reason_in_every_chunk_is_said_at_the_end_only() -> None:
    told, stream = passed(
        chunk({"role": "assistant", "content": ""}, "stop"),
        *[chunk({"content": word}, "stop") for word in ("a", "b", "c")],
        chunk({"tool_calls": [{"index": 0, **WHOLE_CALL}]}, "stop"),
        chunk(usage=USAGE),
        DONE,
    )
    reasons = [each["choices"][0]["finish_reason"] for each in chunks_of(told) if each["choices"]]
    assert (set(reasons[:-1]), reasons[-1]) == ({None}, "tool_calls")
    assert "".join([each["choices"][0]["delta"].get("content") or "" for each in chunks_of(told)[:4]]) == "abc"
    assert chunks_of(told)[-1]["usage"] == USAGE
    assert stream.stop_reason == "tool_use"


def test_reason_that_content_follows_is_no_end_of_its_choice() -> None:
    both = [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}, {"index": 1, "delta": {"content": "b"}}]
    more = {"index": 1, "delta": {"content": "c"}, "finish_reason": None}
    ends = [{"index": 1, "delta": {}, "finish_reason": "length"}]
    stream = OriginalStream(REPLY, shows_usage=True)
    stream.feed(chunk(choices=both) + chunk(choices=[more]))
    assert not stream.is_finished, "the second choice goes on"
    told = stream.feed(chunk(choices=ends) + DONE)
    told = stream.feed(b"") + told
    assert stream.is_finished is False
    assert stream.done
    whole = passed(chunk(choices=both), chunk(choices=[more]), chunk(choices=ends), DONE)[0]
    choices = [choice for each in chunks_of(whole) for choice in each["choices"]]
    assert [(choice["index"], choice.get("finish_reason")) for choice in choices] == [
        (0, "stop"), (1, None), (1, None), (1, "length")
    ]  # fmt: skip


def test_each_choice_without_a_reason_gets_one() -> None:
    both = [{"index": index, "delta": {"content": "a"}, "finish_reason": None} for index in (0, 1)]
    told, _ = passed(chunk(choices=both), DONE)
    ends = [choice for each in chunks_of(told)[1:] for choice in each["choices"]]
    assert [(end["index"], end["finish_reason"]) for end in ends] == [(0, "stop"), (1, "stop")]


@pytest.mark.parametrize("is_late", [True, False])
def test_content_beside_the_reason_is_not_lost_where_the_stream_fails(is_late: bool) -> None:
    error = b'data: {"error":{"message":"slow down","code":429}}\n\n'
    pieces = [START, chunk({"content": "a"}), chunk({"content": "b"}, "stop")]
    stream = OriginalStream(REPLY, shows_usage=False)
    told = b"".join(map(stream.feed, pieces))
    told += stream.fail(UpstreamError("The connection broke.")) if is_late else stream.feed(error)
    sent = [each["choices"][0] for each in chunks_of(told)]
    assert "".join([choice["delta"]["content"] for choice in sent]) == "ab"
    assert sent[-1]["finish_reason"] == ("stop" if is_late else None)
    assert (stream.failure is None, stream.done) == (is_late, is_late)


def streamed_arguments(arguments: str, size: int, *, together: bool) -> tuple[str, str, OriginalStream]:
    """Return the arguments that the client joins, the finish reason, and the stream."""
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    calls = [called("c", 0, ""), *[called(None, 0, piece, None) for piece in pieces]]
    events = [START, *calls, chunk({}, "tool_calls"), DONE]
    told, stream = passed(*([b"".join(events)] if together else events))
    assert stream.failure is None
    joined = "".join([call["function"].get("arguments") or "" for call in calls_of(told)])
    return joined, chunks_of(told)[-1]["choices"][0]["finish_reason"], stream


def whole_arguments(arguments: str) -> tuple[str, str, list[str]]:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": arguments}}
    choice = {"index": 0, "message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    answered = to_passed_on(orjson.dumps({"choices": [choice]}), REPLY)
    told = orjson.loads(answered.written or b"")["choices"][0]
    notes = [note.text for note in answered.notes]
    return told["message"]["tool_calls"][0]["function"]["arguments"], told["finish_reason"], notes


REPAIRS = NEARLY | {
    "a closing bracket that is missing": ('{"a": {"b": 1}', {"a": {"b": 1}}),
    "the arguments twice": ('{"a": 1}{"a": 1}', {"a": 1}),
}


@pytest.mark.parametrize("case", REPAIRS)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.covers("Chat clients · arguments that are nearly JSON")
def test_arguments_that_are_nearly_json_are_repaired(case: str, size: int) -> None:
    arguments, meant = REPAIRS[case]
    for together in (True, False):
        joined, reason, stream = streamed_arguments(arguments, size, together=together)
        assert (orjson.loads(joined), reason) == (meant, "tool_calls")
        assert set(stream.notes) <= {Note("changed", "tool_calls.0.function.arguments", REPAIRED)}
    told, reason, notes = whole_arguments(arguments)
    assert (orjson.loads(told), reason) == (meant, "tool_calls")
    assert set(notes) <= {Note("changed", "tool_calls.0.function.arguments", REPAIRED).text}
    assert "a bracket" not in case or notes


@pytest.mark.parametrize("first", [called("a", 0, "{}"), called("a", 0, "") + called(None, 0, "{}", None)])
@pytest.mark.parametrize("pieces", [['{"a": 1}'], ['{"a"', ": 1}"], []])
def test_empty_object_in_front_of_the_arguments_is_left_out(first: bytes, pieces: list[str]) -> None:
    told, _ = passed(START, first, *[called(None, 0, piece, None) for piece in pieces], chunk({}, "tool_calls"), DONE)
    assert "".join([call["function"]["arguments"] for call in calls_of(told)]) == ("".join(pieces) or "{}")
    assert [call["id"] for call in calls_of(told) if "id" in call] == ["a"]


@pytest.mark.parametrize("case", [case for case in UNCLEAR if "'it's'" not in UNCLEAR[case]])
def test_arguments_that_cannot_be_repaired_stay_as_they_were_written(case: str) -> None:
    arguments = UNCLEAR[case]
    if len(arguments) < MAX_REST:
        assert streamed_arguments(arguments, 3, together=True)[0] == arguments
        assert streamed_arguments(arguments, 1000, together=False)[0] == arguments
        assert whole_arguments(arguments)[0] == arguments


def test_pair_of_surrogates_that_two_events_share_is_one_character() -> None:
    events = [called(None, 0, text, None) for text in ('{"a": "', "HIGH", "LOW", '"}')]
    halves = [event.replace(b"HIGH", b"\\ud83d").replace(b"LOW", b"\\ude00") for event in events]
    told, stream = passed(START, called("c", 0, ""), halves[0], *halves[1:], chunk({}, "tool_calls"), DONE)
    assert stream.failure is None
    assert b"\\ud83d\\ude00" in told or "😀".encode() in told


def test_piece_behind_the_end_of_its_call_does_not_begin_another() -> None:
    pieces = [called("a", 0, "{}"), called("b", 1, '{"x": 1'), called(None, 0, "\n", None), called(None, 1, "}", None)]
    told, _ = passed(START, *pieces, chunk({}, "tool_calls"), DONE)
    joined: dict[int, str] = {}
    for call in calls_of(told):
        joined[call["index"]] = joined.get(call["index"], "") + call["function"]["arguments"]
    assert {index: orjson.loads(text) for index, text in joined.items()} == {0: {}, 1: {"x": 1}}


def test_calls_that_the_client_forbids_are_left_out() -> None:
    reply = replace(REPLY, forbids_calls=True)
    stream = OriginalStream(reply, shows_usage=False)
    told = b"".join([stream.feed(piece) for piece in (START, called("a", 0, "{}"), chunk({}, "tool_calls"), DONE)])
    answer = {"choices": [{"index": 0, "message": {"content": "a", "tool_calls": [WHOLE_CALL]}}]}
    answered = to_passed_on(orjson.dumps(answer), reply)
    whole = orjson.loads(answered.written or b"")["choices"][0]
    assert calls_of(told) == []
    assert whole["message"] == {"content": "a"}
    assert chunks_of(told)[-1]["choices"][0]["finish_reason"] == whole["finish_reason"] == "stop"
    assert [note.text for note in stream.notes] == [note.text for note in answered.notes] == ["dropped:content"]


def test_call_is_not_whole_where_a_stop_sequence_may_have_cut_it() -> None:
    stream = OriginalStream(replace(REPLY, sent_stop_sequences=("x",)), shows_usage=False)
    pieces = (START, called("a", 0, '{"a": 1'), chunk({}, "tool_calls"), DONE)
    told = b"".join([stream.feed(piece) for piece in pieces])
    assert chunks_of(told)[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("field", ["content", "reasoning"])
def test_text_behind_calls_is_none_of_their_arguments(field: str) -> None:
    pieces = [called(None, 0, piece, None) for piece in ('{"a": "', "b", "c", "d", '"}')]
    texts = [chunk({field: text}) for text in ("one", "two\\", "{three")]
    told, stream = passed(START, called("a", 0, ""), *pieces, *texts, chunk({}, "tool_calls"), DONE)
    assert "".join([call["function"]["arguments"] for call in calls_of(told)]) == '{"a": "bcd"}'
    assert stream.notes == ()


def test_error_that_says_nothing_is_left_out() -> None:
    blank = {"message": "", "type": "", "param": "", "code": None}
    hello = chunk({"content": "Hi"})
    told, stream = passed(START, hello.replace(b'{"id"', b'{"error":%b,"id"' % orjson.dumps(blank), 1), DONE)
    assert stream.failure is None
    assert not any("error" in one for one in chunks_of(told))


def test_error_that_says_nothing_is_left_out_of_json() -> None:
    answer = {
        "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
        "error": {"message": ""},
    }
    written = to_passed_on(orjson.dumps(answer), REPLY).written
    assert "error" not in orjson.loads(written or b"")


def test_what_is_no_json_behind_the_end_is_left_out() -> None:
    told, stream = passed(START, chunk({"content": "Hi"}), chunk({}, "stop"), b"data: the end\n\n", DONE)
    assert (stream.failure, told.count(DONE), b"the end" in told) == (None, 1, False)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (7, 2)),
        ({}, (7, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (7, 2)),
        ({"prompt_tokens": "9", "completion_tokens": 4.0}, (9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 9}, (9, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}, (9, 2)),
        ({"prompt_tokens": 9, "completion_tokens": -1, "total_tokens": 13}, (9, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": "13"}, (9, 4)),
        ({"input_tokens": 9, "output_tokens": 4}, (9, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_beside", [True, False])
def test_client_that_asked_for_usage_gets_numbers(usage: Any, counts: tuple[int, int], is_beside: bool) -> None:
    ending = [chunk({}, "stop", usage=usage)] if is_beside else [chunk({}, "stop"), chunk(usage=usage)]
    told, stream = passed(START, chunk({"content": "Hello"}), *ending, DONE, shows_usage=True)
    shown = [each["usage"] for each in chunks_of(told) if each.get("usage")][-1]
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (*counts, sum(counts))
    assert (stream.usage["input_tokens"], stream.usage["output_tokens"]) == counts
    whole = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": usage}
    shown = orjson.loads(to_passed_on(orjson.dumps(whole), REPLY).written or b"")["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (*counts, sum(counts))


@pytest.mark.parametrize("mark", [DONE, b""], ids=["a mark", "no mark"])
def test_reason_in_front_of_content_is_kept_where_no_other_follows(mark: bytes) -> None:
    told, stream = passed(START, chunk({"content": "Hel"}, "length"), chunk({"content": "lo"}), mark)
    assert [choice["finish_reason"] for each in chunks_of(told) for choice in each["choices"]] == [
        *[None] * 3,
        "length",
    ]
    assert stream.stop_reason == "max_tokens"


@pytest.mark.parametrize("kind", ["", "tool", 5, ["function"], {}], ids=str)
def test_call_has_a_type_that_clients_know(kind: Any) -> None:
    call = {"index": 0, "id": "a", "type": kind}
    told, _ = passed(START, chunk({"tool_calls": [call | {"function": {"name": "look", "arguments": "{}"}}]}), DONE)
    assert calls_of(told)[0]["type"] == "function"


@pytest.mark.parametrize("role", [[], {}, 5, ["assistant"]], ids=str)
def test_role_of_another_type_is_left_out(role: Any) -> None:
    told, stream = passed(chunk({"role": role, "content": ""}), chunk({"content": "Hello"}), chunk({}, "stop"), DONE)
    assert stream.done
    assert "role" not in chunks_of(told)[0]["choices"][0]["delta"]


def test_reason_in_front_of_content_is_no_end_where_the_connection_breaks() -> None:
    pieces = START, chunk({"content": "Hel"}, "stop"), chunk({"content": "lo"})
    for stream in (OriginalStream(REPLY, shows_usage=False), MessageStream(REPLY)):
        for piece in pieces:
            stream.feed(piece)
        stream.fail(UpstreamError("The connection was lost."))
        assert stream.failure is not None
