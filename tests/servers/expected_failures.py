"""Cases that fail today: the sentence, the servers (names by spaces) and the reason.

Each is marked `xfail(strict=True)`, so a change that makes a case pass must remove the server or the row here.
"""

from typing import Final

IMAGES = "an image for a text model is neither replaced by text nor distinguished from a failure"
NOT_OFFERED = "the parameter is not sent to servers that are not OpenRouter"
SCHEMAS = "a refused tool schema is not loosened"

EXPECTED_FAILURES: Final[dict[str, tuple[str, str]]] = {
    "a named tool is called though the model prefers another": ("litellm", "the server ignores named choices"),
    "parallel calls come one at a time, or their number is noted": ("litellm", "the server ignores the flag"),
    "a schema with tools, of which none can be called then, is noted": ("litellm", "it is not noted"),
    "a budget of thinking is kept": ("litellm", NOT_OFFERED),
    "a full context is not reported as max_tokens": (
        "llama-cpp-python",
        "the finish reason is the same, and no tokens are counted in streams",
    ),
    "the list of models has the servers length of context": ("sglang", "it is not read"),
    "the list of models has no names of another upstream": (
        "sglang transformers",
        "the default aliases are OpenRouter's",
    ),
    "a list of models that the server did not give is refused or marked": ("llama-cpp", "it is 200 without a mark"),
    "tokens are counted as the server counts them": ("llama-cpp vllm", "they are estimated"),
    "an overflow has the prompt's true number of tokens": (
        "sglang",
        "the prompt's number is not found among those of the message",
    ),
    "ten turns of claude code with thinking alone": (
        "llama-cpp-python",
        "a stream that fails before its first chunk has no reason, so it cannot be healed",
    ),
    "no call comes where calls are forbidden": ("transformers", "the server ignores the choice"),
    "a call cut by a stop sequence that the server names ends in it": (
        "sglang",
        "the finish reason is not looked at where there are calls",
    ),
    "a prompt that fits, but not with max_tokens, is answered or refused in these words": (
        "sglang",
        "the sum is taken for the prompt",
    ),
    "max_tokens above the context is lowered and noted": ("sglang", "the refusal is handed on"),
    "an overflow that the server did not count has a plausible number of tokens": (
        "vllm",
        "a floor is taken for a count",
    ),
    "an overflow that the server reports in characters has a plausible number of tokens": (
        "vllm",
        "characters are taken for tokens",
    ),
    "message start has the exact input where the server reports it": ("vllm", "usage is not asked for throughout"),
}

# What a server that speaks other dialects does wrong in them, by dialect and sentence.
DIALECT_FAILURES: Final[dict[str, dict[str, str]]] = {"messages": {}, "responses": {}}
