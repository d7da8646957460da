"""A prompt that does not fit, in each server's own words, becomes the sentence that Claude Code acts on."""

import pytest

from gateway.dialects.chat.response.overflow import is_overflow, overflow_wording
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


@pytest.mark.parametrize(("message", "wording"), WORDINGS.values(), ids=WORDINGS)
def test_wording_becomes_anthropics(message: str, wording: str) -> None:
    assert overflow_wording(message, reply()) == wording


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
