"""Anthropic's Messages API: requests with their blocks and tools, and messages.

Names follow the official SDK, `…Param` being what a client sends. The request half carries constraints (`Annotated`)
and is checked by `gateway.messages.validation`; clients may add keys that are not listed, and these stay in the data.
The response half is what the gateway writes, and is not checked. `| None` marks what the API calls nullable.

State: API versions 2023-06-01 and 2026-10-21, SDK 2.12 (2026-11), beta fields included.
"""

from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag
from typing_extensions import TypedDict

from gateway.schemas.openai import (
    AS_LIST,
    FAIL_FAST,
    AudioContent,
    JsonObject,
    ModelName,
    Objects,
    Overrides,
    PassThrough,
    Strings,
    Text,
    VideoUrl,
    text_or_list,
)

Effort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
ImageMediaType: TypeAlias = Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
ServiceTier: TypeAlias = Literal[
    "auto", "standard_only", "default", "flex", "scale", "priority", "fast", "ultrafast"
]  # the first two are Anthropic's, the others are passed through
Ttl: TypeAlias = Literal["5m", "1h"]

# Of one request (Anthropic docs).
MAX_MESSAGES = 100_000

ToolUseId: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]
ToolName: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class CacheControl(TypedDict):
    type: Literal["ephemeral"]
    ttl: NotRequired[Ttl]


# --- blocks of a request --------------------------------------------------------------------------------------------


class TextBlockParam(TypedDict):
    """`prompt_cache_breakpoint` is not Anthropic's but OpenAI's form of `cache_control`, on media too."""

    type: Literal["text"]
    text: str
    cache_control: NotRequired[CacheControl | None]
    citations: NotRequired[list[Any] | None]
    prompt_cache_breakpoint: NotRequired[JsonObject | None]


class Base64ImageSource(TypedDict):
    type: Literal["base64"]
    media_type: ImageMediaType
    data: str


class UrlSource(TypedDict):
    type: Literal["url"]
    url: str


class FileSource(TypedDict):
    type: Literal["file"]
    file_id: str


ImageSource: TypeAlias = Annotated[Base64ImageSource | UrlSource | FileSource, Discriminator("type")]


class ImageTransformations(TypedDict, total=False):
    oversized_image: Literal["downsize", "error"]


class ImageBlockParam(TypedDict):
    """`detail` is not Anthropic's: it reaches chat upstreams as `image_url.detail`."""

    type: Literal["image"]
    source: ImageSource
    cache_control: NotRequired[CacheControl | None]
    transformations: NotRequired[ImageTransformations | None]
    detail: NotRequired[Literal["auto", "low", "high", "original"]]
    prompt_cache_breakpoint: NotRequired[JsonObject | None]


class Base64PdfSource(TypedDict):
    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: str


class PlainTextSource(TypedDict):
    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


ContentSourceBlock: TypeAlias = Annotated[TextBlockParam | ImageBlockParam, Discriminator("type")]


class ContentSource(TypedDict):
    type: Literal["content"]
    content: Annotated[
        Text | Annotated[list[ContentSourceBlock], FAIL_FAST, Tag(AS_LIST)],
        Discriminator(text_or_list),
    ]


DocumentSource: TypeAlias = Annotated[
    Base64PdfSource | PlainTextSource | ContentSource | UrlSource | FileSource, Discriminator("type")
]


class CitationsConfig(TypedDict, total=False):
    enabled: bool | None


class DocumentBlockParam(TypedDict):
    type: Literal["document"]
    source: DocumentSource
    title: NotRequired[str | None]
    context: NotRequired[Annotated[str, Field(min_length=1)] | None]
    citations: NotRequired[CitationsConfig | None]
    cache_control: NotRequired[CacheControl | None]
    prompt_cache_breakpoint: NotRequired[JsonObject | None]


class SearchResultBlockParam(TypedDict):
    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[list[TextBlockParam], FAIL_FAST]
    citations: NotRequired[CitationsConfig | None]
    cache_control: NotRequired[CacheControl | None]


class ToolUseBlockParam(TypedDict):
    type: Literal["tool_use"]
    id: ToolUseId
    name: ToolName
    input: JsonObject
    caller: NotRequired[JsonObject | None]
    toolset_name: NotRequired[str | None]
    cache_control: NotRequired[CacheControl | None]


class ToolReferenceBlockParam(TypedDict):
    type: Literal["tool_reference"]
    tool_name: str
    cache_control: NotRequired[CacheControl | None]


