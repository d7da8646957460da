"""Requests in OpenAI's APIs, on their way through Messages: what both handlers do alike."""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from gateway.context import Context
from gateway.dialects.clients.fields import to_flag, to_object
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest, takes_grammars
from gateway.dialects.parameter_policy import HEADER as PARAMS_HEADER
from gateway.dialects.parameter_policy import filled_from_header
from gateway.errors import InvalidRequest
from gateway.messages.prompt import Prompt, parse_body, to_prompt
from gateway.upstream.routes.route import Route
from gateway.web.app_keys import EXCHANGE, SETTINGS
from gateway.web.auth import CONTEXT, FOREIGN_ID
from gateway.web.body import read_body


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """`body`: the parsed `data`. `asking`: the facts that its conversion needs."""

    data: bytes = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    route: Route
    asking: ClientAsking


async def read_request(request: web.Request) -> ReceivedRequest:
    """Raises InvalidRequest for a body that is no object or names no model, NotFound for a model without a route."""
    app, exchange = request.app, request.app[EXCHANGE]
    context = request[CONTEXT]
    data = await read_body(request, app[SETTINGS].max_body_bytes)
    context.arrived = time.monotonic()
    parsed = parse_body(data, exchange.tools, partial(exchange.turns.parse, tenant=context.tenant))
    if not isinstance(parsed, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    body = to_object(parsed, "body")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: Field required")
    to_flag(body.get("stream"), "stream")
    route = exchange.table.resolve(model)[0]
    keyring = exchange.keyring.of_tenant(context.tenant)
    return ReceivedRequest(data, body, route, ClientAsking(route.target, keyring, takes_grammars(route)))


def context_of(request: web.Request, session: str | None) -> Context:
    """Return the request's context, with the session that its body names, for clients that send no header."""
    context = request[CONTEXT]
    if context.session_id is None and session is not None and FOREIGN_ID.fullmatch(session):
        context.session_id = session
    return context


def to_converted(request: web.Request, asked: ClientRequest, size: int) -> Prompt:
    """Validate the converted request. Raises InvalidRequest naming what Messages does not take."""
    filled_from_header(asked.request, request.headers.get(PARAMS_HEADER))
    prompt = to_prompt(asked.request, size, request[CONTEXT])
    prompt.notes = (*asked.notes, *prompt.notes)
    prompt.has_default_length = asked.has_default_length
    return prompt
