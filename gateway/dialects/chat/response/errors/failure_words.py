"""Classification of failures by their words, beyond the status: the party at fault, and whether a retry can help.

Servers and proxies put wrong keys, missing models and exhausted accounts under 400, refusals under 500, and a model
that is still loading under several statuses. A row applies to the kinds of error that the status alone has suggested,
so that a clear status is never overruled. The first row that matches decides.
"""

import re
from dataclasses import dataclass

from gateway.errors import (
    BillingProblem,
    GatewayError,
    InvalidRequest,
    MalformedOutput,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    UpstreamError,
    UpstreamTimedOut,
)

Kind = type[GatewayError]


@dataclass(frozen=True, slots=True)
class FailureWording:
    """`instead_of`: the kinds that these words replace by `kind`."""

    kind: Kind
    instead_of: tuple[Kind, ...]
    pattern: "re.Pattern[str]"


def _wording(kind: Kind, instead_of: tuple[Kind, ...], *patterns: str) -> FailureWording:
    return FailureWording(kind, instead_of, re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE))


REFUSED = (InvalidRequest, PermissionDenied, NotFound, UpstreamError)
FAILED = (UpstreamError,)

# A model that is being loaded. llama.cpp, Hugging Face ("is currently loading"), LM Studio, KServe ("is not ready").
LOADING = re.compile(
    r"\bloading model\b|\bmodel\b.{0,120}?\b(?:(?:is|still|currently|being) )+"
    r"(?:loading|loaded\b(?! with)|initiali[sz]ing|starting|warming up|not ready)"
    r"|\bmodel (?:is )?not (?:yet )?(?:ready|loaded)\b|\bmodel is unloaded\b",
    re.IGNORECASE,
)
# llama.cpp's slots share one context by default: when all together fill it, each of their requests ends in these words,
# and passes once others have ended (b11549, 2026-11).
FULL_POOL = re.compile(r"context size has been exceeded\.?", re.IGNORECASE)
# OpenAI's word for an answer that reached max_tokens within its reasoning (litellm issue 35061).
UNFINISHED = re.compile(r"could not finish the message because max_tokens", re.IGNORECASE)

