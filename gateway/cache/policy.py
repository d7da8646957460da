"""Cache policy: which requests may be answered from the cache, and which answers may be stored. Pure.

Caching is opt-in: by the `x-gateway-cache` header, or by the operator for a client's key or a model's name; with
GATEWAY_CACHE=on also by `temperature: 0`. Tools need a separate opt-in, since an answer that calls one has an effect: a
request with tools needs `tools` in the header, or GATEWAY_CACHE_TOOLS.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from gateway.context import Context
from gateway.errors import InvalidRequest

HEADER: Final = "x-gateway-cache"

Mode = Literal["off", "opt-in", "on"]
Verb = Literal["use", "refresh", "bypass"]
Reason = Literal["off", "prewarm", "tools", "size", "key", "own-key"]

# A fingerprint of this size blocks the event loop for 2 ms.
MAX_REQUEST_BYTES: Final = 1024 * 1024

# Stop reasons of complete answers: not truncated, refused or paused.
WHOLE: Final = frozenset({"end_turn", "stop_sequence"})
PLAIN_BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking"})

_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")
_FORM: Final = f"{HEADER}: must be use, refresh, bypass or max-age=<seconds>; `tools` may be added after a comma"


@dataclass(frozen=True, slots=True)
class Demand:
    """Cache directives of one request. `max_age`: seconds; older entries are misses.

    `refresh` calls the upstream and stores its answer. `bypass` neither reads nor stores; `reason` is the
    gateway's reason, None if the client asked for it.
    """

    verb: Verb = "use"
    max_age: int | None = None
    tools: bool = False
    reason: Reason | None = None

    @property
    def bypasses(self) -> bool:
        return self.verb == "bypass"


USE: Final = Demand()


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """`routes`: model names as clients send them, which may end in `*`. `keys`: tenants, or ids of client keys."""

    mode: Mode = "opt-in"
    routes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    tools: bool = False

    @property
    def waits_to_be_asked(self) -> bool:
        """Return True if only requests with the header are cached."""
        return self.mode == "off" or (self.mode == "opt-in" and not self.routes and not self.keys)

    def demand(self, header: str | None, context: Context, request: Mapping[str, Any], size: int) -> Demand | None:
        """Return None if the cache is not requested. Raises InvalidRequest for an unknown header value."""
        if header is None:
            if self.waits_to_be_asked or not self._is_asked_for(context, request):
                return None
            demand = USE
        else:
            demand = to_demand(header)
        if demand.bypasses:
            return demand
        if self.tools and not demand.tools:
            demand = replace(demand, tools=True)
        reason = self._obstacle(request, size, demand)
        return demand if reason is None else Demand("bypass", reason=reason)

    def _is_asked_for(self, context: Context, request: Mapping[str, Any]) -> bool:
        if context.tenant in self.keys or context.key_id in self.keys:
            return True
        if self.mode == "on" and request.get("temperature") == 0:
            return True
        return any(_covers(route, request["model"]) for route in self.routes)

    def _obstacle(self, request: Mapping[str, Any], size: int, demand: Demand) -> Reason | None:
        if self.mode == "off":
            return "off"
        if request.get("max_tokens") == 0:
            return "prewarm"  # its purpose is the upstream's prompt cache
        if request.get("tools") and not demand.tools:
            return "tools"
        return "size" if size > MAX_REQUEST_BYTES else None


@lru_cache(maxsize=64)
def to_demand(header: str) -> Demand:
    """Parse the header. Raises InvalidRequest with the allowed values."""
    words = [word.strip().lower() for word in header.split(",")]
    tools = "tools" in words
    given = [word for word in words if word != "tools"]
    if len(given) > 1 or (not given and not tools):
        raise InvalidRequest(_FORM)
    word = given[0] if given else "use"
    age = _MAX_AGE.fullmatch(word)
    if age is not None:
        seconds = int(age[1])
        return Demand("use", max_age=seconds, tools=tools) if seconds else Demand("refresh", tools=tools)
    if word not in ("use", "refresh", "bypass"):
        raise InvalidRequest(_FORM)
    return Demand(word, tools=tools)  # type: ignore[arg-type]  # a Verb, as just seen


def is_storable(message: Mapping[str, Any], *, tools: bool) -> bool:
    """Return True if other requests may get this answer: complete, without effects, and not bound to a time."""
    if message["stop_reason"] not in WHOLE and not (tools and message["stop_reason"] == "tool_use"):
        return False
    content = message["content"]
    allowed = PLAIN_BLOCKS | {"tool_use"} if tools else PLAIN_BLOCKS
    if not content or any(block["type"] not in allowed for block in content):
        return False
    if any((message["usage"].get("server_tool_use") or {}).values()):
        return False  # search results age
    return not any(_cites_web(block) for block in content)


def _cites_web(block: Mapping[str, Any]) -> bool:
    return any(str(citation.get("type")).startswith("web_") for citation in block.get("citations") or ())


def _covers(route: str, model: str) -> bool:
    return model.startswith(route[:-1]) if route.endswith("*") else model == route
