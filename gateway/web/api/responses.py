"""POST /v1/responses, stateless: the request becomes a Messages request, and the answer a response."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import ResponseFacts, to_echoed, to_response
from gateway.dialects.responses.client.request import to_messages_request
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.errors import NotFound, UpgradeRequired
from gateway.web.api.converted import context_of, read_request, to_converted
from gateway.web.api.messages import reply_to
from gateway.web.client_face import FACE

# Codex drops a stream that sends no event for `stream_idle_timeout_ms`, which users set to some seconds (0.171.0). The
# heartbeat adds up to a second.
KEEP_ALIVE_SECONDS = 1.0

# Operations of OpenAI's SDKs without a stored response.
OPERATIONS = {
    "compact": "compact conversations for the Responses API",
    "input_tokens": "count tokens for the Responses API",
}


@dataclass(frozen=True, slots=True, repr=False)
class ResponsesFace:
    """Responses of one request."""

    tools: ToolRegistry
    facts: ResponseFacts
    compacts: bool
    keep_alive_after: float | None = KEEP_ALIVE_SECONDS

    def stream(self) -> ClientResponseStream:
        return ClientResponseStream(self.tools, self.facts, compacts=self.compacts)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return to_response(message, self.tools, self.facts, compacts=self.compacts)


async def create_response(request: web.Request) -> web.StreamResponse:
    received = await read_request(request)
    asked, compacts = to_messages_request(received.body, received.asking)
    facts = ResponseFacts(int(time.time()), to_echoed(received.body))
    request[FACE] = ResponsesFace(asked.tools, facts, compacts)
    prompt = to_converted(request, asked, len(received.data))
    del received
    return await reply_to(request, context_of(request, asked.session), prompt)


async def refuse_socket(request: web.Request) -> web.StreamResponse:
    """Answer Codex' try for a WebSocket: after a 426 it uses POST at once, after others it tries seven times."""
    if hdrs.UPGRADE in request.headers:
        raise UpgradeRequired("This gateway has no WebSocket; use POST /v1/responses.")
    raise web.HTTPMethodNotAllowed(hdrs.METH_GET, [hdrs.METH_POST])


async def refuse_stored(request: web.Request) -> web.StreamResponse:
    """Answer 404 in any case: the id is in the client's own log, and the name of an operation in its SDK."""
    operation = OPERATIONS.get(request.match_info["response_id"]) if request.method == hdrs.METH_POST else None
    if operation is not None:
        raise NotFound(f"This gateway does not {operation}. Use POST /v1/responses.")
    raise NotFound("Responses are not stored by this gateway.")
