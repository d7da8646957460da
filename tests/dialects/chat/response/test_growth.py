"""Work grows with the length of an answer and not with its square, for any repetition by an upstream.

Measured in calls that Python makes, which a busy machine does not change.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.reasoning import MAX_ENTRIES
from gateway.dialects.chat.response.filters.stop_sequences import StopScan
from gateway.errors import UpstreamError
from tests.support.streams import Json, call, call_part, chunk, convert, detail, finish, say, sse, think

COUNT = 400


def steps_of(work: Callable[[], Any]) -> int:
    """Lines that run, which is what a loop that grows shows in."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return steps


def entries(count: int) -> list[Json]:
    """Return the entries of one chunk."""
    return [
        {"type": "reasoning.summary", "summary": "a", "index": number, "id": f"r{number}"} for number in range(count)
    ]


REPEATED: dict[str, Callable[[int], list[Json]]] = {
    "reasoning entries of one chunk": lambda count: [chunk({"reasoning_details": entries(count)})],
    "reasoning entries": lambda count: [detail(**entry) for entry in entries(count)],
    "encrypted entries": lambda count: [
        detail(type="reasoning.encrypted", data=str(number)) for number in range(count)
    ],
    "signatures": lambda count: [
        *(detail(type="reasoning.text", text="a", index=number) for number in range(count)),
        say("b"),
        *(detail(type="reasoning.text", signature="S", index=number) for number in range(count)),
    ],
    "calls in one chunk": lambda count: [
        chunk({"tool_calls": [call_part(n, "{}", f"c{n}", "f") for n in range(count)]})
    ],
    "calls without an index": lambda count: [call(None, "{}", f"c{number}", "f") for number in range(count)],
    "pieces without an index": lambda count: [
        *(call(None, "{}", f"c{number}", "f") for number in range(20)),
        call(None, '{"a":"', "d", "f"),
        *(call(None, "a") for _ in range(count)),
    ],
    "closing brackets in a string while a call waits": lambda count: [
        call(0, '{"a":"', "c", "f"),
        call(1, "{}", "d", "g"),
        *(call(0, "}") for _ in range(count)),
        call(0, '"}'),
    ],
    "pieces of a call without a name": lambda count: [
        *(call(0, "a" if number else '{"a":"', "c") for number in range(count)),
        call(0, '"}', "c", "f"),
    ],
    "text and thinking by turns": lambda count: [piece for _ in range(count) for piece in (say("a"), think("b"))],
    "annotations": lambda count: [
        say("a"),
        *(
            chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": f"https://a.example/{number}"}}]})
            for number in range(count)
        ),
    ],
}


@pytest.mark.parametrize("case", REPEATED)
def test_twice_the_answer_takes_about_twice_the_work(case: str) -> None:
    def work(count: int) -> int:
        stream = sse(*REPEATED[case](count), finish("tool_calls"))
        return steps_of(lambda: convert(stream))

    once = work(COUNT)
    assert work(2 * COUNT) < 2.6 * once


def test_more_reasoning_entries_than_any_answer_has_are_refused() -> None:
    payload = orjson.dumps(chunk({"reasoning_details": entries(MAX_ENTRIES + 1)}))
    failure = convert(sse(payload)).failure
    assert isinstance(failure, UpstreamError)
    assert "more reasoning entries" in failure.message


@pytest.mark.parametrize(
    "sequences", [["a" * 200 + "b"], ["a" * length + "b" for length in range(200)]], ids=["long", "many"]
)
def test_stop_sequences_that_nearly_match_take_no_longer(sequences: list[str]) -> None:
    plain, nearly = StopScan(["b"]), StopScan(sequences)
    pieces = ["a" * 50] * COUNT
    base = steps_of(lambda: [plain.feed("b" * 0 + piece) for piece in pieces])
    work = steps_of(lambda: [nearly.feed(piece) for piece in pieces])
    assert base < work < 12 * 50 * COUNT
