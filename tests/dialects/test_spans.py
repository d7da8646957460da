"""Members of a JSON body, found and replaced in its bytes."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.native.request import without_members
from gateway.dialects.spans import find_model, members, spliced
from gateway.errors import InvalidRequest

KEYS = st.sampled_from(["model", "messages", "m", '"model', "model\\", "models", "a b", "é"]) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=6) | st.sampled_from(['"model": "x"', "\\", "}{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
GAPS = st.sampled_from([b"", b" ", b"\n\t", b"\r\n "])


@st.composite
def bodies(draw: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A body with one `model` at any place, written with odd spaces, and its members."""
    names = draw(st.lists(KEYS.filter(lambda name: name != "model"), unique=True, max_size=5))
    names.insert(draw(st.integers(0, len(names))), "model")
    written = []
    for name in names:
        value = "claude" if name == "model" else draw(VALUES)
        option = draw(st.sampled_from([0, orjson.OPT_INDENT_2]))
        written.append((name, orjson.dumps(value, option=option)))
    parts = [draw(GAPS) + orjson.dumps(name) + draw(GAPS) + b":" + draw(GAPS) + value for name, value in written]
    return b"{" + (draw(GAPS) + b",").join(parts) + draw(GAPS) + b"}", written


@settings(max_examples=200, deadline=None)
@given(bodies())
def test_replaced_model_changes_nothing_else(drawn: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    body, _ = drawn
    start, end = find_model(body, "claude")
    changed = spliced(body, start, end, b'"other"')
    assert orjson.loads(changed) == {**orjson.loads(body), "model": "other"}
    assert len(changed) == len(body) - len(b'"claude"') + len(b'"other"')


@settings(max_examples=200, deadline=None)
@given(bodies())
def test_members_are_found_with_their_bytes(drawn: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    body, written = drawn
    for parsed in ({}, orjson.loads(body)):
        found = [(orjson.loads(member.key), body[member.value : member.end]) for member in members(body, parsed)]
        assert found == written


def test_members_that_are_named_twice_are_all_found() -> None:
    body = b'{"a":[1],"b":{},"a":[1, 2],"a":[1]}'
    assert [body[member.value : member.end] for member in members(body, orjson.loads(body))] == [
        *(b"[1]", b"{}", b"[1, 2]", b"[1]")
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","x":1,"model":"b"}',
        b'{"model":"b","x":1,"model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"\\u006Dodel":"b"}',
        b'{"x":{"model":"b"},"model":"a","model":"b"}',
    ],
)
def test_model_named_twice_or_with_escapes_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="model"):
        find_model(body, orjson.loads(body)["model"])


def test_escaped_letters_elsewhere_are_no_reason_to_refuse() -> None:
    body = b'{"text":"mod\\u0065l","model":"b"}'
    assert body[slice(*find_model(body, "b"))] == b'"b"'


def test_thousands_of_nested_models_take_one_pass() -> None:
    body = b'{"tools":[' + b",".join([b'{"model":"x"}'] * 80_000) + b'],"model":"b"}'
    begun = time.process_time()
    assert body[slice(*find_model(body, "b"))] == b'"b"'
    assert time.process_time() - begun < 0.5  # one pass takes a tenth of that; trials would take minutes


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"openai":{"a":[1,"}"]}, "model":"b"}', b'{"model":"b"}'),
        (b'{"model":"b", "openrouter" : {} }', b'{"model":"b"}'),
        (b'{"system":[{"type":"text","text":"x"} ],"a":1.10}', b'{"a":1.10}'),
        (b'{"system": [{"text":"x"},\n {"text":"y"}],"a":1}', b'{"system": [{"text":"y"}],"a":1}'),
    ],
)
def test_members_are_left_out_and_others_keep_their_bytes(body: bytes, expected: bytes) -> None:
    assert without_members(body, orjson.loads(body), without_billing=b"system" in body) == expected
