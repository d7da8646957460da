"""Rows of servers that run on one's own machines, which are recognised by what they show. Every fact has its source.

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
    NO_REASONING,
    SAMPLERS,
    MessagesSupport,
    ReasoningSupport,
    Vendor,
)

REPEAT_PENALTY: Final = (("repetition_penalty", "repeat_penalty"),)
# What their Messages take; others are refused or, within tool results or as typed tools, skipped without an error.
PLAIN_BLOCKS: Final = frozenset({"text", "image", "tool_use", "tool_result", "thinking"})

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
