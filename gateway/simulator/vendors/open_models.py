"""Rows of companies that serve their own open models. Sources of facts:

[SDK] the vendor's client package, 2026-11 · [docs] its pages, 2026 · [LiteLLM] source of litellm 1.110 · [AI SDK]
vercel/ai providers, 2026-11 · [issues] reports by users, 2025 and 2026. Facts without a source are as OpenAI's.
"""

from typing import Final

from gateway.simulator.vendors.row import (
    COMMON_FIELDS,
    FLAT_ROLES,
    LENGTHS,
    MAX_TOKENS,
    PENALTIES,
    SWITCHES,
    AnswerForm,
    ErrorForm,
    ListedModel,
    SimulatedVendor,
    ThinkingRules,
    facts,
)

DEEPSEEK: Final = SimulatedVendor(
    "deepseek",
    (ListedModel("deepseek-v4-pro", 1_000_000, 384_000), ListedModel("deepseek-chat", 131_072, 8192)),
    fields=COMMON_FIELDS | PENALTIES | {"logprobs", "parallel_tool_calls", "top_logprobs", "user_id"},
    ignores_unknown=True,
    stop_limit=16,  # [docs]
    length_fields=MAX_TOKENS,
    roles=FLAT_ROLES,
    images=frozenset(),
    formats=frozenset({"text", "json_object"}),
    thinking=ThinkingRules(**SWITCHES, efforts=frozenset({"high", "max"}), field="reasoning_content"),  # type: ignore[arg-type]
    variants=(
        (
            r"deepseek-v[4-9]",  # [AI SDK, issues] every assistant message wants its thinking back
            {
                "formats": frozenset({"text", "json_object", "json_schema"}),
                "forced_while_thinking": False,
                "thinking": ThinkingRules(
                    on=(("thinking.type", "enabled"),),
                    off=(("thinking.type", "disabled"),),
                    efforts=frozenset({"high", "max"}),
                    by_default=True,
                    field="reasoning_content",
                    back="all",
                    fields=frozenset({"reasoning_content"}),
                ),
            },
        ),
        (
            r"deepseek-(r1|reasoner)",
            {"thinking": ThinkingRules(by_default=True, always=True, field="reasoning_content", back="refused")},
        ),
    ),
    form=AnswerForm(identifier="{number:08x}-0000-4000-8000-000000000000", call_id="call_{index}_{number:020d}"),
    errors=ErrorForm(
        words=facts(
            part="Failed to deserialize the JSON body into the target type: messages[$index]: unknown variant "
            "`$value`, expected `text` at line 1 column 100",
            role="Failed to deserialize the JSON body into the target type: messages[$index].role: unknown variant "
            "`$value`, expected one of `system`, `user`, `assistant`, `tool` at line 1 column 100",
            max_tokens="Invalid max_tokens value, the valid range of max_tokens is [1, $limit]",
            thinking_missing="The `reasoning_content` in the thinking mode must be passed back to the API.",
            thinking_refused="The reasoning_content is an intermediate result for display purposes only and will not "
            "be included in the context for inference. Please remove the reasoning_content from your message.",
            overflow="This model's maximum context length is $limit tokens. However, you requested $total tokens "
            "($tokens in the messages, $asked in the completion). Please reduce the length of the messages or "
            "completion.",
            **{"402": "Insufficient Balance", "401": "Authentication Fails (no such user)"},
        ),
    ),
)

KIMI_WORDS: Final = facts(
    refused_field="invalid $name: only 1 is allowed for this model",
    thinking_missing="thinking is enabled but reasoning_content is missing in assistant tool call message at index "
    "$index",
    choice="tool_choice 'specified' is incompatible with thinking enabled",
    choice_while_thinking="tool_choice 'required' is incompatible with thinking enabled",
    image_address="Invalid request: unsupported image url: $value",
    part="Invalid request: Image input not supported for this model",
    overflow="Invalid request: Your request exceeded model token limit: $limit (requested: $tokens)",
    **{"429": "The engine is currently overloaded, please try again later", "401": "Invalid Authentication"},
)
MOONSHOT: Final = SimulatedVendor(
    "moonshot",
    (ListedModel("kimi-k2.6", 262_144, 262_144, facts(context_length=262_144, supports_image_in=True)),),
    aliases=("kimi",),
    fields=COMMON_FIELDS | PENALTIES | {"max_completion_tokens", "n", "prompt_cache_key", "safety_identifier"},
    ignores_unknown=True,
    roles=FLAT_ROLES,
    refused=PENALTIES | {"temperature", "top_p"},
    images=frozenset({"data", "ms"}),
    last_assistant="partial",
    forced_while_thinking=False,  # [issues] with thinking on
    thinking=ThinkingRules(
        (("thinking.type", "enabled"),),
        (("thinking.type", "disabled"),),
        by_default=True,
        field="reasoning_content",
        back="calls",
        fields=frozenset({"reasoning_content"}),
    ),
    variants=(
        (
            r"kimi-k3",
            {
                "thinking": ThinkingRules(
                    efforts=frozenset({"low", "high", "max"}),
                    by_default=True,
                    always=True,
                    field="reasoning_content",
                    back="calls",
                    fields=frozenset({"reasoning_content"}),
                )
            },
        ),
    ),
    form=AnswerForm(call_id="functions.{name}:{index}", usage="choice"),
    errors=ErrorForm(envelope={"error": {"message": "$message", "type": "$type"}}, words=KIMI_WORDS),
)

