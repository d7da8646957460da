"""A prompt that does not fit: from each upstream's wording to the words that Claude Code acts on (2.1.197).

"prompt is too long: N tokens > M maximum": it compacts, by as much as the two numbers differ. "input length and
`max_tokens` exceed context limit: A + B > C": it asks for a shorter answer. A number that is a floor ("at least") or
counts characters is no count of tokens: the gateway's own estimate is used if it is larger.
"""

import re
from math import ceil

from gateway.dialects.reply import Reply

N = r"\d[\d,]*"
COUNT, LIMIT, INPUT, OUTPUT = rf"(?P<count>{N})", rf"(?P<limit>{N})", rf"(?P<input>{N})", rf"(?P<output>{N})"


def _compiled(*patterns: str) -> "tuple[re.Pattern[str], ...]":
    return tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in patterns)


# Prompt and answer together, each with its own number.
SUMS = _compiled(
    # SGLang 0.5
    rf"context length of {LIMIT} tokens.{{0,40}}total of {N} tokens: {INPUT} tokens from.{{0,40}}?and {OUTPUT} tokens",
    # OpenRouter
    rf"context length is {LIMIT} tokens.{{0,60}}\({INPUT} of text input(?:, (?P<tools>{N}) of tool input)?,"
    rf" {OUTPUT} in the output\)",
    # OpenAI, DeepSeek, older vLLM, llama-cpp-python
    rf"context length is {LIMIT} tokens.{{0,60}}\({INPUT} in the messages(?:, (?P<tools>{N}) in the functions)?,"
    rf" {OUTPUT} in the completion\)",
    # vLLM 0.12
    rf"context length is {LIMIT} tokens.{{0,40}}requested {OUTPUT} output tokens.{{0,60}}?contains at least {INPUT}",
    # Together, TGI
    rf"must be <= {LIMIT}\. Given: {INPUT} `inputs` tokens and {OUTPUT} `max_new_tokens`",
    # Anthropic
    rf"exceed context limit: {INPUT} \+ {OUTPUT} > {LIMIT}",
)

# A floor instead of a count, and characters instead of tokens: vLLM 0.32.
FLOOR = re.compile(rf"context length is {LIMIT} tokens.{{0,80}}contains at least {COUNT} input tokens", re.I | re.S)
CHARACTERS = re.compile(
    rf"context length is {LIMIT} tokens.{{0,80}}contains {COUNT} characters \(more than (?P<bound>{N}) characters",
    re.I | re.S,
)

PROMPTS = _compiled(
    rf"maximum \w{{6,7}} length is {LIMIT}.{{0,80}}?(?:requested|resulted|contains)\D{{0,40}}{COUNT}",  # OpenAI, xAI
    rf"prompt is too long:? {COUNT} tokens > {LIMIT}",  # Anthropic
    rf"prompt is too long: {COUNT}, model maximum context length: {LIMIT}",  # Fireworks
    rf"input token count \(?{COUNT}\)? exceeds the maximum\D{{0,60}}{LIMIT}",  # Gemini
    rf"request \(?{COUNT} tokens\)? exceeds the available context size \(?{LIMIT}",  # llama.cpp
    rf"prompt contains {COUNT} tokens.{{0,80}}?model with {LIMIT} maximum context",  # Mistral
    rf"input \({COUNT} tokens\) is longer than the model's context length \({LIMIT}",  # SGLang 0.5
    rf"prompt token count of {COUNT} exceeds the limit of {LIMIT}",  # Copilot
    rf"exceeded model token limit: {LIMIT} \(requested: {COUNT}\)",  # Moonshot
    rf"request too large for model.{{0,120}}limit {LIMIT}, requested {COUNT}",  # Groq, as 413
    rf"current length is {COUNT} while limit is {LIMIT}",  # Cerebras
    rf"context (?:length|window)\D{{0,60}}{LIMIT}\D{{1,80}}{COUNT}",  # anything close to these
)

# No numbers: OpenAI and many more; Zhipu's code 1261 says "Prompt 超长".
WORDS = re.compile(
    r"context[ _](?:length|window|size)|maximum (?:context|prompt)|too many tokens|(?:prompt|input) is too long"
    r"|input token count|model token limit|prompt token count|request too large for model|超长",
    re.IGNORECASE,
)
TYPES = frozenset({"context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded"})
STATUSES = frozenset({400, 413, 422})
# The same words, but the prompt would fit: the answer's limit is too high, which another request can change.
ANSWER_TOO_LONG = re.compile(r"max_(?:completion_)?tokens\W? is too large", re.IGNORECASE)


def is_overflow(status: int, error_type: str, message: str) -> bool:
    if error_type in TYPES:
        return True
    worded = status in STATUSES and WORDS.search(message) is not None
    return worded and ANSWER_TOO_LONG.search(message) is None


def overflow_wording(message: str, reply: Reply) -> str:
    """Return Anthropic's sentence, with the upstream's numbers, an estimate, or none."""
    for pattern in SUMS:
        found = pattern.search(message)
        if found is not None:
            return _of_sum(found)
    counted = _counted(message, reply)
    if counted is not None:
        count, limit = counted
        return f"prompt is too long: {count} tokens > {limit} maximum"
    return "prompt is too long: it does not fit into the context of this model"


def _of_sum(found: "re.Match[str]") -> str:
    tools = found.groupdict().get("tools")
    size, output, limit = (
        _number(found["input"]) + _number(tools or "0"),
        _number(found["output"]),
        _number(found["limit"]),
    )
    if size > limit:
        return f"prompt is too long: {size} tokens > {limit} maximum"
    return (
        f"input length and `max_tokens` exceed context limit: {size} + {output} > {limit},"
        " decrease input length or `max_tokens` and try again"
    )


def _counted(message: str, reply: Reply) -> tuple[int, int] | None:
    """Return the prompt's tokens and the limit, if both are known and the first is larger."""
    if (found := CHARACTERS.search(message)) is not None:
        limit = _number(found["limit"])
        floor = ceil(_number(found["count"]) * limit / _number(found["bound"]))
        return max(floor, reply.input_estimate), limit
    if (found := FLOOR.search(message)) is not None:
        return max(_number(found["count"]), reply.input_estimate), _number(found["limit"])
    for pattern in PROMPTS:
        found = pattern.search(message)
        if found is not None and _number(found["count"]) > _number(found["limit"]):
            return _number(found["count"]), _number(found["limit"])
    limit_known = reply.context_length
    return (
        (reply.input_estimate, limit_known) if limit_known is not None and reply.input_estimate > limit_known else None
    )


def _number(text: str) -> int:
    return int(text.replace(",", ""))
