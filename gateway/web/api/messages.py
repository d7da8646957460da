"""POST /v1/messages, as JSON and as a stream."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, cast

import orjson
from aiohttp import web

from gateway.cache.policy import HEADER as CACHE_HEADER
from gateway.context import Context
from gateway.dialects.parameter_policy import HEADER as PARAMS_HEADER
from gateway.dialects.parameter_policy import filled_from_header
from gateway.exchange.cached import Shared
from gateway.exchange.exchange import Exchange
from gateway.exchange.face_sink import FaceSink
from gateway.exchange.hit import Hit
from gateway.exchange.plan import Plan
from gateway.exchange.sink import Sink
from gateway.messages.prompt import Prompt, Received, parse_body
from gateway.telemetry.metrics import STREAMS
from gateway.telemetry.usage import UsageRecord
from gateway.threads.thread import has_thread
from gateway.threads.turns import Turn
from gateway.upstream.routes.route import Route
from gateway.web.app_keys import CACHE, EXCHANGE, SETTINGS, THREADS
from gateway.web.auth import CONTEXT
from gateway.web.body import read_body
from gateway.web.client_face import FACE, ClientFace, to_reply_body
from gateway.web.middleware import ERROR_HEADERS
from gateway.web.reply import IGNORED, NO_STORE, EventReply, Headers, MessageReply, context_lines, id_lines

# Headers of replies that the cache had no part in.
BYPASS: Headers = ((CACHE_HEADER, "bypass"),)
CACHE_REASON = "x-gateway-cache-reason"
NO_CACHE: Headers = (*BYPASS, (CACHE_REASON, "off"))
ATTEMPTS = "x-gateway-attempts"
COST = "x-gateway-cost"
UPSTREAM_ID = "x-gateway-upstream-request-id"
CACHE_KEY = "x-gateway-cache-key"

# Headers grow with what clients send (one note a field); proxies refuse long ones.
MAX_NOTES_LENGTH = 2000
# Of the upstream's name for a model or provider. Python's http.client gives up on a header line of 64 KiB, nginx on a
# header of 4 KiB.
MAX_ORIGIN_LENGTH = 256

# A megabyte of conversation takes 1.5 ms to parse, 3 to check, 2 to convert: between these steps others get their turn.
LARGE_BODY = 256 * 1024


async def stream_message(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages/stream: the same with `stream` set, for clients of gateways that have a path for it."""
    return await create_message(request, streamed=True)


async def create_message(request: web.Request, *, streamed: bool = False) -> web.StreamResponse:
    app = request.app
    context = request[CONTEXT]
    exchange = app[EXCHANGE]
    body = await read_body(request, app[SETTINGS].max_body_bytes)
    context.arrived = time.monotonic()
    loads = partial(exchange.turns.parse, tenant=context.tenant)
    parsed, size = parse_body(body, exchange.tools, loads), len(body)
    received: Received | None = Received(body, request.headers.items(), request.query_string)
    if streamed and isinstance(parsed, dict) and parsed.get("stream") is not True:
        # The received bytes ask for JSON, so they cannot be passed on as they are.
        parsed["stream"], received = True, None
    # A body may have 32 MB, and parsing needs as much again.
    del body
    if filled_from_header(parsed, request.headers.get(PARAMS_HEADER)):
        received = None
    # Parsing took milliseconds: other requests get a turn before validation takes as long again.
    if size > LARGE_BODY:
        await asyncio.sleep(0)
    threads = app[THREADS]
    if threads is None or not has_thread(parsed):
        reply = reply_to(request, context, exchange.read_prompt(parsed, size, context, received))
        # A stream may last for minutes, and its prompt take megabytes: nothing here holds it meanwhile.
        del parsed, received
        return await reply
    async with threads.turn(context, cast(dict[str, Any], parsed), size) as turn:
        prompt = exchange.read_prompt(turn.request, size + turn.held_bytes, context)
        return await reply_to(request, context, prompt, turn)


