"""Time until an upstream may be asked again, in seconds: from headers, or from the words of its error.

`retry-after` as seconds or as a date (RFC 9110), `retry-after-ms` (OpenAI, Azure), the reset headers of rate limits
(OpenAI, Groq: "7m12s"; OpenRouter and others: a time since 1970; Anthropic: a date), sentences such as "try again in
7m12s", and fields of the error (`retry_after`, Google's `retryDelay`, OpenRouter's `metadata.headers`). A date counts
from the reply's own `date`, so that the clocks of two hosts do not matter; without one it is not read.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

# The longest hint that is passed on; clients would fail rather than wait longer.
MAX_RETRY_AFTER = 60.0

# More seconds than any hint that is passed on.
LONG = re.compile(r"\d{10,40}", re.ASCII)
# A day in seconds has five digits; what is longer is no time to wait.
SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
# OpenAI and Azure.
MILLISECOND_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms")
# OpenAI's and Groq's; OpenRouter's; the IETF draft's; Mistral's; Anthropic's.
RESET_HEADERS = (
    *("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset", "ratelimit-reset"),
    *("ratelimitbysize-reset", "anthropic-ratelimit-requests-reset", "anthropic-ratelimit-tokens-reset"),
)
# "default";r=0;t=25: the newer form of the draft.
LIMIT_HEADER = re.compile(r";\s*t=(\d{1,7})\b", re.ASCII)
# A number of seconds since 1970, or of milliseconds; as a duration it would be thirty years.
TIME = re.compile(r"\d{1,16}(\.\d{1,9})?", re.ASCII)
FIRST_TIME, FIRST_MILLISECONDS = 1e9, 1e11
# "7m12s", "1h2m", "1.5s", "250ms", "20 seconds"
DURATION = r"(?:(?P<h>\d{1,4})\s?h(?:ours?)?\s?)?(?:(?P<m>\d{1,5})\s?m(?:in(?:utes?)?)?(?!s)\s?)?(?:(?P<s>\d{1,7}(?:\.\d{1,9})?)\s?s(?:ec(?:onds?)?)?)?(?:(?P<ms>\d{1,9}(?:\.\d{1,6})?)\s?ms)?"  # noqa: E501
WHOLE_DURATION = re.compile(DURATION, re.ASCII | re.IGNORECASE)
IN_WORDS = re.compile(
    r"(?:(?:try again|retry)(?: your request)? (?:in|after)|please wait) " + DURATION, re.ASCII | re.IGNORECASE
)
IN_CHINESE = re.compile(r"(\d{1,5}) ?秒(?:钟)?(?:之?后|再)")
# OpenRouter repeats the headers of the limit in the body of its error.
RESET_IN_BODY = re.compile(rb'"x-ratelimit-reset"\s*:\s*"?(\d{1,16})', re.IGNORECASE)


# A field of a JSON body: Cloudflare, Discord and others write seconds, some milliseconds, Google "34s".
IN_FIELD = re.compile(
    rb'"(?:retry_?after|retry_?delay)(?P<unit>_ms|_millis\w*|_seconds)?"\s*:\s*"?(?P<count>\d{1,9}(?:\.\d{1,9})?)s?"?',
    re.IGNORECASE,
)


def hint_in(body: bytes, now: str = "") -> float | None:
    """Return the seconds that a field of an error names, at most MAX_RETRY_AFTER. `now`: the reply's own date."""
    found = IN_FIELD.search(body)
    if found is None:
        reset = RESET_IN_BODY.search(body)
        seconds = _until(reset[1].decode(), now) if reset is not None else None
        return None if seconds is None else min(seconds, MAX_RETRY_AFTER)
    seconds = float(found["count"]) / (1000 if (found["unit"] or b"").lower().startswith(b"_m") else 1)
    return min(seconds, MAX_RETRY_AFTER)


def retry_after_of(headers: Mapping[str, str], words: str = "", *, limited: bool = False) -> float | None:
    """Return seconds, at most MAX_RETRY_AFTER. `limited`: a rate limit is the cause, so its reset is a hint as well."""
    value = headers.get("retry-after", "").strip()
    now = headers.get("date", "")
    found = MAX_RETRY_AFTER if LONG.fullmatch(value) else float(value) if SECONDS.fullmatch(value) else None
    found = _until_date(value, now) if found is None else found
    if found is None and value:
        found = _duration(value)
    if found is None:
        found = next((float(ms) / 1000 for name in MILLISECOND_HEADERS if (ms := _number(headers.get(name)))), None)
    if found is None and limited:
        found = _from_words(words)
        resets = [seconds for name in RESET_HEADERS if (seconds := _until(headers.get(name, ""), now)) is not None]
        resets += [float(seconds) for seconds in LIMIT_HEADER.findall(headers.get("ratelimit", ""))]
        found = max(resets) if found is None and resets else found
    return None if found is None else min(max(found, 0.0), MAX_RETRY_AFTER)


def _number(value: str | None) -> str | None:
    return value if value is not None and SECONDS.fullmatch(value.strip()) else None


def _until_date(value: str, now: str) -> float | None:
    """`value`: a date of HTTP, or of RFC 3339."""
    if not value or not now:
        return None
    try:
        date = datetime.fromisoformat(value) if value[:1].isdigit() else parsedate_to_datetime(value)
        return (date - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        # One of the dates is none, or only one has a time zone.
        return None


def _until(value: str, now: str) -> float | None:
    """Return the seconds until a reset: a duration, a number of seconds, a time since 1970, or a date."""
    if TIME.fullmatch(value) is None:
        seconds = _duration(value)
        return _until_date(value, now) if seconds is None else seconds
    number = float(value)
    if number < FIRST_TIME:
        return number
    try:
        passed = parsedate_to_datetime(now).timestamp()
    except (TypeError, ValueError):
        return None
    return max(number / (1000 if number >= FIRST_MILLISECONDS else 1) - passed, 0.0)


def _from_words(words: str) -> float | None:
    if (chinese := IN_CHINESE.search(words)) is not None:
        return float(chinese[1])
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
