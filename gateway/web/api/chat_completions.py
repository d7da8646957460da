"""POST /v1/chat/completions: the request becomes a Messages request, and the answer a completion."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.request import to_messages_request
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.clients.fields import to_flag, to_object
from gateway.dialects.clients.tools import ToolRegistry
from gateway.web.api.converted import read_request, reply_converted
from gateway.web.client_face import FACE


@dataclass(frozen=True, slots=True)
class ChatFace:
    """Completions of one request. `created`: seconds since 1970. `shows_usage`: the client asked for it."""

    tools: ToolRegistry
    created: int
    shows_usage: bool
    keep_alive_after: float | None = None

    def stream(self) -> ChatStream:
        return ChatStream(self.tools, self.created, shows_usage=self.shows_usage)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return to_completion(message, self.tools, self.created)


async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    body, size, asking = await read_request(request)
    asked = to_messages_request(body, asking)
    options = to_object(body.get("stream_options") or {}, "stream_options")
    shows_usage = to_flag(options.get("include_usage"), "stream_options.include_usage")
    request[FACE] = ChatFace(asked.tools, int(time.time()), shows_usage)
    del body
    return await reply_converted(request, asked, size)
