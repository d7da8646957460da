"""The short way for a delta gives the bytes of the full way, for any form of the upstream's JSON.

An empty chunk between two deltas makes the second go the full way, which distinguishes both ways from outside. That the
short way is taken at all is shown on `derive_splice` itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.delta import add_pieces
from gateway.dialects.chat.response.fast_path import Frame, derive_splice
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.chat.response.stream import MAX_MISSES, MessageStream
from gateway.dialects.chat.response.writers import EventWriter
from gateway.messages.events import TEXT, TOOL_INPUT, delta, line_safe
from gateway.messages.fold import fold_stream
from tests.support.payloads import ENDS, FRAMED, Write, backwards, delta_in, escaped, loose, spread, streams, tight
from tests.support.streams import (
    DONE,
    NOTHING,
    Json,
    call,
    calls_during,
    chunk,
    convert,
    cut,
    finish,
    reply,
    say,
    sse,
)


@given(streams(), ENDS, st.booleans())
@settings(max_examples=300)
@example([tight(say("a")), tight(say("a")), tight(say("ä"))], sse(finish()) + DONE, False)
@example([tight(say("a")), tight(say("b")), escaped(say("\ud83d")), tight(say("c"))], sse(finish()) + DONE, False)
@example([tight(say("a")), tight(say("b")), FRAMED, tight(say("c"))], sse(finish()) + DONE, False)
@example([tight(say(text)) for text in ("<think>", "hm", "</think>", "a", "b", "c")], sse(finish()) + DONE, True)
@example([loose(say("a")), loose({**say("a"), "content": "a"})], b"", False)
def test_spliced_deltas_are_the_bytes_of_the_full_way(payloads: list[bytes], end: bytes, think_tags: bool) -> None:
    spliced = convert(sse(*payloads) + end, reply(think_tags=think_tags))
    full = convert(b"".join(sse(payload) + NOTHING for payload in payloads) + end, reply(think_tags=think_tags))
    one_by_one = convert([*map(sse, payloads), end], reply(think_tags=think_tags))
    for short in (spliced, one_by_one):
        assert short.output == full.output
        assert str(short.failure) == str(full.failure)
        assert short.stream.usage == full.stream.usage


# Ways to write one event; some leave its end, or the next one's beginning, to another read.
FRAMES: list[Callable[[bytes], list[bytes]]] = [
    lambda payload: [b"data: " + payload + b"\n\n"],
    lambda payload: [b"data:" + payload + b"\n\n"],
    lambda payload: [b"data: " + payload + b"\r\n\r\n"],
    lambda payload: [b"data: " + payload + b"\r\r", b"\n"],
    lambda payload: [b"data: " + payload + b"\n", b"\n"],
    lambda payload: [b"data: " + payload[:-1] + b"\ndata: " + payload[-1:] + b"\n\n"],
    lambda payload: [b": ping\n\ndata: " + payload + b"\n\n"],
    lambda payload: [b"data: " + payload + b"\n\n: ping"],
    lambda payload: [b"data: " + payload + b"\n\ndata: ", payload + b"\n\n"],
    lambda payload: [b"data: ", payload, b"\n\n"],
    lambda payload: [b"id: data: " + payload + b"\n\n"],
    lambda payload: [b"\n\n"],
]


@given(streams(), ENDS, st.booleans(), st.booleans())
@settings(max_examples=200)
@example([tight(say("a")), tight(say("b")), escaped(say("\ud83d")), tight(say("c"))], sse(finish()) + DONE, False, True)
def test_collected_message_is_the_folded_stream(
    payloads: list[bytes], end: bytes, think_tags: bool, at_once: bool
) -> None:
    stream = sse(*payloads) + end
    told = convert(stream, reply(think_tags=think_tags))
    collecting = MessageStream(reply(think_tags=think_tags), collects=True)
    for piece in [stream] if at_once else [*map(sse, payloads), end]:
        assert collecting.feed(piece) == b""
    collecting.end()
    assert str(collecting.failure) == str(told.failure)
    assert collecting.started == told.stream.started
    if told.failure is None:
        assert collecting.message() == fold_stream(told.output)


@given(st.lists(st.tuples(streams(), st.sampled_from(FRAMES)), min_size=1, max_size=4), ENDS)
@settings(max_examples=200)
def test_reads_of_one_event_are_the_bytes_of_the_same_in_one_read(
    parts: list[tuple[list[bytes], Callable[[bytes], list[bytes]]]], end: bytes
) -> None:
    pieces = [piece for payloads, frame in parts for payload in payloads for piece in frame(payload)]
    one_by_one, at_once = convert([*pieces, end]), convert(b"".join(pieces) + end)
    assert one_by_one.output == at_once.output
    assert str(one_by_one.failure) == str(at_once.failure)


def test_a_frame_of_several_lines_is_no_frame_of_an_event() -> None:
    """A line of JSON without `data:` in front of it is ignored, even after a payload of two lines like it."""
    first, second, third = (tight(say(text)).replace(b",", b",\n", 1) for text in ("a", "b", "c"))
    two_lines = [b"data: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n" for payload in (first, second)]
    pieces = [*two_lines, b"data: " + third + b"\n\n", sse(finish()) + DONE]
    assert convert(pieces).output == convert(b"".join(pieces)).output


@given(payloads=streams(), data=st.data())
@settings(max_examples=150)
def test_splices_do_not_depend_on_how_the_network_cuts(payloads: list[bytes], data: st.DataObject) -> None:
    stream = sse(*payloads, finish()) + DONE
    positions = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6))
    assert convert(cut(stream, positions)).output == convert(stream).output


def derived(write: Write, *payloads: Json) -> Frame | None:
    """Derive the frame from the last of these, after all of them went the full way."""
    writer = EventWriter()
    assembly = Assembly(reply(), writer, Finish())
    for payload in payloads:
        add_pieces(delta_in(payload), assembly, Finish())
    return derive_splice(write(payloads[-1]), delta_in(payloads[-1]), assembly, writer)


def event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


BEGUN = call(0, '{"a": "', "id_0", "f")


def calls_of(name: str, stream: bytes, **fields: Any) -> int:
    """Return how often a function of this name runs while the stream is converted."""
    return calls_during(name, lambda: convert(stream, reply(**fields)))


def test_a_run_of_plain_deltas_is_parsed_twice() -> None:
    """Parse the first delta, which shows the frame, and the end."""
    assert calls_of("loads", sse(*[say("a")] * 100, finish()) + DONE) == 2
    assert (
        calls_of("loads", sse(call(0, '{"a":"', "c", "f"), *[call(0, "x")] * 100, call(0, '"}'), finish()) + DONE) == 5
    )


def test_text_behind_tagged_thinking_is_spliced() -> None:
    tagged = sse(say("<think>"), say("hm"), say("</think>"), *[say("a")] * 100, finish()) + DONE
    assert calls_of("loads", tagged, think_tags=True) == 3 + 2
    assert [(block["type"], block.get("text")) for block in convert(tagged, reply(think_tags=True)).blocks] == [
        ("thinking", None),
        ("text", "a" * 100),
    ]


def test_only_what_is_not_plain_is_parsed_in_between() -> None:
    assert calls_of("loads", sse(*[say("a"), say("a"), say("\n")] * 30, finish()) + DONE) == 1 + 30 + 1


def test_a_frame_that_always_changes_is_soon_no_longer_looked_for() -> None:
    changing = [{**say("a"), "obfuscation": f"{number}"} for number in range(100)]
    assert calls_of("derive_splice", sse(*changing, finish()) + DONE) == MAX_MISSES
    assert calls_of("loads", sse(*changing, *[say("a")] * 100, finish()) + DONE) == 201


def test_a_frame_that_changes_now_and_then_is_looked_for_again() -> None:
    runs = [[{**say("a"), "part": number}] * 10 for number in range(3 * MAX_MISSES)]
    stream = sse(*[payload for run in runs for payload in run], finish()) + DONE
    assert calls_of("loads", stream) == 3 * MAX_MISSES + 1


# A serialiser, the earlier chunk, and a delta around any text.
SPLICED: dict[str, tuple[Write, Json, Callable[[str], Json]]] = {
    "text": (tight, say("one"), say),
    "text of a serialiser with spaces": (loose, say("one"), say),
    "text with keys turned round": (backwards, say("one"), say),
    "text beside empty fields": (tight, say("one"), lambda text: chunk({"content": text, "refusal": None})),
    "arguments": (tight, BEGUN, lambda text: call(0, text)),
    "arguments of a serialiser with spaces": (loose, BEGUN, lambda text: call(0, text)),
    "arguments with id and name again": (tight, BEGUN, lambda text: call(0, text, "id_0", "f")),
}
NOT_SPLICED: dict[str, tuple[Write, Sequence[Json]]] = {
    "text with a quote": (tight, [say("one"), say('"')]),
    "text with an escape": (escaped, [say("one"), say("ö")]),
    "text beside something else": (tight, [say("one"), chunk({"content": "two", "mood": "glad"})]),
    "text beside another field of the same name": (tight, [say("one"), {**say("two"), "content": "two"}]),
    "text beside its name as a value": (tight, [say("one"), {**say("two"), "field": "content"}]),
    "a payload with a backslash somewhere": (tight, [say("one"), {**say("two"), "path": "\\"}]),
    "no text": (tight, [say("one"), say("")]),
    "space before the colon": (spread, [say("one"), say("two")]),
    "text that is not a string": (tight, [say("one"), chunk({"content": [{"text": "two"}]})]),
    "two calls at once": (
        tight,
        [BEGUN, chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}] * 2})],
    ),
    "arguments that are not a string": (tight, [BEGUN, call(0, {"a": 1})]),
    "an empty list of calls": (tight, [BEGUN, chunk({"tool_calls": []})]),
    "no call beside an open one": (tight, [BEGUN, chunk({"content": "", "mood": ""})]),
    "arguments that have not begun": (tight, [call(0, "", "id_0", "f"), call(0, "")]),
    "arguments that are no object yet": (tight, [call(0, '"{', "id_0", "f"), call(0, "x")]),
    "arguments while another call waits": (tight, [BEGUN, call(1, "", "id_1", "g"), call(0, "x")]),
}


@pytest.mark.parametrize("text", ["two", "zwölf 🌍"])
@pytest.mark.parametrize("case", SPLICED)
def test_plain_deltas_are_spliced(case: str, text: str) -> None:
    write, begun, delta_around = SPLICED[case]
    splice = derived(write, begun, delta_around(text))
    assert splice is not None
    writer = EventWriter()
    kind = TOOL_INPUT if begun is BEGUN else TEXT
    assert splice.to_event(event(write(delta_around("thrée"))), writer) == delta(0, kind, "thrée")
    assert (writer.out, writer.output_size) == ([], len("thrée".encode()))


@pytest.mark.parametrize("case", NOT_SPLICED)
def test_other_deltas_go_the_full_way(case: str) -> None:
    write, payloads = NOT_SPLICED[case]
    assert derived(write, *payloads) is None


REFUSED = {
    "another frame": tight({**say("x"), "id": "gen-2"}),
    "another end of the same length": tight(say("x")).replace(b"null", b"true"),
    "more behind the string": tight({**say("x"), "more": 1}),
    "a quote in the string": tight(say('"')),
    "an escape in the string": escaped(say("ö")),
    "a control byte in the string": tight(say("one")).replace(b"one", b"\t"),
    "invalid UTF-8 in the string": tight(say("one")).replace(b"one", b"\xff"),
    "an empty string": tight(say("")),
    "a payload shorter than the frame": b"{}",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_splice_refuses_what_is_not_a_plain_string_in_its_frame(case: str) -> None:
    splice = derived(tight, say("one"), say("two"))
    assert splice is not None
    writer = EventWriter()
    assert splice.to_event(event(REFUSED[case]), writer) is None
    assert (writer.out, writer.output_size) == ([], 0)


FITTING = {
    "another string": tight(say("three")),
    "escapes in the string": tight(say('a "quote", a \\ and a\n')),
    "escapes for other characters": tight(say("ö")).replace("ö".encode(), b"\\u00f6"),
    "an empty string": tight(say("")),
}


@pytest.mark.parametrize("case", FITTING)
def test_a_splice_outlives_a_string_that_went_the_full_way(case: str) -> None:
    splice = derived(tight, say("one"), say("two"))
    assert splice is not None
    assert splice.fits(FITTING[case])


@pytest.mark.parametrize(
    "case",
    ["another frame", "another end of the same length", "more behind the string", "a payload shorter than the frame"],
)
def test_a_splice_does_not_outlive_its_frame(case: str) -> None:
    splice = derived(tight, say("one"), say("two"))
    assert splice is not None
    assert not splice.fits(REFUSED[case])
    assert not splice.fits(FRAMED)


def test_a_splice_of_arguments_is_for_the_inside_of_strings() -> None:
    splice = derived(tight, BEGUN, call(0, "x"))
    assert splice is not None
    writer = EventWriter()
    assert splice.to_event(event(tight(call(0, "x")).replace(b'"x"', b'"\xff"')), writer) is None
    assert splice.to_event(event(tight(call(0, "y"))), writer) == delta(0, TOOL_INPUT, "y")
    assert splice.to_event(event(tight(call(0, "[{"))), writer) == delta(0, TOOL_INPUT, "[{")
    assert splice.call is not None
    assert splice.call.arguments == '{"a": "xy[{'
    splice.call.add('", "n": ')
    assert splice.to_event(event(tight(call(0, "12"))), writer) is None
    splice.call.add('"a' + "\\")
    assert splice.to_event(event(tight(call(0, "n"))), writer) is None


def test_line_separators_are_escaped_on_the_short_way_too() -> None:
    splice = derived(tight, say("one"), say("two"))
    assert splice is not None
    assert splice.to_event(event(tight(say("a\u2028b"))), EventWriter()) == line_safe(delta(0, TEXT, "a\u2028b"))
