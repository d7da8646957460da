"""Requests of pages from other origins (the Fetch standard, section 3.3).

For the origins in GATEWAY_CORS_ORIGINS. Without that setting a gateway with keys answers as Anthropic's API does: pages
that send `anthropic-dangerous-direct-browser-access`, by which its SDKs accept that a key in a page is in the hands of
its users. No credentials of the browser are allowed: keys come in headers, never in cookies, and so every header of a
reply may be shown to the page.
"""

import re
from collections.abc import Awaitable, Iterable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.web.reply import MORE_LINES, MessageReply, no_content

ANY: Final = "*"
ORIGIN: Final = "origin"
DIRECT_ACCESS: Final = "anthropic-dangerous-direct-browser-access"
REQUESTED_HEADERS: Final = "access-control-request-headers"
# Those of the client listener's routes.
METHODS: Final = "GET, HEAD, POST, DELETE"
# How long a browser may keep the answer: Chromium keeps it for two hours at most.
MAX_AGE_SECONDS: Final = "7200"
HEADER_NAMES: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~, -]{1,4096}")

EXPOSE: Final = {"access-control-expose-headers": "*"}

Headers = dict[str, str]


def allow_origins(app: web.Application, origins: Iterable[str]) -> None:
    """Answer preflights, and mark every reply to an allowed origin: errors, streams and batch results too.

    `origins`: none for pages that ask for direct access.
    """
    allowed = frozenset(origins)

    def marks_for(request: web.Request) -> Headers:
        origin = request.headers.get(ORIGIN, "")
        if not origin:
            return {}
        # The header itself, or its announcement in a preflight.
        asks = DIRECT_ACCESS in request.headers or DIRECT_ACCESS in request.headers.get(REQUESTED_HEADERS, "").lower()
        if ANY in allowed or (not allowed and asks):
            return {"access-control-allow-origin": ANY, **EXPOSE}
        if origin.lower() not in allowed:
            return {}
        return {"access-control-allow-origin": origin, "vary": "origin", **EXPOSE}

    @web.middleware
    def mark_or_answer(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        # Few requests are of pages: the others do without another coroutine.
        return answer_page(request, handler) if ORIGIN in request.headers else handler(request)

    async def answer_page(request: web.Request, handler: Handler) -> web.StreamResponse:
        marks = marks_for(request)
        if not marks:
            return await handler(request)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return _to_preflight_reply(request)
        lines = "".join(f"{name}: {value}\r\n" for name, value in marks.items())
        request[MORE_LINES] = lines + request.get(MORE_LINES, "")
        response = await handler(request)
        if isinstance(response, MessageReply):
            response.add_lines(lines)
        return response

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.extend(marks_for(request))  # beside the reply's own Vary

    # After authentication, which leaves alone what the router refuses: a preflight brings no key.
    app.middlewares.append(mark_or_answer)
    app.on_response_prepare.append(mark)


def _to_preflight_reply(request: web.Request) -> web.Response:
    """Allow any header: SDKs send new ones all the time, and a key is checked with the request itself."""
    response = no_content(204)
    response.headers["access-control-allow-methods"] = METHODS
    response.headers["access-control-max-age"] = MAX_AGE_SECONDS
    names = request.headers.get(REQUESTED_HEADERS, "")
    if HEADER_NAMES.fullmatch(names):
        response.headers["access-control-allow-headers"] = names
    return response