class BrowserStateBlockParam(TypedDict):
    type: Literal["browser_state"]
    tabs: Objects
    state_changes: NotRequired[Objects | None]
    cache_control: NotRequired[CacheControl | None]


ToolResultContentBlock: TypeAlias = Annotated[
    TextBlockParam
    | ImageBlockParam
    | SearchResultBlockParam
    | DocumentBlockParam
    | ToolReferenceBlockParam
    | BrowserStateBlockParam,
    Discriminator("type"),
]

ToolResultContent: TypeAlias = Annotated[
    Text | Annotated[list[ToolResultContentBlock], FAIL_FAST, Tag(AS_LIST)],
    Discriminator(text_or_list),
]


class ToolResultBlockParam(TypedDict):
    type: Literal["tool_result"]
    tool_use_id: ToolUseId
    content: NotRequired[ToolResultContent | None]
    is_error: NotRequired[bool | None]
    toolset_name: NotRequired[str | None]
    cache_control: NotRequired[CacheControl | None]


class ThinkingBlockParam(TypedDict):
    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlockParam(TypedDict):
    type: Literal["redacted_thinking"]
    data: str


class ServerToolUseBlockParam(TypedDict):
    type: Literal["server_tool_use"]
    id: str
    name: str
    input: JsonObject
    caller: NotRequired[JsonObject | None]
    cache_control: NotRequired[CacheControl | None]


class ServerToolResultBlockParam(TypedDict):
    """Result of one of Anthropic's own tools in an earlier turn. `content` differs by type and is not checked."""

    type: Literal[
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
    ]
    tool_use_id: str
    content: Any
    caller: NotRequired[JsonObject | None]
    cache_control: NotRequired[CacheControl | None]


class ContainerUploadBlockParam(TypedDict):
    type: Literal["container_upload"]
    file_id: str
    cache_control: NotRequired[CacheControl | None]


class McpToolUseBlockParam(TypedDict):
    type: Literal["mcp_tool_use"]
    id: str
    name: str
    server_name: str
    input: JsonObject
    cache_control: NotRequired[CacheControl | None]


class McpToolResultBlockParam(TypedDict):
    type: Literal["mcp_tool_result"]
    tool_use_id: str
    content: NotRequired[
        Annotated[
            Text | Annotated[list[TextBlockParam], FAIL_FAST, Tag(AS_LIST)],
            Discriminator(text_or_list),
        ]
        | None
    ]
    is_error: NotRequired[bool | None]
    cache_control: NotRequired[CacheControl | None]


class McpToolListingBlockParam(TypedDict):
    type: Literal["mcp_tool_listing"]
    mcp_server_name: str
    tools: Objects
    cache_control: NotRequired[CacheControl | None]


class CompactionBlockParam(TypedDict):
    type: Literal["compaction"]
    content: NotRequired[str | None]
    encrypted_content: NotRequired[str | None]
    signature: NotRequired[str | None]
    tool_changes: NotRequired[Objects | None]
    cache_control: NotRequired[CacheControl | None]


FallbackBlockParam = TypedDict(
    "FallbackBlockParam",
    {
        "type": Literal["fallback"],
        "from": JsonObject,
        "to": JsonObject,
        "trigger": NotRequired[Any],
        "cache_control": NotRequired[CacheControl | None],
    },
)


class ToolAdditionBlockParam(TypedDict):
    """`tool` is a `tool_reference`{name}, a `tool_definition`{definition}, or one of the two MCP references."""

    type: Literal["tool_addition"]
    tool: JsonObject
    cache_control: NotRequired[CacheControl | None]


class ToolRemovalBlockParam(TypedDict):
    """`tool` is a `tool_reference`{name} or one of the two MCP references."""

    type: Literal["tool_removal"]
    tool: JsonObject
    cache_control: NotRequired[CacheControl | None]


class AudioBlockParam(TypedDict):
    """Not Anthropic's: sound for models that take it, in the form of a chat part; passed on as it is."""

    type: Literal["input_audio"]
    input_audio: AudioContent
    cache_control: NotRequired[CacheControl | None]


class VideoBlockParam(TypedDict):
    """Not Anthropic's: OpenRouter's video part; passed on as it is."""

    type: Literal["video_url"]
    video_url: VideoUrl
    cache_control: NotRequired[CacheControl | None]


