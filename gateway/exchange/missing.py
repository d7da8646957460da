"""Dialects that an upstream turned out not to have, so that requests go to it as chat.

`auto` chooses by vendor and model; a proxy or an older server in front of a vendor may serve chat only. One request
pays for finding out.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.dialects.choice import for_request
from gateway.errors import GatewayError
from gateway.upstream.routes.route import Route

# Servers are updated.
SECONDS = 3600.0
# Of a path that a server does not have, as opposed to a model.
NO_SUCH_PATH = frozenset({404, 405, 501})
OF_PATHS = re.compile(r"not found|not allowed|not implemented|cannot post|invalid url|unknown (?:path|url|route)", re.I)
OF_MODELS = re.compile(r"model|endpoints found", re.I)


@dataclass(slots=True)
class MissingDialects:
    """`clock` is in seconds."""

    clock: Callable[[], float] = time.monotonic
    _until: dict[tuple[str, str], float] = field(default_factory=dict, repr=False)

    def choose(self, route: Route, request: Mapping[str, Any]) -> Route:
        """Return the route in the dialect for this request. Raises InvalidRequest as `for_request` does."""
        if route.dialect == "chat":
            return route
        if self._until and self._until.get((route.upstream.url, route.dialect), 0.0) > self.clock():
            return replace(route, dialect="chat")
        return for_request(route, request)

    def learn(self, route: Route, error: GatewayError) -> bool:
        """Return True if the failure shows that the upstream has no such path, and remember it."""
        if route.dialect == "chat" or route.upstream.dialect != "auto" or error.said is None:
            return False
        words = error.said.text
        if error.said.status not in NO_SUCH_PATH or OF_MODELS.search(words):
            return False
        if words.strip() and not OF_PATHS.search(words):
            return False
        self._until[route.upstream.url, route.dialect] = self.clock() + SECONDS
        return True
