"""Items of OpenAI's Responses API, in requests and in answers.

Loose where the API is: an item of another type than these is carried or ignored by its `type`.
"""

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict


class InputText(TypedDict):
    type: Literal["input_text"]
    text: str


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