ContentBlockParam: TypeAlias = Annotated[
    TextBlockParam
    | ImageBlockParam
    | DocumentBlockParam
    | SearchResultBlockParam
    | ToolUseBlockParam
    | ToolResultBlockParam
    | ThinkingBlockParam
    | RedactedThinkingBlockParam
    | ServerToolUseBlockParam
    | ServerToolResultBlockParam
    | ContainerUploadBlockParam
    | McpToolUseBlockParam
    | McpToolResultBlockParam
    | McpToolListingBlockParam
    | CompactionBlockParam
    | FallbackBlockParam
    | ToolAdditionBlockParam
    | ToolRemovalBlockParam
    | AudioBlockParam
    | VideoBlockParam,
    Discriminator("type"),
]

SystemContentBlock: TypeAlias = Annotated[
    TextBlockParam | ToolAdditionBlockParam | ToolRemovalBlockParam, Discriminator("type")
]

MessageContent: TypeAlias = Annotated[
    Text | Annotated[list[ContentBlockParam], FAIL_FAST, Tag(AS_LIST)],
    Discriminator(text_or_list),
]


# --- messages of a request ------------------------------------------------------------------------------------------


class UserMessageParam(TypedDict):
    role: Literal["user"]
    content: MessageContent


class AssistantMessageParam(TypedDict):
    role: Literal["assistant"]
    content: MessageContent


class MessageOutputConfig(TypedDict, total=False):
    effort: Effort | None


class SystemMessageParam(TypedDict):
    """Instructions within the conversation. Holds at least one of `content` and `output_config`."""

    role: Literal["system"]
    content: NotRequired[
        Annotated[
            Text | Annotated[list[SystemContentBlock], FAIL_FAST, Tag(AS_LIST)],
            Discriminator(text_or_list),
        ]
    ]
    clear_at: NotRequired[Literal["next_user_message", "never"] | None]
    output_config: NotRequired[MessageOutputConfig | None]


MessageParam: TypeAlias = Annotated[
    UserMessageParam | AssistantMessageParam | SystemMessageParam, Discriminator("role")
]

SystemPrompt: TypeAlias = Annotated[
    Text | Annotated[list[TextBlockParam], FAIL_FAST, Tag(AS_LIST)],
    Discriminator(text_or_list),
]


# --- tools ----------------------------------------------------------------------------------------------------------


class CustomTool(TypedDict):
    """A tool that the client runs; `type` is usually absent. A root other than an object is refused elsewhere."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: JsonObject
    type: NotRequired[Literal["custom"] | None]
    description: NotRequired[str | None]
    strict: NotRequired[bool | None]
    defer_loading: NotRequired[bool | None]
    input_examples: NotRequired[Objects | None]
    eager_input_streaming: NotRequired[bool | None]
    allowed_callers: NotRequired[Strings | None]
    cache_control: NotRequired[CacheControl | None]


ClientToolType: TypeAlias = Literal[
    "bash_20241022",
    "bash_20250124",
    "text_editor_20241022",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "memory_20250818",
    "computer_20241022",
    "computer_20250124",
    "computer_20251124",
    "computer_toolset_20260801",
    "browser_toolset_20260801",
]

ServerToolType: TypeAlias = Literal[
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "tool_search_tool_regex",
    "tool_search_tool_regex_20251119",
    "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119",
    "advisor_20260301",
    "mcp_toolset",
]


class ClientTool(TypedDict):
    """A tool with a schema that Anthropic's models know; the client runs it. `…_toolset` types have no name."""

    type: ClientToolType
    name: NotRequired[str]
    max_characters: NotRequired[int | None]
    display_width_px: NotRequired[int]
    display_height_px: NotRequired[int]
    display_number: NotRequired[int | None]
    enable_zoom: NotRequired[bool]
    configs: NotRequired[dict[str, JsonObject | None] | None]
    default_config: NotRequired[JsonObject | None]
    strict: NotRequired[bool | None]
    defer_loading: NotRequired[bool | None]
    input_examples: NotRequired[Objects | None]
    allowed_callers: NotRequired[Strings | None]
    cache_control: NotRequired[CacheControl | None]


class UserLocation(TypedDict):
    type: Literal["approximate"]
    city: NotRequired[str | None]
    country: NotRequired[str | None]
    region: NotRequired[str | None]
    timezone: NotRequired[str | None]


