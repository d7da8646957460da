"""Refusals in OpenRouter's error shapes: a table from status to wording, and special bodies."""

from dataclasses import dataclass
from typing import Any

from gateway.simulator.script import Headers, Script, json_script
from gateway.simulator.shapes import PROVIDER, Generation, Json, to_chunk

USER_ID = "user_simulator"
RETRY_AFTER_SECONDS = 1
RATE_LIMIT = 20  # requests a minute, what `:free` models allow
CONTEXT_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Wording of a status. `by_provider`: the provider failed, not OpenRouter; its own words are in `metadata.raw`."""

    message: str
    error_type: str
    by_provider: bool = False


FAILURES: dict[int, Failure] = {
    400: Failure('Input required: specify "prompt" or "messages"', "invalid_request"),
    401: Failure("User not found.", "authentication"),
    402: Failure("Insufficient credits. Add more using https://openrouter.ai/settings/credits", "payment_required"),
    403: Failure("Key limit exceeded (total limit).", "permission_denied"),
    404: Failure("No endpoints found for this model.", "not_found"),
    408: Failure("Operation timed out.", "timeout"),
    412: Failure("A precondition of the request is not met.", "precondition_failed"),
    413: Failure("Request entity too large.", "payload_too_large"),
    422: Failure("The request is well-formed but cannot be processed.", "unprocessable"),
    429: Failure("Rate limit exceeded: free-models-per-min.", "rate_limit_exceeded"),
    500: Failure("Internal Server Error", "server"),
    502: Failure("Provider returned error", "provider_unavailable", by_provider=True),
    503: Failure("There is no available model provider that meets your routing requirements.", "provider_unavailable"),
    504: Failure("The provider did not answer in time.", "timeout", by_provider=True),
    524: Failure("The provider did not answer in time.", "timeout", by_provider=True),
    529: Failure("Provider returned error", "provider_overloaded", by_provider=True),
}
UNLISTED = Failure("An error that is in no table.", "unmapped")


def error_script(status: int, message: str | None = None, *, reset_at: int = 0, metadata: Json | None = None) -> Script:
    """Return a refusal with that status. `reset_at`: Unix seconds. `metadata` is added to the usual fields."""
    error = to_error(status, message, metadata=metadata)
    return json_script({"error": error, "user_id": USER_ID}, status=status, headers=_headers_of(status, reset_at))


def to_error(status: int, message: str | None = None, *, metadata: Json | None = None) -> Json:
    """Return the object under `error`. It is the same before a stream, within one, and in a choice."""
    failure = FAILURES.get(status, UNLISTED)
    return {
        "code": status,
        "message": message or failure.message,
        "metadata": {"error_type": failure.error_type, **_blame(failure), **(metadata or {})},
    }


def to_error_chunk(generation: Generation, status: int = 502) -> Json:
    """Return the last chunk of a stream that fails after its 200."""
    finish = to_chunk(
        generation, {"role": "assistant", "content": ""}, finish_reason="error", native_finish_reason="error"
    )
    return finish | {"error": to_error(status, "Provider disconnected unexpectedly")}


def overflow_script(asked: int) -> Script:
    """Return the refusal of a prompt that is too long. `asked`: reported tokens, raised above the limit."""
    size = max(asked, CONTEXT_TOKENS + 1)
    message = (
        f"This endpoint's maximum context length is {CONTEXT_TOKENS} tokens. However, you requested about {size} "
        f"tokens ({size} of text input). Please reduce the length of either one, or use the context-compression "
        "plugin to compress your prompt automatically."
    )
    return error_script(400, message, metadata={"error_type": "context_length_exceeded"})


def moderated_script(model: str, text: str) -> Script:
    metadata: Json = {
        "error_type": "content_policy_violation",
        "reasons": ["violence"],
        "flagged_input": text[:100],
        "provider_name": PROVIDER,
        "model_slug": model,
    }
    return error_script(403, f'{model} requires moderation. Your input was flagged for "violence".', metadata=metadata)


def unavailable_script(model: str) -> Script:
    """Return the newest form of "no endpoint now": `error_type` and `http_status` instead of `code`, with a remedy."""
    error: Json = {
        "error_type": "provider_unavailable",
        "http_status": 503,
        "message": "No endpoint of this model is available now.",
        "availability": {
            "code": "temporarily_unavailable",
            "retryable": True,
            "retry_after": RETRY_AFTER_SECONDS,
            "requested_models": [model],
            "affected_providers": [PROVIDER],
            "fallback_models": ["sim/echo"],
            "docs_url": "https://openrouter.ai/docs/api/reference/errors",
        },
    }
    return json_script({"error": error, "user_id": USER_ID}, status=503, headers=_headers_of(503, 0))


def _blame(failure: Failure) -> dict[str, Any]:
    if not failure.by_provider:
        return {}
    return {
        "raw": '{"error":{"message":"The simulated provider failed."}}',
        "provider_name": PROVIDER,
        "provider_code": failure.error_type,
        "previous_errors": [],
    }


def _headers_of(status: int, reset_at: int) -> Headers:
    retry: Headers = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
    if status == 429:
        return (
            *retry,
            ("X-RateLimit-Limit", str(RATE_LIMIT)),
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset", str((reset_at + RETRY_AFTER_SECONDS) * 1000)),
        )
    return retry if status == 503 else ()
