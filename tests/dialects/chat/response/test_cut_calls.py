"""Calls that end before their arguments do: handed out as an object that no client can take for the whole call."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.calls.tool_arguments import CUT, REPAIRED
from gateway.dialects.chat.response.convert import to_message
from gateway.messages.fold import fold_events
from tests.dialects.chat.response.calls.test_tool_arguments import OBJECTS
from tests.support.streams import call, completion, finish, reply, say, told

# Arguments as far as they came, and the input that the client reads.
CUTS: dict[str, tuple[str, Any]] = {
    "inside a string": ('{"command": "rm -rf /tmp', {"command": None}),
    "after a string": ('{"command": "rm -rf /tmp/x"', {"command": None}),
    "inside the second string": ('{"path": "/x", "content": "half', {"path": "/x", "content": None}),
    "after a comma": ('{"path": "/x",', {"path": "/x", "": None}),
    "inside a name": ('{"path": "/x", "cont', {"path": "/x", "cont": None}),
    "after a name": ('{"path": "/x", "content"', {"path": "/x", "content": None}),
    "after a colon": ('{"path": "/x", "content": ', {"path": "/x", "content": None}),
    "inside a number": ('{"n": 12', {"n": None}),
    "inside a word": ('{"n": tr', {"n": None}),
    "after null": ('{"n": null', {"n": None}),
    "inside a list": ('{"edits": [{"old": "a", "new": "b', {"edits": None}),
    "after a list": ('{"edits": ["a"]', {"edits": None}),
    "after an object": ('{"at": {"x": 1}', {"at": None}),
    "inside an escape": ('{"a": "\\u00', {"a": None}),
    "with a name twice": ('{"a": 1, "b": 2, "a": "c', {"a": None, "b": 2}),
    "with a name of any characters": ('{"é\\"😀": "x', {'é"😀': None}),
    "before anything": ("{", {}),
    "inside a quoted object": ('"{\\"a\\": \\"b', {}),
    "inside a list for an object": ('["a"', {}),
}


@pytest.mark.parametrize("case", CUTS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_last_argument_of_a_cut_call_is_null(case: str, size: int) -> None:
    arguments, expected = CUTS[case]
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    result = told(call(0, "", "c", "f"), *(call(0, piece) for piece in pieces), finish("length"))
    message = fold_events(result.events)
    assert message["content"][0]["input"] == expected
    assert message["stop_reason"] == "max_tokens"
    assert [note.reason for note in result.stream.notes] == [CUT]
    tool_calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    whole = to_message(completion({"tool_calls": tool_calls}, "length"), reply())
    assert (whole.message["content"][0]["input"], whole.message["stop_reason"]) == (expected, "max_tokens")
    assert whole.notes == result.stream.notes


def test_shown_arguments_of_a_cut_call_stay_as_they_came() -> None:
    result = told(call(0, '{"path": "/x", ', "c", "f"), call(0, '"content": "ha'), finish("length"))
    assert result.blocks[0]["json"].startswith('{"path": "/x", "content": "ha')


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"city": "Paris"', {"city": "Paris"}), ('{"city": "Paris"\n', {"city": "Paris"}), ('{"a": [{"b": true', None)],
)
def test_a_call_that_lacks_closing_brackets_only_is_whole(reason: str, arguments: str, expected: Any) -> None:
    """vLLM passes such a call on as it came, and says that the model has ended it."""
    result = told(call(0, arguments, "c", "f"), finish(reason))
    assert result.blocks[0]["input"] == (expected or {"a": [{"b": True}]})
    assert result.stop["stop_reason"] == "tool_use"
    assert [note.reason for note in result.stream.notes] == [REPAIRED]


def test_a_call_cut_by_a_sequence_found_in_text_beside_it_is_not_to_be_run() -> None:
    result = told(call(0, '{"a": "b', "c", "f"), say("one END"), finish("tool_calls"), stop_sequences=("END",))
    assert [block["type"] for block in result.blocks] == ["tool_use", "text"]
    assert result.blocks[0]["input"] == {"a": None}
    assert (result.stop["stop_reason"], result.stop["stop_sequence"]) == ("stop_sequence", "END")


@given(value=OBJECTS, data=st.data(), reason=st.sampled_from(["length", "tool_calls", "stop"]))
def test_wherever_a_call_is_cut_its_last_argument_is_null(
    value: dict[str, object], data: st.DataObject, reason: str
) -> None:
    text = orjson.dumps(value).decode()
    arguments = text[: data.draw(st.integers(1, len(text) - 1))]
    sent = () if reason == "length" else ("END",)
    result = told(call(0, arguments, "c", "f"), finish(reason), sent_stop_sequences=sent)
    assert result.stop["stop_reason"] == ("stop_sequence" if sent else "max_tokens")
    given_out = result.blocks[0]["input"]
    assert not given_out or list(given_out.values()).count(None) >= 1
    whole_ones = [name for name, argument in given_out.items() if argument is not None]
    assert {name: given_out[name] for name in whole_ones} == {name: value[name] for name in whole_ones}
