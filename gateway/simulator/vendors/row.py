"""One simulated server as a frozen value: accepted requests, reasoning, and the form of answers and errors.

The rows themselves are in `hosts`, `makers` and `open_models`; `rows` has them all by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

# A field of the request, dots between the keys of nested objects, and its value.
Switch = tuple[str, str | bool]


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def facts(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


# Fields of OpenAI's chat completions.
OPENAI_FIELDS = names("""
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream
    stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
""")
# Fields that every server takes.
COMMON_FIELDS = names("messages model response_format stop stream stream_options temperature tool_choice tools top_p")
PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
SAMPLERS = frozenset({"min_p", "repetition_penalty", "top_k"})
LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})
MAX_TOKENS = frozenset({"max_tokens"})
FOUR_EFFORTS = frozenset({"none", "low", "medium", "high"})
FLAT_ROLES = frozenset({"system", "user", "assistant", "tool"})
SWITCHES = {"on": (("thinking.type", "enabled"),), "off": (("thinking.type", "disabled"),)}


@dataclass(frozen=True, slots=True, repr=False)
class ThinkingRules:
    """Control of a model's thinking, and the form of its output.

    `on`, `off`: switches. `efforts`: those it takes; none where it takes no effort. `by_default`: it thinks unless it
    is turned off. `always`: it cannot be turned off. `field`: where reasoning is shown; "" for nowhere.
    `back`: assistant messages must have the thinking back: those with calls, all of them, or none may have it;
    "signature": a call must have its own. `fields`: names under which earlier thinking is accepted.
    """

    on: tuple[Switch, ...] = ()
    off: tuple[Switch, ...] = ()
    efforts: frozenset[str] = frozenset()
    by_default: bool = False
    always: bool = False
    field: Literal[
        "", "reasoning", "reasoning_content", "reasoning_details", "thinking_parts", "<thought>", "<reasoning>"
    ] = ""
    back: Literal["calls", "all", "refused", "signature", "free"] = "free"
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, repr=False)
class AnswerForm:
    """Form of the answers.

    `identifier`, `call_id`: with `{number}`, `{index}` and `{name}`. `head`: further keys of each body and chunk.
    `preface`: chunks before the first of the answer. `whole_calls`: a call comes in one chunk.
    `finish_with_calls`: the reason beside calls. `usage`: in a last chunk without choices if asked for, or always;
    with the finish reason; in the choice; in each chunk. `reasoning_beside`: its tokens are not in `completion_tokens`.
    """

    identifier: str = "chatcmpl-{number:024d}"
    call_id: str = "call_{number:012d}{index:012d}"
    head: Mapping[str, Any] = field(default_factory=facts)
    preface: tuple[Mapping[str, Any], ...] = ()
    whole_calls: bool = False
    finish_with_calls: str = "tool_calls"
    usage: Literal["asked", "always", "finish", "choice", "each"] = "asked"
    reasoning_beside: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ErrorForm:
    """Form of the errors. `envelope`: any JSON, with `$message`, `$type`, `$param`, `$code` and `$status` in it.

    `words`, `statuses`, `codes`: values by kind of problem; OpenAI's for other kinds. `envelopes`: for kinds with
    another form.
    """

    envelope: Any = field(
        default_factory=lambda: {
            "error": {"message": "$message", "type": "$type", "param": "$param", "code": "$code"},
        }
    )
    words: Mapping[str, str] = field(default_factory=facts)
    statuses: Mapping[str, int] = field(default_factory=facts)
    codes: Mapping[str, Any] = field(default_factory=facts)
    envelopes: Mapping[str, Any] = field(default_factory=facts)


@dataclass(frozen=True, slots=True, repr=False)
class ListedModel:
    """A model in the server's list. `facts`: its fields besides the id. `tokens`: context length. `output`: longest
    answer."""

    id: str
    tokens: int = 131_072
    output: int = 32_768
    facts: Mapping[str, Any] = field(default_factory=facts)


@dataclass(frozen=True, slots=True, repr=False)
class SimulatedVendor:
    """One row. A default is OpenAI's way.

    `variants`: attributes that differ for models with names that match a pattern at the start.

    Fields: `fields` of the request; `ignores_unknown` others; `refused`: those that its models do not take.
    `length_fields`: names of the answer's limit. `user_limit`: characters of `user`. `stop_limit`: stop sequences.

    Messages: `roles`; `message_fields` where it refuses others; `late_system`: not only at the start;
    `user_after_tool`: right behind a result; `last_assistant`: how a trailing assistant message is taken, in the last
    case marked with that flag. `tool_parts`: a result may have parts. `images`: forms of addresses that it reads.
    `id_pattern`, `id_limit`: of calls' ids.

    Tools: `choices`; `forced_while_thinking`; `description_limit`; `schema_refused`: keywords;
    `complete_schemas`: arrays need items, and objects properties; `single_types`; `strict`: "checked" where a strict
    schema must be complete. `formats` of the answer; `format_with_tools`; `tools_with_effort`: also without "none".
    `obeys_choice`, `obeys_parallel`: a forced call comes, and no second one where only one is allowed.
    """

    name: str
    models: tuple[ListedModel, ...]
    aliases: tuple[str, ...] = ()
    variants: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    fields: frozenset[str] = OPENAI_FIELDS
    ignores_unknown: bool = False
    refused: frozenset[str] = frozenset()
    length_fields: frozenset[str] = frozenset({"max_tokens", "max_completion_tokens"})
    user_limit: int = 0
    stop_limit: int = 4
    roles: frozenset[str] = frozenset({"system", "developer", "user", "assistant", "tool"})
    message_fields: frozenset[str] | None = None
    late_system: bool = True
    user_after_tool: bool = True
    last_assistant: str = "continued"
    tool_parts: bool = True
    images: frozenset[str] = frozenset({"data", "https"})
    id_pattern: str = ""
    id_limit: int = 0
    choices: frozenset[str] = frozenset({"auto", "none", "required", "named"})
    forced_while_thinking: bool = True
    description_limit: int = 0
    schema_refused: frozenset[str] = frozenset()
    complete_schemas: bool = False
    single_types: bool = False
    strict: Literal["checked", "refused", "ignored"] = "ignored"
    formats: frozenset[str] = frozenset({"text", "json_object", "json_schema"})
    format_with_tools: bool = True
    tools_with_effort: bool = True
    obeys_choice: bool = True
    obeys_parallel: bool = True
    thinking: ThinkingRules = field(default_factory=ThinkingRules)
    form: AnswerForm = field(default_factory=AnswerForm)
    errors: ErrorForm = field(default_factory=ErrorForm)

    def for_model(self, model: str) -> "SimulatedVendor":
        """The row with what is different for this model. A later variant goes before an earlier one."""
        name = model.rpartition("/")[2]
        changes: dict[str, Any] = {}
        for pattern, variant in self.variants:
            if re.match(pattern, name):
                changes |= variant
        return replace(self, **changes) if changes else self

    def listed(self, model: str) -> ListedModel:
        """Its entry in the list of models; any other name is a model like the first."""
        return next((listed for listed in self.models if listed.id == model), replace(self.models[0], id=model))
