"""Refusals by gateways, clouds and engines, with the status that each means for a client of Messages."""

from typing import Any, Final

from tests.e2e.vendor_answers.script import Script, refused


def openai(name: str, meant: int, status: int, message: str, code: Any = None, kind: Any = None) -> Script:
    """A refusal in OpenAI's form."""
    return refused(name, meant, status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


REFUSALS: Final = (
    openai(
        "openai: no quota",
        402,
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    openai(
        "openai: no such model",
        404,
        404,
        "The model `x` does not exist or you do not have access to it.",
        "model_not_found",
        "invalid_request_error",
    ),
    openai(
        "openai: a limit in a minute",
        429,
        429,
        (
            "Rate limit reached for gpt-5 on tokens per min (TPM): Limit 30000, Used 20000, Requested 15000. Please "
            "try again in 10s."
        ),
        "rate_limit_exceeded",
        "tokens",
    ),
    openai(
        "openai: overloaded",
        529,
        503,
        "The server is currently overloaded with other requests. Sorry about that!",
        None,
        "server_error",
    ),
    openai(
        "openai: too long",
        400,
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "context_length_exceeded",
        "invalid_request_error",
    ),
    openai(
        "openai: flagged",
        400,
        400,
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        "invalid_prompt",
        "invalid_request_error",
    ),
    openai(
        "groq: no capacity for flex", 529, 498, "Flex tier capacity exceeded", "capacity_exceeded", "capacity_exceeded"
    ),
    openai(
        "groq: over capacity",
        529,
        503,
        "openai/gpt-oss-120b is currently over capacity. Please try again and back off exponentially.",
        None,
        "internal_server_error",
    ),
    refused(
        "mistral: over capacity",
        429,
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "service_tier_capacity_exceeded",
            "param": None,
            "code": "3505",
        },
    ),
    refused(
        "together: no credit",
        402,
        402,
        {
            "error": {
                "message": "Credit limit exceeded, please navigate to billing to add credits.",
                "type": "credit_limit",
                "param": None,
                "code": None,
            }
        },
    ),
    refused(
        "hugging face: no credit",
        402,
        402,
        {
            "error": (
                "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x "
                "more monthly included credits."
            )
        },
    ),
    refused(
        "fireworks: the account is suspended",
        402,
        412,
        {
            "error": {
                "message": (
                    "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay "
                    "past invoices."
                ),
                "type": "error",
                "code": "PRECONDITION_FAILED",
            }
        },
    ),
    refused(
        "xai: no credit",
        402,
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": (
                "Your team has either used all available credits or reached its monthly spending limit. To continue "
                "making API requests, please purchase more credits."
            ),
        },
    ),
    refused(
        "openrouter: no credit",
        402,
        402,
        {
            "error": {
                "message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
                "code": 402,
            }
        },
    ),
    refused(
        "openrouter: too few credits for the tokens",
        402,
        402,
        {
            "error": {
                "message": (
                    "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but "
                    "can only afford 100."
                ),
                "code": 402,
            }
        },
    ),
    refused(
        "openrouter: moderated",
        403,
        403,
        {
            "error": {
                "message": "x requires moderation. Your input was flagged",
                "code": 403,
                "metadata": {"reasons": ["violence"], "flagged_input": "x"},
            }
        },
    ),
    refused(
        "openrouter: a limit of the provider",
        429,
        429,
        {
            "error": {
                "message": "Provider returned error",
                "code": 429,
                "metadata": {
                    "raw": "x is temporarily rate-limited upstream. Please retry shortly",
                    "provider_name": "y",
                },
            }
        },
    ),
    refused(
        "openrouter: a day's limit",
        429,
        429,
        {
            "error": {
                "message": (
                    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per "
                    "day"
                ),
                "code": 429,
            }
        },
    ),
    refused(
        "kimi: too long",
        400,
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 270000)",
                "type": "invalid_request_error",
            }
        },
    ),
    refused(
        "kimi: a limit",
        429,
        429,
        {
            "error": {
                "message": (
                    "Your account x<ak-x> request reached organization max RPM: 20, please try again after 1 seconds"
                ),
                "type": "rate_limit_reached_error",
            }
        },
    ),
    refused(
        "kimi: inspected",
        400,
        400,
        {
            "error": {
                "message": "The request was rejected because it was considered high risk",
                "type": "content_filter",
            }
        },
    ),
    refused(
        "glm: no such model",
        404,
        400,
        {"error": {"code": "1211", "message": "Unknown Model, please check the model code."}},
    ),
    refused(
        "glm: overloaded",
        529,
        429,
        {"error": {"code": "1305", "message": "The service may be temporarily overloaded, please try again later"}},
    ),
    refused(
        "glm: the plan's limit",
        429,
        429,
        {
            "error": {
                "code": "1308",
                "message": "Usage limit reached for 5 hour. Your limit will reset at 2026-11-30 20:00:00",
            }
        },
    ),
    refused(
        "glm: inspected",
        400,
        400,
        {
            "error": {
                "code": "1301",
                "message": "System detected potentially unsafe or sensitive content in input or generation.",
            }
        },
    ),
    refused(
        "minimax: too long",
        400,
        400,
        {
            "type": "error",
            "error": {"type": "bad_request_error", "message": "invalid params, context window exceeds limit (2013)"},
        },
    ),
    refused(
        "minimax: overloaded",
        529,
        529,
        {
            "type": "error",
            "error": {
                "type": "overloaded_error",
                "message": "The server cluster is currently under high load. Please retry after a short wait. (2064)",
            },
        },
    ),
    refused(
        "minimax: the plan's limit",
        429,
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "usage limit exceeded, 5-hour usage limit reached for Token Plan (2056)",
            },
        },
    ),
    refused(
        "deepseek: too long",
        400,
        400,
        {
            "error": {
                "message": (
                    "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens "
                    "(139000 in the messages, 1000 in the completion). Please reduce the length of the messages or "
                    "completion."
                ),
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request_error",
            }
        },
    ),
    refused(
        "deepseek: overloaded",
        529,
        503,
        {
            "error": {
                "message": (
                    "Service is too busy. We advise users to temporarily switch to alternative LLM API service "
                    "providers."
                ),
                "type": "service_unavailable_error",
                "code": "service_unavailable_error",
            }
        },
    ),
    refused(
        "qwen: too long",
        400,
        400,
        {
            "error": {
                "code": "invalid_parameter_error",
                "message": "Range of input length should be [1, 129024]",
                "param": None,
                "type": "invalid_request_error",
            }
        },
    ),
    refused(
        "qwen: the free tier is used up",
        402,
        403,
        {
            "error": {
                "message": (
                    "The free tier of the model has been exhausted. If you wish to continue access the model on a "
                    'paid basis, please disable the "use free tier only" mode in the management console.'
                ),
                "type": "AllocationQuota.FreeTierOnly",
                "param": None,
                "code": "AllocationQuota.FreeTierOnly",
            }
        },
    ),
    refused(
        "gemini: a wrong key behind a 400",
        500,
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    refused(
        "gemini: a day's quota",
        429,
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": (
                        "You exceeded your current quota, please check your plan and billing details. For more "
                        "information on this error, head over to the docs. * Quota exceeded for metric: "
                        "generate_content_free_tier_requests, limit: 20. Please retry in 34s."
                    ),
                    "status": "RESOURCE_EXHAUSTED",
                }
            }
        ],
    ),
    refused(
        "gemini: no such model",
        404,
        404,
        [
            {
                "error": {
                    "code": 404,
                    "message": "models/x is not found for API version v1main, or is not supported for generateContent.",
                    "status": "NOT_FOUND",
                }
            }
        ],
    ),
    refused(
        "vertex: exhausted",
        429,
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "Resource exhausted. Please try again later. Please refer to the docs for more details.",
                    "status": "RESOURCE_EXHAUSTED",
                }
            }
        ],
    ),
    refused(
        "vertex: slow",
        504,
        504,
        [{"error": {"code": 504, "message": "Deadline exceeded", "status": "DEADLINE_EXCEEDED"}}],
    ),
    refused("bedrock: too long", 400, 400, {"message": "Input is too long for requested model."}),
    refused("bedrock: many requests", 429, 429, {"message": "Too many tokens, please wait before trying again."}),
    refused(
        "bedrock: many requests in a day",
        429,
        429,
        {"message": "Too many tokens per day, please wait before trying again."},
    ),
    refused(
        "bedrock: not ready",
        529,
        429,
        {"message": "Model is not ready for inference. Please wait and try your request again."},
    ),
    refused("bedrock: unavailable", 529, 503, {"message": "Bedrock is unable to process your request."}),
    refused(
        "bedrock: no access", 403, 403, {"message": "You don't have access to the model with the specified model ID."}
    ),
    refused("bedrock: a wrong name", 404, 400, {"message": "The provided model identifier is invalid."}),
    refused(
        "azure: over capacity",
        429,
        429,
        {
            "error": {
                "code": "NoCapacity",
                "message": (
                    "The system is currently experiencing high demand and cannot process your request. Your request "
                    "exceeds the maximum usage size allowed during peak load."
                ),
            }
        },
    ),
    refused("azure: slow", 504, 408, {"error": {"code": "Timeout", "message": "The operation was timeout."}}),
    refused("azure: no such resource", 404, 404, {"error": {"code": "404", "message": "Resource not found"}}),
    refused(
        "azure: a key",
        500,
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}},
    ),
    refused(
        "copilot: the premium requests are used up",
        402,
        402,
        {"error": {"message": "You have exceeded your premium request allowance.", "code": "quota_exceeded"}},
    ),
    refused(
        "copilot: no such model",
        404,
        400,
        {
            "error": {
                "message": "The requested model is not supported.",
                "code": "model_not_supported",
                "param": "model",
                "type": "invalid_request_error",
            }
        },
    ),
    refused(
        "copilot: too long",
        400,
        400,
        {
            "error": {
                "message": "prompt token count of 140000 exceeds the limit of 128000",
                "code": "model_max_prompt_tokens_exceeded",
            }
        },
    ),
    refused(
        "codex: the plan's limit",
        429,
        429,
        {
            "error": {
                "type": "usage_limit_reached",
                "message": "The usage limit has been reached",
                "plan_type": "plus",
                "resets_in_seconds": 3600,
            }
        },
    ),
    refused(
        "new-api: no channel",
        404,
        503,
        {
            "error": {
                "code": "model_not_found",
                "message": "No available channel for model x under group default (distributor)",
                "type": "new_api_error",
            }
        },
    ),
    refused(
        "new-api: no quota",
        402,
        403,
        {
            "error": {
                "message": "user quota is not enough",
                "type": "new_api_error",
                "param": "",
                "code": "insufficient_user_quota",
            }
        },
    ),
    refused(
        "one-api: saturated",
        529,
        429,
        {
            "error": {
                "message": "当前分组上游负载已饱和，请稍后再试",
                "type": "one_api_error",
                "param": "",
                "code": None,
            }
        },
    ),
    refused("one-api: a wrong key", 500, 401, {"error": {"message": "无效的令牌", "type": "one_api_error"}}),
    openai(
        "litellm: the budget",
        402,
        400,
        "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0",
        "400",
        "budget_exceeded",
    ),
    openai(
        "litellm: no deployment",
        429,
        429,
        "No deployments available for selected model, Try again in 5 seconds. Passed model=x.",
        "429",
    ),
    openai(
        "litellm: another's overload behind a 500",
        529,
        500,
        (
            "litellm.InternalServerError: AnthropicException - "
            '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
        ),
        "500",
    ),
    openai(
        "litellm: another's limit behind a 500",
        429,
        500,
        "litellm.APIConnectionError: VertexAIException - RESOURCE_EXHAUSTED: Resource has been exhausted",
        "500",
    ),
    refused(
        "bifrost: a limit",
        429,
        429,
        {
            "is_bifrost_error": True,
            "status_code": 429,
            "error": {"type": "rate_limit", "message": "Rate limit reached"},
            "extra_fields": {},
        },
    ),
    refused(
        "portkey: a guardrail",
        400,
        446,
        {
            "error": {
                "message": (
                    "The guardrail checks defined in the config failed. You can find more information in the "
                    "`hook_results` object."
                ),
                "type": "hooks_failed",
                "param": None,
                "code": None,
            },
            "hook_results": {},
        },
    ),
    refused("kong: a limit", 429, 429, {"message": "API rate limit exceeded", "request_id": "x"}),
    refused("chutes: at capacity", 529, 429, {"detail": "Infrastructure is at maximum capacity, try again later"}),
    refused("cloudflare: a slow server", 504, 524, b"<html><title>524: A timeout occurred</title></html>"),
    refused("cloudflare: no server", 502, 521, b"<html><title>521: Web server is down</title></html>"),
    refused(
        "cloudflare: JSON of its own",
        429,
        429,
        {
            "success": False,
            "errors": [{"code": 3036, "message": "You have used up your daily free allocation of 10,000 neurons"}],
            "result": None,
        },
    ),
    refused("nginx: too large", 413, 413, b"<html><head><title>413 Request Entity Too Large</title></head></html>"),
    refused("nginx: slow", 504, 504, b"<html><head><title>504 Gateway Time-out</title></head></html>"),
    refused("envoy: no server", 529, 503, b"no healthy upstream"),
    refused(
        "vllm: too many tokens asked for",
        400,
        400,
        {
            "error": {
                "message": (
                    "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context "
                    "length is 8192 tokens and your request has 100 input tokens (32000 > 8192 - 100)."
                ),
                "type": "BadRequestError",
                "param": "max_tokens",
                "code": 400,
            }
        },
    ),
    refused(
        "vllm: no such model",
        404,
        404,
        {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}},
    ),
    refused(
        "sglang: too long",
        400,
        400,
        {
            "object": "error",
            "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    refused(
        "sglang: full",
        529,
        503,
        {
            "object": "error",
            "message": "The request queue is full.",
            "type": "ServiceUnavailable",
            "param": None,
            "code": 503,
        },
    ),
    refused(
        "ollama: no tools",
        400,
        400,
        {
            "error": {
                "message": "registry.ollama.ai/library/x does not support tools",
                "type": "api_error",
                "param": None,
                "code": None,
            }
        },
    ),
    refused(
        "ollama: no memory",
        502,
        500,
        {
            "error": {
                "message": "model requires more system memory (9.0 GiB) than is available (4.0 GiB)",
                "type": "api_error",
                "param": None,
                "code": None,
            }
        },
    ),
    refused(
        "ollama: the plan's limit",
        429,
        429,
        {"error": "you (x) have reached your session usage limit, upgrade for higher limits"},
    ),
    refused(
        "ollama: full",
        529,
        503,
        {
            "error": {
                "message": "server busy, please try again.  maximum pending requests exceeded",
                "type": "api_error",
            }
        },
    ),
    refused(
        "lmstudio: no model",
        404,
        404,
        {
            "error": {
                "message": "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        },
    ),
    refused(
        "lmstudio: the model crashed",
        502,
        400,
        {"error": "The model has crashed without additional information. (Exit code: 18446744072635812000)"},
    ),
)
