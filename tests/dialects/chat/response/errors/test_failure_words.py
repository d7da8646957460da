"""Failures in the words of real servers, proxies and vendors: the party at fault, at any status.

Sources: servers of 2026-11 that were run, and reports by users in public issue trackers, 2023 to 2026.
"""

from typing import Any

import pytest

from gateway.dialects.chat.response.errors.client_error import to_embedded_error
from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    UpstreamError,
    UpstreamTimedOut,
)
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.health.trouble import Trouble, trouble_of
from tests.support.streams import reply
from tests.support.upstream_errors import error_body, failed

Kind = type[GatewayError]


LITELLM_SUFFIX = "\n\nLiteLLM: model group 'x' failed with the error above. No fallback was attempted."

ACCOUNTS: dict[str, tuple[int, Any, Kind]] = {
    "Anthropic's limits": (400, error_body("You have reached your specified API usage limits."), BillingProblem),
    "xAI, all spent": (403, {"error": "Your team has used all available credits"}, BillingProblem),
    "SiliconFlow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, BillingProblem),
    "LiteLLM without a data base": (
        400,
        {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}},
        CredentialsRefused,
    ),
    "LiteLLM, its own": (
        400,
        error_body("Authentication Error, Invalid proxy server token passed. Received API Key = sk-...1234"),
        CredentialsRefused,
    ),
    "LiteLLM, as a failure": (
        500,
        error_body(
            f"litellm.AuthenticationError: AuthenticationError: OpenAIException - No cookie auth{LITELLM_SUFFIX}"
        ),
        CredentialsRefused,
    ),
    "Gemini": (
        400,
        [
            error_body(
                "API key not valid. Please pass a valid API key.",
                code=400,
                status="INVALID_ARGUMENT",
                details=[{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}],
            )
        ],
        CredentialsRefused,
    ),
    "Gemini, expired": (400, error_body("API key expired. Please renew the API key."), CredentialsRefused),
    "Gemini, unknown": (400, error_body("API Key not found. Please pass a valid API key."), CredentialsRefused),
    "xAI": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: na***ys. You can obtain an API key from https://console.x.ai.",
        },
        CredentialsRefused,
    ),
    "xAI, none": (400, {"error": "No API key provided."}, CredentialsRefused),
    "DeepSeek": (400, error_body("Authentication Fails, Your api key: ****1234 is invalid"), CredentialsRefused),
    "Moonshot": (403, error_body("Invalid Authentication", type="invalid_authentication_error"), CredentialsRefused),
    "DashScope": (400, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, CredentialsRefused),
    "Zhipu": (400, error_body("令牌已过期或验证不正确！", code="401"), CredentialsRefused),
    "Groq, restricted": (
        400,
        error_body("Organization has been restricted.", code="organization_restricted"),
        CredentialsRefused,
    ),
    "Bedrock": (403, {"message": "The security token included in the request is invalid."}, CredentialsRefused),
    "Mistral": (401, {"detail": "Unauthorized"}, CredentialsRefused),
    "vLLM": (401, {"error": "Unauthorized"}, CredentialsRefused),
    "FastAPI": (403, {"detail": "Could not validate credentials"}, CredentialsRefused),
    "a proxy that wraps it into 500": (
        500,
        error_body('upstream: {"error":{"message":"Incorrect API key provided: sk-1","code":"invalid_api_key"}}'),
        CredentialsRefused,
    ),
    "Anthropic, no credit": (
        400,
        error_body("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"),
        BillingProblem,
    ),
    "xAI, no credit": (
        403,
        {"code": "Forbidden", "error": "Your newly created team doesn't have any credits or licenses yet."},
        BillingProblem,
    ),
    "DashScope, overdue": (
        400,
        error_body("Access denied, please make sure your account is in good standing.", code="Arrearage"),
        BillingProblem,
    ),
    "Moonshot, suspended": (
        429,
        error_body(
            "Your account is suspended, please check your plan and billing", type="exceeded_current_quota_error"
        ),
        BillingProblem,
    ),
    "a balance that is too low": (403, error_body("Your account balance is too low, please top up"), BillingProblem),
    "Zhipu, no balance": (429, error_body("余额不足或无可用资源包,请充值。", code="1113"), BillingProblem),
    "OpenAI, the type alone": (
        429,
        error_body("You exceeded your current quota", type="insufficient_quota"),
        BillingProblem,
    ),
    "Fireworks, a spending limit": (
        412,
        error_body("Account acme is suspended, possibly due to reaching the monthly spending limit"),
        BillingProblem,
    ),
    "LiteLLM, a budget": (
        400,
        error_body("Budget has been exceeded! Current cost: 1.2", type="budget_exceeded"),
        BillingProblem,
    ),
    "Gemini, a quota of the free tier, which passes": (
        429,
        error_body(
            "You exceeded your current quota, please check your plan and billing details.", status="RESOURCE_EXHAUSTED"
        ),
        RateLimited,
    ),
    "a region, which is no key": (403, error_body("Country, region, or territory not supported"), PermissionDenied),
    "a tool that is about keys": (400, error_body("tools.0.name: 'check_api_key' is a duplicate"), InvalidRequest),
}


