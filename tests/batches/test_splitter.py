"""The splitter gives and refuses what one parse of the whole body would, wherever the network cuts it."""

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.batches.splitter import MAX_DEPTH, BatchLimits, Item, Splitter, prefix_of
from gateway.errors import GatewayError, InvalidRequest, RequestTooLarge
from tests.batches.bodies import bodies, damaged_bodies, expected, split

ANY_BODY = st.one_of(bodies(), damaged_bodies(), st.binary(max_size=64))
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(body=ANY_BODY, cuts=CUTS)
@settings(max_examples=250)
@example(body=b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}]}', cuts=[])
@example(body=b'{"requests":[{"params":{},"custom_id":"a","params":{"x":1}}]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":{},"params":{},"custom_id":"a"}]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":"a","params":{}},]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":"a","params":{}}],}', cuts=[])
@example(body=b'{"a":01,"requests":[{"custom_id":"a","params":{}}]}', cuts=[6])
@example(body=b'{"a":"\\ud800","requests":[{"custom_id":"a","params":{}}]}', cuts=[9])
@example(body=b'{"\\u0072equests":[{"custom_id":"a","params":{}}]}', cuts=[4])
@example(body=b'\xef\xbb\xbf{"requests":[{"custom_id":"a","params":{}}]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":"a","params":{"x":NaN}}]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":"a","params":{"x":1e400}}]}', cuts=[])
@example(body=b'{"requests":[{"custom_id":"a","params":{}}]}{}', cuts=[])
@example(body=b'{"requests":[\x0c{"custom_id":"a","params":{}}]}', cuts=[])
@pytest.mark.covers("Batches · any size is split while it arrives")
def test_accepts_and_gives_what_one_parse_of_the_whole_body_does(body: bytes, cuts: list[int]) -> None:
    items = expected(body)
    try:
        found = split(body, [cut % (len(body) + 1) for cut in cuts])
    except InvalidRequest:
        assert items is None, "refused a body that is right"
        return
    assert items is not None, "accepted a body that is wrong"
    assert [(item.custom_id, orjson.loads(item.params)) for item in found] == items
    assert all(item.params in body for item in found), "params are kept byte for byte"


@given(body=st.one_of(bodies(), damaged_bodies()))
@settings(max_examples=40)
def test_every_byte_alone_gives_the_same_as_all_at_once(body: bytes) -> None:
    assert outcome(body, list(range(len(body)))) == outcome(body, [])


def outcome(body: bytes, cuts: list[int]) -> list[Item] | str:
    try:
        return split(body, cuts)
    except GatewayError as error:
        return error.message


def one(item: str) -> str:
    return f'{{"requests":[{{"custom_id":"first","params":{{}}}},{item}]}}'


