"""Refusals by vendor, with the status that each means for a client of Messages."""

from typing import Final

from tests.e2e.vendor_answers.script import refused

REFUSALS: Final = (
    refused(
        "azure: the prompt was filtered",
        400,
        400,
        {
            "error": {
                "message": (
                    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
                ),
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
    ),
    refused(
        "azure: a limit of tokens",
        429,
        429,
        {
            "error": {
                "code": "429",
                "message": (
                    "Requests to the ChatCompletions_Create Operation have exceeded token rate limit. "
                    "Please retry after 7 seconds."
                ),
            }
        },
    ),
    refused(
        "azure: no deployment",
        404,
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
    ),
    refused(
        "gemini: a list of one error",
        400,
        400,
        [{"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT"}}],
    ),
    refused(
        "gemini: overloaded",
        529,
        503,
        [
            {
                "error": {
                    "code": 503,
                    "message": "The model is overloaded. Please try again later.",
                    "status": "UNAVAILABLE",
                }
            }
        ],
    ),
    refused(
        "gemini: exhausted, with a delay",
        429,
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "Resource has been exhausted",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}],
                }
            }
        ],
    ),
    refused(
        "gemini: too long",
        400,
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": (
                        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
                    ),
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    refused(
        "deepseek: no balance",
        402,
        402,
        {
            "error": {
                "message": "Insufficient Balance",
                "type": "unknown_error",
                "param": None,
                "code": "invalid_request_error",
            }
        },
    ),
    refused(
        "kimi: no quota",
        402,
        429,
        {
            "error": {
                "message": "Your account is suspended due to insufficient balance, please recharge your account",
                "type": "exceeded_current_quota_error",
            }
        },
    ),
    refused(
        "kimi: the engine is overloaded",
        529,
        429,
        {
            "error": {
                "message": "The engine is currently overloaded, please try again later",
                "type": "engine_overloaded_error",
            }
        },
    ),
    refused("glm: a limit", 429, 429, {"error": {"code": "1302", "message": "Rate limit reached for requests"}}),
    refused(
        "glm: no balance",
        402,
        429,
        {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}},
    ),
    refused("glm: too long", 400, 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    refused(
        "qwen: inspected",
        400,
        400,
        {
            "error": {
                "message": "Input data may contain inappropriate content.",
                "type": "data_inspection_failed",
                "param": None,
                "code": "data_inspection_failed",
            }
        },
    ),
    refused(
        "qwen: throttled",
        429,
        429,
        {
            "error": {
                "message": "Requests rate limit exceeded, please try again later.",
                "type": "limit_requests",
                "code": "limit_requests",
            }
        },
    ),
    refused(
        "qwen: in arrears",
        402,
        400,
        {
            "error": {
                "message": "Access denied, please make sure your account is in good standing.",
                "type": "Arrearage",
                "code": "Arrearage",
            }
        },
    ),
    refused(
        "mistral: a list of details",
        400,
        422,
        {
            "object": "error",
            "message": {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    ),
    refused("mistral: a message by itself", 429, 429, {"message": "Requests rate limit exceeded"}),
    refused(
        "groq: one request is larger than the limit of tokens",
        400,
        413,
        {
            "error": {
                "message": (
                    "Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit "
                    "6000, Requested 9000, please reduce your message size and try again."
                ),
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
    ),
    refused(
        "cerebras: flat",
        429,
        429,
        {
            "message": "Tokens per minute limit exceeded - too many tokens processed.",
            "type": "too_many_tokens_error",
            "param": "quota",
            "code": "token_quota_exceeded",
        },
    ),
    refused(
        "cerebras: flat and too long",
        400,
        400,
        {
            "message": (
                "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"
            ),
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    refused(
        "cerebras: a queue",
        529,
        503,
        {
            "message": "We're experiencing high traffic right now! Please try again soon.",
            "type": "too_many_requests_error",
            "param": "queue",
            "code": "queue_exceeded",
        },
    ),
    refused(
        "xai: the error is a text",
        400,
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Argument not supported on this model: presencePenalty",
        },
    ),
    refused(
        "xai: a limit",
        429,
        429,
        {"code": "Some resource has been exhausted", "error": "Your team has reached its rate limit."},
    ),
    refused(
        "ollama: no such model",
        404,
        404,
        {"error": {"message": "model 'x' not found", "type": "not_found_error", "param": None, "code": None}},
    ),
    refused(
        "lmstudio: too long",
        400,
        400,
        {
            "error": (
                "Trying to keep the first 9000 tokens when context the overflows. However, the model "
                "is loaded with context length of only 4096 tokens, which is not enough."
            )
        },
    ),
    refused(
        "vllm: flat",
        400,
        400,
        {
            "object": "error",
            "message": (
                "This model's maximum context length is 8192 tokens. However, you requested 9000 "
                "tokens in the messages, Please reduce the length of the messages."
            ),
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    refused(
        "llamacpp: the context is exceeded",
        400,
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 8192,
            }
        },
    ),
    refused(
        "llamacpp: loading", 529, 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    ),
    refused(
        "litellm: the window is exceeded",
        400,
        400,
        {
            "error": {
                "message": (
                    "litellm.ContextWindowExceededError: litellm.BadRequestError: This model's maximum "
                    "context length is 8192 tokens. However, your messages resulted in 9000 tokens."
                ),
                "type": None,
                "param": None,
                "code": "400",
            }
        },
    ),
    refused(
        "bedrock: throttled behind a 500",
        429,
        500,
        {
            "detail": (
                "An error occurred (ThrottlingException) when calling the ConverseStream operation "
                "(reached max retries: 4): Too many requests, please wait before trying again."
            )
        },
    ),
    refused(
        "bedrock: too long behind a 400",
        400,
        400,
        {
            "detail": (
                "An error occurred (ValidationException) when calling the ConverseStream operation: "
                "Input is too long for requested model."
            )
        },
    ),
    refused("proxy: a gateway's page", 502, 502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
)
