"""The table of vendors: what each hosted API and each server takes and sends. Every fact has its source.

Tags: [seen] on a real server, 2026-11 · [SDK] the vendor's client package, 2026-11 · [docs] its pages, 2026 ·
[LiteLLM] source of litellm 1.110 · [AI SDK] vercel/ai providers, 2026-11 · [issues] reports by users, 2025 and 2026. A
fact that is not listed is as OpenAI's. An unknown server is strict, and the fallbacks find out the rest.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.upstream.adaptation import Adaptation
from gateway.upstream.vendor import NO_REASONING, MessagesSupport, ReasoningSupport, Setting, Vendor

# Any other server. It is recognised once it has been looked at, or stays unknown.
COMPATIBLE: Final = Vendor("compatible", "another server with OpenAI's chat completions")

SAMPLERS: Final = frozenset({"min_p", "repetition_penalty", "top_k"})
PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})
LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
REPEAT_PENALTY: Final = (("repetition_penalty", "repeat_penalty"),)

EFFORT_OFF: Final[tuple[Setting, ...]] = (("reasoning_effort", "none"),)
ALL_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FOUR_EFFORTS: Final = ReasoningSupport("fields", off=EFFORT_OFF, supported_efforts=("none", "low", "medium", "high"))
ALWAYS_ON: Final = ReasoningSupport("fields", takes_effort=False, mandatory=True)
SWITCH_ON: Final[tuple[Setting, ...]] = (("thinking.type", "enabled"),)
SWITCH_OFF: Final[tuple[Setting, ...]] = (("thinking.type", "disabled"),)

# Chat completions takes tools with effort "none" only since GPT-5.4, from 5.6 on also when no effort is sent
# (openai-openapi, issue 541; litellm, PR 34569; 2026).
TOOLS_BY_RESPONSES: Final = r"gpt-(5\.[4-9]|[6-9])(?!.*-chat)"
NO_EFFORT_WITH_TOOLS: Final = ((TOOLS_BY_RESPONSES, Adaptation("effort_none_with_tools")),)
# What their Messages take; others are refused or, within tool results or as typed tools, skipped without an error.
PLAIN_BLOCKS: Final = frozenset({"text", "image", "tool_use", "tool_result", "thinking"})

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

SERVERS: Final = (
    Vendor(
        "vllm",  # 0.32.0, all [seen]
        "vLLM",
        "http://127.0.0.1:8000/v1",
        owned_by=("vllm",),
        marks=(("/version", '{"version":'),),
        parameters=SAMPLERS,
        adaptations=(
            Adaptation("strict_calls"),
            Adaptation("prefill_fields", ("continue_final_message", "add_generation_prompt")),
        ),
        format_excludes_tools=True,
        answer_within_context=True,
        reasoning=ReasoningSupport("fields", (), EFFORT_OFF, True, ALL_EFFORTS, "thinking_token_budget"),
        reasoning_field="reasoning",
        continuous_usage=True,
        counting="tokenize",
        messages=MessagesSupport(auth="bearer", blocks=PLAIN_BLOCKS | {"tool_reference", "redacted_thinking"}),
    ),
    Vendor(
        "sglang",  # 0.5.23, all [seen]
        "SGLang",
        "http://127.0.0.1:30000/v1",
        owned_by=("sglang",),
        marks=(("/get_model_info", '"model_path"'),),
        parameters=SAMPLERS,
        adaptations=(
            Adaptation("lone_tool"),
            Adaptation("strict_calls"),
            Adaptation("prefill_fields", ("continue_final_message",)),
        ),
        keeps_parallel=False,
        format_excludes_tools=True,
        answer_within_context=True,
        reasoning=ReasoningSupport("fields", (), EFFORT_OFF, True, ALL_EFFORTS),
        reasoning_field="reasoning_content",
        names_stops=True,
        continuous_usage=True,
        counting="messages",
        messages=MessagesSupport(auth="bearer", blocks=PLAIN_BLOCKS | {"search_result"}),
    ),
    Vendor(
        "llamacpp",  # build 11549, all [seen]
        "llama.cpp",
        "http://127.0.0.1:8080/v1",
        owned_by=("llamacpp",),
        server="llama.cpp",
        parameters=SAMPLERS,
        renamed=REPEAT_PENALTY,
        adaptations=(Adaptation("lone_tool"), Adaptation("hide_tools")),
        keeps_parallel=False,
        format_excludes_tools=True,
        reasoning=ReasoningSupport("fields", (), EFFORT_OFF, budget_field="thinking_budget_tokens"),
        reasoning_field="reasoning_content",
        counting="input_tokens",
        messages=MessagesSupport(blocks=PLAIN_BLOCKS),
    ),
    Vendor(
        "llama-cpp-python",  # 0.3.36, all [seen]
        "llama-cpp-python",
        "http://127.0.0.1:8000/v1",
        marks=(("/openapi.json", "llama.cpp Python API"),),
        length_field="max_tokens",
        parameters=SAMPLERS,
        renamed=REPEAT_PENALTY,
        adaptations=(
            Adaptation("empty_content"),
            Adaptation("flat_content"),
            Adaptation("auto_choice", ("required",)),
            Adaptation("json_object", ("schema",)),
            Adaptation("hide_tools"),
        ),
        keeps_parallel=False,
        reasoning=NO_REASONING,
        reasoning_field="",
    ),
    Vendor(
        "transformers",  # serve 5.19.0, all [seen]
        "transformers serve",
        "http://127.0.0.1:8000/v1",
        marks=(("/openapi.json", '"/load_model"'),),
        length_field="max_tokens",
        adaptations=(Adaptation("auto_choice"), Adaptation("format_in_prompt"), Adaptation("hide_tools")),
        keeps_parallel=False,
        reasoning=ReasoningSupport(
            "fields", off=(("chat_template_kwargs.enable_thinking", False),), takes_effort=False
        ),
        reasoning_field="",
    ),
    Vendor(
        "litellm",  # proxy 1.108.7, all [seen]
        "LiteLLM",
        "http://127.0.0.1:4000/v1",
        marks=(("/health/liveliness", "I'm alive!"),),
        parameters=SAMPLERS,
        counting="messages",
    ),
    Vendor(
        "ollama",
        "Ollama",
        "http://127.0.0.1:11434/v1",
        owned_by=("library",),
        marks=(("/api/version", '{"version":'),),
        length_field="max_tokens",
        adaptations=(Adaptation("auto_choice"),),  # [docs] no tool_choice
        keeps_parallel=False,
        reasoning=FOUR_EFFORTS,  # [docs]
        reasoning_field="",
        messages=MessagesSupport(blocks=PLAIN_BLOCKS),  # [docs]
    ),
    Vendor(
        "lmstudio",
        "LM Studio",
        "http://127.0.0.1:1234/v1",
        owned_by=("organization_owner",),
        length_field="max_tokens",
        parameters=frozenset({"repetition_penalty", "top_k"}),  # [docs]
        renamed=REPEAT_PENALTY,
    ),
)

VENDORS: Final = {vendor.name: vendor for vendor in (*HOSTED, *SERVERS, COMPATIBLE)}
# Paths to look at on a server with a list of models that has not shown its vendor, in this order.
MARKED_PATHS: Final = tuple(dict.fromkeys(path for vendor in SERVERS for path, _ in vendor.marks))


def vendor_of(choice: str, url: str) -> Vendor:
    """The row for a setting and the address. `auto` and `openai` leave it to the host, and later to the server.

    `openai` is OpenAI's API in its strict form on any server: that is what it has always been set for.
    """
    if choice not in ("auto", "openai"):
        return VENDORS[choice]
    host = urlsplit(url).hostname or ""
    found = next((vendor for vendor in HOSTED if vendor.has_host(host)), COMPATIBLE)
    return COMPATIBLE if choice == "openai" and found.flavor != "openai" else found


def vendor_by_list(headers: Mapping[str, str], listed: Iterable[Mapping[str, Any]]) -> Vendor | None:
    """Recognise a server by its list of models."""
    server = headers.get("server", "").lower()
    owners = {str(entry.get("owned_by")) for entry in listed}
    for vendor in SERVERS:
        if (vendor.server and server.startswith(vendor.server)) or not owners.isdisjoint(vendor.owned_by):
            return vendor
    return None


def vendor_by_mark(path: str, text: str) -> Vendor | None:
    """Recognise a server by its answer at one of MARKED_PATHS."""
    return next(
        (vendor for vendor in SERVERS for marked, mark in vendor.marks if marked == path and mark in text), None
    )


def by_model(rules: Iterable[tuple[str, Any]], model: str) -> list[Any]:
    """Values of the rules with a pattern that matches the start of the model's name."""
    return [value for pattern, value in rules if re.match(pattern, model)]