NOT_JSON = "The request body is not valid JSON"
REFUSED = {
    "an empty body": ("", f"{NOT_JSON}: unexpected end of data"),
    "a list instead of an object": ("[]", "The request body must be a JSON object"),
    "no requests": ('{"a":1}', "requests: Field required"),
    "an empty list": ('{"requests":[]}', "requests: List should have at least 1 item after validation, not 0"),
    "requests that are an object": ('{"requests":{}}', "requests: Input should be a valid list"),
    "requests given twice": ('{"requests":[],"requests":[]}', "requests: Given more than once"),
    "an item that is a string": (one('"x"'), "requests.1: Input should be an object"),
    "an item that is null": ('{"requests":[null]}', "requests.0: Input should be an object"),
    "no custom_id": (one('{"params":{}}'), "requests.1.custom_id: Field required"),
    "a custom_id that is a number": (
        one('{"custom_id":1,"params":{}}'),
        "requests.1.custom_id: Input should be a valid string",
    ),
    "a custom_id with a space": (
        one('{"custom_id":"a b","params":{}}'),
        "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "a custom_id with a line end": (
        one('{"custom_id":"a\\n","params":{}}'),
        "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "a custom_id of 65 characters": (
        one(f'{{"custom_id":"{"a" * 65}","params":{{}}}}'),
        "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "a custom_id given before": (
        one('{"custom_id":"first","params":{}}'),
        "requests.1.custom_id: Must be unique within the batch; 'first' was given before",
    ),
    "no params": (one('{"custom_id":"a"}'), "requests.1.params: Field required"),
    "params that are a list": (one('{"custom_id":"a","params":[]}'), "requests.1.params: Input should be an object"),
    "params given twice": (
        one('{"custom_id":"a","params":{},"params":{}}'),
        "requests.1: A key is given more than once",
    ),
    "another key in an item": (
        one('{"custom_id":"a","params":{},"method":"POST"}'),
        "requests.1.method: Extra inputs are not permitted",
    ),
    "a broken item": (one('{"custom_id":"a","params":{"x":}}'), f"{NOT_JSON}: error in requests.1"),
    "a broken other value": ('{"metadata":tru,', f"{NOT_JSON}: error in metadata"),
    "something after the end": (one("{}") + "x", "requests.1.custom_id: Field required"),
    "brackets that do not match": (one('{"custom_id":"a","params":[}}'), f"{NOT_JSON}: error in requests.1"),
    "a cut in the middle of an item": ('{"requests":[{"custom_id":', f"{NOT_JSON}: unexpected end of data"),
    "items without a comma": ('{"requests":[{"custom_id":"a","params":{}} {', f"{NOT_JSON}: unexpected character"),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_where_and_why(body: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        split(body.encode())
    assert refusal.value.message.startswith(message)


def test_errors_repeat_no_long_text_of_the_client() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        split(one(f'{{"custom_id":"a","params":{{}},"{"k" * 5000}":1}}').encode())
    assert len(refusal.value.message) < 200


def nested(depth: int) -> bytes:
    """A body with this many brackets open at its deepest place."""
    inner = "[" * (depth - 4) + "]" * (depth - 4)
    return f'{{"requests":[{{"custom_id":"a","params":{{"x":{inner}}}}}]}}'.encode()


def test_nesting_is_refused_above_the_limit_and_only_there() -> None:
    assert len(split(nested(MAX_DEPTH))) == 1
    with pytest.raises(InvalidRequest, match=r"requests\.0: JSON nested deeper than 64 levels"):
        split(nested(MAX_DEPTH + 1))


def test_bytes_of_an_item_that_has_not_arrived_whole_are_held() -> None:
    splitter = Splitter(BatchLimits())
    splitter.feed(b'{"requests":[')
    assert splitter.held == 0
    splitter.feed(b'{"custom_id":"a"')
    assert splitter.held == len(b'{"custom_id":"a"')
    splitter.feed(b',"params":{}}')
    assert splitter.held == 0


def test_endless_nesting_is_refused_at_the_limit_without_waiting_for_more() -> None:
    splitter = Splitter()
    with pytest.raises(InvalidRequest, match="nested deeper"):
        splitter.feed(b'{"x":' + b"[" * 200_000)


def test_one_item_too_many_is_refused_as_it_begins() -> None:
    items = ",".join(f'{{"custom_id":"{number}","params":{{}}}}' for number in range(3))
    assert len(split(f'{{"requests":[{items}]}}'.encode(), limits=BatchLimits(items=3))) == 3
    with pytest.raises(InvalidRequest, match="requests: List should have at most 2 items after validation"):
        split(f'{{"requests":[{items}]}}'.encode(), limits=BatchLimits(items=2))


def test_a_body_over_the_limit_is_refused_before_its_end() -> None:
    body = one('{"custom_id":"a","params":{}}').encode()
    assert len(split(body, limits=BatchLimits(bytes=len(body)))) == 2
    splitter = Splitter(BatchLimits(bytes=100))
    splitter.feed(b'{"requests":[' + b" " * 80)
    with pytest.raises(RequestTooLarge, match="maximum size of 100 bytes for a message batch"):
        splitter.feed(b" " * 40)


@pytest.mark.parametrize("start", [b'{"x":"', b'"', b"1"], ids=["an item", "a string", "a number"])
def test_a_value_over_the_limit_is_refused_while_it_arrives(start: bytes) -> None:
    splitter = Splitter(BatchLimits(item_bytes=1000))
    splitter.feed(b'{"requests":[' + start)
    splitter.feed(b"1" * 900)
    with pytest.raises(RequestTooLarge, match=r"requests\.0: Exceeds the maximum size of 1000 bytes"):
        splitter.feed(b"1" * 900)


def test_other_keys_are_allowed_and_named() -> None:
    splitter = Splitter()
    splitter.feed(b'{"metadata":{"a":[1]},"requests":[{"custom_id":"a","params":{}}],"priority":"high"}')
    splitter.finish()
    assert splitter.ignored == ["metadata", "priority"]


def test_what_has_been_split_is_not_kept() -> None:
    splitter = Splitter()
    item = b'{"custom_id":"%d","params":{"text":"' + b"x" * 10_000 + b'"}}'
    splitter.feed(b'{"requests":[' + item % 0)
    tracemalloc.start()
    for number in range(1, 200):
        splitter.feed(b"," + item % number)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


def test_the_model_of_an_item_is_found_in_any_form() -> None:
    bodies: list[tuple[Any, str]] = [("claude", "claude"), (7, ""), (None, ""), ("m" * 500, "m" * 128)]
    for model, found in bodies:
        [item] = split(json.dumps({"requests": [{"custom_id": "a", "params": {"model": model}}]}).encode())
        assert item.model == found


PREFIX = {"system": "You are kind.", "tools": [{"name": "look"}], "messages": [{"role": "user", "content": "Who?"}]}
ANOTHER_TURN = [{"role": "assistant", "content": "Me."}, {"role": "user", "content": "Why?"}]

SAME_PREFIX = {
    "another question": {**PREFIX, "messages": [{"role": "user", "content": "Where?"}]},
    "other parameters": {**PREFIX, "max_tokens": 7, "model": "other"},
}
OTHER_PREFIX = {
    "another system prompt": {**PREFIX, "system": "You are stern."},
    "other tools": {**PREFIX, "tools": []},
    "a longer conversation": {**PREFIX, "messages": PREFIX["messages"] + ANOTHER_TURN},  # type: ignore[operator]
    "messages that are no list": {**PREFIX, "messages": {}},
}


@pytest.mark.parametrize("body", SAME_PREFIX.values(), ids=SAME_PREFIX)
def test_prompts_that_differ_at_the_end_share_their_prefix(body: dict[str, Any]) -> None:
    assert prefix_of(body) == prefix_of(PREFIX)


@pytest.mark.parametrize("body", OTHER_PREFIX.values(), ids=OTHER_PREFIX)
def test_prompts_that_differ_before_the_end_do_not(body: dict[str, Any]) -> None:
    assert prefix_of(body) != prefix_of(PREFIX)


def split_bare(body: bytes) -> None:
    splitter = Splitter(takes_bare=True)
    splitter.feed(body)
    splitter.finish()


BARE = b'{"batch_id": "b7", "messages": [{"model": "m", "max_tokens": 1, "messages": []}, {"x": {"y": [1.10]}}]}'


@pytest.mark.parametrize("cut", range(0, len(BARE), 7))
def test_list_of_bare_params_is_split_where_it_is_taken(cut: int) -> None:
    splitter = Splitter(takes_bare=True)
    items = [*splitter.feed(BARE[:cut]), *splitter.feed(BARE[cut:])]
    splitter.finish()
    assert [item.custom_id for item in items] == ["message-0", "message-1"]
    assert [item.params for item in items] == [
        b'{"model": "m", "max_tokens": 1, "messages": []}',
        b'{"x": {"y": [1.10]}}',
    ]
    assert (items[0].model, splitter.ignored) == ("m", ["batch_id"])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"messages": [7]}', "messages.0: Input should be an object"),
        (b'{"messages": []}', "messages: List should have at least 1 item"),
        (b'{"messages": {}}', "messages: Input should be a valid list"),
        (b'{"messages": [{}], "requests": []}', "requests: Given more than once"),
    ],
)
def test_wrong_list_of_bare_params_is_named(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        split_bare(body)


def test_bare_params_are_unknown_elsewhere() -> None:
    splitter = Splitter()
    splitter.feed(b'{"messages": [{}]}')
    with pytest.raises(InvalidRequest, match="requests: Field required"):
        splitter.finish()
