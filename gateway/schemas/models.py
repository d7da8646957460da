"""Anthropic's Models API: the entry of a model."""

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict


class Support(TypedDict):
    supported: bool


class ContextManagementSupport(TypedDict):
    supported: bool
    clear_tool_uses_20250919: Support | None
    clear_thinking_20251015: Support | None
    compact_20260112: Support | None


class EffortSupport(TypedDict):
    supported: bool
    low: Support
    medium: Support
    high: Support
    xhigh: Support | None
    max: Support


class ServerToolsSupport(TypedDict):
    supported: bool
    web_search: Support
    code_execution: Support


class ThinkingTypes(TypedDict):
    adaptive: Support
    between_tools: Support
    disabled: Support
    enabled: Support


class ThinkingSupport(TypedDict):
    supported: bool
    types: ThinkingTypes


class Capabilities(TypedDict):
    batch: Support
    citations: Support
    code_execution: Support
    context_management: ContextManagementSupport
    effort: EffortSupport
    image_input: Support
    pdf_input: Support
    server_tools: ServerToolsSupport
    structured_outputs: Support
    thinking: ThinkingSupport
    compaction: NotRequired[Support | None]


Lifecycle: TypeAlias = Literal["active", "deprecated", "retired"]
Line: TypeAlias = Literal["haiku", "sonnet", "opus", "fable", "mythos"]


class ModelEntry(TypedDict):
    """Times are RFC 3339; `line` is None for models that are not Claude."""

    id: str
    type: Literal["model"]
    display_name: str
    created_at: str
    lifecycle: Lifecycle
    line: Line | None
    deprecated_at: str | None
    retires_at: str | None
    max_input_tokens: int | None
    max_tokens: int | None
    capabilities: Capabilities | None
    pricing: NotRequired[dict[str, Any]]  # ours: from the upstream, dollars for a token
