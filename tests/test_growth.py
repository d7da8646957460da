"""Work on what others send grows with its size: ten times as much takes no more than twelve times the work.

Each row is a shape that a client or an upstream may send in any length. `n` is large enough for a quadratic part to
show, and small enough for a quick test.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import orjson
import pytest

from gateway.batches.splitter import Splitter
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.encode import to_json
from gateway.dialects.chat.response.calls.near_json import NearJson, repaired
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.stream import MessageStream
from gateway.errors import GatewayError
from gateway.json_values import count_values
from gateway.messages.fold import fold_stream
from gateway.messages.replay import to_events
from gateway.messages.tokens.profiles import to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.messages.validation import check_messages_request
from gateway.sse import EventParser
from gateway.telemetry.redaction import Redactor
from gateway.threads.thread import Held, merged
from gateway.upstream.models.target import Target
from tests.support import conversions as ways
from tests.support.bodies import assistant, user
from tests.support.growth import Work, growth_of
from tests.support.streams import call, chunk, completion, detail, finish, reply, say, sse, think

Json = dict[str, Any]
Prepare = Callable[[int], Work]

MOST = 12.0
ASK = {"role": "user", "content": "a"}


def request(*messages: Json, **fields: Any) -> Json:
    return {"model": "m", "max_tokens": 9, "messages": list(messages), **fields}


def text(words: str = "a", **more: Any) -> Json:
    return {"type": "text", "text": words, **more}


def cited(number: int) -> Json:
    location = {
        "type": "web_search_result_location",
        "url": f"https://a.example/{number}",
        "title": None,
        "cited_text": "c",
        "encrypted_index": "e",
    }
    return text("a" * 2000, citations=[location])


def tool_turns(n: int) -> list[Json]:
    turns = []
    for number in range(n):
        turns += [
            assistant({"type": "tool_use", "id": f"c{number}", "name": "t", "input": {"a": "b"}}),
            user({"type": "tool_result", "tool_use_id": f"c{number}", "content": "r"}),
        ]
    return [ASK, *turns]


ANSWER: Json = {"role": "assistant", "content": "b"}
THINKING = {"type": "thinking", "thinking": "why " * 500, "signature": "c2ln"}
EDITS = [
    {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
    {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 1}},
]

# Requests of n parts, which are checked, counted and converted for several kinds of upstreams.
REQUESTS: dict[str, Callable[[int], Json]] = {
    "user messages": lambda n: request(*[ASK] * n),
    "user messages with blocks": lambda n: request(*[user(text())] * n),
    "assistant messages": lambda n: request(ASK, *[{"role": "assistant", "content": "b"}] * n, ASK),
    "assistant messages that think": lambda n: request(ASK, *[assistant(THINKING, text())] * n, ASK),
    "messages of both roles": lambda n: request(*[ASK, {"role": "assistant", "content": "b"}] * n, ASK),
    "system messages": lambda n: request(*[ASK, {"role": "system", "content": "s"}, ANSWER] * n, ASK),
    "system messages that are cleared": lambda n: request(
        *[ASK, {"role": "system", "content": "s", "clear_at": "next_user_message"}, ANSWER] * n, ASK
    ),
    "efforts of system messages": lambda n: request(
        *[ASK, {"role": "system", "output_config": {"effort": "low"}}, ANSWER] * n, ASK
    ),
    "text blocks": lambda n: request(user(*[text()] * n)),
    "blank text blocks": lambda n: request(user(text()), assistant(*[text(" ")] * n, text()), ASK),
    "thinking blocks": lambda n: request(ASK, assistant(*[THINKING] * n, text()), ASK),
    "cited blocks": lambda n: request(ASK, assistant(*[cited(number) for number in range(n)]), ASK),
    "cited blocks between texts": lambda n: request(
        ASK, assistant(*[block for number in range(n) for block in (text(), cited(number))]), ASK
    ),
    "compactions": lambda n: request(ASK, assistant(*[{"type": "compaction", "content": "s"}] * n), ASK),
    "turns of tools": lambda n: request(*tool_turns(n)),
    "turns of tools that are cleared": lambda n: request(*tool_turns(n), context_management={"edits": EDITS}),
    "results of one turn": lambda n: request(
        ASK,
        assistant(*[{"type": "tool_use", "id": f"c{number}", "name": "t", "input": {}} for number in range(n)]),
        user(*[{"type": "tool_result", "tool_use_id": f"c{number}"} for number in range(n)]),
    ),
    "images": lambda n: request(user(*[{"type": "image", "source": {"type": "url", "url": "https://a.example"}}] * n)),
    "search results": lambda n: request(
        user(*[{"type": "search_result", "source": "s", "title": "t", "content": [text()]}] * n)
    ),
    "server tools": lambda n: request(
        ASK,
        assistant(
            *[
                block
                for number in range(n)
                for block in (
                    {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{number}", "content": []},
                )
            ]
        ),
        ASK,
    ),
    "tools": lambda n: request(
        ASK, tools=[{"name": f"t{number}", "input_schema": {"type": "object"}} for number in range(n)]
    ),
    "tools with long names": lambda n: request(
        ASK, tools=[{"name": f"{'t' * 100}{number}", "input_schema": {"type": "object"}} for number in range(n)]
    ),
    "properties of a schema": lambda n: request(
        ASK, tools=[{"name": "t", "input_schema": {"type": "object", "properties": {str(i): {} for i in range(n)}}}]
    ),
    "members of a tool's input": lambda n: request(
        ASK,
        assistant({"type": "tool_use", "id": "c", "name": "t", "input": {str(i): [{}] for i in range(n)}}),
        user({"type": "tool_result", "tool_use_id": "c"}),
    ),
    "stop sequences": lambda n: request(ASK, stop_sequences=[f"stop {number}" for number in range(n)]),
    "system blocks": lambda n: request(ASK, system=[text()] * n),
    "unknown fields": lambda n: request(ASK, **{f"field{number}": 1 for number in range(n)}),
    "unknown keys of blocks": lambda n: request(user(*[text(**{f"key{number}": 1}) for number in range(n)])),
    "characters": lambda n: request(user(text("words and more, " * n * 1000))),
}
TARGETS = {
    "reasoning in entries": ways.CLAUDE,
    "reasoning as text": ways.STRICT,
}


def asked(body: Json, target: Target) -> Work:
    def work() -> None:
        checked, _ = check_messages_request(body, version="2023-06-01", betas=frozenset())
        prompt_estimate(checked, to_profile(target.model))
        conversion = to_chat_request(checked, target, ways.KEYRING)
        to_json(conversion.body, 0)

    return work


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", REQUESTS)
def test_request_of_many_parts_takes_work_in_proportion(shape: str, target: str) -> None:
    assert_linear(lambda n: asked(REQUESTS[shape](n), TARGETS[target]), 10)


# Answers of n parts, as a stream.
STREAMS: dict[str, Callable[[int], Iterable[Any]]] = {
    "texts": lambda n: [say("a b ")] * n,
    "blank texts": lambda n: [say(" " * 2000)] * n,
    "thoughts": lambda n: [think("a b ")] * n,
    "blank thoughts": lambda n: [think(" " * 2000)] * n,
    "texts and thoughts in turn": lambda n: [say("a"), think("b")] * n,
    "texts of long escapes": lambda n: [say('"\\\n' * 20)] * n,
    "fragments of a call": lambda n: [call(0, '{"a":"', "c", "t"), *[call(0, "abc")] * n, call(0, '"}')],
    "fragments of a call that do not begin like an object": lambda n: [
        call(0, '"{', "c", "t"),
        *[call(0, "abc " * 500)] * n,
    ],
    "fragments before a call's name": lambda n: [call(0, "", "c"), *[call(0, '{"a":"%s" ' % ("b" * 2000))] * n],
    "fragments behind the end of a call": lambda n: [
        call(0, '{"a":"%s"}' % ("b" * 2000 * n), "c", "t"),
        *[call(0, "\n")] * n,
    ],
    "texts with escapes": lambda n: [say('a "b"\n')] * n,
    "fragments of a repaired call": lambda n: [
        call(0, "{'a':[", "c", "t"),
        *[call(0, "None, 'b',")] * n,
        call(0, "]}"),
    ],
    "calls": lambda n: [call(number, "{}", f"c{number}", "t") for number in range(n)],
    "calls that wait": lambda n: [
        *[call(number, "{", f"c{number}", "t") for number in range(n)],
        *[call(number, "}") for number in range(n)],
    ],
    "reasoning entries": lambda n: [detail(type="reasoning.text", text="a b ", index=0)] * n,
    "reasoning entries of many indexes": lambda n: [
        detail(type="reasoning.text", text="a", index=number) for number in range(n)
    ],
    "encrypted reasoning entries": lambda n: [
        detail(type="reasoning.encrypted", data="d", id=str(number)) for number in range(n)
    ],
    "annotations": lambda n: [chunk({"content": "a", "annotations": [citation(number)]}) for number in range(n)],
    "annotations of files": lambda n: [
        chunk({"annotations": [{"type": "file", "file": {"hash": str(number)}}]}) for number in range(n)
    ],
    "unknown annotations": lambda n: [chunk({"annotations": [{"type": f"t{number}"}]}) for number in range(n)],
    "chunks without choices": lambda n: [say("a"), *[{"choices": []}] * n],
    "chunks of another choice": lambda n: [say("a"), *[{"choices": [{"index": 1, "delta": {"content": "b"}}]}] * n],
    "fragments of calls in turn": lambda n: [
        *[call(number, '{"a":"', f"c{number}", "t") for number in range(2)],
        *[call(1, "abc" * 100)] * n,
    ],
    "texts like markup": lambda n: [say("a <b> [c] `d` ")] * n,
    "beginnings of markup": lambda n: [say("<tool_call>\n")] * n,
    "fences of code": lambda n: [say("```\n<tool_call>\n")] * n,
    "comments": lambda n: [b"\n: hold on\n\n"] * n,
    "refusals": lambda n: [chunk({"refusal": "no "})] * n,
}


def citation(number: int) -> Json:
    return {
        "type": "url_citation",
        "url_citation": {"url": f"https://a.example/{number}", "end_index": 2000 * number + 1},
    }


def streamed(pieces: list[bytes], **fields: Any) -> Work:
    def work() -> None:
        stream = MessageStream(reply(**fields))
        out = b"".join([stream.feed(piece) for piece in pieces] + [stream.end()])
        if stream.failure is None:
            fold_stream(out)

    return work


def passed_on(pieces: list[bytes]) -> Work:
    def work() -> None:
        stream = OriginalStream(reply(**MARKUP), shows_usage=True)
        for piece in pieces:
            stream.feed(piece)
        stream.end()

    return work


def as_reads(payloads: Iterable[Any]) -> list[bytes]:
    return [sse(payload) for payload in [*payloads, finish()]]


# Calls are looked for in the text.
MARKUP: Json = {"think_tags": True, "offered": frozenset({"t"})}
# All in one read, and each chunk its own read, behind the guards that look into the text; and without a conversion.
WAYS: dict[str, Callable[[list[bytes]], Work]] = {
    "in one read": lambda pieces: streamed([b"".join(pieces)]),
    "guarded, in many reads": lambda pieces: streamed(pieces, think_tags=True, stop_sequences=("STOP", "abcabcabd")),
    "searched for calls, in many reads": lambda pieces: streamed(pieces, **MARKUP),
    "passed on": passed_on,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", STREAMS)
def test_stream_of_many_chunks_takes_work_in_proportion(shape: str, way: str) -> None:
    assert_linear(lambda n: WAYS[way](as_reads(STREAMS[shape](n))), 10)


OTHERS: dict[str, Prepare] = {
    "an event in many reads": lambda n: parsed([b"data: ", *[b"a" * 2000] * n, b"\n\n"]),
    "an event of many lines": lambda n: parsed([*[b"data: a\n"] * n, b"\n"]),
    "an event of many lines in one read": lambda n: parsed([b"data: a\n" * n + b"\n"]),
    "half line ends": lambda n: parsed([b"data: a\r", b"\n\r", b"\n"] * n),
    "a batch of many requests": lambda n: split(
        b'{"requests":[%s]}' % b",".join(b'{"custom_id":"c%d","params":{"model":"m"}}' % i for i in range(n)), 64
    ),
    "a batch's request in many reads": lambda n: split(
        b'{"requests":[{"custom_id":"c","params":{"model":"m","x":"%s"}}]}' % (b"\\\\x[" * n), 7
    ),
    "a batch of many unknown keys": lambda n: split(
        b'{%s,"requests":[{"custom_id":"c","params":{}}]}' % b",".join(b'"k%d":[1]' % i for i in range(n)), 64
    ),
    "JSON with repairs": lambda n: lambda: repaired("{" + "'a': None, " * n + "}"),
    "JSON that is cut": lambda n: streamed(as_reads([call(0, '{"a":' + "[1," * 20 + '"b' * 1 + "c" * n, "c", "t")])),
    "JSON of many brackets": lambda n: lambda: repaired("{" + "]}" * n),
    "JSON of one long word in pieces": lambda n: read_json('{"a": ', "a" * 200, n),
    "JSON with white space behind a comma in pieces": lambda n: read_json('{"a": 1,', " " * 200, n),
    "JSON that begins anew in many pieces": lambda n: read_json('{"a": 1{"b": ', "a" * 200, n),
    "values that are counted": lambda n: lambda: count_values(b'["a,"]' * n * 5000),
    "a message's events": lambda n: lambda: to_events(message_of([text("a b " * 10)] * n)),
    "a long text's events": lambda n: lambda: to_events(message_of([text("a b " * n * 500)])),
    "an answer of many citations": lambda n: answered(
        {"content": "a" * n * 2000, "annotations": [citation(number) for number in range(n)]}
    ),
    "an answer of many calls": lambda n: answered(
        {"tool_calls": [{"id": f"c{i}", "function": {"name": "t", "arguments": "{}"}} for i in range(n)]}
    ),
    "an answer of many reasoning entries": lambda n: answered(
        {"content": "a", "reasoning_details": [{"type": "reasoning.encrypted", "data": str(i)} for i in range(n)]}
    ),
    "an answer of many parts": lambda n: answered({"content": [{"type": "text", "text": "a"}] * n}),
    "an answer's images": lambda n: answered(
        {"content": "a", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}] * n}
    ),
    "an answer's thinking blocks": lambda n: answered(
        {"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": str(i)} for i in range(n)]}
    ),
    "a message with secrets": lambda n: lambda: REDACTOR.text("sk-or-v1-0123456789 sk-or-v1-01 " * n),
    "a message with addresses": lambda n: lambda: REDACTOR.text("http://10.0.0.1/a /home/user/a.py " * n),
    "a message of many dots": lambda n: lambda: REDACTOR.text("a." * n * 10 + "/" * n * 10 + ":" * n * 10),
    "a message of half a secret": lambda n: lambda: REDACTOR.text("sk-or-" * n),
    "a thread of many turns": lambda n: (
        lambda: merged(
            {**request(ASK), "thread": {}}, Held({}, [[user(text("a", cache_control={"type": "ephemeral"}))]] * n)
        )
    ),
}
REDACTOR = Redactor(["sk-or-v1-0123456789abcdef"], ["upstream.internal"])


def parsed(pieces: list[bytes]) -> Work:
    def work() -> None:
        parser = EventParser()
        for piece in pieces:
            parser.feed(piece)

    return work


def read_json(start: str, piece: str, n: int) -> Work:
    def work() -> None:
        reader = NearJson()
        for text in (start, *[piece] * n):
            reader.feed(text)

    return work


def split(body: bytes, size: int) -> Work:
    def work() -> None:
        splitter = Splitter()
        for start in range(0, len(body), size):
            splitter.feed(body[start : start + size])

    return work


def message_of(blocks: list[Json]) -> Json:
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": None,
    }
    ending = {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": blocks, "usage": usage, **ending}


def answered(message: Json) -> Work:
    answer = orjson.loads(orjson.dumps(completion(message)))

    def work() -> None:
        with suppress(GatewayError):  # for more blocks than any model makes
            to_message(answer, reply())

    return work


@pytest.mark.parametrize("shape", OTHERS)
def test_other_rooms_take_work_in_proportion(shape: str) -> None:
    assert_linear(OTHERS[shape], 20)


def assert_linear(prepare: Prepare, n: int) -> None:
    lines, allocated = growth_of(prepare, n)
    assert lines <= MOST, f"{lines:.1f} times the lines for ten times as much"
    assert allocated <= MOST, f"{allocated:.1f} times the memory for ten times as much"
