"""POST /v1/chat/completions: passed on where an upstream speaks chat, else by way of Messages."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.request import length_of, to_messages_request
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.chat.original.request import is_plain, replays_reasoning
from gateway.dialects.clients.fields import to_flag, to_object
from gateway.dialects.clients.parameters import DEFAULT_MAX_TOKENS
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.parameter_policy import HEADER as PARAMS_HEADER
from gateway.messages.prompt import Original, Prompt
from gateway.messages.turn_cache import remember
from gateway.web.api.converted import ReceivedRequest, context_of, read_request, to_converted
from gateway.web.api.messages import reply_to
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
    received = await read_request(request)
    body, tools = received.body, ToolRegistry(received.asking.takes_grammars)
    options = to_object(body.get("stream_options") or {}, "stream_options")
    shows_usage = to_flag(options.get("include_usage"), "stream_options.include_usage")
    request[FACE] = ChatFace(tools, int(time.time()), shows_usage)
    convert = partial(_to_messages, request, received, tools)
    may_pass = received.route.dialect == "chat" and PARAMS_HEADER not in request.headers and is_plain(body)
    prompt = to_original(received, shows_usage, convert) if may_pass else convert()
    remember(body.get("messages"))
    session = body.get("prompt_cache_key")
    context = context_of(request, session if isinstance(session, str) else None)
    del body, received, convert
    return await reply_to(request, context, prompt)


def to_original(received: ReceivedRequest, shows_usage: bool, convert: Callable[[], Prompt]) -> Prompt:
    """Return the prompt of a request that a chat upstream may get as it is."""
    body, target = received.body, received.asking.target
    length = length_of(body)
    original = Original(received.data, replays_reasoning(body), shows_usage, convert)
    known: Any = {**body, "max_tokens": length or target.max_output or DEFAULT_MAX_TOKENS}
    return Prompt(known, len(received.data), original=original, is_checked=False, has_default_length=length is None)


def _to_messages(request: web.Request, received: ReceivedRequest, tools: ToolRegistry) -> Prompt:
    return to_converted(request, to_messages_request(received.body, received.asking, tools), len(received.data))
