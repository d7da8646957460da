"""Spans of requests that are no exchange: counts of tokens, and the creation of batches.

The creation's own span becomes the one that the batch's items link to.
"""

import time
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.errors import GatewayError
from gateway.telemetry.tracing import Attributes, Tracer
from gateway.web.auth import CONTEXT

COUNT = "anthropic.messages.count_tokens"
CREATE_BATCH = "anthropic.messages.batches.create"
NAMES = {
    "/v1/messages/count_tokens": COUNT,
    "/v1/messages/batches": CREATE_BATCH,
    "/v1/messages/batch": CREATE_BATCH,
}
FAILED = 500  # status of a request that a fault of the gateway ended


def trace_requests(app: web.Application, tracer: Tracer, prefix: str) -> None:
    """Add the middleware, after that of authentication, which makes the context."""
    names = {path + route: name for route, name in NAMES.items() for path in ("", prefix)}

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = names.get(request.path) if request.method == "POST" else None
        if name is None:
            return await handler(request)
        context, begun = request[CONTEXT], time.perf_counter()
        tracer.begin(context)
        assert context.trace is not None
        context.trace_parent = context.trace.to_header(context.trace.span_id)
        found: Attributes = {"http.route": request.path, "gen_ai.provider.name": "anthropic"}
        status = FAILED
        try:
            response = await handler(request)
            status = response.status
            found |= facts_of(name, response)
        except GatewayError as error:
            status, found["error.type"] = error.status, error.type
            raise
        finally:
            tracer.observe_request(context, name, status, time.perf_counter() - begun, found)
        return response

    app.middlewares.append(trace)


def facts_of(name: str, response: web.StreamResponse) -> Attributes:
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return {}
    value: Any = orjson.loads(response.body)
    if name == COUNT:
        return {"anthropic.message.count_tokens.input_tokens": value["input_tokens"]}
    counts = value["request_counts"]
    return {"anthropic.message.batch.id": value["id"], "anthropic.message.batch.request_count": sum(counts.values())}
