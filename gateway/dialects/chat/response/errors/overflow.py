"""A prompt that does not fit: from each upstream's wording to the words that Claude Code acts on (2.1.197).

"prompt is too long: N tokens > M maximum": it compacts, by as much as the two numbers differ. "input length and
`max_tokens` exceed context limit: A + B > C": it asks for a shorter answer. A number that is a floor ("at least") or
counts characters is no count of tokens: the gateway's own estimate is used if it is larger.
"""

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

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
    # OpenAI's completions
    rf"context length is {LIMIT} tokens.{{0,60}}\({INPUT} in your prompt; {OUTPUT} for the completion\)",
    # vLLM up to 0.11
    rf"max_(?:completion_)?tokens\W{{1,3}}is too large: {OUTPUT}\..{{0,40}}?context length is {LIMIT} tokens"
    rf".{{0,40}}?request has {INPUT} input tokens",
    # vLLM 0.12
    rf"context length is {LIMIT} tokens.{{0,40}}requested {OUTPUT} output tokens"
    rf".{{0,60}}?contains (?:at least )?{INPUT}",
    # Together, TGI
    rf"must be <= {LIMIT}\. Given: {INPUT} `inputs` tokens and {OUTPUT} `max_new_tokens`",
    # Anthropic
    rf"exceed context limit: {INPUT} \+ {OUTPUT} > {LIMIT}",
)

# Prompt and answer together, in one number: Cloudflare Workers AI.
TOTAL = re.compile(
    rf"number of input and maximum output tokens \({COUNT}\) exceeded this model.{{0,40}}?\({LIMIT}\)", re.I | re.S
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
    rf"prompt tokens \({COUNT}\) exceed model maximum \({LIMIT}\)",  # Bedrock
    rf"token count is {COUNT} but model only supports up to {LIMIT}",  # Vertex
    rf"decoder prompt \(length {COUNT}\) is longer than the maximum model length of {LIMIT}",  # older vLLM
    # Databricks, Nebius, DeepInfra
    rf"(?:prompt|input) (?:token count|length|too long:?) ?\(?{COUNT}(?: tokens)?\)? ?"
    rf"(?:cannot exceed|is greater than|exceeds)\D{{0,60}}{LIMIT}",
    rf"requested {COUNT} tokens exceeds the model context length of {LIMIT}",  # Perplexity
    rf"request \(?{COUNT} tokens\)? exceeds the available context size \(?{LIMIT}",  # llama.cpp
    rf"prompt contains {COUNT} tokens.{{0,80}}?model with {LIMIT} maximum context",  # Mistral
    rf"input \({COUNT} tokens\) is longer than the model's context length \({LIMIT}",  # SGLang 0.5
    rf"prompt token count of {COUNT} exceeds the limit of {LIMIT}",  # Copilot
    rf"exceeded model token limit: {LIMIT} \(requested: {COUNT}\)",  # Moonshot
    rf"request too large for .{{0,160}}?limit:? {LIMIT},.{{0,40}}?requested:? {COUNT}",  # Groq as 413, OpenAI as 429
    rf"current length is {COUNT} while limit is {LIMIT}",  # Cerebras
    rf"initial prompt \({COUNT}\) is greater than the context length \({LIMIT}\)",  # LM Studio
    rf"keep the first {COUNT} tokens.{{0,120}}?context length of only {LIMIT} tokens",  # LM Studio, older
    rf"prompt_tokens \({COUNT}\) must be less than max_seq_len \({LIMIT}\)",  # SiliconFlow
    rf"`inputs` must have less than {LIMIT} tokens\. Given: {COUNT}",  # TGI
    rf"configured limit of {LIMIT} tokens.{{0,40}}?resulted in {COUNT} tokens",  # OpenAI, GPT-5
    rf"tokens in the prompt cannot exceed {LIMIT} - received {COUNT}",  # Cohere
    rf"max input tokens: {LIMIT}, request input token count: {COUNT}",  # Bedrock
    # Volcengine, TensorRT-LLM, Triton
    rf"(?:prompt|input)(?: sequence)? length \(?{COUNT}(?:\.0)?\)?[^.;]{{0,60}}?exceeds?\D{{0,40}}{LIMIT}",
    rf"context (?:length|window)\D{{0,60}}{LIMIT}\D{{1,80}}{COUNT}",  # anything close to these
    rf"exceeded:? {COUNT} ?/ ?{LIMIT}",
    rf"n_keep \({COUNT}\) >= n_ctx \({LIMIT}\)",  # LM Studio
    rf"(?:maximum number of|max(?:imum)?(?: input)?|limit of|limit is) (?:tokens (?:is|allowed:?) )?{LIMIT}(?: tokens)?"
    rf"\D{{1,60}}(?:sent|received|given|got|has|have|requested)\D{{0,20}}{COUNT}",
    rf"(?:prompt|input|request|messages?|tokens)\D{{0,40}}\b{COUNT}(?: (?:input )?tokens)?\D{{1,80}}"
    rf"(?:maximum|limit|max|>|/)\D{{0,40}}{LIMIT}",
)
# Only the limit is named: DashScope, Gemini, OpenAI and Bedrock.
LIMITS = _compiled(
    rf"range of input length should be \[\d+, ?{LIMIT}\]",
    rf"exceeds the maximum number of tokens allowed \(?{LIMIT}",
    rf"maximum (?:context|prompt) length is {LIMIT} tokens",
    rf"max(?:imum)?(?: number of)?(?: input| prompt)? tokens(?: is| allowed)?:? {LIMIT}",
    rf"input token length is too large\. It should not exceed {LIMIT}",  # Qianfan
)

