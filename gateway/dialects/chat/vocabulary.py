"""Words of Anthropic's API and their counterparts upstream: tables only, each fact once.

What a table does not name cannot be said upstream; the modules that read it decide between a note and a refusal.
"""

import re
from typing import Final

from gateway.upstream.models.target import Family

# Ways to think, from none to most. Snapping walks this order.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# The share of max_tokens that an effort lets a model spend on thinking (OpenRouter docs, reasoning tokens): the least
# effort with a share that covers a requested budget replaces the budget on models that take efforts only.
EFFORT_SHARES = ((0.1, "minimal"), (0.2, "low"), (0.5, "medium"), (0.8, "high"))
EFFORT_BEYOND = "xhigh"

# The last event of a chat stream.
DONE_EVENT = b"data: [DONE]\n\n"
# The mark as servers write it.
DONE_FORMS: Final = re.compile(rb'\s*"?(?:\[DONE\]|DONE"?\s*\Z)', re.IGNORECASE)

TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}

INSTRUCTION_ROLES = frozenset({"developer", "system"})

# Anthropic's `auto` has the same name at OpenAI.
SERVICE_TIERS = {"standard_only": "default"}
FAST_TIER = "priority"

# `format` of a reasoning entry → the models that accept it back. No model accepts unlisted or absent formats.
FORMAT_FAMILIES: dict[str, Family] = {
    "anthropic-claude-v1": "claude",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "openai",
    "azure-openai-responses-v1": "openai",
    "bedrock-openai-responses-v1": "openai",
    "xai-responses-v1": "xai",
    "bedrock-xai-responses-v1": "xai",
    "meta-responses-v1": "meta",
}
CLAUDE_FORMAT = "anthropic-claude-v1"

# These reject thinking text that comes back without the signature they made for it.
SIGNING_FAMILIES: frozenset[Family] = frozenset({"claude", "gemini"})


# Mark of a failed tool call, for APIs without a flag for it. Fixed, so that prefix caches hold.
ERROR_MARK = "[tool error]"
CLEARED_RESULT = "[old tool result cleared]"
MEDIA_POINTER = "[attached to the next user message]"
MEDIA_ORIGIN = "[from the result of tool call {}]"
# How an instruction reads that the upstream does not take as a system message in its place.
SYSTEM_MARK = "[system message]"
# On a call that Gemini did not make itself, in place of its signature (Google's documentation, thought signatures).
UNSIGNED_CALL = {"google": {"thought_signature": "skip_thought_signature_validator"}}
NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."

# Web tools that OpenRouter runs itself: our field → its parameter.
SERVER_TOOLS = {
    "web_search": (
        "openrouter:web_search",
        {
            "max_uses": "max_uses",
            "allowed_domains": "allowed_domains",
            "blocked_domains": "excluded_domains",
            "user_location": "user_location",
        },
    ),
    "web_fetch": (
        "openrouter:web_fetch",
        {
            "max_uses": "max_uses",
            "allowed_domains": "allowed_domains",
            "blocked_domains": "blocked_domains",
            "max_content_tokens": "max_content_tokens",
        },
    ),
    "advisor": ("openrouter:advisor", {"model": "model", "max_tokens": "max_completion_tokens"}),
}

# Chat parameters that only one kind of upstream takes; the others in `PassThrough` are common to both.
OPENROUTER_ONLY = frozenset(
    {
        "deferred_tools",
        "image_config",
        "include_reasoning",
        "max_tool_calls",
        "min_p",
        "models",
        "plugins",
        "preset",
        "provider",
        "repetition_penalty",
        "route",
        "session_id",
        "stop_server_tools_when",
        "top_a",
        "trace",
        "transforms",
    }
)
OPENAI_ONLY = frozenset({"moderation", "prompt_cache_retention", "safety_identifier", "store"})

# Fields of a Messages request that are not parameters, or that go with others.
PROMPT_FIELDS = frozenset(
    {
        "context_management",
        "max_tokens",
        "messages",
        "model",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)

# Fields without effect on the answer.
IGNORED_FIELDS = {
    "diagnostics": "it concerns Anthropic's prompt cache",
    "inference_geo": "the upstream chooses where it runs",
}

SUMMARY_HEADER = "[summary of the conversation so far]"