async def reply_to(
    request: web.Request, context: Context, prompt: Prompt, turn: Turn | None = None
) -> web.StreamResponse:
    app, streams = request.app, bool(prompt.request.get("stream"))
    if prompt.body_size > LARGE_BODY:
        await asyncio.sleep(0)
    cache, asked, bypass = app[CACHE], request.headers.get(CACHE_HEADER), BYPASS
    if cache is None:
        bypass = BYPASS if asked is None else NO_CACHE
    elif asked is not None or not cache.policy.waits_to_be_asked:
        prompt = prompt.in_messages()  # the form of stored answers
        demand = cache.demand(asked, context, prompt)
        # A request that may not be cached goes past the cache, with the reason in the reply.
        if demand is not None and not demand.bypasses:
            found = cache.ask(context, prompt, demand)
            del prompt
            return await _reply_from_cache(request, found, context, turn, streams=streams)
        if demand is not None and demand.reason is not None:
            bypass = (*BYPASS, (CACHE_REASON, demand.reason))
    exchange, failed, record = app[EXCHANGE], True, UsageRecord(context)
    try:
        plan = exchange.plan(context, prompt, record)
        del prompt
        reply: web.StreamResponse
        if not streams:
            reply = await _answer(request, exchange, plan, bypass, turn)
        else:
            headers = chain(plan_headers(plan), bypass)
            reply = await _stream(request, record, headers, "", partial(exchange.stream, plan), turn)
        failed = False
    finally:
        if failed:
            # The error's reply is made by the middleware, which adds these headers to it.
            request[ERROR_HEADERS] = (*bypass, *failure_headers(record))
    return reply


async def _stream(
    request: web.Request,
    record: UsageRecord,
    headers: Iterable[tuple[str, str]],
    own: str,
    into: Callable[[Sink], Awaitable[None]],
    turn: Turn | None,
) -> EventReply:
    reply = EventReply(request, headers, id_lines(record.context.request_id) + own, partial(late_lines, record))
    whole = False
    face: ClientFace | None = request.get(FACE)
    try:
        with STREAMS.track_inprogress():
            if face is not None:
                await _stream_converted(
                    request.app[EXCHANGE], FaceSink(reply, face.stream(), face.keep_alive_after), into
                )
            elif turn is None:
                await into(reply)
            else:
                await turn.stream(reply, into)
        whole = True
    finally:
        if reply.committed and not whole:
            reply.abort()  # a reply that has begun cannot become another one
    return reply


async def _stream_converted(exchange: Exchange, sink: FaceSink, into: Callable[[Sink], Awaitable[None]]) -> None:
    exchange.heartbeat.register(sink)
    try:
        await into(sink)
    finally:
        exchange.heartbeat.unregister(sink)


async def _answer(
    request: web.Request, exchange: Exchange, plan: Plan, bypass: Headers, turn: Turn | None
) -> MessageReply:
    answered = await exchange.answer(plan)
    if turn is not None:
        # Kept before the reply: a client that has the answer must be able to continue from it at once.
        await turn.keep(answered.message)
    origin = answered.origin
    headers = (*plan_headers(plan), *origin_headers(origin.model, origin.provider), *bypass)
    message = answered.message if answered.written is None else answered.written
    own = cost_line(origin.cost) + late_lines(plan.record)
    body = orjson.Fragment(message) if answered.is_original else to_reply_body(request, message)
    return MessageReply(request, body, headers, own)


async def _reply_from_cache(
    request: web.Request, asking: Awaitable[Hit | Shared], context: Context, turn: Turn | None, *, streams: bool
) -> web.StreamResponse:
    outcome, failed, record = "miss", True, UsageRecord(context)
    try:
        found = await asking
        record = record if isinstance(found, Hit) else found.plan.record
        outcome = "hit" if isinstance(found, Hit) else found.plan.record.cache
        reply = await _cached_reply(request, found, context, turn, streams=streams)
        failed = False
    finally:
        if failed:
            request[ERROR_HEADERS] = (*cache_headers(outcome), *failure_headers(record))
    return reply