ZHIPU: Final = SimulatedVendor(
    "zhipu",
    (ListedModel("glm-5.2", 200_000, 131_072), ListedModel("glm-4.6", 200_000, 131_072)),
    aliases=("zai", "z-ai"),
    fields=COMMON_FIELDS | {"do_sample", "request_id", "seed", "tool_stream", "user", "user_id"},
    ignores_unknown=True,
    user_limit=128,  # [issues] axonhub 1669
    stop_limit=4,
    length_fields=MAX_TOKENS,
    roles=FLAT_ROLES,
    choices=frozenset({"auto", "none"}),
    formats=frozenset({"text", "json_object"}),
    thinking=ThinkingRules(**SWITCHES, by_default=True, field="reasoning_content"),  # type: ignore[arg-type]
    variants=(
        (
            r"glm-(5\.[2-9]|[6-9])",
            {
                "thinking": ThinkingRules(
                    on=(("thinking.type", "enabled"),),
                    off=(("thinking.type", "disabled"),),
                    efforts=frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"}),
                    by_default=True,
                    field="reasoning_content",
                )
            },
        ),
    ),
    form=AnswerForm(identifier="2026010100{number:022d}", whole_calls=True, usage="finish"),
    errors=ErrorForm(
        envelope={"error": {"code": "$code", "message": "$message"}},
        words=facts(
            overflow="Prompt exceeds max length",
            choice="tool_choice is not supported, only auto",
            format="response_format type json_schema is not supported",
            long_field="user length must be between 6 and 128",
        ),
        codes=facts(overflow="1261", choice="1210", format="1210", long_field="1210", **{"429": "1302"}),
    ),
)

QWEN_THINKING: Final = ThinkingRules(
    (("enable_thinking", True),), (("enable_thinking", False),), field="reasoning_content"
)
QWEN: Final = SimulatedVendor(
    "qwen",
    (ListedModel("qwen3.6-max", 262_144, 65_536), ListedModel("qwen3.6-vl-plus", 262_144, 32_768)),
    aliases=("dashscope",),
    fields=COMMON_FIELDS
    | {"logprobs", "n", "parallel_tool_calls", "presence_penalty", "repetition_penalty", "seed", "thinking_budget"}
    | {"top_k", "top_logprobs"},
    ignores_unknown=True,
    length_fields=LENGTHS,
    roles=FLAT_ROLES,
    forced_while_thinking=False,  # [docs] "required" and named tools only without thinking
    thinking=QWEN_THINKING,
    form=AnswerForm(call_id="call_{number:020x}{index:04x}"),
    errors=ErrorForm(
        envelope={
            "error": {"code": "invalid_parameter_error", "param": None, "message": "$message", "type": "$type"},
            "id": "chatcmpl-00000000-0000-9000-8000-000000000000",
            "request_id": "00000000-0000-9000-8000-000000000000",
        },
        words=facts(
            choice_while_thinking="<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not "
            "support being set to required or object in thinking mode",
            max_tokens="<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, $limit]",
            overflow="<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, $limit]",
        ),
    ),
)

MINIMAX: Final = SimulatedVendor(
    "minimax",
    (ListedModel("MiniMax-M2.5", 204_800, 131_072),),
    fields=COMMON_FIELDS | {"mask_sensitive_info", "reasoning_split"},
    ignores_unknown=True,
    roles=FLAT_ROLES,
    images=frozenset(),
    thinking=ThinkingRules(
        by_default=True, always=True, field="reasoning_details", fields=frozenset({"reasoning_details"})
    ),
    form=AnswerForm(identifier="{number:032x}", call_id="call_function_{number:010d}_{index}", usage="each"),
    errors=ErrorForm(
        envelope={"base_resp": {"status_code": "$code", "status_msg": "$message"}},
        words=facts(
            overflow="invalid params, context window exceeds limit (2013)",
            part="invalid params, this model does not support image input (2013)",
            **{"402": "insufficient balance", "429": "rate limit"},
        ),
        statuses=facts(**{"402": 200, "429": 200}),
        codes=facts(overflow=2013, part=2013, **{"402": 1008, "429": 1002}),
    ),
)
