"""Requests for chat completions, as the gateway writes them: OpenAI's API, and what OpenRouter adds to it.

`PassThrough` holds the parameters that a Messages client may set although they are not Anthropic's; only these carry
constraints, since the gateway checks them at its door. Answers have no types here: upstreams leave fields out, add
others, and send other types, so each is looked at where it is read.

State: OpenAI SDK 3.54, OpenRouter SDK 1.3.84 (2026-11).
"""

from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias

from pydantic import Discriminator, Field, SkipValidation, Tag
from typing_extensions import TypedDict

JsonObject: TypeAlias = dict[str, Any]

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
ModelName: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]

ZeroToOne: TypeAlias = Annotated[float, Field(ge=0, le=1)]
ZeroToTwo: TypeAlias = Annotated[float, Field(ge=0, le=2)]
Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]

# Only the first error is reported; without this a body of a million bad items would collect a million errors.
FAIL_FAST: Any = Field(fail_fast=True)

Strings: TypeAlias = Annotated[list[str], FAIL_FAST]
Objects: TypeAlias = Annotated[list[JsonObject], FAIL_FAST]

# Labels of a union's branches, in brackets so that validation can distinguish them from keys in an error's path.
AS_TEXT = "[text]"
AS_LIST = "[list]"
AS_OBJECT = "[object]"

Text: TypeAlias = Annotated[str, Tag(AS_TEXT)]


def text_or_list(value: object) -> str:
    return AS_TEXT if isinstance(value, str) else AS_LIST


def text_or_object(value: object) -> str:
    return AS_TEXT if isinstance(value, str) else AS_OBJECT


# --- parameters that a Messages client may pass through -------------------------------------------------------------


class Reasoning(TypedDict, total=False):
    effort: ReasoningEffort | None
    max_tokens: Annotated[int, Field(ge=1)] | None
    exclude: bool | None
    enabled: bool | None
    summary: Literal["auto", "concise", "detailed"] | None
    context: Literal["auto", "all_turns", "current_turn"] | None
    mode: Literal["standard", "pro"] | None


class JsonSchemaFormat(TypedDict):
    name: str
    schema: NotRequired[JsonObject]
    description: NotRequired[str | None]
    strict: NotRequired[bool | None]


class PlainFormat(TypedDict):
    type: Literal["text", "json_object", "python"]


class JsonSchemaResponse(TypedDict):
    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


class GrammarResponse(TypedDict):
    type: Literal["grammar"]
    grammar: str


ResponseFormat: TypeAlias = Annotated[PlainFormat | JsonSchemaResponse | GrammarResponse, Discriminator("type")]


class Prediction(TypedDict):
    """`content` is a text or a list of text parts."""

    type: Literal["content"]
    content: Any


class AudioOutput(TypedDict, total=False):
    voice: Any
    format: Literal["wav", "mp3", "flac", "opus", "pcm16", "aac"]


Quantization: TypeAlias = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32", "unknown"
]
SortOrder: TypeAlias = Literal["price", "throughput", "latency", "exacto"]


class SortPreference(TypedDict, total=False):
    by: SortOrder
    partition: Literal["model", "none"]


class MaxPrice(TypedDict, total=False):
    """US dollars a million tokens for `prompt` and `completion`, each for the others; numbers or their text."""

    prompt: float | str
    completion: float | str
    request: float | str
    image: float | str
    audio: float | str


class ProviderPreferences(TypedDict, total=False):
    order: Strings | None
    only: Strings | None
    ignore: Strings | None
    allow_fallbacks: bool | None
    require_parameters: bool | None
    data_collection: Literal["allow", "deny"] | None
    zdr: bool | None
    enforce_distillable_text: bool | None
    quantizations: Annotated[list[Quantization], FAIL_FAST] | None
    sort: (
        Annotated[
            Annotated[SortOrder, Tag(AS_TEXT)] | Annotated[SortPreference, Tag(AS_OBJECT)],
            Discriminator(text_or_object),
        ]
        | None
    )
    max_price: MaxPrice | None
    preferred_min_throughput: Any
    preferred_max_latency: Any
    options: JsonObject | None


class Plugin(TypedDict):
    id: str
    enabled: NotRequired[bool]


class WebSearchOptions(TypedDict, total=False):
    search_context_size: Literal["low", "medium", "high"] | None
    user_location: JsonObject | None


class PassThrough(TypedDict, total=False):
    """Chat parameters that have no Anthropic counterpart, under their own names.

    `logit_bias` is checked by hand: pydantic would collect an error for each of its entries.
    """

    frequency_penalty: Penalty | None
    presence_penalty: Penalty | None
    repetition_penalty: ZeroToTwo | None
    min_p: ZeroToOne | None
    top_a: ZeroToOne | None
    seed: int | None
    logit_bias: SkipValidation[dict[str, float] | None]
    logprobs: bool | None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None
    n: Annotated[int, Field(ge=1, le=1)] | None
    stop: Annotated[Text | Annotated[list[str], FAIL_FAST, Tag(AS_LIST)], Discriminator(text_or_list)] | None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None
    response_format: ResponseFormat | None
    reasoning: Reasoning | None
    reasoning_effort: ReasoningEffort | None
    include_reasoning: bool | None
    verbosity: Verbosity | None
    prediction: Prediction | None
    modalities: Annotated[list[Literal["text", "image", "audio"]], FAIL_FAST] | None
    audio: AudioOutput | None
    image_config: JsonObject | None
    parallel_tool_calls: bool | None
    web_search_options: WebSearchOptions | None
    prompt_cache_key: str | None
    prompt_cache_options: JsonObject | None
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    user: Annotated[str, Field(max_length=512)] | None
    safety_identifier: Annotated[str, Field(max_length=128)] | None
    store: bool | None
    moderation: JsonObject | None
    models: Annotated[list[ModelName], FAIL_FAST] | None
    provider: ProviderPreferences | None
    plugins: Annotated[list[Plugin], FAIL_FAST] | None
    route: str | None
    transforms: Strings | None
    session_id: Annotated[str, Field(max_length=256)] | None
    trace: JsonObject | None
    preset: str | None
    max_tool_calls: Annotated[int, Field(ge=1, le=30)] | None
    stop_server_tools_when: Objects | None
    deferred_tools: JsonObject | None


