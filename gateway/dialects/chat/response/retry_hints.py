"""Time until an upstream may be asked again, in seconds: from headers, or from the words of its error.

`retry-after` as seconds or as a date (RFC 9110), `retry-after-ms` (OpenAI, Azure), the reset headers of rate limits
(OpenAI, Groq: "7m12s"), sentences such as "try again in 7m12s", and fields of the error (`retry_after`, Google's
`retryDelay`). A date counts from the reply's own `date`, so that
the clocks of two hosts do not matter; without one it is not read.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

# The longest hint that is passed on; clients would fail rather than wait longer.
MAX_RETRY_AFTER = 60.0

# A day in seconds has five digits; what is longer is no time to wait.
SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
# OpenAI and Azure.
MILLISECOND_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms")
RESET_HEADERS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset")
# "7m12s", "1h2m", "1.5s", "250ms", "20 seconds"
DURATION = r"(?:(?P<h>\d{1,4})\s?h(?:ours?)?\s?)?(?:(?P<m>\d{1,5})\s?m(?:in(?:utes?)?)?(?!s)\s?)?(?:(?P<s>\d{1,7}(?:\.\d{1,9})?)\s?s(?:ec(?:onds?)?)?)?(?:(?P<ms>\d{1,9}(?:\.\d{1,6})?)\s?ms)?"  # noqa: E501
WHOLE_DURATION = re.compile(DURATION, re.ASCII | re.IGNORECASE)
IN_WORDS = re.compile(
    r"(?:(?:try again|retry)(?: your request)? (?:in|after)|please wait) " + DURATION, re.ASCII | re.IGNORECASE
)


# A field of a JSON body: Cloudflare, Discord and others write seconds, some milliseconds, Google "34s".
IN_FIELD = re.compile(
    rb'"(?:retry_?after|retry_?delay)(?P<unit>_ms|_millis\w*|_seconds)?"\s*:\s*"?(?P<count>\d{1,9}(?:\.\d{1,9})?)s?"?',
    re.IGNORECASE,
)


def hint_in(body: bytes) -> float | None:
    """Seconds that a field of an error's body names, at most MAX_RETRY_AFTER."""
    found = IN_FIELD.search(body)
    if found is None:
        return None
    seconds = float(found["count"]) / (1000 if (found["unit"] or b"").lower().startswith(b"_m") else 1)
    return min(seconds, MAX_RETRY_AFTER)


def retry_after_of(headers: Mapping[str, str], words: str = "", *, limited: bool = False) -> float | None:
    """Return seconds, at most MAX_RETRY_AFTER. `limited`: a rate limit is the cause, so its reset is a hint as well."""
    value = headers.get("retry-after", "").strip()
    found = float(value) if SECONDS.fullmatch(value) else _until_date(value, headers.get("date", ""))
    if found is None:
        found = next((float(ms) / 1000 for name in MILLISECOND_HEADERS if (ms := _number(headers.get(name)))), None)
    if found is None and limited:
        found = _from_words(words)
        resets = [seconds for name in RESET_HEADERS if (seconds := _duration(headers.get(name, ""))) is not None]
        found = max(resets) if found is None and resets else found
    return None if found is None else min(max(found, 0.0), MAX_RETRY_AFTER)


def _number(value: str | None) -> str | None:
    return value if value is not None and SECONDS.fullmatch(value.strip()) else None


def _until_date(value: str, now: str) -> float | None:
    if not value or not now:
        return None
    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        # One of the dates is none, or only one has a time zone.
        return None


def _from_words(words: str) -> float | None:
    found = IN_WORDS.search(words)
    return None if found is None else _seconds_of(found)


def _duration(value: str) -> float | None:
    found = WHOLE_DURATION.fullmatch(value.strip()) if value else None
    return None if found is None else _seconds_of(found)


def _seconds_of(found: "re.Match[str]") -> float | None:
    parts = [found[name] for name in ("h", "m", "s", "ms")]
    if not any(parts):
        return None
    return sum(float(part) * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0, 0.001), strict=True) if part)
