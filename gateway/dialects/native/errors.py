"""Errors of an upstream that speaks Messages: its own words, with the gateway's request id.

Claude Code recovers from refused thinking, signatures and system messages by the wording, so the `error` object is
passed on as it is. Only refusals of the operator's own account are not: they are not the client's fault.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.chat.response.errors.client_error import STATUS_ERRORS, account_error
from gateway.dialects.chat.response.errors.client_error import to_error as to_chat_error
from gateway.dialects.chat.response.errors.error_body import read_value
from gateway.dialects.chat.response.errors.failure_words import UNREADABLE_OUTPUT, kind_by_words
from gateway.dialects.chat.response.errors.overflow import is_overflow
from gateway.dialects.chat.response.errors.retry_hints import retry_after_of
from gateway.dialects.chat.response.stop_reason import OVERLOADS
from gateway.dialects.reply import Reply
from gateway.errors import (
    BillingProblem,
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamWords,
)

# Longer than any error of Anthropic's; a compatible server may send anything.
MAX_RELAYED_BYTES = 16 * 1024

TYPE_ERRORS: dict[str, type[GatewayError]] = {
    "invalid_request_error": InvalidRequest,
    "authentication_error": Unauthenticated,
    "billing_error": BillingProblem,
    "permission_error": PermissionDenied,
    "not_found_error": NotFound,
    "request_too_large": RequestTooLarge,
    "rate_limit_error": RateLimited,
    "api_error": UpstreamError,
    "timeout_error": UpstreamTimedOut,
    "overloaded_error": Overloaded,
}
# A context that is too small, in Anthropic's words, from which Claude Code knows by how much to compact. OpenRouter's
# endpoints have their own words in the same envelope.
OVERFLOW = re.compile(r"prompt is too long: \d|exceed context limit: \d")
# The account is out of money, in the words of a 400 (Anthropic, 2026).
NO_MONEY = re.compile(r"credit balance is too low|reached your specified api usage limits", re.IGNORECASE)
# Anthropic's types are written so; vLLM's `BadRequestError` is none that a client knows.
TYPE = re.compile(r"[a-z_]{1,64}")
OWN_ACCOUNT = (Unauthenticated, PermissionDenied, BillingProblem)


def to_error(status: int, headers: Mapping[str, str], body: bytes, reply: Reply) -> GatewayError:
    """Convert an answer with a status other than 2xx. Bodies in other shapes are read as those of chat upstreams."""
    try:
        details = error_object(orjson.loads(body)) if len(body) <= MAX_RELAYED_BYTES else None
    except orjson.JSONDecodeError:
        details = None  # a web page of a proxy, or plain text
    if details is None or not _agree(status, details["type"]):
        return to_chat_error(status, headers, body, reply)
    words = read_value(details).words
    if is_overflow(status, "", words) and OVERFLOW.search(words) is None:
        return to_chat_error(status, headers, body, reply)
    hint = retry_after_of(headers, words, limited=status == 429)
    return to_relayed(status, details, hint)


def error_object(value: object) -> dict[str, Any] | None:
    """Return the `error` of an Anthropic envelope, None for any other value."""
    details = value.get("error") if isinstance(value, dict) and value.get("type") == "error" else None
    if not isinstance(details, dict):
        return None
    kind = details.get("type")
    is_anthropic = isinstance(kind, str) and TYPE.fullmatch(kind) and isinstance(details.get("message"), str)
    return details if is_anthropic else None


def to_relayed(status: int | None, details: dict[str, Any], retry_after: float | None = None) -> GatewayError:
    """Return the error of an `error` object; `status` is None within a stream, where its type decides."""
    message = details["message"]
    kind = to_kind(status, details["type"])
    if NO_MONEY.search(message):
        kind = BillingProblem
    elif details["type"] not in TYPE_ERRORS or details.get("code") in OVERLOADS:
        kind = kind_by_words(kind, read_value(details).words)
        details = {**details, "type": kind.type} if kind is Overloaded else details  # a type that clients wait for
    elif kind in UNREADABLE_OUTPUT.instead_of and UNREADABLE_OUTPUT.pattern.search(message):
        kind = UNREADABLE_OUTPUT.kind
    if issubclass(kind, OWN_ACCOUNT):
        error = account_error(kind)
    else:
        error = kind(message, retry_after=retry_after)
        error.relayed, error.type = details, details["type"]
        if status is not None:
            error.status = status
        if not error.retryable:
            error.should_retry = False
    error.said = UpstreamWords(status or error.status, read_value(details).words)
    return error


def _agree(status: int, error_type: str) -> bool:
    """Return False for a status and a type of which clients would take one for the failure, and some the other."""
    by_type = TYPE_ERRORS.get(error_type)
    if by_type is None or by_type is UpstreamError:
        return status >= (400 if by_type is None else 500)
    return status >= 400 and to_kind(status, "") is by_type


def to_kind(status: int | None, error_type: str) -> type[GatewayError]:
    """Return the class by type; by status if the type is only `api_error`."""
    by_type = TYPE_ERRORS.get(error_type)
    if by_type is not None and by_type is not UpstreamError:
        return by_type
    if status is None:
        return UpstreamError
    return STATUS_ERRORS.get(status) or (InvalidRequest if status < 500 else UpstreamError)
