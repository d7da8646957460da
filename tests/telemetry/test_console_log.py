"""Log lines for people: an exchange is one line of at most 100 columns, other text wraps at words."""

import pytest

from gateway.telemetry.console_log import colored, dollars, shows_colors, to_lines

EXCHANGE = {
    "event": "exchange_finished",
    "request_id": "req_4113a6f3544fd68bf462624c",
    "model": "anthropic/claude-sonnet-4.5-latest",
    "status": 200,
    "input_tokens": 1_204_000,
    "output_tokens": 31_000,
    "seconds": 2.123,
    "cost": 0.004512,
}
FAILED = {**EXCHANGE, "status": 502, "error": "api_error", "cause": "circuit_open", "origin": "upstream"}


@pytest.mark.parametrize("event", [EXCHANGE, FAILED], ids=["success", "failure"])
def test_an_exchange_is_one_line_of_100_columns_that_ends_with_its_id(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, object]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    line = to_lines("12:30:01", "info", dict(event), str)
    assert "\n" not in line
    assert len(line) <= 100
    assert line.endswith("req_4113a6f3544fd68bf462624c")


def test_the_line_of_an_exchange_has_model_tokens_time_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    line = to_lines("12:30:01", "info", {**EXCHANGE, "input_tokens": 12, "output_tokens": 3}, str)
    assert line.split() == [
        *("12:30:01", "200", "anthropic/claude-sonn…", "12→3", "2.1s", "$0.004512", "req_4113a6f3544fd68bf462624c")
    ]
    assert "circuit_open (upstream)" in to_lines("12:30:01", "warning", dict(FAILED), str)


def test_text_wraps_at_words_in_a_terminal_of_60_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    event = {"event": "redis_away", "reason": "one word after another " * 20}
    for lines in (to_lines("12:30:01", "warning", event, str), to_lines("12:30:01", "info", dict(EXCHANGE), str)):
        assert all(len(line) <= 60 for line in lines.splitlines())
        assert all(line.startswith(" " * 9) for line in lines.splitlines()[1:])


def test_colours_are_for_terminals_that_show_them() -> None:
    assert shows_colors(True, {"TERM": "xterm"})
    assert not shows_colors(False, {"TERM": "xterm"})
    assert not shows_colors(True, {"TERM": "dumb"})
    assert not shows_colors(True, {"TERM": "xterm", "NO_COLOR": "1"})
    assert colored("text", "error") == "\x1b[31mtext\x1b[0m"
    assert colored("text", "info") == "text"


def test_money_has_six_digits() -> None:
    assert (dollars(0.0000421), dollars(None)) == ("$0.000042", "")
