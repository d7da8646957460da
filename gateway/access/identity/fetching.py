"""Requests to OpenID providers: small JSON documents, without redirects, in bounded time and size."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
import orjson

MAX_BYTES: Final = 1024 * 1024
SECONDS: Final = 5.0

# Takes a URL, and the fields of a form for a POST. Returns status and JSON object; raises ProviderAway.
Fetch = Callable[[str, Mapping[str, str] | None], Awaitable[tuple[int, dict[str, Any]]]]


class ProviderAway(Exception):
    """Lack of a usable answer from an OpenID provider. The text is safe to show."""


async def fetch_json(url: str, form: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """GET the URL, or POST a form to it. Raises ProviderAway unless a JSON object comes with status 2xx or 4xx."""
    limit = aiohttp.ClientTimeout(total=SECONDS)
    method = "GET" if form is None else "POST"
    headers = {"accept": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.request(method, url, data=form, headers=headers, allow_redirects=False) as response,
        ):
            raw = await response.content.read(MAX_BYTES + 1)
            while len(raw) <= MAX_BYTES and not response.content.at_eof():
                raw += await response.content.read(MAX_BYTES + 1)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ProviderAway(type(error).__name__) from error
    if len(raw) > MAX_BYTES or response.status >= 500 or 300 <= response.status < 400:
        raise ProviderAway(f"status {response.status}, {len(raw)} bytes")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ProviderAway("the answer is not a JSON object")
    return response.status, value
