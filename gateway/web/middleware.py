"""Middleware of every handler: a request id, timing, and the one place where errors become replies."""

import logging
import time
import traceback
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import ids
from gateway.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    StoreAway,
    drop_frames,
)
from gateway.process.http_guard import MAX_HEADER_BYTES, GuardedConnection, header_too_large
from gateway.telemetry.counters import count_reply
from gateway.telemetry.metrics import REFUSALS
from gateway.upstream.health.causes import cause_of
from gateway.web.auth import CONTEXT, REQUEST_ID
from gateway.web.not_offered import admin_resources, not_found_message
from gateway.web.openai_errors import api_of, openai_error_response
from gateway.web.reply import MessageReply, error_response, reply_headers

log = structlog.get_logger()

# Of an error's message in the log: messages may repeat a client's own names.
MAX_REASON = 300
# Of causes that are the gateway's own refusals, the code in metrics.
REFUSAL_OF: Final = {
    **dict.fromkeys(("key", "permission"), "auth"),
    **dict.fromkeys(("request", "not_found", "conflict", "too_long"), "validation"),
    **dict.fromkeys(("too_large", "slow_body"), "size"),
    **dict.fromkeys(("rate_limit", "budget", "full"), "limit"),
    "unavailable": "draining",
    "store": "store",
    "internal": "internal",
}
# Headers that a handler wants on its reply even if that becomes an error.
ERROR_HEADERS = web.RequestKey("error_headers", tuple[tuple[str, str], ...])


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Request id and errors. A stream that has begun carries its failures itself, and its header is already out."""
    request_id = ids.request_id()
    request[REQUEST_ID] = request_id
    begun = time.perf_counter()
    try:
        check_header_bytes(request)
        response = await handler(request)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a handler raises becomes a reply
        shown = _to_shown(error, request)
        _log_refusal(error, shown, request)
        _count_refusal(shown)
        drop_frames(error)
        if request.writer.output_size:
            # A second header would become part of the body that has begun, and a plain end would be its regular end.
            route = _route_name(request)
            log.warning(
                "reply_broken_off", request_id=request[REQUEST_ID], route=route, error=shown.type, reason=shown.message
            )
            count_reply(route, request.method, shown.status)
            if isinstance(request.protocol, GuardedConnection):
                request.protocol.cut("broken_reply")
            raise ConnectionResetError("The reply had begun.") from None
        response = to_response(shown, request_id, request.path)
        response.headers.extend(request.get(ERROR_HEADERS, ()))
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["allow"] = ", ".join(sorted(error.allowed_methods))
    seconds = time.perf_counter() - begun
    if isinstance(response, MessageReply):
        response.stamp(request_id, seconds)
    elif not getattr(response, "committed", False):
        response.headers.update(reply_headers(request_id, seconds))
    count_reply(_route_name(request), request.method, response.status)
    return response


def to_response(error: GatewayError, request_id: str, path: str) -> web.Response:
    """Return the error in the form of the API that the path belongs to."""
    api = api_of(path)
    return error_response(error, request_id) if api is None else openai_error_response(error, request_id, api)


def check_header_bytes(request: web.Request) -> None:
    """Raises InvalidRequest for a header value that is not UTF-8, and for values that are too long together.

    aiohttp decodes bytes that are not UTF-8 to lone surrogates, which neither JSON nor Redis takes: every handler that
    passes a header on would fail far from here. Paths need no check, the parser takes ASCII only.
    """
    text = "".join(request.headers.values())  # one look at nearly all requests, 1 µs
    if len(text) > MAX_HEADER_BYTES:
        raise header_too_large()
    if text.isascii():
        return
    for name, value in request.headers.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"{name.lower()}: the value of this header is not valid UTF-8.") from None


def _count_refusal(error: GatewayError) -> None:
    """Count what the gateway refused itself, by what it was about. An upstream's refusals are counted elsewhere."""
    code = REFUSAL_OF.get(cause_of(error).name)
    if code is not None:
        REFUSALS.labels(code).inc()


def _to_shown(error: Exception, request: web.Request) -> GatewayError:
    """Return the error for the client."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, web.HTTPException):
        return to_gateway_error(error, request)
    return InternalError("The gateway failed to answer this request.")


def _log_refusal(error: Exception, shown: GatewayError, request: web.Request) -> None:
    """Log the one line of a request that failed before its exchange, which logs its own.

    Unexpected errors are logged by type and place, and failures of the store with their reason; neither is for clients.
    """
    context = request.get(CONTEXT)
    if context is not None and context.is_logged:
        return
    fields: dict[str, object] = {
        "request_id": request[REQUEST_ID],
        "status": shown.status,
        "method": request.method,
        "route": _route_name(request),
        "tenant": context.tenant if context is not None else "-",
    }
    if context is not None and context.key_id:
        fields["key"] = context.key_id
    cause = cause_of(shown)
    fields |= {"origin": cause.origin, "cause": cause.name}
    if isinstance(error, StoreAway):
        log.warning("store_away", **fields, reason=error.reason)
    elif isinstance(error, GatewayError | web.HTTPException):
        level = logging.INFO if cause.origin == "client" else logging.WARNING
        log.log(level, "request_refused", **fields, error=shown.type, reason=shown.message[:MAX_REASON])
    else:
        log.error("request_failed", **fields, **where_raised(error))


def where_raised(error: Exception) -> dict[str, str]:
    """Type and place of an unexpected error; its message and its stack could quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "where": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown",
    }


def to_gateway_error(error: web.HTTPException, request: web.Request) -> GatewayError:
    """Return the error for a refusal of aiohttp's router: unknown paths, wrong methods, and a few more."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"Method {request.method} is not allowed here; use {allowed}.")
    if error.status == 404:
        paths = [resource.canonical for resource in request.app.router.resources()]
        return NotFound(not_found_message(request.path, admin_resources(paths)))
    if error.status == 413:
        return RequestTooLarge("Request exceeds the maximum size.")
    if error.status < 500:
        return InvalidRequest(error.reason)
    return InternalError("The gateway failed to answer this request.")


def _route_name(request: web.Request) -> str:
    """A label from a closed set: the path as the route table writes it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"
