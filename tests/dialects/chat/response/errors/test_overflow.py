"""A prompt that does not fit, in each server's own words, becomes the sentence that Claude Code acts on."""

import orjson
import pytest

from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.dialects.chat.response.errors.overflow import is_overflow, overflow_wording
from tests.support.streams import reply

PROMPT = "prompt is too long: {} tokens > {} maximum"
SUM = (
    "input length and `max_tokens` exceed context limit: {} + {} > {},"
    " decrease input length or `max_tokens` and try again"
)

WORDINGS = {
    "SGLang's sum": (
        (
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of"
            " 12669 tokens: 7669 tokens from the input messages and 5000 tokens for the completion."
        ),
        SUM.format(7669, 5000, 8192),
    ),
    "OpenRouter's sum, tools apart": (
        (
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens"
            " (100000 of text input, 18000 of tool input, 32000 in the output)."
        ),
        SUM.format(118000, 32000, 131072),
    ),
    "a sum of which the prompt alone is too long (llama-cpp-python)": (
        (
            "This model's maximum context length is 8192 tokens. However, you requested 27115 tokens (27015 in the"
            " messages, 100 in the completion). Please reduce the length of the messages or completion."
        ),
        PROMPT.format(27015, 8192),
    ),
    "Together's sum": (
        "`inputs` tokens + `max_new_tokens` must be <= 32769. Given: 30000 `inputs` tokens and 4000 `max_new_tokens`",
        SUM.format(30000, 4000, 32769),
    ),
    "vLLM's sum, counted": (
        (
            "This model's maximum context length is 8192 tokens. However, you requested 5000 output tokens and your"
            " prompt contains 4000 input tokens, for a total of 9000 tokens."
        ),
        SUM.format(4000, 5000, 8192),
    ),
    "LM Studio's tokens to keep": (
        "Cannot truncate prompt with n_keep (9000) >= n_ctx (4096)",
        PROMPT.format(9000, 4096),
    ),
    "a fraction": ("Token limit exceeded: 9000/8192", PROMPT.format(9000, 8192)),
    "MiniMax": (
        "invalid params, tokens in request more than max tokens allowed: 210000 > 204800",
        PROMPT.format(210000, 204800),
    ),
    "AI21": ("Prompt has 9000 tokens, maximum is 8192", PROMPT.format(9000, 8192)),
    "a sentence for each number": (
        "The input you provided is too long. The maximum number of tokens is 8,192 but you sent 9,000 tokens.",
        PROMPT.format(9000, 8192),
    ),
    "a count before its limit": (
        "The number of input tokens 9,000 is greater than the maximum 8,192 allowed",
        PROMPT.format(9000, 8192),
    ),
    "SGLang's prompt": (
        "The input (27015 tokens) is longer than the model's context length (8192 tokens).",
        PROMPT.format(27015, 8192),
    ),
    "llama.cpp": (
        "request (27015 tokens) exceeds the available context size (8192 tokens), try increasing it",
        PROMPT.format(27015, 8192),
    ),
    "LiteLLM around OpenAI's words, with separators": (
        (
            "litellm.ContextWindowExceededError: This model's maximum context length is 8,192 tokens. However, your"
            " messages resulted in 9,001 tokens."
        ),
        PROMPT.format(9001, 8192),
    ),
    "Bedrock": ("prompt tokens (210000) exceed model maximum (200000)", PROMPT.format(210000, 200000)),
    "Vertex": (
        (
            "Unable to submit request because the input token count is 1100000 but model only supports up to 1048576."
            " Reduce the input token count and try again."
        ),
        PROMPT.format(1100000, 1048576),
    ),
    "an older vLLM": (
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        PROMPT.format(9000, 8192),
    ),
    "Databricks": ("prompt token count (140000) cannot exceed 131072.", PROMPT.format(140000, 131072)),
    "Nebius": ("Prompt length 140000 is greater than max model length 131072", PROMPT.format(140000, 131072)),
    "MLX": ("Prompt too long: 9000 tokens exceeds max context window of 8192 tokens", PROMPT.format(9000, 8192)),
    "Perplexity": (
        "Requested 140000 tokens exceeds the model context length of 127072",
        PROMPT.format(140000, 127072),
    ),
    "Moonshot": (
        "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
        PROMPT.format(300000, 262144),
    ),
    "Cerebras": (
        "Please reduce the length of the messages or completion. Current length is 40000 while limit is 32768",
        PROMPT.format(40000, 32768),
    ),
    "Fireworks": (
        "The prompt is too long: 150000, model maximum context length: 131071",
        PROMPT.format(150000, 131071),
    ),
    "Zhipu, without numbers": ("Prompt 超长", "prompt is too long: it does not fit into the context of this model"),
}


