"""Facts that conversion needs about the upstream model of a request.

`to_target` derives it from the vendor's row and from the model's slug, by family; `model_facts` corrects the result by
the upstream's own list of models, where there is one. Nothing here looks anything up.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from gateway.upstream.models.prices import Price
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import COMPATIBLE, by_model
from gateway.upstream.vendors.vendor import (
    ANY_EFFORT,
    NO_REASONING,
    Flavor,
    LengthField,
    ReasoningField,
    ReasoningSupport,
    Setting,
    Vendor,
)

Family = Literal["claude", "gemini", "openai", "xai", "deepseek", "meta", "other"]


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream model, as conversion sees it.

    `flavor`: "openrouter" allows OpenRouter's extensions, "openai" sends strict chat completions.
    `reasoning_field`: where earlier reasoning is replayed on assistant messages; None when it cannot be.
    `stop_limit`: stop sequences the upstream takes; further ones are matched by the gateway. 0 unless the upstream
    names the sequence it found, and finds it in text only: vLLM 0.32 also looks in thinking and in calls, where it then
    loses letters of a stream; llama.cpp and LiteLLM do not name it; LiteLLM cuts the list; transformers leaves it in.
    SGLang looks in thinking and in calls too and names it, so it gets them where there are tools and no thinking.
    `prefill`: the model continues a trailing assistant message.
    `context_length`, `max_output`: tokens it reads and writes at most; None if unknown.
    `unsupported`: parameters that it does not take, and that can be left out; `parameters`: those it takes beyond
    OpenAI's; `renamed`: its names for some of them. `constants` and `adaptations` apply to each request.
    `price`: as the upstream's list of models has it; None where it has none.
    `has_channels`: it writes its thinking, calls and text in channels (gpt-oss), which servers may leave in the text.
    `strict_fallback`: schemas that it does not enforce may be sent without `strict`, if the operator allows it.
    The other fields are the vendor's, and explained there.
    """

    model: str
    flavor: Flavor = "openrouter"
    family: Family = "other"
    max_tokens_field: LengthField = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    cache_control: bool = True
    media_in_tool_results: bool = True
    reasoning: ReasoningSupport = field(default_factory=ReasoningSupport)
    reasoning_field: ReasoningField | None = "reasoning_details"
    stop_limit: int = 4
    tool_name_limit: int = 64
    strict_schemas: bool = True
    prefill: bool = True
    context_length: int | None = None
    max_output: int | None = None
    unsupported: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    renamed: tuple[tuple[str, str], ...] = ()
    constants: tuple[Setting, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()
    keeps_parallel: bool = True
    format_excludes_tools: bool = False
    answer_within_context: bool = False
    names_stops: bool = False
    continuous_usage: bool = False
    strict_fallback: bool = False
    has_channels: bool = False
    price: Price | None = None

    @property
    def claude(self) -> bool:
        return self.family == "claude"

    @property
    def openrouter(self) -> bool:
        return self.flavor == "openrouter"

    @property
    def has_service_tiers(self) -> bool:
        return self.openrouter or self.family == "openai"

    @property
    def identifies_users(self) -> bool:
        """Takes `safety_identifier` and `prompt_cache_key` (OpenAI's guide, 2026)."""
        return self.family == "openai"

    @property
    def keeps_to_grammars(self) -> bool:
        """Holds the input of a custom tool to its grammar (OpenAI's own models, on Responses)."""
        return self.family == "openai"

    @property
    def takes_allowed_tools(self) -> bool:
        """Takes a choice of `allowed_tools` (OpenAI's reference, 2026-11)."""
        return self.family == "openai"

    @property
    def pads_streams(self) -> bool:
        """Pads its deltas against eavesdroppers on the wire, unless the request asks it not to."""
        return self.family == "openai"

    @property
    def refuses_repeated_reasoning(self) -> bool:
        """Takes an encrypted piece of reasoning once in a conversation."""
        return self.family == "openai"

    @property
    def has_phases(self) -> bool:
        """Knows comments from final answers in its own messages, on Responses (OpenAI's reference, 2026-11)."""
        return self.family == "openai" and PHASED.match(bare_name(self.model)) is not None

    @property
    def takes_breakpoints(self) -> bool:
        """Takes `prompt_cache_breakpoint`, OpenAI's form of `cache_control`; OpenRouter has it for all but Claude."""
        return self.family == "openai" or (self.openrouter and not self.claude)

    @property
    def summarises_reasoning(self) -> bool:
        return self.family == "openai" and self.reasoning.style != "none"


AUTHOR_FAMILIES: dict[str, Family] = {
    "anthropic": "claude",
    "openai": "openai",
    "x-ai": "xai",
    "xai": "xai",
    "deepseek": "deepseek",
    "meta": "meta",
    "meta-llama": "meta",
}

NAME_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("claude", "claude"),
    ("gemini", "gemini"),
    ("gpt-oss", "other"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("grok", "xai"),
    ("deepseek", "deepseek"),
)

# Models that always think; a catalogue's `reasoning.mandatory` overrules this list.
MANDATORY = re.compile(r"o\d|gpt-5(?![.\d]|-chat)|gemini-2\.5-pro|gemini-3.*-pro|claude-(fable|mythos)|deepseek-r1")

# Models that take an effort, and no temperature: o1 and later, GPT-5 without its chat variants.
# gpt-5.3-codex, gpt-5.4 and later.
PHASED = re.compile(r"gpt-(?:5\.(?:3-codex|[4-9]|\d\d)|[6-9]|\d\d)")
OPENAI_REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)(?!.*-chat)")