@pytest.mark.parametrize("who", ACCOUNTS)
def test_an_account_that_is_refused_is_recognised_by_its_words(who: str) -> None:
    status, body, kind = ACCOUNTS[who]
    error = failed(status, body)
    assert type(error) is kind, error.message
    if kind in (CredentialsRefused, BillingProblem):
        assert error.should_retry is False
        assert trouble_of(error) is Trouble.ACCOUNT


MODELS: dict[str, tuple[int, Any]] = {
    "OpenRouter": (400, error_body("acme/x is not a valid model ID", code=400)),
    "LiteLLM": (
        400,
        error_body(
            "/chat/completions: Invalid model name passed in model=nope. Call `/v1/models` to view available models"
        ),
    ),
    "transformers serve": (400, {"detail": "Server is pinned to '/models/a'; requested 'nope'."}),
    "DeepSeek": (400, error_body("Model Not Exist", type="invalid_request_error")),
    "DeepSeek through a proxy": (500, error_body("upstream said: Model Not Exist")),
    "Zhipu": (400, error_body("模型不存在，请检查模型代码。", code="1211")),
    "Zhipu, English": (400, error_body("Unknown Model, please check the model code.", code="1211")),
    "Mistral": (400, {"object": "error", "message": "Invalid model: nope", "type": "invalid_model", "code": "1500"}),
    "Bedrock": (400, {"message": "The provided model identifier is invalid."}),
    "MiniMax": (400, error_body("invalid params, unknown model 'nope' (2013)")),
    "Together": (400, error_body("Unable to access model nope. Please visit the list of supported models.")),
    "Moonshot": (404, error_body("Not found the model nope or Permission denied")),
    "OpenAI": (
        404,
        error_body("The model `nope` does not exist or you do not have access to it.", code="model_not_found"),
    ),
    "OpenAI, with 400": (
        400,
        error_body("The requested model 'nope' does not exist.", param="model", code="model_not_found"),
    ),
    "OpenAI, a project without it": (
        403,
        error_body("Project `p` does not have access to model `x`", code="model_not_found"),
    ),
    "DashScope": (400, error_body("Model not exist.")),
    "Ollama": (400, error_body('model "nope:8b" not found, try pulling it first')),
    "Ollama, newer": (404, error_body("model 'nope' not found")),
    "Gemini": (404, error_body("models/nope is not found for API version v1main")),
    "xAI": (400, {"code": "invalid-argument", "error": "Model not found: nope"}),
    "Copilot": (400, error_body("The requested model 'nope' is not supported.")),
    "vLLM": (404, error_body("The model `nope` does not exist. Valid aliases: scripted.", type="NotFoundError")),
    "LiteLLM's class": (500, error_body(f"litellm.NotFoundError: OpenAIException - nope{LITELLM_SUFFIX}")),
    "one-api": (503, error_body("No available channel for model nope under group default", type="new_api_error")),
}


@pytest.mark.parametrize("who", MODELS)
def test_a_model_that_the_upstream_does_not_have_is_not_found(who: str) -> None:
    status, body = MODELS[who]
    error = failed(status, body)
    assert (type(error), error.status, error.type) == (NotFound, 404, "not_found_error")
    assert error.message
    assert trouble_of(error) is Trouble.NONE


def test_a_model_that_takes_no_tools_is_not_taken_for_a_missing_one() -> None:
    error = failed(404, error_body("No endpoints found that support tool use.", code=404))
    assert isinstance(error, InvalidRequest)
    assert "support tool use" in error.message


def test_a_busy_model_is_not_taken_for_a_missing_one() -> None:
    assert type(failed(503, error_body("The model is not available right now"))) is Overloaded


