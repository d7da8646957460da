"""The network may cut a stream anywhere: between reads that changes nothing, and at its end it is never silent."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.golden_cases import CASES, Case
from tests.support.streams import convert, cut

# Cuts between two letters or digits are all alike, so one is tried. Reads of one byte try every cut.
IN_A_WORD = re.compile(rb"[0-9a-zA-Z]{2}")

MOST_CUTS = 250

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
@pytest.mark.covers("Streams · cut at any byte by the network")
def test_a_stream_cut_in_two_anywhere_gives_the_same_bytes(case: Case) -> None:
    upstream, reply = case.upstream, case.reply
    whole = convert(upstream, reply)
    for position in positions(upstream):
        told = convert([upstream[:position], upstream[position:]], reply)
        assert told.output == whole.output, upstream[:position]
        assert str(told.failure) == str(whole.failure)


@every_case
def test_a_stream_fed_byte_by_byte_gives_the_same_bytes(case: Case) -> None:
    upstream = case.upstream
    told = convert(cut(upstream, range(1, len(upstream))), case.reply)
    assert told.output == convert(upstream, case.reply).output


@given(case=st.sampled_from(CASES), data=st.data())
@settings(max_examples=200)
def test_a_stream_cut_in_many_gives_the_same_bytes(case: Case, data: st.DataObject) -> None:
    upstream = case.upstream
    positions = data.draw(st.sets(st.integers(1, len(upstream) - 1), max_size=12))
    assert convert(cut(upstream, positions), case.reply).output == convert(upstream, case.reply).output


@every_case
def test_a_stream_truncated_anywhere_is_whole_or_fails(case: Case) -> None:
    """Whole means that the upstream had said why it ended; either way, what had come by then is shown."""
    upstream, reply = case.upstream, case.reply
    whole = convert(upstream, reply)
    for length in positions(upstream)[:-1]:
        told = convert(upstream[:length], reply)
        assert told.stream.done == (told.failure is None)
        if not told.stream.done:
            assert whole.output.startswith(told.output), upstream[:length]
        if whole.failure is None:
            assert told.stream.done == has_ended(upstream[:length]) or told.stop["stop_sequence"], upstream[:length]
        if whole.failure is None and told.stream.done:
            assert content_of(told.output) == content_of(whole.output)


def positions(upstream: bytes) -> list[int]:
    """Return where to cut: at the beginning and end, and next to bytes that are no letter or digit.

    For a long stream, a sample of them, the same in each run; `make fuzz` cuts generated streams at random places.
    """
    places = [end for end in range(1, len(upstream)) if not IN_A_WORD.match(upstream, end - 1)]
    chosen = places if len(places) <= MOST_CUTS else random.Random(len(upstream)).sample(places, MOST_CUTS)
    return [0, *sorted(chosen), len(upstream)]


def has_ended(upstream: bytes) -> bool:
    """Whether a chunk with a finish reason is there, or the end itself; the blank line behind it may be missing."""
    squeezed = re.sub(rb"\s|data:", b"", upstream)
    return re.search(rb'"finish_reason":"\w+".*?}]}|\[DONE]', squeezed) is not None


def content_of(events: bytes) -> bytes:
    return events.partition(b"event: message_delta")[0]