WORDINGS |= {
    "OpenAI's completions": (
        (
            "This model's maximum context length is 8191 tokens, however you requested 10346 tokens (10341 in"
            " your prompt; 5 for the completion)."
        ),
        PROMPT.format(10341, 8191),
    ),
    "older vLLM, whose prompt would fit": (
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 8192"
            " tokens and your request has 100 input tokens (9000 > 8192 - 100)."
        ),
        SUM.format(100, 9000, 8192),
    ),
    "LM Studio": (
        "The number of tokens to keep from the initial prompt (9800) is greater than the context length (8192).",
        PROMPT.format(9800, 8192),
    ),
    "LM Studio, older": (
        (
            "Trying to keep the first 10136 tokens when context the overflows. However, the model is loaded with"
            " context length of only 7866 tokens, which is not enough."
        ),
        PROMPT.format(10136, 7866),
    ),
    "SiliconFlow": (
        "length of prompt_tokens (129000) must be less than max_seq_len (98304).",
        PROMPT.format(129000, 98304),
    ),
    "TGI": ("Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", PROMPT.format(2000, 1024)),
    "OpenAI's configured limit": (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
        PROMPT.format(300000, 272000),
    ),
    "Cohere": (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
        PROMPT.format(5000, 4081),
    ),
    "Bedrock's count": (
        "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
        PROMPT.format(9000, 8192),
    ),
    "Volcengine": ("Input length 203743 exceeds the maximum length 202752", PROMPT.format(203743, 202752)),
    "Triton": ("Prompt length (9000) exceeds maximum input length (8192)", PROMPT.format(9000, 8192)),
    "OpenAI's rate limit that can never be met": (
        (
            "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 45000."
            " The input or output tokens must be reduced in order to run successfully."
        ),
        PROMPT.format(45000, 30000),
    ),
    "Copilot": ("prompt token count of 130001 exceeds the limit of 128000", PROMPT.format(130001, 128000)),
}

NO_NUMBERS = "prompt is too long: it does not fit into the context of this model"
WORDS_ONLY = {
    "Bedrock": "Input is too long for requested model.",
    "Bedrock around Anthropic": "The model returned the following errors: Input is too long for requested model.",
    "Bedrock's Nova": "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input.",
    "Bedrock's Titan, in characters": "Malformed input request: expected maxLength: 42000, actual: 43189, please",
    "DashScope": "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
    "Ollama": "the input length exceeds the context length",
    "Ollama, newer": "prompt too long; exceeded max context length by 4 tokens",
    "OpenAI's Responses": "Your input exceeds the context window of this model. Please adjust your input.",
    "MiniMax": "invalid params, context window exceeds limit (2013)",
    "Groq": "Please reduce the length of the messages or completion.",
    "Zhipu": "Prompt 超长",
    "Baidu": "Prompt tokens too long, limit 8192",
    "Gemini": "The input token count exceeds the maximum number of tokens allowed 1048576.",
    "OpenAI's code": "context_length_exceeded",
    "LiteLLM's class": "litellm.ContextWindowExceededError: it is all too much",
    "Zhipu's embeddings": "tokens in request more than max tokens allowed",
    "mistral.rs": "Prompt sequence length is greater than 4096, perhaps consider using truncation",
    "no vendor's": "Context window exceeded: requested 12000 tokens",
    "openclaw's": "Prompt too large for this model",
    "Qianfan": "The input token length is too large. It should not exceed 8192",
}


@pytest.mark.parametrize("message", WORDS_ONLY.values(), ids=WORDS_ONLY)
def test_words_without_a_count_are_an_overflow_without_false_numbers(message: str) -> None:
    assert is_overflow(400, "", message)
    assert overflow_wording(message, reply()) == NO_NUMBERS