# `gpt-oss-20b`, also with an author in front of a dot (Bedrock).
CHANNELED = re.compile(r"(?:^|\.)gpt-oss")

# The end of an id that names one snapshot of a model, or the latest; OpenRouter's slugs name the model.
SNAPSHOT = re.compile(r"-(?:20\d{6}|latest)$")
# claude-sonnet-4-5 and claude-3-5-sonnet: OpenRouter writes versions with a dot.
SLUG_VERSION = re.compile(r"(?<=-)(\d{1,2})-(\d{1,2})(?=-|$)")

# `claude-3-5-sonnet`, `claude-sonnet-4.5`; a date of eight digits is no version.
CLAUDE_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[.-](\d{1,2})(?!\d))?(?!\d)")


def to_target(model: str, vendor: Vendor = COMPATIBLE) -> Target:
    family, name = to_family(model), bare_name(model)
    is_reasoner = _is_openai_reasoner(family, name)
    if vendor.flavor == "openrouter":
        # Claude up to 4.6 takes a thinking budget, later ones are adaptive only; Gemini takes one throughout.
        takes_budget = family == "gemini" or (family == "claude" and claude_version(name) < (4, 7))
        return Target(
            model=model,
            family=family,
            reasoning=ReasoningSupport(supports_max_tokens=takes_budget, mandatory=MANDATORY.match(name) is not None),
            stop_limit=0 if is_reasoner else 4,
            prefill=_continues_prefill(family, name),
        )
    special = by_model(vendor.reasoning_by_model, name)
    return Target(
        model=model,
        flavor="openai",
        family=family,
        max_tokens_field=vendor.length_field or ("max_completion_tokens" if is_reasoner else "max_tokens"),
        cache_control=False,
        media_in_tool_results=False,
        reasoning=special[0] if special else vendor.reasoning or _effort_support(family, name),
        reasoning_field=_reasoning_field(vendor, family),
        stop_limit=0,
        prefill=_continues_prefill(family, name),
        unsupported=vendor.refused,
        parameters=vendor.parameters,
        renamed=vendor.renamed,
        constants=vendor.constants,
        adaptations=(*vendor.adaptations, *by_model(vendor.adaptations_by_model, name)),
        keeps_parallel=vendor.keeps_parallel,
        format_excludes_tools=vendor.format_excludes_tools,
        answer_within_context=vendor.answer_within_context,
        names_stops=vendor.names_stops,
        continuous_usage=vendor.continuous_usage,
        has_channels=CHANNELED.search(name) is not None,
    )


