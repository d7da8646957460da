"""Error replies on the paths of OpenAI's APIs, in OpenAI's form and with the headers that its clients decide by."""

from math import ceil
from typing import Final

from aiohttp import web

from gateway.dialects.clients.errors import NO_CREDIT, Api, to_openai_error
from gateway.errors import GatewayError, to_envelope
from gateway.web.reply import MAX_RETRY_AFTER, id_headers, json_response

# Codex gives up at once on a 429 without this header (0.171.0); seconds.
DEFAULT_RETRY_AFTER: Final = 2.0

# First names of paths below the version.
APIS: Final[dict[str, Api]] = {"responses": "responses", "chat": "chat"}
VERSION: Final = "/v1/"
PREFIX: Final = "/openai"


def api_of(path: str) -> Api | None:
    """Return which of OpenAI's APIs a path belongs to; None for Anthropic's and the gateway's own.

    `path` may have a prefix; every path below the prefix of OpenAI's routes is one of OpenAI's.
    """
    prefix, _, rest = path.partition(VERSION)
    api = APIS.get(rest.partition("/")[0])
    return "chat" if api is None and prefix.endswith(PREFIX) else api


def openai_error_response(error: GatewayError, request_id: str, api: Api) -> web.Response:
    """Return the reply. 429 always has `retry-after`, and has the SDKs not repeat what only credit can fix."""
    answer = to_openai_error(to_envelope(error, request_id)["error"], error.status, api)
    headers = [*id_headers(request_id)]
    seconds, should_retry = error.retry_after, error.should_retry
    if answer.status == 429 and seconds is None:
        seconds = DEFAULT_RETRY_AFTER
    if answer.code == NO_CREDIT:
        should_retry = False
    if seconds is not None:
        # As for Anthropic's clients: one that must not retry may learn when the budget is renewed.
        seconds = seconds if should_retry is False else min(seconds, MAX_RETRY_AFTER)
        headers += [("retry-after", f"{ceil(seconds)}"), ("retry-after-ms", f"{ceil(seconds * 1000)}")]
    if should_retry is not None:
        headers.append(("x-should-retry", "true" if should_retry else "false"))
    headers += error.headers
    return json_response({"error": answer.body}, status=answer.status, headers=headers)