# The server could not read the output of its model: Ollama, llama.cpp, SGLang, Groq; vLLM 0.32 on Messages, where a
# forced call has arguments that are no object.
UNREADABLE_OUTPUT = _wording(
    MalformedOutput,
    (InvalidRequest, UpstreamError),
    r"error parsing tool call|failed to parse input at pos \d|failed to parse fc related info",
    r"\btool_use_failed\b|\boutput_parse_failed\b|\bjson_validate_failed\b",
    r"validation errors? for (?:AnthropicContentBlock|\w*FunctionCall|\w*ToolCall)\b",
)
WORDINGS = (
    UNREADABLE_OUTPUT,
    _wording(
        Unauthenticated,
        REFUSED,
        r"no connected db|no_db_connection",  # LiteLLM without a data base, for any key but its own
        r"litellm\.authenticationerror|invalid proxy server token|litellm virtual key",
        r"\bapi[ _-]?key(?: provided)?(?: is)? (?:not valid|not found|invalid|incorrect|expired|missing)",
        r"(?:incorrect|invalid|expired|missing|wrong|no|bad|revoked)[ _-](?:x-)?api[ _-]?key",  # xAI, Gemini, OpenAI
        r"(?:did not|didn't|must|please) (?:provide|pass|use|supply) (?:an |a valid )?(?:x-)?api[ _-]?key",
        r"\bapi_key_invalid\b|\bapi key: \S{1,80} is invalid|\bapi key not found\b",  # Gemini, DeepSeek
        r"invalid (?:authentication|authorization|credentials|bearer|access token)",
        r"authentication (?:fails|failed|error)\b",  # DeepSeek, LiteLLM
        r"(?:api|access|auth\w{0,40}|security) token\b.{0,40}?\b(?:is |has )?(?:invalid|expired|incorrect|not valid)",
        r"invalid_authentication_error|\bcould not validate credentials",  # Moonshot; FastAPI's own
        r"organization_restricted|account_deactivated|api_key_service_blocked",  # Groq, OpenAI, Gemini
        r"令牌(?:已过期|验证不正确|无效)|身份验证失败|无效的令牌|(?:api ?key|密钥).{0,8}(?:无效|错误|过期)",
    ),
    _wording(
        BillingProblem,
        (*REFUSED, RateLimited),
        r"insufficient_quota|insufficient[_ ](?:balance|credits?|funds)",  # OpenAI, DeepSeek
        r"exceeded_current_quota_error|balance is too low",  # Moonshot, Anthropic
        r"(?:out of|no|not enough|any) (?:remaining )?credits\b",  # xAI
        r"all available credits|balance is insufficient|specified api usage limits",  # xAI, SiliconFlow, Anthropic
        r"\barrearage\b|account is in good standing|overdue[- ]payment",  # DashScope
        r"suspended.{0,60}(?:billing|balance|payment|spending)|spending limit|budget has been exceeded",  # Fireworks
        r"budget_exceeded|budgetexceedederror|credit limit exceeded|billing_hard_limit_reached",  # LiteLLM, Together
        r"\binsufficient_user_quota\b|\bquota is not enough\b|\bfreetieronly\b",  # new-api, DashScope
        r"余额不足|额度不足|欠费",  # Zhipu, MiniMax, new-api
    ),
    _wording(
        NotFound,
        (InvalidRequest, PermissionDenied, UpstreamError),
        r"not a valid model id|\bmodel_not_found\b|\bmodel_not_exist\b|litellm\.notfounderror",  # OpenRouter, OpenAI
        r"invalid model(?: name)?(?: passed in|:| id\b| ')|\binvalid_model\b|model identifier is invalid",  # Mistral
        r"\bmodel:? [`'\"]?[\w./:@-]{1,128}[`'\"]? (?:does not|doesn't|do not) exist",
        r"\bmodel (?:name )?(?:does )?not (?:exist|found)\b|\bunknown model\b|\bno such model\b",  # DeepSeek, Zhipu
        r"\bmodel:? [`'\"]?[\w./:@-]{1,128}[`'\"]? (?:is |was )?not found\b",  # Ollama
        r"\bmodel:? [`'\"][\w./:@-]{1,128}[`'\"] is not (?:available|served|deployed|supported)\b",
        r"\bmodel_not_supported\b|\brequested model is not supported\b",  # GitHub Copilot
        r"not found the model|unable to access model|server is pinned to",  # Moonshot, Together, transformers serve
        r"模型不存在",  # Zhipu
    ),
    # A state of the server that it reports as a fault of the request (Bedrock, and proxies of Anthropic and OpenAI).
    _wording(RateLimited, (InvalidRequest, UpstreamError), r"\bthrottlingexception\b|^too many requests\b"),
    # A lack of capacity under 429: Moonshot, Zhipu, Chutes, Bedrock, one-api.
    _wording(
        Overloaded,
        (InvalidRequest, RateLimited),
        r"\bengine_overloaded(?:_error)?\b|\bservice may be temporarily overloaded\b|\bis at maximum capacity\b",
        r"\bnot ready for inference\b|负载已饱和",
    ),
    _wording(
        Overloaded,
        (InvalidRequest, UpstreamError),
        r"\boverloaded_error\b|\bserviceunavailableexception\b",
        r"\b(?:model|server|engine|service) is (?:currently |temporarily )?"
        r"(?:overloaded\b(?! with)|at capacity|too busy)",
    ),
    _wording(Overloaded, (RateLimited, UpstreamError), r"\bserver_is_overloaded\b|\bslow_?down\b"),  # OpenAI, AWS
    _wording(
        NotFound, (InvalidRequest, UpstreamError, Overloaded), r"no available channel for model"
    ),  # one-api, new-api
    # OpenRouter, where it knows the model, and no provider of it takes what the request holds.
    _wording(InvalidRequest, (NotFound,), r"no endpoints found that support"),
    # LiteLLM names what the server behind it has said by its own classes, under 500 where it does not know the status.
    _wording(RateLimited, FAILED, r"litellm\.ratelimiterror"),
    # Proxies that know nothing of what failed behind them but its words.
    _wording(
        RateLimited,
        FAILED,
        r"\brate limit (?:is )?(?:exceeded|reached)\b|\b429\W{0,3}too many requests\b|\bresource_exhausted\b",
    ),
    _wording(UpstreamError, (InvalidRequest,), r"\bmodel has crashed\b"),  # LM Studio, under 400
    _wording(UpstreamTimedOut, FAILED, r"litellm\.timeout\b"),
    _wording(Overloaded, FAILED, r"litellm\.serviceunavailableerror"),
    _wording(PermissionDenied, FAILED, r"litellm\.permissiondeniederror"),
    # Moonshot's limit for the bytes of a request.
    _wording(RequestTooLarge, (InvalidRequest,), r"\btotal message size \d+ exceeds limit \d+"),
    # A refusal that a server reports as its own failure. llama.cpp and llama-cpp-python answer 500 to what
    # a chat template raised, to media, tools and arguments that they cannot take, and to bodies that do not validate.
    _wording(
        InvalidRequest,
        FAILED,
        r"jinja exception|raise_exception|templateerror|template error|chat template|system message must",
        r"must alternate|tool call id was",
        r"validation errors?\b|input should be|field required|extra_forbidden|extra inputs are not permitted",
        r"failed to parse (?:tool|message|grammar|input|request|json)|requires --\w|unknown reasoning format",
        r"(?:input|content|param(?:eter)?|value|tool|role|format|field)s? (?:is|are) (?:not supported|unsupported)",
        r"unsupported (?:tool|content|param|value|role|chat|response|media|image)|not a multi-?modal model",
        r"does not support (?:image|vision|tool|function|multi|audio|system)",
        r"bad_?request_?error|invalid_request_error|unsupportedparamserror|litellm\.unprocessableentityerror",
        r"litellm\.contentpolicyviolationerror|litellm\.imagefetcherror",
    ),
)


def kind_by_words(kind: Kind, words: str) -> Kind:
    """Return the kind that the words name, or the one that the status suggested."""
    for wording in WORDINGS:
        if kind in wording.instead_of and wording.pattern.search(words):
            return wording.kind
    return kind
