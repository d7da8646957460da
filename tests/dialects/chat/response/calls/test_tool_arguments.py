"""Tool arguments as models write them: what is an object, what can be made one, and what cannot."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.calls.tool_arguments import MAX_DEPTH, closing_suffix, is_object, unwrapped

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=3)


@pytest.mark.parametrize("text", ["{}", ' {"a": 1}\n', '{"a":{"b":[]}}'])
def test_objects(text: str) -> None:
    assert is_object(text)


@pytest.mark.parametrize("text", ["", " ", "null", "[]", "1", '"{}"', "{", "{}{}", "{'a': 1}", '{"a": NaN}', "{} x"])
def test_other_texts_are_no_objects(text: str) -> None:
    assert not is_object(text)


def nested(levels: int) -> str:
    return '{"a":[' * (levels // 2) + "]}" * (levels // 2)


def test_an_object_deeper_than_a_client_can_give_back_is_none() -> None:
    assert is_object(nested(MAX_DEPTH))
    assert not is_object(nested(MAX_DEPTH + 2))
    assert not is_object(nested(1000))


def test_depth_is_counted_in_levels_and_not_in_brackets() -> None:
    beside = '{"b":[[],[],[]],"a":'
    assert is_object(beside + nested(MAX_DEPTH - 2) + "}")
    assert not is_object(beside + nested(MAX_DEPTH) + "}")
    assert is_object(beside + '{"a":' * (MAX_DEPTH - 1) + "1" + "}" * MAX_DEPTH)
    assert not is_object(beside + '{"a":' * MAX_DEPTH + "1" + "}" * (MAX_DEPTH + 1))


def test_many_brackets_are_not_many_levels() -> None:
    assert is_object(orjson.dumps({"a": [{}] * 100, "b": "{[" * 100}).decode())


ENDED: dict[str, tuple[str, str]] = {
    "after the opening bracket": ("{", "{}"),
    "inside a key": ('{"na', '{"na":null}'),
    "after a key": ('{"a"', '{"a":null}'),
    "after a colon": ('{"a": ', '{"a": null}'),
    "after a comma in an object": ('{"a":1,', '{"a":1,"":null}'),
    "after a comma in an array": ('{"a":[1,', '{"a":[1,null]}'),
    "inside a string": ('{"a":"b', '{"a":"b"}'),
    "after a backslash": ('{"a":"b\\', '{"a":"b\\\\"}'),
    "inside an escape": ('{"a":"\\u00e', '{"a":"\\u00e0"}'),
    "at the start of an escape": ('{"a":"\\u', '{"a":"\\u0020"}'),
    "between the halves of a character": ('{"a":"\\ud83d', '{"a":"\\ud83d\\udc00"}'),
    "inside the second half of a character": ('{"a":"\\ud83d\\ude', '{"a":"\\ud83d\\ude00"}'),
    "inside the first half of a character": ('{"a":"\\ud8', '{"a":"\\ud800\\udc00"}'),
    "inside an escape in a key": ('{"\\u00', '{"\\u0000":null}'),
    "inside a number": ('{"a":-', '{"a":-0}'),
    "inside a fraction": ('{"a":1.', '{"a":1.0}'),
    "inside an exponent": ('{"a":1e', '{"a":1e0}'),
    "inside true": ('{"a":t', '{"a":true}'),
    "inside false": ('{"a":fals', '{"a":false}'),
    "inside null": ('{"a":nu', '{"a":null}'),
    "several levels deep": ('{"a":[{"b":["c', '{"a":[{"b":["c"]}]}'),
    "behind brackets in a string": ('{"a":"}]","b":[', '{"a":"}]","b":[]}'),
    "behind an escaped quote": ('{"a":"\\"', '{"a":"\\""}'),
}


@pytest.mark.parametrize("place", ENDED)
def test_an_object_cut_off(place: str) -> None:
    text, whole = ENDED[place]
    assert text + f"{closing_suffix(text)}" == whole
    assert is_object(whole)


@pytest.mark.parametrize("word", ["true", "false", "null"])
def test_a_word_cut_after_any_of_its_letters_is_completed(word: str) -> None:
    for length in range(1, len(word)):
        assert closing_suffix('{"a":' + word[:length]) == word[length:] + "}"


@given(value=OBJECTS, is_ascii=st.booleans(), data=st.data())
def test_an_object_cut_off_anywhere_can_be_closed(
    value: dict[str, object], is_ascii: bool, data: st.DataObject
) -> None:
    text = orjson.dumps(value).decode()
    if is_ascii:
        text = "".join(character if character.isascii() else escape(character) for character in text)
    length = data.draw(st.integers(1, len(text) - 1))
    suffix = closing_suffix(text[:length])
    assert suffix is not None
    assert is_object(text[:length] + suffix)


def escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


@pytest.mark.parametrize("text", ["{}{", '{"a":1}{"b"', '{"a" 1', "{a:", '{"a":01', "}", "", '{"a":[}', '{"a":"\\x'])
def test_arguments_without_a_possible_ending_are_not_ended(text: str) -> None:
    suffix = closing_suffix(text)
    assert suffix is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", "{}"),
        (" \n", "{}"),
        ("null", "{}"),
        ('""', "{}"),
        ('"{}"', "{}"),
        (' "{\\"a\\": 1}" ', '{"a": 1}'),
        ('"null"', None),
        ('"text"', None),
        ('"[1]"', None),
        ("[1]", None),
        ("1", None),
        ("false", None),
        ('"{', None),
        ("text", None),
    ],
)
def test_arguments_that_mean_an_object(text: str, meant: str | None) -> None:
    assert unwrapped(text) == meant