REFUSALS: dict[str, tuple[int, Any, Kind]] = {
    "llama.cpp, an image": (
        500,
        error_body("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        InvalidRequest,
    ),
    "LiteLLM around it": (
        500,
        error_body(
            f"litellm.InternalServerError: OpenAIException - image input is not supported{LITELLM_SUFFIX}", code="500"
        ),
        InvalidRequest,
    ),
    "LiteLLM's class": (
        500,
        error_body(f"litellm.BadRequestError: OpenAIException - odd{LITELLM_SUFFIX}"),
        InvalidRequest,
    ),
    "LiteLLM, a parameter": (
        500,
        error_body("litellm.UnsupportedParamsError: openai does not support parameters: ['verbosity']"),
        InvalidRequest,
    ),
    "LiteLLM, a filter": (
        500,
        error_body("litellm.ContentPolicyViolationError: AzureException - filtered"),
        InvalidRequest,
    ),
    "LiteLLM, a rate limit": (500, error_body("litellm.RateLimitError: GroqException - slow down"), RateLimited),
    "LiteLLM, a timeout": (500, error_body("litellm.Timeout: APITimeoutError - Request timed out."), UpstreamTimedOut),
    "LiteLLM, no server": (500, error_body("litellm.ServiceUnavailableError: VllmException - down"), Overloaded),
    "LiteLLM, no right": (500, error_body("litellm.PermissionDeniedError: OpenAIException - no"), PermissionDenied),
    "LiteLLM, a dead server": (
        500,
        error_body("litellm.InternalServerError: InternalServerError: OpenAIException - Connection error."),
        UpstreamError,
    ),
    "llama.cpp, arguments": (500, error_body("Failed to parse tool call arguments as JSON: []"), InvalidRequest),
    "llama.cpp, tools": (500, error_body("Failed to parse tools: Unsupported tool type: custom"), InvalidRequest),
    "llama.cpp, no template": (500, error_body("tools param requires --jinja flag"), InvalidRequest),
    "llama-cpp-python, a format": (500, error_body("Input should be 'text' or 'json_object'"), InvalidRequest),
    "a full pool of llama.cpp, which passes": (500, error_body("Context size has been exceeded."), Overloaded),
    "a proxy, a rate limit": (500, error_body("Upstream returned 429: Too Many Requests"), RateLimited),
    "a proxy, a rate limit as JSON in JSON": (
        500,
        {"error": '{"error":{"message":"Rate limit exceeded","code":429}}'},
        RateLimited,
    ),
    "Moonshot, a request of many bytes": (
        400,
        error_body("Invalid request: total message size 5000000 exceeds limit 2097152", type="invalid_request_error"),
        RequestTooLarge,
    ),
    "an opaque failure": (500, b"Internal Server Error", UpstreamError),
}


@pytest.mark.parametrize("who", REFUSALS)
def test_a_refusal_worded_as_a_failure_is_not_retried_and_not_counted(who: str) -> None:
    status, body, kind = REFUSALS[who]
    error = failed(status, body)
    assert type(error) is kind, error.message
    if kind is InvalidRequest:
        assert RetryPolicy().delay(error, 1, 0.5, None) is None
        assert trouble_of(error) is Trouble.NONE


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param({"x-litellm-attempted-retries": "2"}, "Connection error.", id="by its headers"),
        pytest.param({}, "litellm.InternalServerError: OpenAIException - Connection error.", id="by its words"),
    ],
)
def test_a_failure_behind_a_proxy_that_retries_is_asked_once_and_counted(headers: dict[str, str], message: str) -> None:
    error = failed(500, error_body(message), headers)
    assert RetryPolicy().delay(error, 1, 0.5, None) is None
    assert (trouble_of(error), error.should_retry) == (Trouble.FAILURE, None)


def test_a_rate_limit_of_a_proxy_that_retries_is_waited_for() -> None:
    error = failed(429, error_body("slow down"), {"retry-after": "1", "x-litellm-version": "1.108"})
    assert RetryPolicy().delay(error, 1, 0.5, None) == 1


LOADING: dict[str, tuple[int, Any, float]] = {
    "llama.cpp": (503, error_body("Loading model", type="unavailable_error", code=503), 15),
    "llama.cpp, bare fields": (503, {"message": "Loading model", "type": "unavailable_error", "code": 503}, 15),
    "Hugging Face": (503, {"error": "Model acme/x is currently loading", "estimated_time": 20.5}, 20.5),
    "Hugging Face, later than clients wait": (
        503,
        {"error": "Model x is currently loading", "estimated_time": 900.0},
        60,
    ),
    "KServe": (503, {"error": "Model with name x is not ready."}, 15),
    "Triton": (400, {"error": "Request for unknown version: 'x' model is not ready"}, 15),
    "Ollama": (500, error_body("llm server loading model"), 15),
    "LM Studio": (400, {"error": "Model is unloaded."}, 15),
    "a plain text": (503, b"The model is still loading, please wait", 15),
    "vLLM behind a proxy": (503, {"detail": "model acme/x is being loaded"}, 15),
}


