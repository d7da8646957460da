"""Dispatch of requests to handlers: literal paths by one look into a table, all others by aiohttp's router.

aiohttp resolves each request again, builds its match, and enters the middlewares through two more coroutines; for the
one path that nearly all requests have, that is a twentieth of their CPU. What a handler sees is the same.
"""

from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway import ids
from gateway.errors import InvalidRequest
from gateway.process.aiohttp_internals import router_of, set_match
from gateway.web.reply import error_response

CONTINUE = "100-continue"

Known = tuple[web.UrlMappingMatchInfo, Handler]


class Dispatch:
    """The handler of a whole application. Its routes must not change afterwards."""

    def __init__(self, app: web.Application) -> None:
        self._others = router_of(app)
        self.active = 0  # requests with a running handler
        self._known: dict[tuple[str, str], Known] = {}
        for resource in [one for one in app.router.resources() if isinstance(one, web.PlainResource)]:
            for route in resource:
                match = web.UrlMappingMatchInfo({}, route)
                match.add_app(app)
                match.freeze()
                handler = route.handler
                for middleware in reversed(app.middlewares):
                    handler = partial(middleware, handler=handler)
                self._known[route.method, resource.canonical] = match, handler

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        known = self._known.get((request.method, request.raw_path.partition("?")[0]))
        self.active += 1
        try:
            if known is None or hdrs.EXPECT in request.headers:
                if request.headers.get(hdrs.EXPECT, CONTINUE).lower() != CONTINUE:
                    return error_response(InvalidRequest(f"expect: only {CONTINUE} is understood"), ids.request_id())
                return await self._others(request)
            match, handler = known
            set_match(request, match)
            return await handler(request)
        finally:
            self.active -= 1
