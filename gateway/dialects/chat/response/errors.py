"""An upstream's failure to the error a client sees: by status, by OpenRouter's error_type, and by wording.

Statuses and types follow OpenRouter's own mapping to Anthropic's (OpenRouter docs, errors, 2026-08). What the upstream
says of the request is kept, since it helps; bodies are never echoed beyond MESSAGE_LIMIT printable characters, and
nothing that could hold a key or an address of the upstream is.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.response.error_body import ReportedError, read_body, read_value
from gateway.dialects.chat.response.overflow import is_overflow, overflow_wording
from gateway.dialects.chat.response.retry_hints import MAX_RETRY_AFTER, retry_after_of
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
    422: InvalidRequest,
    425: UpstreamError,
    429: RateLimited,
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

# A refusal of the request that a server tells as its own failure. llama.cpp and llama-cpp-python answer 500 to what a
# chat template raised, to media, tools and arguments that they cannot take, and to bodies that do not validate.
REFUSAL_WORDS = re.compile(
    r"jinja exception|raise_exception|templateerror|template error|chat template|system message must|must alternate"
    r"|validation errors?\b|input should be|field required|extra_forbidden|extra inputs are not permitted"
    r"|failed to parse (?:tool|message|grammar|input|request|json)|requires --\w|unknown reasoning format"
    r"|(?:input|content|param(?:eter)?|value|tool|role|format|field)s? (?:is|are) (?:not supported|unsupported)"
    r"|unsupported (?:tool|content|param|value|role|chat|response|media|image)|not a multi-?modal model"
    r"|does not support (?:image|vision|tool|function|multi|audio|system)|tool call id was"
    r"|bad_?request_?error|invalid_request_error|unsupportedparamserror",
    re.IGNORECASE,
)
# llama.cpp's slots share one context by default: when all together fill it, each of their requests ends in these words,
# and passes once others have ended (b11549, 2026-11).
FULL_POOL = re.compile(r"context size has been exceeded\.?", re.IGNORECASE)
# OpenAI's word for an answer that reached max_tokens within its reasoning (litellm issue 35061).
UNFINISHED = re.compile(r"could not finish the message because max_tokens", re.IGNORECASE)
TYPE_LIMIT = 64
MAX_ALTERNATIVES = 3
# OpenRouter says 400 to a model that it does not have.
UNKNOWN_MODEL = re.compile(r"is not a valid model id", re.IGNORECASE)
MODEL_NAME = re.compile(r"~?[\w.-]{1,64}(?:/[\w.-]{1,64})?(?::[\w-]{1,32})?", re.ASCII)


def to_error(status: int, headers: Mapping[str, str], body: bytes, reply: Reply) -> GatewayError:
    """The error of an answer whose status is not 2xx."""
    read = read_body(body)
    return _to_error(status, read, retry_after_of(headers, read.words, limited=status == 429), reply)


def to_embedded_error(details: Any, reply: Reply) -> GatewayError:
    """The error inside a 200, of a JSON body or a chunk. Its code may be a number, a string, or missing."""
    read = read_value(details if isinstance(details, dict | list) else str(details))
    fields = read.fields
    codes = [str(fields.get(name)) for name in ("code", "http_status", "status_code")]
    untold = 400 if fields.get("type") == "invalid_request_error" else 502
    status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code, re.ASCII)), untold)
    return _to_error(status, read, None, reply)


def _to_error(status: int, body: ReportedError, retry_after: float | None, reply: Reply) -> GatewayError:
    error = _classified(status, body, retry_after, reply)
    error.said = UpstreamWords(status, body.words, body.pointers)
    return error


def _classified(status: int, body: ReportedError, retry_after: float | None, reply: Reply) -> GatewayError:
    fields, message = body.fields, body.sentence
    error_type = _error_type(fields, _mapping(fields.get("metadata")))
    if FULL_POOL.fullmatch(message):
        return Overloaded(message)
    if UNFINISHED.search(message):
        return OutputLimitReached(message)
    if is_overflow(status, error_type, message):
        return InvalidRequest(overflow_wording(message, reply), should_retry=False)
    kind = _error_class(status, error_type)
    if kind is UpstreamError and REFUSAL_WORDS.search(body.words):
        kind = InvalidRequest
    if kind is InvalidRequest and UNKNOWN_MODEL.search(message):
        kind = NotFound
    if kind in (Unauthenticated, BillingProblem):
        return _account_error(kind)
    availability = _mapping(fields.get("availability"))
    wait, retryable = availability.get("retry_after"), availability.get("retryable")
    if retry_after is None and isinstance(wait, int | float) and wait >= 0:
        retry_after = min(float(wait), MAX_RETRY_AFTER)
    return kind(
        (message or _unsaid(status)) + _alternatives(availability.get("fallback_models")),
        retry_after=retry_after,
        should_retry=retryable if isinstance(retryable, bool) else None,
        details={"upstream_error_type": error_type} if error_type else None,
    )


def _unsaid(status: int) -> str:
    what = "refused the request" if 400 <= status < 500 else "failed"
    return f"The upstream {what} with status {status} and did not say why."


def _alternatives(models: Any) -> str:
    """The models that OpenRouter says would answer instead, for whoever reads the message."""
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


def _account_error(kind: type[GatewayError]) -> GatewayError:
    """The operator's own account was refused: the client's key is not at fault, and retrying cannot help it."""
    if kind is BillingProblem:
        return BillingProblem("The gateway's account at the upstream has no credit left.", should_retry=False)
    return CredentialsRefused("The upstream refused the gateway's own credentials.", should_retry=False)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
