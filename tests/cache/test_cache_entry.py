"""One stored message gives the JSON and the stream; what is damaged or another's is never served."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.entry import MixedUp, from_blob, to_blob
from gateway.messages.fold import fold_events
from gateway.sse import EventParser
from tests.cache.conftest import to_entry, to_message

NAME, OTHER = "a" * 40, "b" * 40


@given(st.text(max_size=3000))
@settings(deadline=None, max_examples=50)
def test_json_and_stream_give_the_same_message(text: str) -> None:
    entry = from_blob(NAME, to_blob(NAME, to_entry(text)))
    assert entry is not None
    told = orjson.loads(entry.to_json("msg_2", "small"))
    assert told == {**to_message(text), "id": "msg_2", "model": "small"}
    stream = fold_events(map(orjson.loads, EventParser().feed(entry.to_events("msg_2", "small"))))
    assert stream["content"] == told["content"]
    assert {name: stream["usage"][name] for name in told["usage"]} == told["usage"]


def test_a_message_keeps_the_order_of_its_fields() -> None:
    entry = to_entry()
    assert list(orjson.loads(entry.to_json("msg_2", "small"))) == list(to_message())


def test_facts_survive_and_the_cost_is_left_out() -> None:
    message = to_message()
    entry = to_entry(usage={**message["usage"], "cost": 0.5})
    assert b"cost" not in entry.rest
    assert from_blob(NAME, to_blob(NAME, entry)) == entry
    assert (entry.facts.input_tokens, entry.facts.output_tokens, entry.facts.notes) == (7, 2, ("dropped:x",))


def test_an_entry_under_another_fingerprint_is_noticed() -> None:
    with pytest.raises(MixedUp):
        from_blob(OTHER, to_blob(NAME, to_entry()))


BLOB = to_blob(NAME, to_entry("word " * 500))
DAMAGED = {
    "empty": b"",
    "of another codec": b"x" + BLOB[1:],
    "cut": BLOB[:-20],
    "without facts": b"r" + NAME.encode(),
    "with facts that are no JSON": b"r" + NAME.encode() + b"\n{\n{}",
    "with unknown facts": b"r" + NAME.encode() + b"\n[1,null,null,null,0,0,0,0,[]]\n}",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_entry_is_none(name: str) -> None:
    assert from_blob(NAME, DAMAGED[name]) is None
