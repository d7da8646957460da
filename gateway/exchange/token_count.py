"""Exact token counts, from upstreams that have a tokenizer; the caller's own estimate stands behind every count.

A client that asks for a count is about to send the prompt, so a call for it may not take long, and an upstream that has
not answered one is left alone for a while.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.dialects.base import Asking, Dialect
from gateway.errors import GatewayError, InvalidRequest
from gateway.messages.prompt import Prompt
from gateway.upstream.http.client import Call, Timeouts, UpstreamClient
from gateway.upstream.routes.route import Route

# vLLM counts 240,000 tokens in 0.2 s on two cores.
TIMEOUTS = Timeouts(connect=1.0, first_byte=3.0, idle=1.0, total=3.0)
# After a call without a count. A server that was only busy is asked again soon enough.
PAUSE_SECONDS = 60.0
# No answer, no such route, no right to it. Any other failure may be about this prompt: llama.cpp says 500 to an image.
PAUSING = frozenset({0, 401, 403, 404, 405, 501})
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # vLLM lists every token beside the count


@dataclass(slots=True)
class TokenCounter:
    client: UpstreamClient
    dialects: Mapping[str, Dialect]
    clock: Callable[[], float] = time.monotonic
    _paused_until: dict[str, float] = field(default_factory=dict)

    async def count(self, prompt: Prompt, route: Route, asking: Asking) -> int | None:
        """Return the upstream's count; None if it has no tokenizer, refuses the prompt, or does not answer in time."""
        if self.clock() < self._paused_until.get(route.upstream.name, 0.0):
            return None
        try:
            call = self.dialects[route.dialect].count(prompt, route, asking)
        except (InvalidRequest, orjson.JSONEncodeError):
            return None  # the conversion refuses it; its tokens can still be estimated
        if call is None:
            return None
        try:
            answer = await self.client.open(Call("POST", call.url, call.headers, call.body, TIMEOUTS))
            status, body = answer.status, await answer.read(MAX_ANSWER_BYTES)
        except GatewayError:
            status, body = 0, b""
        count = _read_count(body, call.counted) if status == 200 else None
        if status in PAUSING and not route.upstream.takes_client_key:
            self._paused_until[route.upstream.name] = self.clock() + PAUSE_SECONDS
        return count


def _read_count(body: bytes, name: str) -> int | None:
    try:
        count = orjson.loads(body)[name]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None
