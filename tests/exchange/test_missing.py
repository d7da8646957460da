"""Upstreams that turn out not to have a dialect: which failures show it, and for how long it is remembered."""

import pytest

from gateway.errors import GatewayError, NotFound, UpstreamWords
from gateway.exchange.missing import SECONDS, MissingDialects
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import OPENROUTER


def route(dialect: str = "auto") -> Route:
    upstream = Upstream("u", "http://proxy/api/v1", "key", OPENROUTER, dialect=dialect)  # type: ignore[arg-type]
    return one_upstream_table(upstream).resolve("anthropic/claude-opus-4.5")[0]


def failure(status: int, words: str) -> GatewayError:
    error = NotFound("no")
    error.said = UpstreamWords(status, words)
    return error


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        (404, "404: Not Found", True),
        (404, "", True),
        (404, "Invalid URL (POST /v1/messages)", True),
        (404, "Cannot POST /v1/messages", True),
        (405, "Method Not Allowed", True),
        (404, "model: claude-x not found", False),
        (404, "No endpoints found for anthropic/claude-x.", False),
        (404, "The account does not exist", False),
        (400, "Not Found", False),
    ],
)
def test_missing_path_is_distinguished_from_a_missing_model(status: int, words: str, expected: bool) -> None:
    missing = MissingDialects(lambda: 0.0)
    assert missing.learn(route(), failure(status, words)) is expected
    assert (missing.choose(route(), {}).dialect == "chat") is expected


def test_missing_dialect_is_tried_again_after_an_hour() -> None:
    now = [0.0]
    missing = MissingDialects(lambda: now[0])
    assert missing.learn(route(), failure(404, "Not Found"))
    now[0] = SECONDS + 1
    assert missing.choose(route(), {}).dialect == "messages"


def test_dialect_that_the_operator_set_is_kept() -> None:
    missing = MissingDialects(lambda: 0.0)
    assert not missing.learn(route("messages"), failure(404, "Not Found"))
