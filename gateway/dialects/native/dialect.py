"""Anthropic Messages as a dialect of upstreams: requests and answers pass as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.access.keyring import Keyring
from gateway.dialects.base import Answered, Asking, Prepared
from gateway.dialects.native.answer import to_answered
from gateway.dialects.native.errors import to_error
from gateway.dialects.native.headers import to_headers, to_query
from gateway.dialects.native.request import to_body
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError
from gateway.messages.prompt import Prompt
from gateway.messages.tokens.estimate import to_tokens
from gateway.upstream.routing import CONTEXT_SUFFIX, Route

PATH = "/messages"


@dataclass(frozen=True, slots=True)
class NativeDialect:
    """Converter for upstreams with `POST <base>/messages`. `Prepared.state` is the prompt."""

    keyring: Keyring = field(repr=False)

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        native = to_body(prompt, route, self.keyring.of_tenant(asking.tenant))
        long_context = CONTEXT_SUFFIX.search(route.requested) is not None
        return Prepared(
            PATH + to_query(route.upstream, prompt.received),
            native.body,
            to_reply(prompt, route, asking),
            native.notes,
            is_streamed=bool(prompt.request.get("stream")),
            is_edited=native.is_edited,
            headers=to_headers(route.upstream, asking, prompt.received, long_context=long_context),
            state=prompt,
        )

    def stream(self, prepared: Prepared, *, opened: bool) -> NativeStream:
        return NativeStream(prepared.reply, opened=opened)

    def collect(self, prepared: Prepared) -> NativeStream:
        return NativeStream(prepared.reply, collects=True)

    def answer(self, body: bytes, prepared: Prepared) -> Answered:
        return to_answered(body, prepared.reply)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, prepared: Prepared) -> GatewayError:
        return to_error(status, headers, body, prepared.reply)

    def heal(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        return None

    def unstreamed(self, prepared: Prepared) -> None:
        """Return None: the client's bytes say whether to stream."""


def to_reply(prompt: Prompt, route: Route, asking: Asking) -> Reply:
    request: Mapping[str, Any] = prompt.request
    max_tokens = request.get("max_tokens")
    return Reply(
        asking.message_id,
        asking.request_id,
        route.requested,
        route.target.model,
        Keyring(()),
        input_estimate=max(1, to_tokens(prompt.body_size)),
        context_length=route.target.context_length,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
    )
