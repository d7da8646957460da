"""An upstream's failure to the error a client sees: by status, by OpenRouter's error_type, and by wording.

Statuses and types follow OpenRouter's own mapping to Anthropic's (OpenRouter docs, errors, 2026-08). What the upstream
says of the request is kept, since it helps; bodies are never echoed beyond MESSAGE_LIMIT printable characters, and
nothing that could hold a key or an address of the upstream is.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import (
    BillingProblem,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    UpstreamError,
    UpstreamTimedOut,
)

MESSAGE_LIMIT = 512
# Clients sleep as long as they are told, an hour if need be (SDK source, 2026-11): longer waits are theirs to choose.
MAX_RETRY_AFTER = 60.0

STATUS_ERRORS: dict[int, type[GatewayError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    402: BillingProblem,
    403: PermissionDenied,
    404: NotFound,
    408: UpstreamTimedOut,
    412: InvalidRequest,
    413: RequestTooLarge,
    415: InvalidRequest,
    422: InvalidRequest,
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

# What a context overflow looks like at upstreams, with the two numbers that Claude Code parses out of our wording.
OVERFLOWS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"maximum context length is (?P<limit>\d+) tokens.{0,80}?(?:requested|resulted in|contains)[^\d]{0,40}(?P<used>\d+)",
        r"prompt is too long:? (?P<used>\d+) tokens > (?P<limit>\d+)",
        r"input token count \(?(?P<used>\d+)\)? exceeds the maximum[^\d]{0,60}(?P<limit>\d+)",
        r"context (?:length|window)[^\d]{0,60}(?P<limit>\d+)[^\d]{1,80}(?P<used>\d+)",
    )
)
OVERFLOW_WORDS = re.compile(
    r"context[ _](?:length|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
REASONING_WORDS = re.compile(r"signature|thinking block|reasoning_details|encrypted_content", re.IGNORECASE)
UNSAFE = re.compile(r"https?://\S+|\b(?:sk|key|Bearer)[-_ ][A-Za-z0-9._\-]{8,}", re.IGNORECASE)
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


def to_error(status: int, headers: Mapping[str, str], body: bytes, input_estimate: int) -> GatewayError:
    """The error of an answer whose status is not 2xx."""
    details = _error_of(body)
    return _to_error(status, details, retry_after_of(headers), input_estimate)


def to_embedded_error(details: Any, input_estimate: int) -> GatewayError:
    """The error inside a 200: in a JSON body, or in a stream's chunk. Its code may be a number, a string, or missing."""
    fields = details if isinstance(details, dict) else {"message": str(details)}
    code = fields.get("code", fields.get("http_status"))
    status = int(code) if isinstance(code, int | str) and str(code).isdigit() else 502
    return _to_error(status, fields, None, input_estimate)


def rejects_reasoning(error: GatewayError) -> bool:
    """Whether the upstream refused replayed reasoning, which can be left out, and not the request as such."""
    return isinstance(error, InvalidRequest) and REASONING_WORDS.search(error.message) is not None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after`; a date is not read, since only the sender's clock could tell what it means."""
    value = headers.get("retry-after", "").strip()
    return min(float(value), MAX_RETRY_AFTER) if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value) else None


def _to_error(status: int, fields: Mapping[str, Any], retry_after: float | None, input_estimate: int) -> GatewayError:
    metadata = fields.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    error_type = fields.get("error_type") or metadata.get("error_type")
    message = _message_of(fields, metadata)
    if error_type == "context_length_exceeded" or (status in (400, 413, 422) and OVERFLOW_WORDS.search(message)):
        return InvalidRequest(_overflow_wording(message, input_estimate), should_retry=False)
    kind = _error_class(status, error_type)
    if kind in (Unauthenticated, BillingProblem):
        return _account_error(kind)
    availability = fields.get("availability")
    availability = availability if isinstance(availability, dict) else {}
    wait = availability.get("retry_after")
    if retry_after is None and isinstance(wait, int | float):
        retry_after = min(float(wait), MAX_RETRY_AFTER)
    retryable = availability.get("retryable")
    return kind(
        message or kind.__doc__ or "The upstream refused the request.",
        retry_after=retry_after,
        should_retry=retryable if isinstance(retryable, bool) else None,
        details={"upstream_error_type": error_type} if isinstance(error_type, str) else None,
    )


def _error_class(status: int, error_type: object) -> type[GatewayError]:
    if isinstance(error_type, str):
        by_prefix = next((kind for prefix, kind in TYPE_PREFIXES if error_type.startswith(prefix)), None)
        by_type = ERROR_TYPES.get(error_type) or by_prefix
        if by_type is not None:
            return by_type
    if status in STATUS_ERRORS:
        return STATUS_ERRORS[status]
    return InvalidRequest if 400 <= status < 500 else UpstreamError


def _account_error(kind: type[GatewayError]) -> GatewayError:
    """The operator's own account was refused: the client's key is not at fault, and retrying cannot help it."""
    if kind is BillingProblem:
        return BillingProblem("The gateway's account at the upstream has no credit left.", should_retry=False)
    return InternalError("The upstream refused the gateway's own credentials.", should_retry=False)


def _overflow_wording(message: str, input_estimate: int) -> str:
    """Claude Code compacts the conversation when it reads this sentence with two numbers in it."""
    for pattern in OVERFLOWS:
        found = pattern.search(message)
        if found is not None:
            return f"prompt is too long: {found['used']} tokens > {found['limit']} maximum"
    limit = max(1, input_estimate - 1)
    return f"prompt is too long: {input_estimate} tokens > {limit} maximum"


def _error_of(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _message_of(fields: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The upstream's words, and the provider's behind it where OpenRouter passes them on."""
    message = fields.get("message")
    message = message if isinstance(message, str) else ""
    raw = metadata.get("raw")
    if isinstance(raw, str) and raw and raw not in message:
        message = f"{message}: {raw}" if message else raw
    reasons = metadata.get("reasons")
    if isinstance(reasons, list) and reasons:
        message = f"{message} ({', '.join([str(reason) for reason in reasons])})"
    return UNSAFE.sub("[removed]", UNPRINTABLE.sub(" ", message))[:MESSAGE_LIMIT]
