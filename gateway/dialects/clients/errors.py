"""Errors in OpenAI's form, from an error in Anthropic's: what the SDKs and coding agents decide by.

Sources: openai 3.57.0 (Python) and 7.59.0 (npm), Codex 0.171.0, opencode 1.18.33 (2026-11).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Api = Literal["chat", "responses"]

# The texts of `access.keys`, which pure code cannot import.
INVALID: Final = "invalid x-api-key"
MISSING: Final = "x-api-key header is required"

# Codes by which Codex and opencode decide to compact, or to stop.
OVERFLOW: Final = "context_length_exceeded"
NO_CREDIT: Final = "insufficient_quota"
UNSUPPORTED: Final = "unsupported_parameter"

# Messages of this gateway's validation and of Anthropic, read back into OpenAI's words.
TOO_LONG: Final = re.compile(r"prompt is too long: (?P<count>\d+) tokens > (?P<limit>\d+) maximum")
TOO_LONG_WITH_ANSWER: Final = re.compile(
    r"input length and `max_tokens` exceed context limit: (?P<count>\d+) \+ (?P<answer>\d+) > (?P<limit>\d+)"
)
# OpenAI's words where an upstream gives no numbers.
UNCOUNTED: Final = "Your input exceeds the context window of this model. Please adjust your input and try again."
WINDOW: Final = "This model's maximum context length is {limit} tokens. However, "
MODEL_IN_404: Final = re.compile(r"model: (?P<model>.+)", re.DOTALL)
FIELD: Final = re.compile(r"(?P<field>[a-z_]+(?:\.[A-Za-z0-9_]+)*): ")


@dataclass(frozen=True, slots=True, repr=False)
class OpenAIError:
    """An error as OpenAI's APIs send it. `status`: of a reply; `body`: the value of `error`."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


# Type in Anthropic's form → type and code in OpenAI's.
TYPES: Final[dict[str, tuple[str, str | None]]] = {
    "invalid_request_error": ("invalid_request_error", None),
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "billing_error": (NO_CREDIT, NO_CREDIT),
    "permission_error": ("invalid_request_error", "permission_denied"),
    "not_found_error": ("invalid_request_error", None),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "conflict_error": ("invalid_request_error", None),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": ("server_error", "timeout"),
    # Codex says "at capacity" after five tries.
    "overloaded_error": ("server_error", "server_is_overloaded"),
    "api_error": ("server_error", "server_error"),
}
# In place of the gateway's own messages about keys, which name Anthropic's header.
WORDS: Final = {
    INVALID: "Incorrect API key provided.",
    MISSING: "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY.",
}
OVERLOADED_STATUS: Final = 503  # clients of OpenAI's APIs do not know Anthropic's 529
# Without credit: opencode and Qwen Code repeat any 429 without end and stop at 402; Codex is the other way round.
NO_CREDIT_STATUS: Final[dict[Api, int]] = {"chat": 402, "responses": 429}


def to_openai_error(error: Mapping[str, Any], status: int, api: Api) -> OpenAIError:
    """Convert the `error` object of Anthropic's envelope, which may be an upstream's own."""
    kind, message = str(error.get("type")), str(error.get("message", ""))
    openai_type, code = TYPES.get(kind, TYPES["api_error"])
    message = WORDS.get(message, message)
    if kind == "overloaded_error":
        status = OVERLOADED_STATUS
    if kind == "billing_error":
        status = NO_CREDIT_STATUS[api]
    overflow = to_overflow(message) if kind == "invalid_request_error" else None
    if overflow is not None:
        return OpenAIError(400, openai_type, OVERFLOW, overflow, "messages" if api == "chat" else "input")
    model = MODEL_IN_404.fullmatch(message) if kind == "not_found_error" else None
    if model is not None:
        text = f"The model `{model['model']}` does not exist or you do not have access to it."
        return OpenAIError(404, openai_type, "model_not_found", text, "model")
    if kind == "not_found_error" and "model" in message.lower():
        return OpenAIError(404, openai_type, "model_not_found", message, "model")
    field = FIELD.match(message) if kind == "invalid_request_error" else None
    if code is None and (error.get("details") or {}).get("error_code") == UNSUPPORTED:
        code = UNSUPPORTED
    return OpenAIError(status, openai_type, code, message, field["field"] if field is not None else None)


def to_overflow(message: str) -> str | None:
    """Return OpenAI's words for a prompt that does not fit; None for any other message."""
    found = TOO_LONG.search(message)
    if found is not None:
        text = f"your messages resulted in {found['count']} tokens. Please reduce the length of the messages."
        return WINDOW.format(limit=found["limit"]) + text
    found = TOO_LONG_WITH_ANSWER.search(message)
    if found is not None:
        total = int(found["count"]) + int(found["answer"])
        parts = f"({found['count']} in the messages, {found['answer']} in the completion)"
        return WINDOW.format(limit=found["limit"]) + (
            f"you requested {total} tokens {parts}. Please reduce the length of the messages or completion."
        )
    return UNCOUNTED if message.startswith("prompt is too long") else None