def bare_name(model: str) -> str:
    """The model's own name: `~anthropic/claude-opus-latest:nitro@preset/x` → `claude-opus-latest`."""
    return _without_variant(model).rpartition("/")[2]


@lru_cache(maxsize=1024)
def to_family(model: str) -> Family:
    """Return the maker of the model, as far as it decides which reasoning the model accepts back."""
    name = bare_name(model)
    for prefix, family in NAME_FAMILIES:
        if name.startswith(prefix):
            return family
    author = model.lower().lstrip("~").partition("/")[0]
    return AUTHOR_FAMILIES.get(author, "other")


def same_model(one: str, other: str) -> bool:
    """Return whether reasoning of `one` may go back to `other`: the same model in any variant, or both Claude."""
    if to_family(one) == to_family(other) == "claude":
        return True
    return _without_variant(one) == _without_variant(other)


def signs_thinking(model: str) -> bool:
    """Return whether thinking carries the model's own signature, over each of its parts alone."""
    return to_family(model) == "claude"


def encrypts_reasoning(model: str) -> bool:
    """Return whether reasoning is encrypted in the form of OpenAI's Responses."""
    return to_family(model) == "openai"


def wants_empty_reasoning(model: str) -> bool:
    """Return whether the model wants an empty list of reasoning back (OpenRouter's AI SDK, 2026-06)."""
    return to_family(model) == "deepseek"


def to_slug(model: str) -> str:
    """OpenRouter's slug of a bare Claude id: `claude-opus-4-5-20251101` → `anthropic/claude-opus-4.5`.

    Any other name, and one that already names its author, comes back as it is.
    """
    if "/" in model or not model.startswith("claude-"):
        return model
    return "anthropic/" + SLUG_VERSION.sub(r"\1.\2", SNAPSHOT.sub("", model))


def claude_version(model: str) -> tuple[int, int]:
    """(4, 5) for `claude-opus-4.5` and `claude-opus-4-5-20251101`; names without a number count as the newest."""
    found = CLAUDE_VERSION.search(bare_name(model))
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _without_variant(model: str) -> str:
    return model.lower().partition("@")[0].partition(":")[0].lstrip("~")


def _is_openai_reasoner(family: Family, name: str) -> bool:
    return family == "openai" and OPENAI_REASONING.match(name) is not None


def _continues_prefill(family: Family, name: str) -> bool:
    """Claude 4.6 and later answer 400 to a trailing assistant message (Anthropic docs, 2026-08)."""
    return family != "claude" or claude_version(name) < (4, 6)


def _effort_support(family: Family, name: str) -> ReasoningSupport:
    """Return the efforts that a family's models take, for servers that list none."""
    if family == "gemini":
        return replace(ANY_EFFORT, supported_efforts=("none", "minimal", "low", "medium", "high"))
    if family != "openai":
        return ANY_EFFORT
    if not _is_openai_reasoner(family, name):
        return NO_REASONING
    if MANDATORY.match(name) is None:
        return replace(ANY_EFFORT, supported_efforts=("none", "low", "medium", "high", "xhigh"))
    minimal = ("minimal",) if name.startswith("gpt-5") else ()
    return replace(ANY_EFFORT, off=(), supported_efforts=(*minimal, "low", "medium", "high"), mandatory=True)


def _reasoning_field(vendor: Vendor, family: Family) -> ReasoningField | None:
    """OpenAI's models show no reasoning on chat, and Gemini's take signatures only."""
    if vendor.reasoning_field is not None:
        return vendor.reasoning_field or None
    return None if family in ("openai", "gemini") else "reasoning_content"
