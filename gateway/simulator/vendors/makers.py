"""Rows of companies that serve their own closed models, and Mistral. Sources of facts:

[SDK] the vendor's client package, 2026-11 · [docs] its pages, 2026 · [LiteLLM] source of litellm 1.110 · [AI SDK]
vercel/ai providers, 2026-11 · [issues] reports by users, 2025 and 2026. Facts without a source are as OpenAI's.
"""

from typing import Any, Final

from gateway.simulator.vendors.row import (
    COMMON_FIELDS,
    FLAT_ROLES,
    MAX_TOKENS,
    OPENAI_FIELDS,
    PENALTIES,
    AnswerForm,
    ErrorForm,
    ListedModel,
    SimulatedVendor,
    ThinkingRules,
    facts,
    names,
)

# [docs, issues] openai-openapi 541; Azure's function descriptions of 1024, ids of calls of 40 characters.
OPENAI_VARIANTS: Final = (
    (
        r"(o\d|gpt-[5-9])(?!.*-chat)",
        {
            "refused": PENALTIES | {"logit_bias", "logprobs", "temperature", "top_logprobs", "top_p"},
            "length_fields": frozenset({"max_completion_tokens"}),
            "thinking": ThinkingRules(
                efforts=frozenset({"minimal", "low", "medium", "high"}), by_default=True, always=True
            ),
        },
    ),
    (r"(o3|o4-mini)", {"refused": PENALTIES | {"logit_bias", "logprobs", "stop", "temperature", "top_p"}}),
    (
        r"gpt-(5\.[1-9]|[6-9])(?!.*-chat)",
        {"thinking": ThinkingRules(efforts=frozenset({"none", "low", "medium", "high", "xhigh"}), by_default=True)},
    ),
    (r"gpt-(5\.[4-9]|[6-9])(?!.*-chat)", {"tools_with_effort": False}),
)
OPENAI_MODELS: Final = (
    ListedModel("gpt-4o", 128_000, 16_384, facts(owned_by="system")),
    ListedModel("gpt-5.2", 400_000, 128_000, facts(owned_by="system")),
    ListedModel("gpt-5.6", 1_050_000, 128_000, facts(owned_by="system")),
)
OPENAI: Final = SimulatedVendor(
    "openai",
    OPENAI_MODELS,
    variants=OPENAI_VARIANTS,
    user_limit=64,
    id_limit=40,
    tool_parts=False,
    last_assistant="continued",
    complete_schemas=True,
    strict="checked",
    message_fields=frozenset({"audio", "function_call", "refusal"}),
    thinking=ThinkingRules(back="refused"),
    form=AnswerForm(head=facts(service_tier="default", system_fingerprint="fp_simulator")),
)

AZURE: Final = SimulatedVendor(
    "azure",
    OPENAI_MODELS,
    variants=OPENAI_VARIANTS,
    user_limit=64,
    id_limit=40,
    tool_parts=False,
    description_limit=1024,  # [issues] of function descriptions
    complete_schemas=True,
    strict="checked",
    message_fields=frozenset({"audio", "function_call", "refusal"}),
    thinking=ThinkingRules(back="refused"),
    form=AnswerForm(
        head=facts(system_fingerprint="fp_simulator"),
        preface=(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
            },
        ),
    ),
)

