"""Rows of hosted APIs, which are recognised by their host: what each takes and sends. Every fact has its source.

Tags: [seen] on a real server, 2026-11 · [SDK] the vendor's client package, 2026-11 · [docs] its pages, 2026 ·
[LiteLLM] source of litellm 1.110 · [AI SDK] vercel/ai providers, 2026-11 · [issues] reports by users, 2025 and 2026. A
fact that is not listed is as OpenAI's.
"""

from typing import Final

from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.vendor import (
    ALL_EFFORTS,
    EFFORT_OFF,
    FOUR_EFFORTS,
    SAMPLERS,
    MessagesSupport,
    ReasoningSupport,
    Setting,
    Vendor,
)

PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})
LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})

ALWAYS_ON: Final = ReasoningSupport("fields", takes_effort=False, mandatory=True)
SWITCH_ON: Final[tuple[Setting, ...]] = (("thinking.type", "enabled"),)
SWITCH_OFF: Final[tuple[Setting, ...]] = (("thinking.type", "disabled"),)

# Chat completions takes tools with effort "none" only since GPT-5.4, from 5.6 on also when no effort is sent
# (openai-openapi, issue 541; litellm, PR 34569; 2026).
TOOLS_BY_RESPONSES: Final = r"gpt-(5\.[4-9]|[6-9])(?!.*-chat)"
NO_EFFORT_WITH_TOOLS: Final = ((TOOLS_BY_RESPONSES, Adaptation("effort_none_with_tools")),)

FILL_REASONING: Final = Adaptation("fill_reasoning", ("reasoning_content",))
FORCED_WITHOUT_THINKING: Final = Adaptation("forced_without_thinking", ("thinking",))  # [issues] DeepSeek-V3 1376

OPENROUTER: Final = Vendor(
    "openrouter",
    "OpenRouter",
    "https://openrouter.ai/api/v1",
    hosts=("openrouter.ai",),
    flavor="openrouter",
    messages=MessagesSupport("claude", auth="bearer", repeats_betas=True),  # [docs]
)