class ServerTool(TypedDict):
    """A tool that the upstream runs. An `mcp_toolset` has `mcp_server_name` in place of a name."""

    type: ServerToolType
    name: NotRequired[str]
    max_uses: NotRequired[Annotated[int, Field(ge=1)] | None]
    allowed_domains: NotRequired[Strings | None]
    blocked_domains: NotRequired[Strings | None]
    user_location: NotRequired[UserLocation | None]
    max_content_tokens: NotRequired[int | None]
    max_tokens: NotRequired[int | None]
    url_sources: NotRequired[JsonObject | None]
    response_inclusion: NotRequired[str]
    use_cache: NotRequired[bool]
    caching: NotRequired[CacheControl | None]
    tools: NotRequired[Objects | None]
    citations: NotRequired[CitationsConfig | None]
    model: NotRequired[str]
    mcp_server_name: NotRequired[str]
    configs: NotRequired[dict[str, JsonObject | None] | None]
    default_config: NotRequired[JsonObject | None]
    strict: NotRequired[bool | None]
    defer_loading: NotRequired[bool | None]
    allowed_callers: NotRequired[Strings | None]
    cache_control: NotRequired[CacheControl | None]


class UpstreamTool(TypedDict):
    """Not Anthropic's: one of OpenRouter's server tools (`openrouter:datetime`, …), passed on as it is."""

    type: Annotated[str, Field(pattern=r"^openrouter:[a-z0-9_]+$")]
    name: NotRequired[str]
    parameters: NotRequired[JsonObject | None]
    cache_control: NotRequired[CacheControl | None]


class GrammarFormat(TypedDict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    description: NotRequired[str | None]
    format: NotRequired[JsonObject | None]


class GrammarTool(TypedDict):
    """Not Anthropic's: OpenAI's custom tool, with text in a grammar as input; passed on as it is."""

    type: Literal["custom"]
    custom: GrammarFormat
    cache_control: NotRequired[CacheControl | None]


IS_CUSTOM = "[custom]"
IS_CLIENT = "[client]"
IS_SERVER = "[server]"
IS_UPSTREAM = "[upstream]"
IS_GRAMMAR = "[grammar]"
NO_TOOL = "[unknown]"  # no branch of the union


KIND_OF_TYPE: dict[str, str] = {
    **dict.fromkeys(get_args(ClientToolType), IS_CLIENT),
    **dict.fromkeys(get_args(ServerToolType), IS_SERVER),
}


def tool_kind(tool: object) -> str:
    """The branch of ToolParam that a tool belongs to."""
    tool_type = tool.get("type") if isinstance(tool, dict) else None
    if tool_type is None:
        return IS_CUSTOM
    if not isinstance(tool_type, str):
        return NO_TOOL
    if tool_type == "custom":
        return IS_GRAMMAR if isinstance(tool, dict) and "custom" in tool else IS_CUSTOM
    return IS_UPSTREAM if tool_type.startswith("openrouter:") else KIND_OF_TYPE.get(tool_type, NO_TOOL)


ToolParam: TypeAlias = Annotated[
    Annotated[CustomTool, Tag(IS_CUSTOM)]
    | Annotated[ClientTool, Tag(IS_CLIENT)]
    | Annotated[ServerTool, Tag(IS_SERVER)]
    | Annotated[UpstreamTool, Tag(IS_UPSTREAM)]
    | Annotated[GrammarTool, Tag(IS_GRAMMAR)],
    Discriminator(tool_kind),
]


class ToolChoiceAuto(TypedDict):
    type: Literal["auto"]
    disable_parallel_tool_use: NotRequired[bool]


class ToolChoiceAny(TypedDict):
    type: Literal["any"]
    disable_parallel_tool_use: NotRequired[bool]


class ToolChoiceTool(TypedDict):
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: NotRequired[bool]


class ToolChoiceNone(TypedDict):
    type: Literal["none"]


ToolChoice: TypeAlias = Annotated[
    ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone, Discriminator("type")
]


# --- the rest of a request ------------------------------------------------------------------------------------------

ThinkingDisplay: TypeAlias = Literal["summarized", "omitted", "updates"]


class ThinkingEnabled(TypedDict):
    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024)]
    display: NotRequired[ThinkingDisplay | None]
    block_binding: NotRequired[Any]


class ThinkingAdaptive(TypedDict):
    type: Literal["adaptive"]
    display: NotRequired[ThinkingDisplay | None]
    block_binding: NotRequired[Any]


class ThinkingDisabled(TypedDict):
    type: Literal["disabled"]


class ThinkingBetweenTools(TypedDict):
    type: Literal["between_tools"]


ThinkingConfig: TypeAlias = Annotated[
    ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | ThinkingBetweenTools, Discriminator("type")
]


class JsonOutputFormat(TypedDict):
    type: Literal["json_schema"]
    schema: JsonObject


class TaskBudget(TypedDict):
    type: Literal["tokens"]
    total: Annotated[int, Field(ge=1)]
    remaining: NotRequired[int | None]


class OutputConfig(TypedDict, total=False):
    effort: Effort | None
    format: JsonOutputFormat | None
    task_budget: TaskBudget | None


