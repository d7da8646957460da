r"""Arguments that are nearly JSON: what has one meaning is written as JSON has it, the same however it comes."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.calls.near_json import MAX_REST, NearJson, repaired
from gateway.dialects.chat.response.calls.tool_arguments import REPAIRED, is_object
from gateway.dialects.chat.response.convert import to_message
from gateway.errors import UpstreamError
from gateway.messages.fold import fold_events
from tests.dialects.chat.response.calls.test_tool_arguments import OBJECTS, escape
from tests.support.streams import call, call_part, completion, finish, reply, sse, told
from tests.support.streams import convert as convert_stream

# What a model writes, and what it means.
NEARLY: dict[str, tuple[str, Any]] = {
    "a line end in a string": ('{"a": "one\ntwo"}', {"a": "one\ntwo"}),
    "tabs, carriage returns and other controls": ('{"a": "\t\r\b\f\x00\x1f"}', {"a": "\t\r\b\f\x00\x1f"}),
    "a line end in a name": ('{"a\nb": 1}', {"a\nb": 1}),
    "a backslash of a pattern": (r'{"a": "\d+\.\w"}', {"a": r"\d+\.\w"}),
    "a backslash of a path": (r'{"a": "C:\Users\x"}', {"a": r"C:\Users\x"}),
    "a backslash before u that begins no escape": (r'{"a": "C:\users \u12"}', {"a": r"C:\users \u12"}),
    "a backslash before a line end": ('{"a": "one \\\ntwo"}', {"a": "one \\\ntwo"}),
    "an escaped apostrophe": (r"""{"a": "it\'s"}""", {"a": "it's"}),
    "good escapes beside bad ones": (r'{"a": "\n\d\\\"é\/"}', {"a": '\n\\d\\"é/'}),
    "half a surrogate pair": (r'{"a": "\ud83d!"}', {"a": "\ufffd!"}),
    "the other half": (r'{"a": "\ude00"}', {"a": "\ufffd"}),
    "two first halves": (r'{"a": "\ud83d\ud83d\ude00"}', {"a": "\ufffd😀"}),
    "half a pair before another escape": (r'{"a": "\ud83d\n"}', {"a": "\ufffd\n"}),
    "a comma behind the last member": ('{"a": 1, }', {"a": 1}),
    "a comma behind the last element": ('{"a": [1, 2,\n], "b": {"c": 1,},}', {"a": [1, 2], "b": {"c": 1}}),
    "single quotes": ("{'a': 'b', 'c': ['d']}", {"a": "b", "c": ["d"]}),
    "double quotes within single ones": ("""{'a': 'say "hi"'}""", {"a": 'say "hi"'}),
    "an apostrophe escaped in single quotes": (r"{'a': 'it\'s'}", {"a": "it's"}),
    "single quotes within double ones": ("""{"a": "it's", 'b': "'"}""", {"a": "it's", "b": "'"}),
    "Python's literals": ("{'a': True, 'b': False, 'c': None}", {"a": True, "b": False, "c": None}),
    "names without quotes": ("{a: 1, $b_2 : [true], c: {d: null}}", {"a": 1, "$b_2": [True], "c": {"d": None}}),
    "names that are literals": ("{true: 1, None: 2}", {"true": 1, "None": 2}),
    "an undefined value": ("{a: undefined}", {"a": None}),
    "other white space": ('{\u00a0"a":\x0b1\ufeff}'.replace("\ufeff", "\u2003"), {"a": 1}),
    "a second beginning": ('{"a": "x"{"a": "x", "b": {"c": [1]}}', {"a": "x", "b": {"c": [1]}}),
    "a second beginning behind white space": ('{"a": 1, "b": 2\n{"a": 1, "b": 2, "c": 3}', {"a": 1, "b": 2, "c": 3}),
    "a second beginning of nearly JSON": ("{'a': 'x'{'a': 'x', 'b': True,}", {"a": "x", "b": True}),
    "a third beginning": ('{"a": "x"{"a": "x", "b": 1{"a": "x", "b": 1, "c": 2}', {"a": "x", "b": 1, "c": 2}),
    "a second beginning behind an object": ('{"a": {"b": 1}{"a": {"b": 1}}', {"a": {"b": 1}}),
    "a bracket too many": ('{"city": "Paris"}}', {"city": "Paris"}),
    "brackets and a comma too many": ('{"city": "Paris"}]},', {"city": "Paris"}),
    "a mark of the server's template": ('{"city": "Paris"}\n</tool_call>', {"city": "Paris"}),
    "a mark of harmony": ('{"city": "Paris"}<|call|>', {"city": "Paris"}),
    "a fence": ('```json\n{"city": "Paris",}\n```', {"city": "Paris"}),
    "a string around it": (r'"{\"a\": \"b\", }"', {"a": "b"}),
    "a string with line ends around it": ('"{\\"a\\": \\"one\ntwo\\"}"', {"a": "one\ntwo"}),
}


def streamed(arguments: str, size: int) -> Any:
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return told(call(0, "", "c", "f"), *(call(0, piece) for piece in pieces), finish("tool_calls"))


@pytest.mark.parametrize("case", NEARLY)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.covers("Tools · broken arguments are repaired with a note, or asked for again")
def test_near_json_with_one_meaning_is_repaired_and_noted(case: str, size: int) -> None:
    arguments, meant = NEARLY[case]
    result = streamed(arguments, size)
    assert result.failure is None
    message = fold_events(result.events)
    assert message["content"][0]["input"] == meant
    assert message["stop_reason"] == "tool_use"
    assert [note.reason for note in result.stream.notes] == [REPAIRED]


@pytest.mark.parametrize("case", NEARLY)
def test_a_json_answer_is_repaired_likewise(case: str) -> None:
    arguments, meant = NEARLY[case]
    answered = to_message(completion({"tool_calls": [call_part(0, arguments, "c", "f")]}, "tool_calls"), reply())
    assert answered.message["content"][0]["input"] == meant
    assert [note.reason for note in answered.notes] == [REPAIRED]


UNCLEAR: dict[str, str] = {
    "a quotation mark that was not escaped": '{"a": "say "hi" now"}',
    "a second beginning of something else": '{"a": "x"{"a": "y", "b": 1}',
    "a second beginning that begins anew": '{"a": "x", "b": 1{"a": "x"{"a": "x", "b": 1}',
    "an object behind a member's name": '{"a" {"b": 1}}',
    "a missing comma": '{"a": 1 "b": 2}',
    "a missing value": '{"a": , "b": 2}',
    "a missing element": '{"a": [1,, 2]}',
    "a word for a value": '{"a": b}',
    "no number": '{"a": NaN}',
    "leading zeros": '{"a": 007}',
    "brackets crossed": '{"a": [1}]',
    "a comment": '{"a": 1 // one\n}',
    "text behind it": '{"a": 1} and more',
    "another object behind it": '{"a": 1}{"b": 2}',
    "an apostrophe within single quotes": "{'a': 'it's'}",
    "text": "rm -rf /",
    "a list": "[1, 2,]",
    "a lot behind it": '{"a": 1}' + "}" * (MAX_REST + 1),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_ambiguous_near_json_is_an_error_that_is_not_paid_for_again(case: str) -> None:
    for failure in (
        streamed(UNCLEAR[case], 10_000).failure,
        streamed(UNCLEAR[case], 1000).failure,
        raised_by(UNCLEAR[case]),
    ):
        assert type(failure) is UpstreamError
        assert failure.should_retry is False


@pytest.mark.parametrize("reason", ["length", "tool_calls"])
@pytest.mark.parametrize("size", [1, 1000])
def test_call_that_is_cut_within_its_second_beginning_has_what_the_first_brought(reason: str, size: int) -> None:
    text = '{"a": 1, "b": "x"{"a": 1, "b'
    pieces = [call(0, text[at : at + size]) for at in range(0, len(text), size)]
    result = told(call(0, "", "c", "f"), *pieces, finish(reason))
    is_cut = reason == "length"
    assert result.blocks[0]["input"] == {"a": 1, "b": None if is_cut else "x"}
    assert result.stop["stop_reason"] == ("max_tokens" if is_cut else "tool_use")


def raised_by(arguments: str) -> Exception:
    with pytest.raises(UpstreamError) as raised:
        to_message(completion({"tool_calls": [call_part(0, arguments, "c", "f")]}, "tool_calls"), reply())
    return raised.value


def read(text: str, cuts: list[int]) -> tuple[str, bool, bool]:
    reader = NearJson()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    written = "".join(map(reader.feed, pieces)) + reader.end()
    return written, reader.is_changed, reader.is_over


@given(value=OBJECTS, is_ascii=st.booleans(), indented=st.booleans())
def test_valid_json_is_not_changed(value: dict[str, object], is_ascii: bool, indented: bool) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else None).decode()
    if is_ascii:
        text = "".join(character if character.isascii() else escape(character) for character in text)
    assert read(text, list(range(1, len(text)))) == (text, False, True)
    assert read(text, []) == (text, False, True)


PIECES = st.sampled_from(
    [
        *(
            '"',
            "'",
            "\\",
            "\\u",
            "\\ud83d",
            "\\ude00",
            "\\n",
            "\n",
            "\t",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "a",
            "True",
        ),
        *("null", "nul", "1", "-", "e", "1.5e3", "é", "\u00a0", "$x", "</t>", '{"a": "b"}', "'a': 'b', "),
    ]
)


@given(text=st.lists(PIECES, max_size=12).map("".join), data=st.data())
def test_where_a_text_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    text = "{" + text
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    assert read(text, cuts) == read(text, [])
    assert read(text, list(range(1, len(text)))) == read(text, [])


SIMPLE = st.dictionaries(
    st.text("ab\"'\n é", max_size=4),
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.text('ab"\n\t\\ é', max_size=6)
    | st.lists(st.text("a'", max_size=3)),
    max_size=3,
)


@given(SIMPLE)
def test_python_literals_are_read_as_python_means_them(value: dict[str, object]) -> None:
    text = repaired(repr(value))
    assert is_object(text)
    assert orjson.loads(text) == value


def test_repairs_stay_in_their_places_where_a_delta_goes_the_short_way() -> None:
    words = ["{'a': \"", "one ", "two ", "C:\\", "dir ", "three", "\n", "four ", "five", '"', ", 'n': ", "12", ",", "}"]
    whole = sse(call(0, "", "c", "f"), *(call(0, word) for word in words), finish("tool_calls"))
    message = fold_events(convert_stream(whole).events)
    assert message["content"][0]["input"] == {"a": "one two C:\\dir three\nfour five", "n": 12}