HOSTED: Final = (
    OPENROUTER,
    Vendor(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        hosts=("api.openai.com",),
        adaptations_by_model=NO_EFFORT_WITH_TOOLS,
        reasoning_field="",  # [docs] reasoning is never sent on chat
        keeps_stored=True,
        responses_models=TOOLS_BY_RESPONSES,
    ),
    Vendor(
        "azure",
        "Azure OpenAI",
        "https://RESOURCE.openai.azure.com/openai/v1",
        hosts=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),  # [docs]
        auth="api-key",
        adaptations_by_model=NO_EFFORT_WITH_TOOLS,
        reasoning_field="",
        keeps_stored=True,
        responses_models=TOOLS_BY_RESPONSES,
    ),
    Vendor(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        hosts=("api.anthropic.com",),
        auth="x-api-key",
        counting="messages",  # [docs]
        messages=MessagesSupport("all", keeps_query=True, keeps_billing=True),  # [docs]
    ),
    # [docs] Signatures of calls go back with the calls; text of reasoning does not.
    Vendor(
        "gemini",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        hosts=("generativelanguage.googleapis.com",),
        # [docs] Calls that another model made are marked; without a signature Gemini 3 refuses them.
        adaptations_by_model=((r"gemini-([3-9]|\d\d)", Adaptation("sign_calls")),),
        reasoning_field="",
    ),
    Vendor(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        hosts=("api.mistral.ai", "codestral.mistral.ai"),
        length_field="max_tokens",
        renamed=(("seed", "random_seed"),),  # [SDK]
        refused=LOGPROBS | {"logit_bias", "metadata", "user"},  # [SDK, issues] picoclaw 1502, OpenHands-CLI 83
        adaptations=(  # [issues] "length of 9", "Unexpected role 'user' after role 'tool'", "prefix True"
            Adaptation("short_ids"),
            Adaptation("alternate_turns"),
            Adaptation("prefill_flag", ("prefix",)),
        ),
        reasoning=ReasoningSupport("fields", off=EFFORT_OFF, supported_efforts=("none", "high")),  # [docs]
        reasoning_field="thinking_parts",  # [docs]
    ),
    Vendor(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        hosts=("api.deepseek.com",),
        length_field="max_tokens",
        # [AI SDK, issues] V4 wants the field on every assistant message, R1 on none.
        adaptations_by_model=((r"deepseek-v[4-9]", FILL_REASONING), (r"deepseek-v[4-9]", FORCED_WITHOUT_THINKING)),
        reasoning=ReasoningSupport("fields", SWITCH_ON, SWITCH_OFF, supported_efforts=("high", "max")),  # [AI SDK]
        reasoning_by_model=((r"deepseek-(r1|reasoner)", ALWAYS_ON),),
        reasoning_field="reasoning_content",  # [docs]
    ),
    Vendor(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        hosts=("api.x.ai",),
        length_field="max_tokens",
        refused=PENALTIES,  # [LiteLLM] by Grok 4 and the code models
        adaptations=(Adaptation("not_strict"),),  # [LiteLLM]
        reasoning_field="",  # [AI SDK]
    ),
    Vendor(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        hosts=("api.groq.com",),
        length_field="max_completion_tokens",  # [SDK]
        refused=PENALTIES | LOGPROBS | {"logit_bias"},  # [docs]
        reasoning=FOUR_EFFORTS,  # [SDK]
        reasoning_field="reasoning",  # [SDK]
    ),
    Vendor(
        "together",
        "Together",
        "https://api.together.ai/v1",
        hosts=("api.together.ai", "api.together.xyz"),
        length_field="max_tokens",
        parameters=SAMPLERS,  # [SDK]
        refused=frozenset({"parallel_tool_calls"}),  # [SDK]
        reasoning=ReasoningSupport(
            "fields", (("reasoning.enabled", True),), (("reasoning.enabled", False),), True, ("low", "medium", "high")
        ),  # [SDK]
        reasoning_field="reasoning",  # [SDK]
    ),
    Vendor(
        "fireworks",
        "Fireworks",
        "https://api.fireworks.ai/inference/v1",
        hosts=("api.fireworks.ai",),
        length_field="max_tokens",
        parameters=SAMPLERS,  # [SDK]
        reasoning=FOUR_EFFORTS,  # [SDK]
        reasoning_field="reasoning_content",  # [SDK]
        messages=MessagesSupport(auth="bearer"),  # [docs]
    ),
    Vendor(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        hosts=("api.cerebras.ai",),
        length_field="max_completion_tokens",  # [SDK]
        reasoning=FOUR_EFFORTS,  # [SDK]
        reasoning_field="reasoning",  # [SDK, issues] `reasoning_content` is refused: kilocode 10375
    ),
    Vendor(
        "moonshot",
        "Moonshot (Kimi)",
        "https://api.moonshot.ai/v1",
        hosts=("api.moonshot.ai", "api.moonshot.cn", "api.kimi.com"),
        length_field="max_tokens",
        refused=PENALTIES | {"temperature", "top_p"},  # [AI SDK] fixed for Kimi's thinking models
        adaptations=(FILL_REASONING, Adaptation("prefill_flag", ("partial",))),  # [LiteLLM, docs]
        adaptations_by_model=((r"kimi-k2\.\d", FORCED_WITHOUT_THINKING),),
        reasoning=ReasoningSupport("fields", SWITCH_ON, SWITCH_OFF, takes_effort=False),  # [AI SDK] K2
        reasoning_by_model=(
            (r"kimi-k3", ReasoningSupport("fields", supported_efforts=("low", "high", "max"), mandatory=True)),
            (r"kimi-k2-thinking", ALWAYS_ON),
        ),
        reasoning_field="reasoning_content",  # [docs]
        messages=MessagesSupport(auth="bearer"),  # [docs]
    ),
    Vendor(
        "zhipu",
        "Z.ai (Zhipu)",
        "https://api.z.ai/api/paas/v4",
        hosts=("api.z.ai", "open.bigmodel.cn"),
        length_field="max_tokens",
        adaptations=(Adaptation("auto_choice"), Adaptation("json_object")),  # [SDK, LiteLLM] "auto" only; no schemas
        reasoning=ReasoningSupport("fields", SWITCH_ON, SWITCH_OFF, takes_effort=False),  # [docs]
        reasoning_by_model=(
            (r"glm-(5\.[2-9]|[6-9])", ReasoningSupport("fields", SWITCH_ON, SWITCH_OFF, supported_efforts=ALL_EFFORTS)),
        ),
        reasoning_field="reasoning_content",  # [docs]
        messages=MessagesSupport(auth="bearer"),  # [docs]
    ),
    Vendor(
        "qwen",
        "Qwen (DashScope)",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        hosts=("aliyuncs.com",),
        length_field="max_tokens",
        parameters=frozenset({"repetition_penalty", "top_k"}),  # [docs]
        adaptations_by_model=(
            (r"qwen-?(3\.[5-9]|[4-9])", Adaptation("forced_without_thinking", ("enable_thinking",))),
        ),
        reasoning=ReasoningSupport(
            "fields",
            (("enable_thinking", True),),
            (("enable_thinking", False),),
            takes_effort=False,
            budget_field="thinking_budget",
        ),  # [docs]
        reasoning_field="reasoning_content",
        messages=MessagesSupport(auth="bearer"),  # [docs]
    ),
    Vendor(
        "minimax",
        "MiniMax",
        "https://api.minimax.io/v1",
        hosts=("api.minimax.io", "api.minimaxi.com"),
        constants=(("reasoning_split", True),),  # [docs] else the thinking is part of the text
        reasoning=ALWAYS_ON,
        reasoning_field="reasoning_details",  # [docs]
        messages=MessagesSupport(auth="bearer"),  # [docs]
    ),
    Vendor(
        "bedrock",
        "Amazon Bedrock",
        "https://bedrock-runtime.REGION.amazonaws.com/openai/v1",
        hosts=("amazonaws.com", "api.aws"),
    ),
)
