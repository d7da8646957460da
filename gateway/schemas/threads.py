"""Message threads on the wire: the `thread` of a request. Replies do not mention it: their `id` is what continues one.

State: beta `message-threads-2026-08-12`, SDK 2.12 (2026-11).
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict


class CreateThreadParam(TypedDict):
    type: Literal["create"]


class ContinueThreadParam(TypedDict):
    type: Literal["continue"]
    previous_message_id: str


ThreadParam: TypeAlias = Annotated[CreateThreadParam | ContinueThreadParam, Field(discriminator="type")]


class ThreadField(TypedDict):
    thread: ThreadParam