@pytest.mark.parametrize("who", LOADING)
def test_a_model_that_loads_is_overloaded_with_a_retry_after(who: str) -> None:
    status, body, seconds = LOADING[who]
    error = failed(status, body)
    assert (type(error), error.retry_after) == (Overloaded, seconds)


def test_an_upstreams_own_retry_after_wins_while_a_model_loads() -> None:
    assert failed(503, error_body("Loading model"), {"retry-after": "3"}).retry_after == 3


SHAPES: dict[str, tuple[int, Any, str]] = {
    "a nested 422 (FastAPI)": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]},
        "user: Extra inputs are not permitted",
    ),
    "a set in a detail (transformers serve)": (
        422,
        {"detail": "Unexpected fields in the request: {'top_k', 'min_p'}"},
        "Unexpected fields in the request: {'top_k', 'min_p'}",
    ),
    "a detail within an error": (400, {"error": {"detail": "no such tool"}}, "no such tool"),
    "errors by field (Rails, Laravel)": (422, {"errors": {"user": ["is too long"]}}, "user: is too long"),
    "errors by field, beside a message": (
        422,
        {"message": "The given data was invalid.", "errors": {"user": ["is too long", "is odd"]}},
        "The given data was invalid.: user: is too long; is odd",
    ),
    "errors within the error (Google)": (400, {"error": {"errors": [{"message": "no such tool"}]}}, "no such tool"),
    "Cloudflare": (
        400,
        {"success": False, "errors": [{"code": 5006, "message": "no such tool"}], "messages": [], "result": None},
        "no such tool",
    ),
    "msg": (400, {"code": 400, "msg": "no such tool"}, "no such tool"),
    "a fault (Apigee)": (
        400,
        {"fault": {"faultstring": "no such tool", "detail": {"errorcode": "x.y"}}},
        "no such tool",
    ),
    "errorMessage": (400, {"errorMessage": "no such tool", "errorType": "X"}, "no such tool"),
    "a problem (RFC 9457)": (
        400,
        {"type": "about:blank", "title": "Bad Request", "detail": "no such tool"},
        "no such tool",
    ),
    "true beside a reason": (400, {"error": True, "reason": "no such tool"}, "no such tool"),
    "Tencent": (400, {"Response": {"Error": {"Code": "X", "Message": "no such tool"}}}, "no such tool"),
    "XML (AWS, Azure)": (
        400,
        b"<?xml version='1.0'?><Error><Code>Bad</Code><Message>no such tool</Message></Error>",
        "no such tool",
    ),
    "a web page": (
        400,
        b"<!DOCTYPE html><html><head><title>400 Bad Request</title></head></html>",
        "web page: 400 Bad",
    ),
    "nothing": (400, b"", "status 400 and did not say why"),
    "white space": (400, b" \r\n", "status 400 and did not say why"),
    "null": (400, b"null", "status 400 and did not say why"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reason_reaches_the_client_from(shape: str) -> None:
    status, body, sentence = SHAPES[shape]
    error = failed(status, body)
    assert type(error) is InvalidRequest
    assert sentence in error.message


EMBEDDED: dict[str, tuple[Any, Kind]] = {
    "a key": ({"message": "Incorrect API key provided: x", "code": 400}, CredentialsRefused),
    "a model": ({"message": "Model Not Exist", "code": 400}, NotFound),
    "a model that loads": ({"message": "Loading model", "code": 503}, Overloaded),
    "an overflow": (
        {"message": "litellm.ContextWindowExceededError: prompt is too long", "code": "500"},
        InvalidRequest,
    ),
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_the_words_count_inside_a_success_too(case: str) -> None:
    details, kind = EMBEDDED[case]
    assert type(to_embedded_error(details, reply())) is kind


def test_a_body_that_is_too_large_stays_one() -> None:
    assert type(failed(413, b"<html><title>413 Request Entity Too Large</title></html>")) is RequestTooLarge


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("ThrottlingException: Too many requests, please wait before trying again.", RateLimited),
        ("Too many requests", RateLimited),
        ("The model is overloaded, please try again later", Overloaded),
        ("max_tokens: too many requests of tools are not allowed", InvalidRequest),
    ],
)
def test_a_state_of_the_server_under_400_is_no_fault_of_the_request(message: str, kind: type[GatewayError]) -> None:
    assert type(failed(400, error_body(message))) is kind
