"""Errors of simulated servers: kinds of problems, their sentences, and the form of an error's body.

The sentences are OpenAI's, as its API sent them in 2025 and 2026. A row replaces those that its server words
differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

from gateway.simulator.script import Headers, Script, json_script
from gateway.simulator.vendors.row import ErrorForm

SENTENCES: Mapping[str, str] = {
    "unknown_field": "Unrecognized request argument supplied: $name",
    "refused_field": "Unsupported parameter: '$name' is not supported with this model.",
    "long_field": "Invalid '$name': string too long. Expected a string with maximum length $limit, but got a string "
    "with length $size instead.",
    "length_field": "Unsupported parameter: '$name' is not supported with this model. Use '$other' instead.",
    "two_lengths": "You cannot set both 'max_tokens' and 'max_completion_tokens'.",
    "max_tokens": "max_tokens is too large: $value. This model supports at most $limit completion tokens, whereas you "
    "provided $value.",
    "overflow": "This model's maximum context length is $limit tokens. However, your messages resulted in $tokens "
    "tokens. Please reduce the length of the messages.",
    "stops": "Invalid 'stop': array too long. Expected an array with maximum length $limit, but got an array with "
    "length $size instead.",
    "role": "Invalid value: '$value'. Supported values are: $listed.",
    "message_field": "Unknown parameter: 'messages[$index].$name'.",
    "late_system": "System message must be at the beginning.",
    "user_after_tool": "Unexpected role 'user' after role 'tool'",
    "last_assistant": "The last message must be a user or tool message.",
    "orphan_result": "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
    "'tool_calls'.",
    "missing_results": "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: $value",
    "no_content": "Invalid value for 'content': expected a string, got null.",
    "tool_parts": "Invalid value for 'messages[$index].content': expected a string, got an array.",
    "part": "Invalid value: '$value'. Supported values are: 'text'.",
    "image_address": "Failed to download image from $value.",
    "arguments": "Invalid 'messages[$index].tool_calls[0].function.arguments': expected a JSON object.",
    "call_id": "Invalid 'messages[$index].tool_calls[0].id': string does not match pattern $value.",
    "long_id": "Invalid 'messages[$index].tool_calls[0].id': string too long. Expected a string with maximum length "
    "$limit, but got a string with length $size instead.",
    "tool_name": "Invalid 'tools[$index].function.name': string does not match pattern. Expected a string that matches "
    "the pattern '^[a-zA-Z0-9_-]+$$'.",
    "description": "Invalid 'tools[$index].function.description': string too long. Expected a string with maximum "
    "length $limit, but got a string with length $size instead.",
    "schema_words": "Invalid schema for function '$name': $listed",
    "schema_word": "'$value' is not permitted.",
    "schema_types": "a list of types is not permitted.",
    "incomplete_schema": "Invalid schema for function '$name': In context=$place, $value",
    "not_strict": "Invalid schema for $name: In context=$place, $value",
    "strict": "Invalid request: 'strict' is not supported in function definitions.",
    "choice": "Invalid value for 'tool_choice': only $listed are supported.",
    "choice_without_tools": "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are "
    "specified.",
    "choice_while_thinking": "The tool_choice parameter does not support being set to required or object in thinking "
    "mode",
    "format": "This response_format type is unavailable now",
    "format_with_tools": "json mode cannot be combined with tool/function calling",
    "effort": "Unsupported value: 'reasoning_effort' does not support '$value' with this model. Supported values are: "
    "$listed.",
    "tools_with_effort": "Function tools with reasoning_effort are not supported for $model in /v1/chat/completions. "
    "To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
    "always_thinks": "This model does not support disabling thinking.",
    "thinking_missing": "thinking is enabled but reasoning_content is missing in assistant tool call message at index "
    "$index",
    "thinking_refused": "Unknown parameter: 'messages[$index].reasoning_content'.",
    "signature_missing": "Function call is missing a thought_signature in functionCall parts. Additional data, "
    "function call `default_api:$name`, position $index.",
    "unknown_model": "The model `$model` does not exist or you do not have access to it.",
    "bad_json": "We could not parse the JSON body of your request.",
    "401": "Incorrect API key provided.",
    "402": "You exceeded your current quota, please check your plan and billing details.",
    "403": "You are not allowed to use this model.",
    "429": "Rate limit reached for requests. Please try again in 1s.",
    "500": "The server had an error while processing your request. Sorry about that!",
    "503": "The engine is currently overloaded, please try again later",
}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
CODES = {
    "overflow": "context_length_exceeded",
    "refused_field": "unsupported_parameter",
    "length_field": "unsupported_parameter",
    "effort": "unsupported_value",
    "unknown_model": "model_not_found",
    "401": "invalid_api_key",
    "402": "insufficient_quota",
    "429": "rate_limit_exceeded",
}


@dataclass(slots=True)
class RefusedRequest(Exception):
    """A refusal by a simulated server. `facts` fill its sentence; the row may replace the status."""

    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    status: int = 400


def refusal_of(kind: str, status: int = 400, **facts: Any) -> RefusedRequest:
    return RefusedRequest(kind, facts, status)


def sentence_of(errors: ErrorForm, kind: str, facts: Mapping[str, Any]) -> str:
    return Template(errors.words.get(kind) or SENTENCES.get(kind) or f"Error {kind}").safe_substitute(facts)


def to_refusal(errors: ErrorForm, refused: RefusedRequest) -> Script:
    """Return the error as this server would send it."""
    status = errors.statuses.get(refused.kind, refused.status)
    values = {
        **refused.facts,
        "message": sentence_of(errors, refused.kind, refused.facts),
        "type": TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": refused.facts.get("param"),
        "code": errors.codes.get(refused.kind) or CODES.get(refused.kind),
        "status": status,
        "google_status": GOOGLE_STATUSES.get(status, "INTERNAL"),
    }
    headers: Headers = (("Retry-After", "1"),) if status == 429 else ()
    envelope = errors.envelopes.get(refused.kind, errors.envelope)
    return json_script(_filled(envelope, values), status=status, headers=headers)


def _filled(form: Any, values: Mapping[str, Any]) -> Any:
    """Return the form with each `$name` replaced by its value. Text around a name makes it a template."""
    match form:
        case dict():
            return {key: _filled(inner, values) for key, inner in form.items()}
        case list():
            return [_filled(inner, values) for inner in form]
        case str() if form[1:] in values and form.startswith("$"):
            return values[form[1:]]
        case str():
            return Template(form).safe_substitute(values)
        case _:
            return form