def test_limit_in_the_words_is_completed_by_the_estimate() -> None:
    message = WORDS_ONLY["DashScope"]
    assert overflow_wording(message, reply(input_estimate=250_000)) == PROMPT.format(250000, 204800)
    assert overflow_wording(WORDS_ONLY["Gemini"], reply(input_estimate=2_000_000)) == PROMPT.format(2000000, 1048576)
    assert overflow_wording(WORDS_ONLY["Qianfan"], reply(input_estimate=9000)) == PROMPT.format(9000, 8192)


def test_total_in_one_number_is_split_by_the_answer_that_was_asked_for() -> None:
    message = (
        "The estimated number of input and maximum output tokens (9000) exceeded this model"
        " context window limit (7968)."
    )
    assert is_overflow(413, "", message)
    assert overflow_wording(message, reply(max_tokens=4000)) == SUM.format(5000, 4000, 7968)
    assert overflow_wording(message, reply(max_tokens=1000)) == PROMPT.format(8000, 7968)
    assert overflow_wording(message, reply()) == NO_NUMBERS


@pytest.mark.parametrize(("message", "wording"), WORDINGS.values(), ids=WORDINGS)
def test_wording_becomes_anthropics(message: str, wording: str) -> None:
    assert is_overflow(400, "", message)
    assert overflow_wording(message, reply()) == wording


def test_limit_of_the_answer_that_cohere_words_like_an_overflow_is_none() -> None:
    words = "too many tokens: max tokens must be less than or equal to 4000, the maximum output for this model"
    assert not is_overflow(400, "", words)


VLLM = "This model's maximum context length is 8192 tokens. However, your prompt contains {}"


def test_floor_gives_way_to_a_larger_estimate() -> None:
    message = VLLM.format("at least 8193 input tokens, which exceeds this limit even without any output tokens.")
    assert overflow_wording(message, reply(input_estimate=24000)) == PROMPT.format(24000, 8192)
    assert overflow_wording(message, reply(input_estimate=10)) == PROMPT.format(8193, 8192)


def test_characters_are_not_reported_as_tokens() -> None:
    bound = "400062 characters (more than 155648 characters, which is the upper bound for 8192 input tokens)."
    assert overflow_wording(VLLM.format(bound), reply(input_estimate=240000)) == PROMPT.format(240000, 8192)
    assert overflow_wording(VLLM.format(bound), reply(input_estimate=10)) == PROMPT.format(21056, 8192)


def test_answer_limit_that_is_too_high_is_no_overflow() -> None:
    assert not is_overflow(400, "", "max_tokens is too large: the context length is 8192")
    assert is_overflow(413, "", "Request too large for model on tokens per minute: Limit 8000, Requested 30211")
    assert not is_overflow(429, "", "too many tokens this minute")


@pytest.mark.parametrize("message", [WORDS_ONLY["Bedrock around Anthropic"], WORDINGS["TGI"][0]])
def test_overflow_as_the_failure_of_a_dependency_is_one(message: str) -> None:
    assert is_overflow(424, "", message)


@pytest.mark.parametrize(
    "message",
    [
        "Requests to this model: Limit 30000, Used 20000, Requested 12000. Please try again in 4s.",
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Used 20000, Requested 12000.",
        "Your prompt exceeds the context length of your tier for now",
    ],
)
def test_rate_limit_that_passes_is_no_overflow(message: str) -> None:
    assert not is_overflow(429, "", message)


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        ("the input length exceeds the context length", True),
        ("prompt too long; exceeded max context length by 4 tokens", True),
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens", True),
        ("request (27015 tokens) exceeds the available context size (8192 tokens), try increasing it", True),
        ("litellm.ContextWindowExceededError: ContextWindowExceededError: OpenAIException - no", True),
        ("prompt is too long: 205001 tokens > 200000 maximum", True),
        ("lost the context window", False),
        ("context size: 4096, could not allocate memory", False),
    ],
)
def test_overflow_worded_as_a_failure_needs_unambiguous_words(message: str, is_one: bool) -> None:
    assert is_overflow(500, "", message) is is_one
    assert is_overflow(400, "", "Too many tokens, please wait before trying again.") is False


def test_numbers_beside_the_message_are_taken() -> None:
    said = "the request exceeds the available context size. try increasing the context size or enable context shift"
    fields = {"type": "exceed_context_size_error", "message": said, "n_prompt_tokens": 9000, "n_ctx": 8192}
    error = to_error(400, {}, orjson.dumps({"error": fields}), reply())
    assert error.message == PROMPT.format(9000, 8192)
    assert not error.is_estimate