class StreamOptions(TypedDict, total=False):
    """`continuous_usage_stats`: vLLM's and SGLang's."""

    include_usage: bool
    continuous_usage_stats: bool
    include_obfuscation: bool


class Overrides(PassThrough, total=False):
    """The content of a request's `openrouter` or `openai` object: also what Anthropic has under the same name.

    `tool_choice` says what Anthropic's cannot, as `allowed_tools` does; its content is the upstream's to check.
    """

    temperature: ZeroToTwo | None
    top_p: ZeroToOne | None
    top_k: Annotated[int, Field(ge=0)] | None
    service_tier: str | None
    metadata: JsonObject | None
    stream_options: StreamOptions | None
    tool_choice: (
        Annotated[Annotated[str, Tag(AS_TEXT)] | Annotated[JsonObject, Tag(AS_OBJECT)], Discriminator(text_or_object)]
        | None
    )


# --- a chat request, as the gateway writes it -----------------------------------------------------------------------


class ChatCacheControl(TypedDict):
    type: Literal["ephemeral"]
    ttl: NotRequired[Literal["5m", "1h"]]


class TextPart(TypedDict):
    type: Literal["text"]
    text: str
    cache_control: NotRequired[ChatCacheControl]
    prompt_cache_breakpoint: NotRequired[JsonObject]


class ImageUrl(TypedDict):
    url: str
    detail: NotRequired[Literal["auto", "low", "high", "original"]]


class ImagePart(TypedDict):
    type: Literal["image_url"]
    image_url: ImageUrl
    cache_control: NotRequired[ChatCacheControl]


class FileContent(TypedDict, total=False):
    filename: str
    file_data: str
    file_id: str


class FilePart(TypedDict):
    type: Literal["file"]
    file: FileContent
    cache_control: NotRequired[ChatCacheControl]


class AudioContent(TypedDict):
    data: str
    format: str


class AudioPart(TypedDict):
    type: Literal["input_audio"]
    input_audio: AudioContent


class VideoUrl(TypedDict):
    url: str
    processing: NotRequired[Literal["agentic", "static"]]


class VideoPart(TypedDict):
    type: Literal["video_url"]
    video_url: VideoUrl


ContentPart: TypeAlias = TextPart | ImagePart | FilePart | AudioPart | VideoPart


class FunctionCall(TypedDict):
    """`arguments` is JSON as text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """`extra_content`: Google's, with the thought signature of the call."""

    id: str
    type: Literal["function"]
    function: FunctionCall
    extra_content: NotRequired[JsonObject]


class ReasoningEntry(TypedDict, total=False):
    """One of `reasoning_details`, of any kind; which fields are set depends on `type`. Kept whole, never rebuilt.

    reasoning.text: text, signature · reasoning.summary: summary · reasoning.encrypted: data ·
    reasoning.server_tool_call: tool_name, arguments, result, tool_call_id · later kinds: unknown.
    """

    type: Required[str]
    id: str | None
    index: int
    format: str | None
    text: str | None
    signature: str | None
    summary: str
    data: str
    tool_name: str
    arguments: Any
    result: Any
    tool_call_id: str


class ConfigurationUpdate(TypedDict):
    reasoning: Reasoning


class InstructionMessage(TypedDict):
    role: Literal["system", "developer"]
    content: str | list[TextPart]
    configuration_update: NotRequired[ConfigurationUpdate]


class UserMessage(TypedDict):
    role: Literal["user"]
    content: str | list[ContentPart]


class AssistantMessage(TypedDict):
    role: Literal["assistant"]
    content: str | list[ContentPart] | None
    tool_calls: NotRequired[list[ToolCall]]
    reasoning: NotRequired[str]
    reasoning_content: NotRequired[str]
    reasoning_details: NotRequired[list[ReasoningEntry]]
    annotations: NotRequired[list[JsonObject]]


class ToolMessage(TypedDict):
    role: Literal["tool"]
    tool_call_id: str
    content: str | list[ContentPart]


ChatMessage: TypeAlias = InstructionMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionDefinition(TypedDict):
    name: str
    parameters: JsonObject
    description: NotRequired[str]
    strict: NotRequired[bool]


class FunctionTool(TypedDict):
    type: Literal["function"]
    function: FunctionDefinition
    cache_control: NotRequired[ChatCacheControl]
    defer_loading: NotRequired[bool]
    eager_input_streaming: NotRequired[bool]


class OtherTool(TypedDict):
    """OpenRouter's server tools (`openrouter:…`, with `parameters`) and OpenAI's custom tools (`custom`)."""

    type: str
    parameters: NotRequired[JsonObject]
    custom: NotRequired[JsonObject]


ChatTool: TypeAlias = FunctionTool | OtherTool


class FunctionName(TypedDict):
    name: str


class NamedToolChoice(TypedDict):
    type: Literal["function"]
    function: FunctionName


ChatToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedToolChoice | JsonObject


class ChatRequest(PassThrough, total=False):
    model: Required[str]
    messages: Required[list[ChatMessage]]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stream: bool
    stream_options: StreamOptions
    tools: list[ChatTool]
    tool_choice: ChatToolChoice
    metadata: dict[str, str]
    service_tier: str
    cache_control: ChatCacheControl
