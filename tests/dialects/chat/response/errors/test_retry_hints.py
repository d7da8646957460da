"""Hints when to ask an upstream again: every form that servers use."""

import pytest

from gateway.dialects.chat.response.errors.retry_hints import MAX_RETRY_AFTER, hint_in, retry_after_of

DATE = {"date": "Sun, 29 Nov 2026 12:00:00 GMT"}

HEADERS = {
    "seconds": ({"retry-after": "7"}, 7.0),
    "a date, counted from the reply's own": ({"retry-after": "Sun, 29 Nov 2026 12:00:20 GMT", **DATE}, 20.0),
    "a date that has passed": ({"retry-after": "Sun, 29 Nov 2026 11:00:00 GMT", **DATE}, 0.0),
    "a date far ahead": ({"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT", **DATE}, MAX_RETRY_AFTER),
    "a date without the reply's own": ({"retry-after": "Sun, 29 Nov 2026 12:00:20 GMT"}, None),
    "more seconds than a number may have": ({"retry-after": "9" * 20}, MAX_RETRY_AFTER),
    "nonsense": ({"retry-after": "soon", **DATE}, None),
    "milliseconds": ({"retry-after-ms": "25000"}, 25.0),
    "Azure's milliseconds": ({"x-ms-retry-after-ms": "1500"}, 1.5),
    "RFC 3339": ({"retry-after": "2026-11-29T12:00:20Z", **DATE}, 20.0),
    "seconds with their unit": ({"retry-after": "25s"}, 25.0),
    "seconds before milliseconds": ({"retry-after": "2", "retry-after-ms": "25000"}, 2.0),
}


@pytest.mark.parametrize(("headers", "seconds"), HEADERS.values(), ids=HEADERS)
@pytest.mark.covers("Errors · retry-after in every form")
def test_header_becomes_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers) == seconds


LIMITS = {
    "the reset of a limit": ({"x-ratelimit-reset-tokens": "7.66s"}, "", 7.66),
    "minutes and seconds": ({"x-ratelimit-reset-requests": "1m2s"}, "", MAX_RETRY_AFTER),
    "milliseconds of a reset": ({"x-ratelimit-reset-tokens": "250ms"}, "", 0.25),
    "the later of two resets": ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-reset-requests": "5s"}, "", 5.0),
    "OpenRouter's time in milliseconds": ({"x-ratelimit-reset": "1795953640000", **DATE}, "", 40.0),
    "a time in seconds": ({"x-ratelimit-reset": "1795953640", **DATE}, "", 40.0),
    "a time without the reply's own": ({"x-ratelimit-reset": "1795953640"}, "", None),
    "a time that has passed": ({"x-ratelimit-reset": "1795953590", **DATE}, "", 0.0),
    "the IETF draft": ({"ratelimit-reset": "25"}, "", 25.0),
    "the newer draft": ({"ratelimit": '"default";r=0;t=25'}, "", 25.0),
    "Anthropic's date": ({"anthropic-ratelimit-requests-reset": "2026-11-29T12:00:30Z", **DATE}, "", 30.0),
    "Mistral's": ({"ratelimitbysize-reset": "25"}, "", 25.0),
    "Chinese": ({}, "您的请求过于频繁，请在25秒后重试", 25.0),
    "Groq's sentence": ({}, "Rate limit reached. Please try again in 7m12s. Visit the console.", MAX_RETRY_AFTER),
    "OpenAI's sentence": ({}, "Please try again in 820ms.", 0.82),
    "a sentence that asks to wait": ({}, "Too many requests. Please wait 5 seconds and retry.", 5.0),
    "a sentence in words": ({}, "Please retry after 20 seconds.", 20.0),
    "a sentence without a time": ({}, "Please try again in a while.", None),
}


@pytest.mark.parametrize(("headers", "words", "seconds"), LIMITS.values(), ids=LIMITS)
def test_rate_limit_gives_its_reset(headers: dict[str, str], words: str, seconds: float | None) -> None:
    assert retry_after_of(headers, words, limited=True) == pytest.approx(seconds)
    assert retry_after_of(headers, words) is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"retry_after": 9, "title": "Error 1015"}', 9.0),
        (b'{"error": {"message": "slow down", "retry_after": "1.5"}}', 1.5),
        (b'{"error": {"retry_after_ms": 2500}}', 2.5),
        (b'{"error": {"retry_after_seconds": 120}}', MAX_RETRY_AFTER),
        (b'[{"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}]', 34.5),
        (b'{"error": {"message": "retry_after 5"}}', None),
        (b"", None),
    ],
)
def test_field_of_an_error_becomes_seconds(body: bytes, seconds: float | None) -> None:
    assert hint_in(body) == seconds


def test_headers_that_openrouter_repeats_in_its_error_count_from_the_replys_date() -> None:
    body = b'{"error": {"code": 429, "metadata": {"headers": {"X-RateLimit-Reset": "1795953640000"}}}}'
    assert hint_in(body, DATE["date"]) == 40.0
    assert hint_in(body) is None
