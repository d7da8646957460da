"""The line of an exchange from a template is the one that is written the long way, byte for byte."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.context import Context, Trace
from gateway.telemetry import logs
from gateway.telemetry.exchange_line import (
    LONGEST_NAME,
    LONGEST_TEMPLATE,
    MAX_TEMPLATES,
    ExchangeLines,
    exchange_fields,
)
from gateway.telemetry.usage import Attempted, UsageRecord

ODD = ["", "50%b", "%", 'a"b', "a,b", "a\\b", "modèle", "a\x7fb", "a\nb", "\ud800", "m" * 200]


def mostly(usual: Any, *odd: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of the usual value and, in one of eleven, of another."""
    return st.integers(0, 10).flatmap(lambda number: st.just(usual) if number else st.sampled_from(odd))


NAMES, MAYBE = mostly("vendor/model-1", *ODD), mostly("vendor/model-1", None, *ODD)
COUNTS, SECONDS = mostly(300, 0, 1, 20_000, 2**70), st.floats(0, 10**6)
CONTEXTS = st.builds(
    Context,
    NAMES,
    tenant=NAMES,
    key_id=NAMES,
    session_id=MAYBE,
    batch=mostly(None, "batch"),
    trace=mostly(None, Trace("a" * 32, "b" * 16, "", is_sampled=True)),
)
RECORDS = st.builds(
    UsageRecord,
    CONTEXTS,
    NAMES,
    served_model=MAYBE,
    upstream=NAMES,
    dialect=st.sampled_from(["", "chat", "messages", "responses"]),
    provider=MAYBE,
    generation_id=MAYBE,
    upstream_request_id=mostly(None, "req_up", *ODD),
    stream=st.booleans(),
    status=mostly(200, 499),
    error_type=mostly(None, "api_error"),
    stop_reason=mostly("end_turn", None),
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cache_read_tokens=COUNTS,
    cache_write_tokens=COUNTS,
    cost=mostly(0.5, None, 0, 1e-7, 1e22),
    hedge_cost=mostly(0.0, 0.5),
    attempts=COUNTS,
    attempted=mostly([], [Attempted("a", "200", 0.5)], [Attempted("a", "503", 0.5), Attempted("b", "200", 1.0)]),
    first_content_seconds=st.none() | SECONDS,
    duration_seconds=SECONDS,
    notes=mostly([], ["dropped:x"]),
    cache=mostly("", "hit", "wait"),
)


def without_time(line: bytes) -> bytes:
    return line.rpartition(b',"timestamp":')[0]


def long_way(record: UsageRecord) -> bytes:
    return logs._render_json(None, "info", exchange_fields(record) | {"event": "exchange_finished"})


LINES = ExchangeLines()


@given(RECORDS)
def test_line_is_that_of_the_long_way_for_records_of_all_shapes(record: UsageRecord) -> None:
    for _ in range(2):  # with a new template, and with one that is kept
        line = LINES.line(record)
        assert line is None or without_time(line) == without_time(long_way(record))


def ordinary(**fields: Any) -> UsageRecord:
    answer = {"served_model": "m-1", "provider": "P", "generation_id": "gen-1", "stop_reason": "end_turn", "cost": 0.5}
    return replace(
        UsageRecord(Context("req_1", "acme", "key"), "m", upstream="up", dialect="chat"), **(answer | fields)
    )


# Values of all fields that a line shows, each other than that of `ordinary`.
OTHERS: dict[str, Any] = {
    "model": "other",
    "upstream": "other",
    "stream": True,
    "status": 201,
    "input_tokens": 7,
    "output_tokens": 7,
    "cache_read_tokens": 7,
    "cache_write_tokens": 7,
    "attempts": 7,
    "duration_seconds": 7.25,
    "served_model": None,
    "provider": None,
    "generation_id": None,
    "stop_reason": None,
    "cost": None,
    "first_content_seconds": 0.75,
    "dialect": "responses",
    "upstream_request_id": "req_up",
    "cache": "wait",
    "context": Context("req_2", "acme", "key"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_template_of_other_values_is_not_used(name: str) -> None:
    lines, other = ExchangeLines(), ordinary(**{name: OTHERS[name]})
    for record in (ordinary(), other, ordinary()):
        line = lines.line(record)
        assert line is not None
        assert without_time(line) == without_time(long_way(record))


@pytest.mark.parametrize(
    "context", [Context("r", "other", "key"), Context("r", "acme"), Context("r", "acme", "key", session_id="s")]
)
def test_template_of_another_client_is_not_used(context: Context) -> None:
    lines = ExchangeLines()
    lines.line(ordinary())
    line = lines.line(ordinary(context=context))
    assert line is not None
    assert without_time(line) == without_time(long_way(ordinary(context=context)))


def test_clients_share_a_template() -> None:
    lines = ExchangeLines()
    for number in range(20):
        lines.line(ordinary(context=Context("r", f"tenant-{number % 7}", f"key-{number}")))
    assert len(lines._templates) == 1


def test_timestamp_is_utc_in_microseconds() -> None:
    line = ExchangeLines().line(ordinary())
    assert line is not None
    assert list(orjson.loads(line))[-1] == "timestamp"
    assert orjson.loads(line)["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        pytest.param(lambda number: f"m-{number}", 1, id="many models"),
        pytest.param(lambda number: "m" * (LONGEST_NAME + 1 + number), 0, id="a model with a long name"),
    ],
)
def test_templates_are_bounded(named: Callable[[int], str], kept: int) -> None:
    lines = ExchangeLines()
    for number in range(MAX_TEMPLATES + 1):
        lines.line(ordinary(model=named(number)))
    assert len(lines._templates) == kept


def test_long_template_is_not_kept() -> None:
    lines = ExchangeLines()
    lines.line(ordinary(served_model="x" * LONGEST_TEMPLATE))
    assert not lines._templates


@given(st.floats(0, 1e9))
def test_seconds_are_cut_to_microseconds(seconds: float) -> None:
    assert exchange_fields(ordinary(duration_seconds=seconds))["seconds"] == int(seconds * 1e6) / 1e6


@pytest.mark.parametrize("more", [{"notes": ["dropped:x"]}, {"hedge_cost": 0.5}, {"context": Context("a,b")}])
def test_line_with_more_than_the_usual_is_left_to_the_long_way(more: dict[str, Any]) -> None:
    assert ExchangeLines().line(ordinary(**more)) is None