GOOGLE_ENVELOPE: Final = [{"error": {"code": "$status", "message": "$message", "status": "$google_status"}}]
GEMINI_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high"})
GEMINI: Final = SimulatedVendor(
    "gemini",
    (
        ListedModel("gemini-3.1-pro-preview", 1_048_576, 65_536, facts(owned_by="google")),
        ListedModel("gemini-3-flash", 1_048_576, 65_536, facts(owned_by="google")),
    ),
    aliases=("google",),
    fields=COMMON_FIELDS | {"extra_body", "n", "parallel_tool_calls", "seed", "user"} | PENALTIES,
    stop_limit=5,  # [docs]
    message_fields=frozenset(),
    # [issues] llmgateway 1763 and others: keywords that its parser does not know.
    schema_refused=names(
        "$comment $schema const contentEncoding dependentRequired else exclusiveMaximum exclusiveMinimum if multipleOf "
        "not patternProperties propertyNames then unevaluatedProperties uniqueItems"
    ),
    single_types=True,
    thinking=ThinkingRules(efforts=GEMINI_EFFORTS, by_default=True, back="signature", field="<thought>"),
    variants=(
        (
            r"gemini-.*pro",
            {
                "thinking": ThinkingRules(
                    efforts=GEMINI_EFFORTS - {"none"}, by_default=True, always=True, back="signature", field=""
                )
            },
        ),
    ),
    form=AnswerForm(
        identifier="sim{number:020d}", call_id="function-call-{number}{index}", whole_calls=True, usage="finish"
    ),
    errors=ErrorForm(
        envelope=GOOGLE_ENVELOPE,
        words=facts(
            unknown_field='Invalid JSON payload received. Unknown name "$name": Cannot find field.',
            message_field="Invalid JSON payload received. Unknown name \"$name\" at 'messages[$index]': "
            "Cannot find field.",
            schema_words="$listed",
            schema_word='Invalid JSON payload received. Unknown name "$value" at '
            "'tools[0].function_declarations[0].parameters.$place': Cannot find field.",
            schema_types='Invalid JSON payload received. Unknown name "type" at '
            "'tools[0].function_declarations[0].parameters.$place': Proto field is not repeating, cannot start list.",
            overflow="The input token count ($tokens) exceeds the maximum number of tokens allowed ($limit).",
            max_tokens="Unable to submit request because it has a maxOutputTokens value of $value but the supported "
            "range is from 1 (inclusive) to $limit (exclusive). Update the value and try again.",
            effort="Invalid value at 'reasoning_effort': $value. Valid values are $listed.",
            **{"429": "You exceeded your current quota. Please retry in 1s.", "401": "API key not valid."},
        ),
    ),
)


def _mistral_extra(*place: str) -> Any:
    """Return an unknown field as Mistral's API lists it (picoclaw, issue 1502, 2026)."""
    detail = {"type": "extra_forbidden", "loc": list(place), "msg": "Extra inputs are not permitted", "input": "$value"}
    return {"object": "error", "message": {"detail": [detail]}, "type": "invalid_request_error"}


MISTRAL_ERROR: Final = {"object": "error", "message": "$message", "type": "$type", "param": None, "code": "3230"}
MISTRAL: Final = SimulatedVendor(
    "mistral",
    (ListedModel("mistral-medium-latest", 131_072, 131_072, facts(max_context_length=131_072, owned_by="mistralai")),),
    # [SDK] all fields of its request; every other is refused.
    fields=COMMON_FIELDS
    | PENALTIES
    | {"n", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_mode", "random_seed", "safe_prompt"},
    length_fields=MAX_TOKENS,
    roles=FLAT_ROLES,
    message_fields=frozenset(),
    user_after_tool=False,
    last_assistant="prefix",
    id_pattern=r"[a-zA-Z0-9]{9}",
    thinking=ThinkingRules(efforts=frozenset({"none", "high"}), field="thinking_parts"),
    form=AnswerForm(identifier="{number:032x}", call_id="Sim{short:04d}{index:02d}", whole_calls=True, usage="finish"),
    errors=ErrorForm(
        envelope=MISTRAL_ERROR,
        envelopes=facts(
            unknown_field=_mistral_extra("body", "$name"),
            length_field=_mistral_extra("body", "$name"),
            message_field=_mistral_extra("body", "messages", "$index", "$role", "$name"),
        ),
        words=facts(
            call_id="Tool call id was $id but must be a-z, A-Z, 0-9, with a length of 9.",
            last_assistant="Expected last role User or Tool (or Assistant with prefix True) for serving but got $value",
            overflow="Prompt contains $tokens tokens and 0 draft tokens, too large for model with $limit maximum "
            "context length",
        ),
        statuses=facts(unknown_field=422, message_field=422, length_field=422),
    ),
)

XAI: Final = SimulatedVendor(
    "xai",
    (ListedModel("grok-4.3", 256_000, 128_000), ListedModel("grok-3-mini", 131_072, 131_072)),
    aliases=("grok",),
    fields=OPENAI_FIELDS | {"deferred", "search_parameters"},
    message_fields=frozenset(),
    strict="refused",
    thinking=ThinkingRules(efforts=frozenset({"low", "medium", "high"}), by_default=True, field="reasoning_content"),
    variants=((r"grok-(4|code)", {"refused": PENALTIES | {"stop"}}),),
    form=AnswerForm(
        identifier="{number:08x}-0000-4000-8000-0000000000aa",
        whole_calls=True,
        finish_with_calls="",  # [issues] at times an empty reason beside calls
        usage="always",
        reasoning_beside=True,
    ),
    errors=ErrorForm(
        envelope={"code": "Client specified an invalid argument", "error": "$message"},
        words=facts(
            refused_field="Argument not supported on this model: $name",
            strict="Argument not supported: strict",
            overflow="This model's maximum prompt length is $limit but the request contains $tokens tokens.",
        ),
    ),
)