class Metadata(TypedDict, total=False):
    """Pairs beside `user_id` are not Anthropic's; they go to upstreams that take metadata."""

    user_id: Annotated[str, Field(max_length=512)] | None


class ContextEdit(TypedDict):
    """`compact_20260112` is not among them: it is refused, since the gateway does not summarise."""

    type: Literal["clear_tool_uses_20250919", "clear_thinking_20251015"]
    keep: NotRequired[Any]
    trigger: NotRequired[Any]
    clear_at_least: NotRequired[Any]
    clear_tool_inputs: NotRequired[Any]
    exclude_tools: NotRequired[Strings | None]


class ContextManagement(TypedDict, total=False):
    edits: Annotated[list[ContextEdit], FAIL_FAST] | None


class Diagnostics(TypedDict, total=False):
    previous_message_id: str | None


class Fallback(TypedDict):
    """A model to try next. What else it may carry is Anthropic's and is not checked: the conversion notes its loss."""

    model: ModelName


class PromptFields(PassThrough, total=False):
    """Fields shared by Messages and count_tokens: Anthropic's, and those of chat upstreams that are passed through.

    `output_format` is the older name of `output_config.format`. `openrouter` and `openai` hold chat parameters that
    are meant for the upstream of that name alone, `upstream` those of any upstream, unchecked.
    """

    model: Required[ModelName]
    messages: Required[Annotated[list[MessageParam], FAIL_FAST, Field(max_length=MAX_MESSAGES)]]
    system: SystemPrompt | None
    stream: bool | None
    stop_sequences: Strings | None
    temperature: Annotated[float, Field(ge=0, le=1)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    top_k: Annotated[int, Field(ge=0)] | None
    metadata: Metadata | None
    thinking: ThinkingConfig | None
    output_config: OutputConfig | None
    output_format: JsonOutputFormat | None
    tools: Annotated[list[ToolParam], FAIL_FAST] | None
    tool_choice: ToolChoice | None
    cache_control: CacheControl | None
    service_tier: ServiceTier | None
    speed: Literal["standard", "fast"] | None
    inference_geo: str | None
    diagnostics: Diagnostics | None
    context_management: ContextManagement | None
    fallbacks: Annotated[list[Fallback], FAIL_FAST, Field(max_length=3)] | None
    openrouter: Overrides | None
    openai: Overrides | None
    upstream: dict[str, Any] | None


class MessagesRequest(PromptFields, total=False):
    max_tokens: Required[Annotated[int, Field(ge=0)]]


class CountTokensRequest(PromptFields, total=False):
    max_tokens: Annotated[int, Field(ge=0)] | None


# --- a message ------------------------------------------------------------------------------------------------------

StopReason: TypeAlias = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
    "compaction",
]


class TextBlock(TypedDict):
    type: Literal["text"]
    text: str
    citations: list[Any] | None


class ThinkingBlock(TypedDict):
    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(TypedDict):
    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(TypedDict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: JsonObject
    caller: NotRequired[JsonObject]


class ServerToolUseBlock(TypedDict):
    type: Literal["server_tool_use"]
    id: str
    name: str
    input: JsonObject


class WebSearchResultBlock(TypedDict):
    type: Literal["web_search_result"]
    url: str
    title: str
    encrypted_content: str
    page_age: str | None


class WebSearchToolResultBlock(TypedDict):
    type: Literal["web_search_tool_result"]
    tool_use_id: str
    content: list[WebSearchResultBlock] | JsonObject


ContentBlock: TypeAlias = (
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ServerToolUseBlock | WebSearchToolResultBlock
)


class CacheCreation(TypedDict):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class OutputTokensDetails(TypedDict):
    thinking_tokens: int


class ServerToolUsage(TypedDict):
    web_search_requests: int
    web_fetch_requests: int


class Usage(TypedDict):
    """`input_tokens` counts neither what was read from a cache nor what was written to one."""

    input_tokens: int
    cache_creation_input_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation: CacheCreation | None
    output_tokens: int
    output_tokens_details: NotRequired[OutputTokensDetails]
    server_tool_use: NotRequired[ServerToolUsage | None]
    service_tier: Literal["standard", "priority", "batch"] | None
    inference_geo: NotRequired[str | None]
    speed: NotRequired[Literal["standard", "fast"] | None]


class StopDetails(TypedDict):
    type: Literal["refusal"]
    category: str | None
    explanation: str | None


class Message(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    stop_details: StopDetails | None
    container: JsonObject | None
    usage: Usage
