"""Paths of features that the operator has switched off: each answers 400 with the feature's name."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from aiohttp import web

from gateway.errors import InvalidRequest

# Reading and cancelling what was created before stays possible.
FEATURE_PATHS: Final = {
    ("POST", "/v1/messages/batches"): "batch",
    ("POST", "/v1/messages/batch"): "batch",
    ("POST", "/v1/responses"): "responses",
    ("POST", "/openai/v1/responses"): "responses",
}


def without_features(routes: Iterable[web.RouteDef], offers: Callable[[str], bool]) -> Iterator[web.RouteDef]:
    for route in routes:
        feature = FEATURE_PATHS.get((route.method, route.path))
        if feature is None or offers(feature):
            yield route
        else:
            yield web.route(route.method, route.path, partial(_refuse, feature))


async def _refuse(feature: str, request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - a handler's shape
    raise InvalidRequest(f"{feature} is off on this gateway")
