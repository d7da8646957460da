"""Requests in OpenAI's APIs, on their way through Messages: what both handlers do alike."""

import time
from collections.abc import Awaitable
from typing import Any

from aiohttp import web

from gateway.dialects.clients.fields import to_flag, to_object
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest, takes_grammars
from gateway.dialects.parameter_policy import HEADER as PARAMS_HEADER
from gateway.dialects.parameter_policy import filled_from_header
from gateway.errors import InvalidRequest
from gateway.messages.prompt import parse_body, to_prompt
from gateway.web.api.messages import reply_to
from gateway.web.auth import CONTEXT, FOREIGN_ID
from gateway.web.body import read_body
from gateway.web.keys import EXCHANGE, SETTINGS


async def read_request(request: web.Request) -> tuple[dict[str, Any], int, ClientAsking]:
    """Return the body, its size in bytes, and the facts that its conversion needs.

    Raises InvalidRequest for a body that is no object or names no model, NotFound for a model without a route.
    """
    app, exchange = request.app, request.app[EXCHANGE]
    data = await read_body(request, app[SETTINGS].max_body_bytes)
    request[CONTEXT].arrived = time.monotonic()
    parsed = parse_body(data, exchange.tools)
    if not isinstance(parsed, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    body = to_object(parsed, "body")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: Field required")
    to_flag(body.get("stream"), "stream")
    route = exchange.table.resolve(model)[0]
    keyring = exchange.keyring.of_tenant(request[CONTEXT].tenant)
    return body, len(data), ClientAsking(route.target, keyring, takes_grammars(route))


def reply_converted(request: web.Request, asked: ClientRequest, size: int) -> Awaitable[web.StreamResponse]:
    """Validate the converted request and answer it. Raises InvalidRequest naming what Messages does not take."""
    context = request[CONTEXT]
    if context.session_id is None and asked.session is not None and FOREIGN_ID.fullmatch(asked.session):
        context.session_id = asked.session
    filled_from_header(asked.request, request.headers.get(PARAMS_HEADER))
    prompt = to_prompt(asked.request, size, context)
    prompt.notes = (*asked.notes, *prompt.notes)
    prompt.has_default_length = asked.has_default_length
    return reply_to(request, context, prompt)
