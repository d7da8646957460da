"""Wire types of OpenAI's Responses API, for both directions: requests, items, and what is read of events.

Loose where the API is: an item of another type than these is carried or ignored by its `type`.
"""

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict


class InputText(TypedDict):
    type: Literal["input_text"]
    text: str


class OutputText(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: NotRequired[list[dict[str, Any]]]
    logprobs: NotRequired[list[Any]]


class Refusal(TypedDict):
    type: Literal["refusal"]
    refusal: str


class InputImage(TypedDict):
    type: Literal["input_image"]
    image_url: str
    detail: NotRequired[str]


class InputFile(TypedDict):
    type: Literal["input_file"]
    filename: NotRequired[str]
    file_data: NotRequired[str]
    file_url: NotRequired[str]


InputPart: TypeAlias = InputText | InputImage | InputFile


class MessageItem(TypedDict):
    """`type` and `id` may be missing in input (opencode, 2026-11)."""

    type: NotRequired[Literal["message"]]
    id: NotRequired[str]
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Any]
    status: NotRequired[str]


class SummaryText(TypedDict):
    type: Literal["summary_text"]
    text: str


class ReasoningText(TypedDict):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(TypedDict):
    type: Literal["reasoning"]
    id: NotRequired[str]
    summary: list[SummaryText]
    content: NotRequired[list[ReasoningText] | None]
    encrypted_content: NotRequired[str | None]
    status: NotRequired[str]


class FunctionCallItem(TypedDict):
    type: Literal["function_call"]
    id: NotRequired[str]
    call_id: str
    name: str
    namespace: NotRequired[str]
    arguments: str
    status: NotRequired[str]


class FunctionOutputItem(TypedDict):
    type: Literal["function_call_output"]
    id: NotRequired[str]
    call_id: str
    output: str | list[InputPart]


class CustomCallItem(TypedDict):
    type: Literal["custom_tool_call"]
    id: NotRequired[str]
    call_id: str
    name: str
    namespace: NotRequired[str]
    input: str
    status: NotRequired[str]


class CustomOutputItem(TypedDict):
    type: Literal["custom_tool_call_output"]
    id: NotRequired[str]
    call_id: str
    output: str | list[InputPart]


ResponseItem: TypeAlias = (
    MessageItem | ReasoningItem | FunctionCallItem | FunctionOutputItem | CustomCallItem | CustomOutputItem
)


class ResponsesFunction(TypedDict):
    type: Literal["function"]
    name: str
    description: NotRequired[str | None]
    parameters: dict[str, Any] | None
    strict: bool | None


class ResponsesCustomTool(TypedDict):
    type: Literal["custom"]
    name: str
    description: NotRequired[str]
    format: NotRequired[dict[str, Any]]


ResponsesTool: TypeAlias = ResponsesFunction | ResponsesCustomTool


class ResponsesRequest(TypedDict, total=False):
    model: str
    input: str | list[ResponseItem]
    instructions: str | None
    tools: list[ResponsesTool]
    tool_choice: Any
    parallel_tool_calls: bool
    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    reasoning: dict[str, Any] | None
    text: dict[str, Any]
    include: list[str] | None
    store: bool | None
    stream: bool | None
    stream_options: dict[str, Any] | None
    metadata: dict[str, str] | None
    prompt_cache_key: str
    safety_identifier: str
    service_tier: str | None
    user: str


class ResponsesUsage(TypedDict, total=False):
    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int
