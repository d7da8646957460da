"""Rows of services and local servers that host models of other makers. Sources of facts:

[SDK] the vendor's client package, 2026-11 · [docs] its pages, 2026 · [LiteLLM] source of litellm 1.110 · [AI SDK]
vercel/ai providers, 2026-11 · [issues] reports by users, 2025 and 2026. Facts without a source are as OpenAI's.
"""

from typing import Final

from gateway.simulator.vendors.row import (
    COMMON_FIELDS,
    FOUR_EFFORTS,
    MAX_TOKENS,
    OPENAI_FIELDS,
    PENALTIES,
    SAMPLERS,
    AnswerForm,
    ErrorForm,
    ListedModel,
    SimulatedVendor,
    ThinkingRules,
    facts,
)

GROQ: Final = SimulatedVendor(
    "groq",
    (
        ListedModel(
            "openai/gpt-oss-120b", 131_072, 65_536, facts(context_window=131_072, max_completion_tokens=65_536)
        ),
        ListedModel("qwen/qwen3-32b", 131_072, 40_960, facts(context_window=131_072, max_completion_tokens=40_960)),
    ),
    fields=OPENAI_FIELDS | {"disable_tool_validation", "include_reasoning", "reasoning_format", "search_settings"},
    refused=PENALTIES | {"logit_bias", "logprobs", "top_logprobs"},
    message_fields=frozenset({"reasoning"}),
    images=frozenset(),
    format_with_tools=False,  # [LiteLLM] on some models
    thinking=ThinkingRules(efforts=FOUR_EFFORTS | {"default"}, by_default=True, field="reasoning"),
    form=AnswerForm(call_id="fc_{number:08d}-{index:04d}", whole_calls=True, usage="always"),
    errors=ErrorForm(
        envelope={"error": {"message": "$message", "type": "$type", "code": "$code"}},
        words=facts(
            unknown_field="property '$name' is unsupported",
            refused_field="property '$name' is unsupported, did you mean 'stop'?",
            message_field="'messages.$index' : for 'role:$role' the following must be satisfied[('messages.$index' : "
            "property '$name' is unsupported)]",
            part="'messages.$index' : for 'role:user' the following must be satisfied[('messages.$index.content' : "
            "value must be a string)]",
            max_tokens="`max_completion_tokens` must be less than or equal to `$limit`, the maximum value for "
            "`max_completion_tokens` is less than the `context_window` for this model",
            overflow="Request too large for model. Limit $limit, Requested $tokens, please reduce your message size "
            "and try again.",
        ),
        statuses=facts(overflow=413),
        codes=facts(overflow="rate_limit_exceeded"),
    ),
)