# No numbers: OpenAI and many more; Zhipu's code 1261 says "Prompt 超长".
WORDS = re.compile(
    r"context[ _](?:length|window|size)|contextwindowexceeded|maximum (?:context|prompt)|range of input length"
    r"|too many (?:input )?tokens(?!.{0,40}wait)"
    r"|(?:prompt|input|conversation)\b(?: you \w{1,20})? (?:is|was) too long"
    r"|prompt (?:tokens )?(?:is |are )?too (?:long|large)"
    r"|input token (?:count|length)|model token limit|prompt token count|request too large for|超长|prompt exceeds max"
    r"|max message tokens"
    r"|max_seq_len exceeded|maximum model length|exceed model maximum|exceeds maximum input|completion tokens exceed"
    r"|reduce the length of the (?:messages|prompt|input)|input tokens? exceed|input length\b.{0,40}\bexceed"
    r"|prompt_tokens .{0,20}must be less than"
    r"|`inputs` (?:must have less than|tokens \+ `max_new_tokens`)|tokens in request more than|token limit exceeded"
    r"|(?:prompt|input)(?: sequence)? length (?:is greater|exceed|\(?\d)|context the overflows|expected maxlength: \d"
    r"|max input (?:char|token)|n_keep \(\d|number of input tokens"
    r"|(?:prompt|request|input) (?:has|contains|of) \d[\d,]* tokens.{0,60}?(?:max|limit)",
    re.IGNORECASE | re.DOTALL,
)
TYPES = frozenset({"context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded"})
# Statuses of a refused request; under these, one of the words above is enough.
STATUSES = frozenset({400, 413, 422, 424})  # 424: Hugging Face, and Bedrock where its model has refused
# The same words, but the prompt would fit: the answer's limit is too high, which another request can change.
# Cohere words it like an overflow.
ANSWER_TOO_LONG = re.compile(
    r"max_(?:completion_)?tokens\W{1,3}is too large|max tokens must be less than or equal to", re.IGNORECASE
)
# Under another status the words have to leave no doubt: Ollama and proxies say 500, OpenAI 429 to what exceeds a limit
# of tokens per minute by itself, and would at any time.
NO_DOUBT = re.compile(
    r"(?:input|prompt|request)\b.{0,80}?\b(?:exceeds?|exceeded|exceeding|longer than|greater than|too long for|over)\b"
    r".{0,60}?\b(?:context (?:length|window|size)|maximum (?:context|prompt|length|input)|maximum number of tokens)"
    r"|(?:prompt|input) is too long|prompt too long; exceeded|maximum (?:context|prompt) length is \d"
    r"|context_length_exceeded|contextwindowexceedederror|context (?:length|window) exceeded",
    re.IGNORECASE | re.DOTALL,
)
NEVER_FITS = re.compile(rf"request too large for .{{0,160}}?limit:? {LIMIT},.{{0,40}}?requested:? {COUNT}", re.I | re.S)


def is_overflow(status: int, error_type: str, message: str) -> bool:
    if error_type in TYPES:
        return True
    if status == 429:
        found = NEVER_FITS.search(message)
        return found is not None and _number(found["count"]) > _number(found["limit"])
    if status >= 500:
        return NO_DOUBT.search(message) is not None
    if status not in STATUSES or WORDS.search(message) is None:
        return False
    return ANSWER_TOO_LONG.search(message) is None or any(pattern.search(message) for pattern in SUMS)


def overflow_wording(message: str, reply: Reply) -> str:
    """Return Anthropic's sentence, with the upstream's numbers, an estimate, or none."""
    for pattern in SUMS:
        found = pattern.search(message)
        if found is not None:
            tools = found.groupdict().get("tools")
            return _of_sum(
                _number(found["input"]) + _number(tools or "0"), _number(found["output"]), _number(found["limit"])
            )
    if (found := TOTAL.search(message)) is None:
        counted = _counted(message, reply)
    elif reply.max_tokens:
        return _of_sum(_number(found["count"]) - reply.max_tokens, reply.max_tokens, _number(found["limit"]))
    else:
        counted = None
    if counted is not None:
        count, limit = counted
        return f"prompt is too long: {count} tokens > {limit} maximum"
    return "prompt is too long: it does not fit into the context of this model"


def counts_in_fields(fields: Mapping[str, Any]) -> str:
    """Return the numbers that stand beside a message without them as a sentence (llama.cpp's), "" if there are none."""
    count, limit = fields.get("n_prompt_tokens"), fields.get("n_ctx")
    if type(count) is not int or type(limit) is not int or limit <= 0:
        return ""
    return f"request ({count} tokens) exceeds the available context size ({limit} tokens)"


def is_counted(message: str) -> bool:
    """Return True if the upstream has counted the prompt: no floor, no characters, and not the limit alone."""
    if CHARACTERS.search(message) is not None or FLOOR.search(message) is not None:
        return False
    return any(pattern.search(message) is not None for pattern in (*SUMS, TOTAL, *PROMPTS))


def room_for_answer(text: str) -> int | None:
    """Return the tokens left for an answer that alone was to fill the context; None for any other refusal."""
    for pattern in SUMS:
        found = pattern.search(text)
        if found is not None and _number(found["output"]) >= _number(found["limit"]):
            tools = found.groupdict().get("tools")
            room = _number(found["limit"]) - _number(found["input"]) - _number(tools or "0")
            return room if room > 0 else None
    return None


def _of_sum(size: int, output: int, limit: int) -> str:
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
    named = next((found for pattern in LIMITS if (found := pattern.search(message))), None)
    limit_known = reply.context_length if named is None else _number(named["limit"])
    return (
        (reply.input_estimate, limit_known) if limit_known is not None and reply.input_estimate > limit_known else None
    )


def _number(text: str) -> int:
    return int(text.replace(",", ""))
