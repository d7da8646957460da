"""POST /v1/messages, as JSON and as a stream."""

import asyncio
from functools import partial
from typing import Any, cast

import orjson
from aiohttp import web

from gateway.context import Context, UsageRecord
from gateway.convert.validation import check_messages_request
from gateway.errors import InvalidRequest
from gateway.exchange import Exchange, Plan, Prompt
from gateway.metrics import STREAMS
from gateway.threads.thread import has_thread
from gateway.threads.turns import Turn
from gateway.web.auth import to_context
from gateway.web.body import read_body
from gateway.web.keys import EXCHANGE, SETTINGS, THREADS
from gateway.web.reply import REQUEST_ID, X_REQUEST_ID, EventReply, MessageReply

# Headers grow with what clients send (one note a field); proxies refuse long ones.
MAX_NOTES_LENGTH = 2000

# A megabyte of conversation takes 2 ms to parse, 5 to check, 3 to convert: between these steps others get their turn.
LARGE_BODY = 256 * 1024


async def create_message(request: web.Request) -> web.StreamResponse:
    return await _message(request)


async def stream_message(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages/stream: the same with `stream` set, for clients of gateways that have a path for it."""
    return await _message(request, streamed=True)


async def _message(request: web.Request, *, streamed: bool = False) -> web.StreamResponse:
    context = to_context(request)
    body = await read_body(request, request.app[SETTINGS].max_body_bytes)
    parsed = parse_json(body)
    if len(body) > LARGE_BODY:
        await asyncio.sleep(0)
    if streamed and isinstance(parsed, dict):
        parsed["stream"] = True
    threads = request.app[THREADS]
    if threads is None or not has_thread(parsed):
        return await _reply(request, context, to_prompt(parsed, len(body), context))
    async with threads.turn(context, cast(dict[str, Any], parsed), len(body)) as turn:
        prompt = to_prompt(turn.request, len(body) + turn.held_bytes, context)
        return await _reply(request, context, prompt, turn)


def to_prompt(parsed: object, size: int, context: Context) -> Prompt:
    """Check what a body says. Raises InvalidRequest naming the first field that is wrong."""
    checked, notes = check_messages_request(parsed, version=context.api_version, betas=context.betas)
    return Prompt(checked, size, tuple(notes))


def parse_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error.msg} at position {error.pos}.") from None


async def _reply(
    request: web.Request, context: Context, prompt: Prompt, turn: Turn | None = None
) -> web.StreamResponse:
    exchange = request.app[EXCHANGE]
    if prompt.body_size > LARGE_BODY:
        await asyncio.sleep(0)
    plan = exchange.plan(context, prompt, UsageRecord(context))
    if not prompt.request.get("stream"):
        return await _answer(request, exchange, plan, turn)
    headers = [(REQUEST_ID, context.request_id), (X_REQUEST_ID, context.request_id), *plan_headers(plan)]
    reply = EventReply(request, headers)
    whole = False
    try:
        with STREAMS.track_inprogress():
            if turn is None:
                await exchange.stream(plan, reply)
            else:
                await turn.stream(reply, partial(exchange.stream, plan))
        whole = True
    finally:
        if reply.committed and not whole:
            reply.abort()  # a reply that has begun cannot become another one
    return reply


async def _answer(request: web.Request, exchange: Exchange, plan: Plan, turn: Turn | None) -> MessageReply:
    answered = await exchange.answer(plan)
    if turn is not None:
        await turn.keep(answered.message)
    origin = answered.origin
    headers = plan_headers(plan)
    if origin.model:
        headers.append(("x-gateway-model", _header_safe(origin.model)))
    if origin.provider:
        headers.append(("x-gateway-provider", _header_safe(origin.provider)))
    if origin.cost is not None:
        headers.append(("x-gateway-cost", f"{origin.cost:.8f}".rstrip("0").rstrip(".")))
    return MessageReply(request, answered.message, headers)


def plan_headers(plan: Plan) -> list[tuple[str, str]]:
    """What is known before the upstream answers: who will, how, and what of the request could not be carried over."""
    headers = [("x-gateway-upstream", plan.route.upstream.name), ("x-gateway-dialect", plan.route.dialect)]
    if plan.record.notes:
        headers.append(("x-gateway-ignored", _header_safe(", ".join(plan.record.notes)[:MAX_NOTES_LENGTH])))
    return headers


def _header_safe(value: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    return "".join([character if " " <= character <= "~" else "?" for character in value])
