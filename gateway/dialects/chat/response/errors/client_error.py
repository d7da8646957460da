"""An upstream's failure to the error a client sees: by status, by OpenRouter's error_type, and by wording.

Statuses and types follow OpenRouter's own mapping to Anthropic's (OpenRouter docs, errors, 2026-08). What the upstream
says of the request is kept, since it helps; bodies are never echoed beyond MESSAGE_LIMIT printable characters, and
nothing that could hold a key or an address of the upstream is.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.response.errors.error_body import ReportedError, read_body, read_value
from gateway.dialects.chat.response.errors.failure_words import FULL_POOL, LOADING, UNFINISHED, kind_by_words
from gateway.dialects.chat.response.errors.overflow import counts_in_fields, is_counted, is_overflow, overflow_wording
from gateway.dialects.chat.response.errors.refused_output import malformed_output
from gateway.dialects.chat.response.errors.retry_hints import MAX_RETRY_AFTER, hint_in, retry_after_of
from gateway.dialects.reply import Reply
from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    InvalidRequest,
    NotFound,
    OutputLimitReached,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamWords,
)
from gateway.json_values import to_mapping

STATUS_ERRORS: dict[int, type[GatewayError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    402: BillingProblem,
    403: PermissionDenied,
    404: NotFound,
    408: UpstreamTimedOut,
    409: UpstreamError,
    412: InvalidRequest,
    413: RequestTooLarge,
    415: InvalidRequest,
    421: UpstreamError,
    422: InvalidRequest,
    425: UpstreamError,
    429: RateLimited,
    498: Overloaded,  # Groq's flex tier is full
    500: UpstreamError,
    502: UpstreamError,
    503: Overloaded,
    504: UpstreamTimedOut,
    524: UpstreamTimedOut,
    529: Overloaded,
}
ERROR_TYPES: dict[str, type[GatewayError]] = {
    "context_length_exceeded": InvalidRequest,
    "max_tokens_exceeded": InvalidRequest,
    "token_limit_exceeded": InvalidRequest,
    "string_too_long": InvalidRequest,
    "authentication": Unauthenticated,
    "permission_denied": PermissionDenied,
    "payment_required": BillingProblem,
    "rate_limit_exceeded": RateLimited,
    "provider_overloaded": Overloaded,
    "invalid_request": InvalidRequest,
    "invalid_prompt": InvalidRequest,
    "not_found": NotFound,
    "precondition_failed": InvalidRequest,
    "payload_too_large": RequestTooLarge,
    "unprocessable": InvalidRequest,
    "content_policy_violation": InvalidRequest,
    "refusal": InvalidRequest,
    "server": UpstreamError,
    "timeout": UpstreamTimedOut,
}
TYPE_PREFIXES: tuple[tuple[str, type[GatewayError]], ...] = (
    ("invalid_image", InvalidRequest),
    ("image_", InvalidRequest),
    ("unsupported_image", InvalidRequest),
)

# Codes of OpenAI's own API and of servers that follow it, where they say more than the status.
ERROR_CODES: dict[str, type[GatewayError]] = {
    "insufficient_quota": BillingProblem,
    "invalid_api_key": Unauthenticated,
    "model_not_found": NotFound,
}

# `error_type` and models reach logs and messages: an upstream must not fill them.
TYPE_LIMIT = 64
MAX_ALTERNATIVES = 3
# What a server without its model may answer with, and when to come back: a model of some GB loads in 10 s to a minute.
MAY_BE_LOADING = (InvalidRequest, NotFound, UpstreamError, Overloaded)
LOADING_SECONDS = 15.0
MODEL_NAME = re.compile(r"~?[\w.-]{1,64}(?:/[\w.-]{1,64})?(?::[\w-]{1,32})?", re.ASCII)


def to_error(status: int, headers: Mapping[str, str], body: bytes, reply: Reply) -> GatewayError:
    """The error of an answer with a status other than 2xx."""
    read = read_body(body)
    is_busy = status in (429, 503, 529)
    retry_after = retry_after_of(headers, read.words, limited=is_busy)
    if retry_after is None and is_busy:
        retry_after = hint_in(body, headers.get("date", ""))
    error = _to_error(status, read, retry_after, reply)
    is_proxied = "litellm." in read.words or any(name.startswith("x-litellm-") for name in headers)
    error.was_retried = is_proxied and status >= 500
    return error


def to_embedded_error(details: Any, reply: Reply) -> GatewayError:
    """The error inside a 200, of a JSON body or a chunk. Its code may be a number, a string, or missing."""
    read = read_value(details if isinstance(details, dict | list) else str(details))
    fields = read.fields
    codes = [str(fields.get(name)) for name in ("code", "http_status", "status_code")]
    default = 400 if fields.get("type") == "invalid_request_error" else 502
    status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code, re.ASCII)), default)
    return _to_error(status, read, None, reply)


def _to_error(status: int, body: ReportedError, retry_after: float | None, reply: Reply) -> GatewayError:
    error = _classified(status, body, retry_after, reply)
    error.said = UpstreamWords(status, body.words, body.pointers)
    provider = to_mapping(body.fields.get("metadata")).get("provider_name")  # OpenRouter's
    error.provider = provider if isinstance(provider, str) else None
    return error


def _classified(status: int, body: ReportedError, retry_after: float | None, reply: Reply) -> GatewayError:
    fields, message = body.fields, body.sentence
    error_type = _error_type(fields, to_mapping(fields.get("metadata")))
    if FULL_POOL.fullmatch(message):
        return Overloaded(message)
    if UNFINISHED.search(message):
        return OutputLimitReached(message)
    malformed = malformed_output(fields, message, reply)
    if malformed is not None:
        return malformed
    if is_overflow(status, error_type, body.words):
        message = counts_in_fields(fields) or message
        overflow = InvalidRequest(overflow_wording(message, reply), should_retry=False)
        overflow.is_estimate = not is_counted(message)
        return overflow
    kind = kind_by_words(_error_class(status, error_type), body.words)
    if kind in (Unauthenticated, BillingProblem):
        return account_error(kind)
    if kind in MAY_BE_LOADING and LOADING.search(message):
        kind = Overloaded
        retry_after = retry_after or _estimated(fields) or LOADING_SECONDS
    availability = to_mapping(fields.get("availability"))
    wait, retryable = availability.get("retry_after"), availability.get("retryable")
    if retry_after is None and isinstance(wait, int | float) and wait >= 0:
        retry_after = min(float(wait), MAX_RETRY_AFTER)
    if not message:
        what = "refused the request" if 400 <= status < 500 else "failed"
        message = f"The upstream {what} with status {status} and did not say why."
    return kind(
        message + _alternatives(availability.get("fallback_models")),
        retry_after=retry_after,
        should_retry=retryable if isinstance(retryable, bool) else None,
        details={"upstream_error_type": error_type} if error_type else None,
    )


def account_error(kind: type[GatewayError]) -> GatewayError:
    """Return the error for a refusal of the operator's account, without the upstream's words, which may quote the key.

    The client's key is not at fault, and retrying cannot help.
    """
    if kind is BillingProblem:
        return BillingProblem("The gateway's account at the upstream has no credit left.", should_retry=False)
    return CredentialsRefused("The upstream refused the gateway's own credentials.", should_retry=False)


def _estimated(fields: Mapping[str, Any]) -> float | None:
    """Return the seconds until the model has been loaded (Hugging Face)."""
    seconds = fields.get("estimated_time")
    return min(float(seconds), MAX_RETRY_AFTER) if isinstance(seconds, int | float) and seconds > 0 else None


def _alternatives(models: Any) -> str:
    """Return OpenRouter's alternative models, for the message."""
    names = [name for name in models if isinstance(name, str)] if isinstance(models, list) else []
    known = [name for name in names if MODEL_NAME.fullmatch(name)][:MAX_ALTERNATIVES]
    return f" (available instead: {', '.join(known)})" if known else ""


def _error_type(fields: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """OpenRouter's `error_type`, or a word that other servers put into `code`, as far as it is known."""
    words = [word for word in (fields.get("error_type"), metadata.get("error_type")) if isinstance(word, str)]
    code = fields.get("code")
    if isinstance(code, str) and _class_of_type(code) is not None:
        words.append(code)
    return words[0][:TYPE_LIMIT] if words else ""


def _error_class(status: int, error_type: str) -> type[GatewayError]:
    by_type = _class_of_type(error_type)
    if by_type is not None:
        return by_type
    if status in STATUS_ERRORS:
        return STATUS_ERRORS[status]
    return InvalidRequest if 400 <= status < 500 else UpstreamError


def _class_of_type(error_type: str) -> type[GatewayError] | None:
    by_prefix = next((kind for prefix, kind in TYPE_PREFIXES if error_type.startswith(prefix)), None)
    return ERROR_TYPES.get(error_type) or ERROR_CODES.get(error_type) or by_prefix
