"""A target as the upstream's own list of models describes it, instead of guesses from its name.

OpenRouter's list shows each model's parameters, reasoning settings and limits; vLLM's shows its context. Facts that the
list lacks stay as guessed. Pure: the reader of the list passes one of its entries.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateway.json_values import to_mapping
from gateway.upstream.models.prices import to_price
from gateway.upstream.models.target import Target
from gateway.upstream.vendors.vendor import ReasoningSupport

# Where lists have the tokens that a model reads: OpenRouter, Together and Cohere; vLLM and SGLang; Groq and Vercel; LM
# Studio, which may have loaded it with less; Mistral; llama.cpp, with `n_ctx` as the size of one slot; LiteLLM; GitHub;
# Novita; Gemini's own; DeepInfra; models.dev; Copilot; Venice.
CONTEXTS = (
    *("top_provider.context_length", "context_length", "max_model_len", "context_window", "loaded_context_length"),
    *("max_context_length", "meta.n_ctx", "max_input_tokens", "limits.max_input_tokens", "context_size"),
    *("inputTokenLimit", "input_token_limit", "metadata.context_length", "limit.context"),
    *("capabilities.limits.max_context_window_tokens", "model_spec.availableContextTokens", "max_sequence_length"),
)
# And those that it writes.
OUTPUTS = (
    *("top_provider.max_completion_tokens", "max_completion_tokens", "max_output_tokens", "outputTokenLimit"),
    *("output_token_limit", "limits.max_output_tokens", "metadata.max_tokens", "limit.output"),
    "capabilities.limits.max_output_tokens",
)
# The part of an entry that says anything here; the rest is prose.
FIELDS = tuple(
    dict.fromkeys(
        [path.partition(".")[0] for path in (*CONTEXTS, *OUTPUTS)] + ["pricing", "reasoning", "supported_parameters"]
    )
)

# Parameters without which an answer is still an answer to what was asked. OpenRouter ignores them in silence where a
# model does not take them; what would change the answer's form is left to the upstream to refuse.
DISPENSABLE = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "min_p",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "temperature",
        "top_a",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)


def essentials(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in FIELDS if name in entry}


def refined(target: Target, entry: Mapping[str, Any]) -> Target:
    context, output = lengths_of(entry)
    taken = to_words(entry.get("supported_parameters"))
    if taken and "stop" not in taken:
        target = replace(target, stop_limit=0)
    if taken and "response_format" in taken and "structured_outputs" not in taken:
        target = replace(target, strict_schemas=False)
    return replace(
        target,
        context_length=context,
        max_output=output,
        price=to_price(entry.get("pricing")),
        unsupported=target.unsupported | (DISPENSABLE - taken if taken else frozenset()),
        reasoning=_to_reasoning(target, to_mapping(entry.get("reasoning")), taken),
    )


def lengths_of(entry: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens that a model reads and writes at most, by the first field that holds a count."""
    return _first_count(entry, CONTEXTS), _first_count(entry, OUTPUTS)


def sees_images(entry: Mapping[str, Any]) -> bool:
    """Return True if the list says so: by modalities (OpenRouter, xAI, models.dev) or by a flag."""
    modalities = (
        to_mapping(entry.get("architecture")).get("input_modalities"),
        entry.get("input_modalities"),
        to_mapping(entry.get("modalities")).get("input"),
    )
    if any("image" in to_words(listed) for listed in modalities):
        return True
    flags = (
        to_mapping(entry.get("capabilities")).get("vision"),  # Mistral
        to_mapping(to_mapping(entry.get("capabilities")).get("supports")).get("vision"),  # Copilot
        entry.get("supports_image_input"),  # Fireworks
        entry.get("supports_vision"),  # LiteLLM
        entry.get("vision"),
        entry.get("type") == "vlm",  # LM Studio
    )
    return any(flag is True for flag in flags)


def _first_count(entry: Mapping[str, Any], paths: Iterable[str]) -> int | None:
    for path in paths:
        value: Any = entry
        for name in path.split("."):
            value = to_mapping(value).get(name)
        if (count := to_count(value)) is not None:
            return count
    return None


def _to_reasoning(target: Target, described: Mapping[str, Any], taken: frozenset[str]) -> ReasoningSupport:
    known = target.reasoning
    if not described:
        silent = target.openrouter and taken and not taken & {"reasoning", "include_reasoning", "reasoning_effort"}
        return replace(known, style="none") if silent else known
    efforts = described.get("supported_efforts")
    budget, mandatory = described.get("supports_max_tokens"), described.get("mandatory")
    return replace(
        known,
        supported_efforts=tuple(sorted(to_words(efforts))) if to_words(efforts) else known.supported_efforts,
        supports_max_tokens=budget if isinstance(budget, bool) else known.supports_max_tokens,
        mandatory=mandatory if isinstance(mandatory, bool) else known.mandatory,
    )


def to_words(value: object) -> frozenset[str]:
    """Return the strings of a list; empty for any other value."""
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def to_count(value: object) -> int | None:
    """Return a positive integer; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