TOGETHER: Final = SimulatedVendor(
    "together",
    (ListedModel("Qwen/Qwen3-235B-A22B", 262_144, 262_144, facts(context_length=262_144, type="chat")),),
    fields=(OPENAI_FIELDS | SAMPLERS | {"context_length_exceeded_behavior", "safety_model"})
    - {"parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "store"},
    ignores_unknown=True,
    length_fields=MAX_TOKENS,
    thinking=ThinkingRules(
        (("reasoning.enabled", True),),
        (("reasoning.enabled", False),),
        FOUR_EFFORTS - {"none"},
        True,
        field="reasoning",
        fields=frozenset({"reasoning", "reasoning_content"}),
    ),
    form=AnswerForm(identifier="sim{number:08d}", usage="finish"),
    errors=ErrorForm(
        words=facts(
            overflow="Input validation error: `inputs` tokens + `max_new_tokens` must be <= $limit. Given: $tokens "
            "`inputs` tokens and $asked `max_new_tokens`",
        ),
        statuses=facts(overflow=422),
    ),
)

FIREWORKS: Final = SimulatedVendor(
    "fireworks",
    (
        ListedModel(
            "accounts/fireworks/models/glm-5p2",
            202_752,
            131_072,
            facts(context_length=202_752, supports_chat=True, supports_image_input=False, supports_tools=True),
        ),
    ),
    fields=OPENAI_FIELDS | SAMPLERS | {"reasoning_history", "typical_p", "thinking"},
    message_fields=frozenset({"reasoning_content"}),
    images=frozenset(),
    choices=frozenset({"any", "auto", "named", "none", "required"}),
    thinking=ThinkingRules(
        (("thinking.type", "enabled"),),
        (("thinking.type", "disabled"),),
        FOUR_EFFORTS,
        True,
        field="reasoning_content",
        fields=frozenset({"reasoning_content"}),
    ),
    form=AnswerForm(usage="always", call_id="chatcmpl-tool-{number:016x}{index:016x}"),
    errors=ErrorForm(
        envelope={"error": {"object": "error", "type": "$type", "code": "$type", "message": "$message"}},
        words=facts(
            unknown_field="Extra inputs are not permitted, field: '$name', value: $value",
            message_field="Extra inputs are not permitted, field: 'messages[$index].$name', value: $value",
            overflow="The prompt is too long: $tokens, model maximum context length: $limit",
        ),
    ),
)

CEREBRAS: Final = SimulatedVendor(
    "cerebras",
    (ListedModel("zai-glm-4.7", 131_072, 40_960), ListedModel("gpt-oss-120b", 131_072, 40_960)),
    fields=OPENAI_FIELDS | {"clear_thinking", "reasoning_format"},
    message_fields=frozenset({"reasoning"}),  # [issues] kilocode 10375
    images=frozenset(),
    thinking=ThinkingRules(efforts=FOUR_EFFORTS, by_default=True, field="reasoning", fields=frozenset({"reasoning"})),
    form=AnswerForm(call_id="{number:05x}{index:04x}", whole_calls=True, usage="finish"),
    errors=ErrorForm(
        envelope={"message": "$message", "type": "$type", "param": "validation_error", "code": "wrong_api_format"},
        words=facts(
            unknown_field="body -> $name: property 'body.$name' is unsupported",
            message_field="messages.$index.$role.$name: property 'messages.$index.$role.$name' is unsupported",
            part="messages.$index.user.content: Input should be a valid string",
            overflow="Please reduce the length of the messages or completion. Current length is $tokens while limit "
            "is $limit",
        ),
    ),
)

BEDROCK: Final = SimulatedVendor(
    "bedrock",
    (ListedModel("openai.gpt-oss-120b-1:0", 128_000, 32_768),),
    aliases=("aws",),
    message_fields=frozenset({"reasoning"}),
    images=frozenset(),
    thinking=ThinkingRules(efforts=FOUR_EFFORTS - {"none"}, by_default=True, always=True, field="<reasoning>"),
    form=AnswerForm(call_id="tooluse_{number:018d}{index:04d}", usage="asked"),
    errors=ErrorForm(
        words=facts(
            overflow="prompt tokens ($tokens) exceed model maximum ($limit)",
            part="This model doesn't support the image content block.",
        ),
    ),
)

OLLAMA: Final = SimulatedVendor(
    "ollama",
    (ListedModel("gpt-oss:20b", 131_072, 131_072, facts(owned_by="library")),),
    fields=COMMON_FIELDS | PENALTIES | {"seed"},
    ignores_unknown=True,
    images=frozenset({"data"}),
    stop_limit=100,
    obeys_choice=False,
    obeys_parallel=False,
    thinking=ThinkingRules(efforts=FOUR_EFFORTS, by_default=True, field="reasoning"),
    form=AnswerForm(identifier="chatcmpl-{number}", call_id="call_{number:08x}", whole_calls=True),
    errors=ErrorForm(
        words=facts(
            image_address="invalid image input",
            effort='think value "$value" is not supported for this model',
            unknown_model="model '$model' not found",
        ),
    ),
)

LM_STUDIO: Final = SimulatedVendor(
    "lmstudio",
    (ListedModel("qwen3-8b", 32_768, 32_768, facts(owned_by="organization_owner")),),
    aliases=("lm-studio",),
    fields=COMMON_FIELDS | PENALTIES | {"logit_bias", "repeat_penalty", "seed", "top_k"},
    ignores_unknown=True,
    images=frozenset({"data"}),
    stop_limit=100,
    obeys_parallel=False,
    choices=frozenset({"auto", "none", "required"}),
    thinking=ThinkingRules(by_default=True, field="reasoning_content"),
    form=AnswerForm(call_id="{number:05d}{index:04d}"),
    errors=ErrorForm(
        envelope={"error": "$message"},
        words=facts(
            choice="Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
            image_address="Invalid url in image_url: only base64 data is supported",
            overflow="Trying to keep the first $tokens tokens when context the overflows. However, the model is "
            "loaded with context length of only $limit tokens, which is not enough.",
        ),
    ),
)