async def _cached_reply(
    request: web.Request, found: Hit | Shared, context: Context, turn: Turn | None, *, streams: bool
) -> web.StreamResponse:
    if isinstance(found, Hit):
        facts = found.entry.facts
        headers = [*route_headers(found.route, found.notes), *cache_headers("hit")]
        own = f"{key_line(found.fingerprint)}age: {found.age}\r\n"
        if streams:
            return await _stream(request, UsageRecord(context), headers, own, found.stream, turn)
        if turn is not None:
            await turn.keep(found.to_message())
        headers += [*origin_headers(facts.served_model, facts.provider), *NO_STORE]
        return MessageReply(request, to_reply_body(request, found.to_json()), headers, own + context_lines(context))
    with found:
        if streams:
            shown = chain(plan_headers(found.plan), cache_headers(found.plan.record.cache))
            return await _stream(request, found.plan.record, shown, key_line(found.fingerprint), found.stream, turn)
        return await _shared_answer(request, found, turn)


async def _shared_answer(request: web.Request, shared: Shared, turn: Turn | None) -> MessageReply:
    entry = await shared.answer()
    reply, facts = shared.plan.reply, entry.facts
    if turn is not None:
        await turn.keep(entry.to_message(reply.message_id, reply.model))
    cost = shared.plan.record.cost if shared.calls else None
    headers = (
        *route_headers(shared.plan.route, (*shared.plan.record.notes[: shared.plan.own_notes], *facts.notes)),
        *origin_headers(facts.served_model, facts.provider),
        *cache_headers(shared.plan.record.cache),
        *NO_STORE,
    )
    message = to_reply_body(request, entry.to_json(reply.message_id, reply.model))
    own = key_line(shared.fingerprint) + cost_line(cost) + context_lines(shared.plan.context)
    return MessageReply(request, message, headers, own)


def plan_headers(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield upstream, dialect and dropped fields, as they are when the header is written."""
    yield from route_headers(plan.route, plan.record.notes, is_edited=plan.prepared.is_edited)
    yield from attempts_headers(plan.record)


def attempts_headers(record: UsageRecord) -> Iterator[tuple[str, str]]:
    """Yield the header of the calls: upstream, answer and seconds of each."""
    if record.attempted:
        yield ATTEMPTS, record.attempts_line()


def failure_headers(record: UsageRecord) -> Iterator[tuple[str, str]]:
    """Yield whom a request that failed had reached: the upstream, the provider behind it, and all attempts."""
    if record.attempts or record.origin == "upstream":
        yield "x-gateway-upstream", record.upstream
        yield from origin_headers(None, record.provider)
    yield from attempts_headers(record)


def route_headers(route: Route, notes: Sequence[str], *, is_edited: bool = False) -> list[tuple[str, str]]:
    dialect = f"{route.dialect}; edited" if is_edited else route.dialect
    headers = [("x-gateway-upstream", route.upstream.name), ("x-gateway-dialect", dialect)]
    if notes:
        headers.append((IGNORED, _header_safe(", ".join(notes)[:MAX_NOTES_LENGTH])))
    return headers


def origin_headers(model: str | None, provider: str | None) -> Headers:
    """The upstream's names of the model and provider that answered."""
    return _origin_headers((model or "")[:MAX_ORIGIN_LENGTH], (provider or "")[:MAX_ORIGIN_LENGTH])


@lru_cache(maxsize=1024)
def _origin_headers(model: str, provider: str) -> Headers:
    named = ("x-gateway-model", model), ("x-gateway-provider", provider)
    return tuple((header, _header_safe(name)) for header, name in named if name)


def late_lines(record: UsageRecord) -> str:
    """Return the lines that are known once the upstream's header has come, and that no other reply has."""
    named = record.upstream_request_id
    return context_lines(record.context) + (f"{UPSTREAM_ID}: {_header_safe(named)}\r\n" if named else "")


def cost_line(cost: float | None) -> str:
    """Return the upstream's charge for this reply."""
    return "" if cost is None else f"{COST}: {f'{cost:.8f}'.rstrip('0').rstrip('.')}\r\n"


def cache_headers(outcome: str) -> list[tuple[str, str]]:
    """Return the cache's outcome, and `vary`, which keeps caches on the way from giving an answer to another tenant."""
    return [(CACHE_HEADER, outcome), ("vary", "x-api-key, authorization")]


def key_line(fingerprint: str) -> str:
    return f"{CACHE_KEY}: {fingerprint}\r\n"


def _header_safe(value: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    return "".join([character if " " <= character <= "~" else "?" for character in value])
