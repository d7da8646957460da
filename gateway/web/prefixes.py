"""Other paths of the client listener's routes: behind GATEWAY_PATH_PREFIX, and under the name of the API.

Clients of several gateways send Anthropic's requests to `/anthropic/v1/…` and OpenAI's to `/openai/v1/…`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from aiohttp import web

# As other gateways name them, so that a client needs another host only.
API_PREFIXES: Final = ("/anthropic", "/openai")


def with_prefixes(routes: Iterable[web.RouteDef], prefix: str) -> Iterator[web.RouteDef]:
    """Yield the routes, and those of their other paths that are not among them already. `prefix` is "" or "/path"."""
    own = tuple(routes)
    known = {(route.method, route.path) for route in own}
    under_api = [
        web.route(route.method, api + route.path, route.handler)
        for route in own
        for api in API_PREFIXES
        if route.path.startswith("/v1/") and (route.method, api + route.path) not in known
    ]
    yield from (*own, *under_api)
    if prefix:
        yield from (web.route(route.method, prefix + route.path, route.handler) for route in (*own, *under_api))
        yield from (web.route(route.method, prefix, route.handler) for route in own if route.path == "/")


def paths_with(paths: Iterable[str], prefix: str) -> frozenset[str]:
    """Return the paths, and the same behind the prefix."""
    return (
        frozenset(paths)
        | {(prefix + path).removesuffix("/") or "/" for path in paths}
        | {prefix + path for path in paths}
    )
