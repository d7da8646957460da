"""Log lines are one line each, with any text in them, and making one never raises."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from gateway.context import Context
from gateway.dialects.base import Origin
from gateway.exchange.received import note_answer
from gateway.telemetry import logs
from gateway.telemetry.exchange_line import LONGEST_NAME, exchange_fields
from gateway.telemetry.logs import LibraryHandler, log_unraisable
from gateway.telemetry.redaction import MAX_NAME, Redactor
from gateway.telemetry.usage import UsageRecord

RENDERS = {"json": logs._render_json, "console": logs._render_console}


@dataclass(slots=True)
class Secretive:
    prompt: str = "canary"


def line_of(render: str, **fields: Any) -> str:
    return RENDERS[render](None, "info", {"event": "happened", **fields}).decode()


FORGERIES = {
    "a line feed": "x\n08:00:00 error   process_ended",
    "a carriage return": "x\rforged",
    "an escape sequence": "x\x1b[2J\x1b[31m",
    "the control sequence introducer of 8 bits": "x\x9b2J",
    "a backspace": "x\b\b\b",
    "a null": "x\x00y",
    "delete": "x\x7fy",
    "next line": "x\x85y",
    "a line separator": "x\u2028y",
    "a paragraph separator": "x\u2029y",
    "an override of direction": "x\u202eyx",
    "an isolate": "x\u2066y\u2069",
    "an Arabic letter mark": "x\u061cy",
    "a zero-width space": "x\u200by",
    "a byte order mark": "x\ufeffy",
    "a tag character": "x\U000e0041y",
    "half a surrogate pair": "x\ud800y",
}


@pytest.mark.parametrize("value", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("render", RENDERS)
@pytest.mark.parametrize("place", ["value", "list", "event"])
def test_no_value_breaks_out_of_its_line(render: str, value: str, place: str) -> None:
    line = line_of(render, **{"value": {"model": value}, "list": {"notes": [value]}, "event": {"event": value}}[place])
    assert line.isprintable()


@pytest.mark.parametrize("value", FORGERIES.values(), ids=FORGERIES)
def test_json_keeps_what_it_escapes(value: str) -> None:
    model = orjson.loads(line_of("json", model=value))["model"]
    assert model in (value, value.encode("utf-8", "backslashreplace").decode())


FIELDS = {
    "a word": ("openai/gpt-4.1:free", "openai/gpt-4.1:free"),
    "letters beyond ASCII": ("modèle-猫", "modèle-猫"),
    "a space": ("a status=500", "'a status=500'"),
    "an equals sign": ("a=b", "'a=b'"),
    "quotes": ("'a'", "\"'a'\""),
    "nothing": ("", "''"),
    "a number": (0.25, "0.25"),
    "none": (None, "None"),
    "a list": (["dropped:x", "a b"], "[dropped:x, 'a b']"),
}


@pytest.mark.parametrize(("value", "shown"), FIELDS.values(), ids=FIELDS)
def test_the_console_shows_each_value_as_one_field(value: object, shown: str) -> None:
    assert line_of("console", first=1, model=value)[9:] == f"info    happened first=1 model={shown}"


ODD_VALUES = {
    "an integer beyond 64 bits": 1 << 80,
    "an integer too long for text": 10**5000,
    "not a number": float("nan"),
    "bytes": b"canary",
    "a path": Path("canary"),
    "a dataclass": Secretive(),
    "a class": Secretive,
    "an exception": ValueError("canary"),
    "a list of them": [Secretive(), 1 << 80],
}


@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
@pytest.mark.parametrize("render", RENDERS)
def test_a_value_of_any_kind_can_be_logged_and_objects_are_not_written_out(render: str, value: object) -> None:
    line = line_of(render, value=value, surrogate="\udcff")
    assert "canary" not in line
    if render == "json":
        assert orjson.loads(line)["event"] == "happened"


def test_names_that_a_client_or_an_upstream_chose_are_cut() -> None:
    long = "x" * 10_000
    record = UsageRecord(Context("req_1"), long)
    usage = dict.fromkeys(
        ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), 0
    )
    note_answer(Redactor(), record, Origin(long, long, long), usage, "end_turn")
    fields = exchange_fields(record)
    assert len(fields["model"]) == LONGEST_NAME
    assert [len(fields[name]) for name in ("served_model", "provider", "generation")] == [MAX_NAME] * 3


def test_a_library_s_own_log_line_is_logged_without_its_values() -> None:
    try:
        raise ValueError("canary")
    except ValueError as error:
        record = logging.LogRecord(
            "aiohttp.server", logging.ERROR, "/x.py", 7, "Error handling %s", ("canary",), (ValueError, error, None)
        )
    with structlog.testing.capture_logs() as captured:
        LibraryHandler().emit(record)
    assert "canary" not in str(captured)
    assert captured[0] | {"where": ""} == {
        "event": "library_logged",
        "log_level": "warning",
        "library": "aiohttp.server",
        "text": "Error handling %s",
        "error": "ValueError",
        "where": "",
    }


def test_an_error_in_a_finalizer_is_logged_without_its_object_and_its_message(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Finalized:
        def __repr__(self) -> str:
            return "repr-canary"

        def __del__(self) -> None:
            raise ValueError("message-canary")

    monkeypatch.setattr(sys, "unraisablehook", log_unraisable)
    with structlog.testing.capture_logs() as captured:
        Finalized()
    assert "canary" not in str(captured) + "".join(capfd.readouterr())
    assert [(line["event"], line["error"]) for line in captured] == [("error_ignored", "ValueError")]
