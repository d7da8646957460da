"""OpenAI chat completions as a dialect: request and answer converters behind one interface."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.base import Answered, Asking, CountCall, Prepared, to_collected
from gateway.dialects.chat.original.answer import to_passed_on
from gateway.dialects.chat.original.request import suits_model, to_body
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.chat.request.convert import Conversion, to_chat_request, to_streamed, to_unstreamed
from gateway.dialects.chat.request.counting import of_chat, of_messages
from gateway.dialects.chat.request.encode import to_json
from gateway.dialects.chat.request.fallbacks.apply import adapted
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.chat.response.chunks import BrokenChunk
from gateway.dialects.chat.response.convert import to_called, to_unfinished
from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.dialects.chat.response.images import shows_images
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.chat.response.usage import requested_ttl
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, InvalidRequest, MalformedOutput, OutputLimitReached
from gateway.messages.prompt import Prompt
from gateway.messages.tokens.estimate import to_tokens
from gateway.messages.tools.tool_cache import ChatTools, derived, names_of
from gateway.messages.validation.depth import too_deep
from gateway.schemas.anthropic import MessagesRequest
from gateway.upstream.routes.route import Route

PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class OriginalState:
    """Parts that a second request is made from, after the client's own was refused."""

    prompt: Prompt
    asking: Asking = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """Converter for upstreams with `POST <base>/chat/completions`.

    `Prepared.state` is the `Conversion`, or the `OriginalState` of a request that went out as the client sent it.
    """

    keyring: Keyring = field(repr=False)

    def takes_unchecked(self, prompt: Prompt, route: Route, asking: Asking) -> bool:
        if prompt.original is None or prompt.is_checked or route.policy is not None or asking.adaptations:
            return False
        return suits_model(prompt.request, route, replays=prompt.original.replays_reasoning)

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        if prompt.original is not None and not prompt.is_checked:
            body = to_body(prompt.original.body, prompt.request, route.target.model)
            return Prepared(
                PATH,
                body,
                to_original_reply(prompt, route, asking, self.keyring.of_tenant(asking.tenant)),
                is_streamed=bool(prompt.request.get("stream")),
                is_original=True,
                state=OriginalState(prompt, asking),
            )
        return self._converted(prompt, route, asking)

    def _converted(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        keyring = self.keyring.of_tenant(asking.tenant)
        try:
            conversion = to_chat_request(prompt.request, route.target, keyring, asking.session_id)
            if prompt.has_default_length:
                del conversion.body[route.target.max_tokens_field]
            conversion = adapted(conversion, (*route.target.adaptations, *asking.adaptations))
            # Streamed for JSON clients too: one that leaves then frees the upstream's slot (llama.cpp finishes an
            # unstreamed answer, 2026-11), and JSON and streams cannot differ.
            conversion.body = to_streamed(conversion.body, route.target)
            body = to_json(conversion.body, prompt.body_size)
        except orjson.JSONEncodeError:
            raise too_deep(prompt.request) from None
        reply = to_reply(prompt, route, conversion, keyring, asking)
        return Prepared(
            PATH, body, reply, conversion.notes, edits_prompt=bool(conversion.applied_edits), state=conversion
        )

    def stream(self, prepared: Prepared, *, opened: bool) -> MessageStream | OriginalStream:
        if prepared.is_original:
            return OriginalStream(prepared.reply, shows_usage=prepared.state.prompt.original.shows_usage)
        return MessageStream(prepared.reply, opened=opened)

    def collect(self, prepared: Prepared) -> MessageStream:
        return MessageStream(prepared.reply, collects=True)

    def answer(self, body: bytes, prepared: Prepared) -> Answered:
        """Convert a body that came whole: JSON, or a stream that is labelled as JSON (openclaw issue 96497).

        One that could not be passed on as it is, is converted, which takes more for an answer.
        """
        if prepared.is_original and not prepared.is_streamed:
            with suppress(BrokenChunk):
                return to_passed_on(body, prepared.reply)
        return to_collected(self.collect(prepared), body)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, prepared: Prepared) -> GatewayError:
        error = to_error(status, headers, body, prepared.reply)
        if isinstance(error, OutputLimitReached):
            error.substitute = to_unfinished(prepared.reply)
        elif isinstance(error, MalformedOutput) and error.calls:
            error.substitute = to_called(error, prepared.reply)
        return error

    def heal(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        if prepared.is_original:
            return self._heal_original(prepared, route, error)
        conversion: Conversion = prepared.state
        adaptation = to_adaptation(error, conversion, route.target)
        if adaptation is None:
            return None
        changed = adapted(conversion, [adaptation])
        return replace(
            prepared,
            body=orjson.dumps(changed.body),
            reply=replace(prepared.reply, **to_stops(changed)),
            state=changed,
            notes=changed.notes[len(conversion.notes) :],
            healed=(*prepared.healed, adaptation),
        )

    def _heal_original(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        """Convert a request that was refused as its client wrote it, and avoid what was refused."""
        if not isinstance(error, InvalidRequest) or error.should_retry is False:  # another form is as long
            return None
        state: OriginalState = prepared.state
        try:
            notes = state.prompt.check_as(state.asking.api_version, state.asking.betas)
            converted = self._converted(state.prompt, route, state.asking)
        except InvalidRequest:
            return None  # the upstream's words are about the client's own request
        converted.notes = (*notes, *converted.notes)
        healed = self.heal(converted, route, error)
        return converted if healed is None else replace(healed, notes=(*converted.notes, *healed.notes))

    def count(self, prompt: Prompt, route: Route, asking: Asking) -> CountCall | None:
        counting = route.upstream.vendor.counting
        if counting is None:
            return None
        # A chat request has a length, which does not count.
        request = cast(MessagesRequest, {"max_tokens": 1, **prompt.request})
        if counting == "messages":  # the edits of context_management are the gateway's
            return None if request.get("context_management") else of_messages(request, route)
        conversion = to_chat_request(request, route.target, self.keyring.of_tenant(asking.tenant))
        return of_chat(adapted(conversion, (*route.target.adaptations, *asking.adaptations)).body, route)

    def unstreamed(self, prepared: Prepared) -> Prepared | None:
        if prepared.is_original:
            return None
        conversion: Conversion = prepared.state
        conversion = replace(conversion, body=to_unstreamed(conversion.body))
        return replace(prepared, body=orjson.dumps(conversion.body), state=conversion, notes=(), is_streamed=False)


def to_reply(prompt: Prompt, route: Route, conversion: Conversion, keyring: Keyring, asking: Asking) -> Reply:
    request: Any = prompt.request
    body, target = conversion.body, route.target
    is_openrouter = target.openrouter
    thinking = request.get("thinking") or {}
    reply = Reply(
        asking.message_id,
        asking.request_id,
        route.requested,
        target.model,
        keyring,
        tool_names=conversion.tool_names,
        toolsets=conversion.toolsets,
        show_thinking=thinking.get("display") != "omitted",
        shows_images=shows_images(body),
        is_seeded="seed" in body,
        cache_ttl=requested_ttl(request),
        think_tags=not is_openrouter,
        leaks_channels=target.has_channels,
        context_length=target.context_length,
        max_tokens=body.get(target.max_tokens_field),
        prefill="" if is_openrouter else to_prefill(body["messages"]),
        used_call_ids=conversion.used_call_ids,
    )
    # Apart, because few requests have them, and Python builds a dictionary for a call with more keywords than these.
    if tools := body.get("tools"):
        reply.offered, reply.tools = to_offered(tools), to_typing_tools(tools, route)
    if choice := request.get("tool_choice"):
        reply.forbids_calls = choice.get("type") == "none"
    if conversion.stop_sequences or "stop" in body:
        reply.stop_sequences, reply.sent_stop_sequences = conversion.stop_sequences, sent_stops(body)
    if request.get("context_management"):
        reply.applied_edits = conversion.applied_edits
    return reply


def to_original_reply(prompt: Prompt, route: Route, asking: Asking, keyring: Keyring) -> Reply:
    request: Any = prompt.request  # in the client's form
    return Reply(
        asking.message_id,
        asking.request_id,
        route.requested,
        route.target.model,
        keyring,
        input_estimate=max(1, to_tokens(prompt.body_size)),
        offered=to_offered(request.get("tools")),
        tools=to_typing_tools(request.get("tools"), route),
        forbids_calls=request.get("tool_choice") == "none",
        sent_stop_sequences=sent_stops(request),
        think_tags=not route.target.openrouter,
        leaks_channels=route.target.has_channels,
        context_length=route.target.context_length,
        max_tokens=None if prompt.has_default_length else prompt.request["max_tokens"],
    )


def to_offered(tools: Sequence[Any] | None) -> frozenset[str]:
    """Names of the tools that the upstream is offered."""
    if not tools:
        return frozenset()
    return tools.names if isinstance(tools, ChatTools) else derived(names_of, tools)


def to_typing_tools(tools: Sequence[Any] | None, route: Route) -> Sequence[Any]:
    """Return the tools whose schemas give calls in text their types; none for OpenRouter, which sends no such calls."""
    return () if route.target.openrouter else tools or ()


def to_prefill(messages: Sequence[Any]) -> str:
    """The text of an assistant message at the end, which the answer continues."""
    last = messages[-1]
    if last["role"] != "assistant":
        return ""
    content = last["content"] or ""
    return content if isinstance(content, str) else "".join([part.get("text", "") for part in content])


def to_stops(conversion: Conversion) -> dict[str, Any]:
    """Fields of a reply: the stop sequences to match here, and those that went upstream."""
    return {"stop_sequences": conversion.stop_sequences, "sent_stop_sequences": sent_stops(conversion.body)}


def sent_stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop sequences of a chat request; a client's own may have any shape."""
    stop = body.get("stop") or ()
    return tuple(word for word in (stop if isinstance(stop, list) else [stop]) if isinstance(word, str))
