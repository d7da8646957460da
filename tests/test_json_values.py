"""JSON values are counted before a body is parsed, and too many are refused. Times and numbers have bounds."""

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.batches.splitter import Splitter
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.responses.stream import ResponsesStream
from gateway.errors import RequestTooLarge, UpstreamError
from gateway.json_values import (
    FIRST_SECOND,
    LAST_SECOND,
    MAX_VALUES,
    check_value_count,
    count_values,
    from_time,
    to_time,
    to_whole,
)
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, Live, serving
from tests.support.streams import reply

TEXT = st.text(alphabet='a",[{\\:}]é\n', max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(-9, 9), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5)),
)
TOO_MANY = b"[" + b"[]," * (MAX_VALUES // 2) + b"[]]"
MOST = b"[" + b"1," * (MAX_VALUES - 2) + b"{}]"
REFUSAL = "exceeds the maximum of 1000000 JSON values."


def marks_of(value: Any) -> int:
    """Return how many commas and opening brackets a value is written with."""
    if not isinstance(value, (list, dict)):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(marks_of(child) for child in inner)


@given(value=VALUES)
@settings(max_examples=200)
@example(value=['\\"', '","', "", "a\\", {"[": "{", "": ""}])
def test_marks_inside_strings_are_not_counted(value: Any) -> None:
    assert count_values(orjson.dumps(value)) == marks_of(value)


def test_strings_that_cross_the_windows_of_counting_are_not_counted() -> None:
    value = [["a,b" * 9_999, "", 1, "[" * 40_000]] * 9
    assert count_values(orjson.dumps(value)) == marks_of(value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(MOST, id="as many values as are allowed"),
        pytest.param(b'["' + b"1,2,[]" * 500_000 + b'"]', id="a table in a string"),
        pytest.param(orjson.dumps(orjson.dumps([{"a": [1, "b,"]}] * 200_000).decode()), id="JSON in a string"),
        pytest.param(b'"' * MAX_VALUES, id="a small body"),
    ],
)
def test_bodies_with_few_values_pass(body: bytes) -> None:
    check_value_count(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TOO_MANY, id="empty lists"),
        pytest.param(b"[" + b"{}," * (MAX_VALUES // 2) + b"{}]", id="empty objects"),
        pytest.param(b"[" + b'"",' * MAX_VALUES + b'""]', id="empty strings"),
        pytest.param(b"[" + b'{"a":"b,"},' * (MAX_VALUES // 2) + b"{}]", id="strings with commas"),
        pytest.param(b"," * (MAX_VALUES + 1), id="no JSON at all"),
    ],
)
def test_bodies_with_too_many_values_are_refused(body: bytes) -> None:
    with pytest.raises(RequestTooLarge, match=REFUSAL):
        check_value_count(body)


def test_batch_names_the_item_with_too_many_values() -> None:
    splitter = Splitter()
    splitter.feed(b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"b","params":{"x":')
    with pytest.raises(RequestTooLarge, match=r"requests\.1 " + REFUSAL):
        splitter.feed(TOO_MANY + b"}}]}")


def test_batch_names_an_unknown_key_with_too_many_values() -> None:
    with pytest.raises(RequestTooLarge, match="extra " + REFUSAL):
        Splitter().feed(b'{"extra":' + TOO_MANY + b',"requests":[]}')


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b'data: {"choices":[],"x":' + TOO_MANY + b"}\n\n", id="an event"),
        pytest.param(b'{"choices":[],"x":' + TOO_MANY + b"}", id="a whole body"),
    ],
)
@pytest.mark.parametrize("kind", [MessageStream, NativeStream, ResponsesStream])
def test_answer_of_too_many_values_is_a_failure_of_the_upstream(kind: Any, answer: bytes) -> None:
    stream = kind(reply())
    stream.feed(answer)
    stream.end()
    assert isinstance(stream.failure, UpstreamError)
    assert stream.failure.message == "The upstream sent an answer of more than 1000000 JSON values."
    assert stream.failure.should_retry is False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live() -> AsyncIterator[Live]:
    async with Simulator() as simulator, serving(simulator) as front:
        yield front


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/stream", "/v1/messages/count_tokens"])
async def test_request_with_too_many_values_is_a_413(live: Live, path: str) -> None:
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],"extra":' + TOO_MANY + b"}"
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(live.url + path, data=io.BytesIO(body)) as answer,
    ):
        assert answer.status == 413
        assert (await answer.json())["error"] == {"type": "request_too_large", "message": f"Request {REFUSAL}"}
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00:00+01:00", 0),
        ("0001-01-01T00:00:00Z", FIRST_SECOND),
        ("9999-12-31T23:59:59Z", LAST_SECOND),
    ],
)
def test_time_is_read_as_seconds(text: str, seconds: int) -> None:
    assert from_time(text) == seconds
    assert from_time(to_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
def test_time_that_has_none_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"years 1 to 9999|Invalid isoformat"):
        from_time(text)


def test_time_beyond_the_calendar_is_shown_as_its_end() -> None:
    assert to_time(10**15) == "9999-12-31T23:59:59Z"
    assert to_time(-(10**15)) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("010", 10), ("20", 20), *((text, None) for text in ("21", "0", "-1", "1.5", "", "²", "9" * 5000))],
)
def test_whole_number_is_read_within_its_bounds(text: str, number: int | None) -> None:
    assert to_whole(text, 20) == number
