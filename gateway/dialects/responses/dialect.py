"""OpenAI's Responses API as a dialect: request and answer converters behind one interface."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.base import Answered, Asking, Prepared, to_collected
from gateway.dialects.chat.dialect import ChatDialect, to_reply, to_stops
from gateway.dialects.chat.request.convert import Conversion, to_chat_request, to_streamed, to_unstreamed
from gateway.dialects.chat.request.fallbacks.apply import adapted
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.responses.items import REASONING_SETTINGS
from gateway.dialects.responses.request import ResponsesBody, to_responses_request
from gateway.dialects.responses.stream import ResponsesStream
from gateway.errors import GatewayError, InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.messages.validation.depth import too_deep
from gateway.upstream.models.target import Target
from gateway.upstream.routes.route import Route
from gateway.upstream.vendors.adaptation import Adaptation

PATH = "/responses"
# What chat completions alone wants.
CHAT_KINDS = frozenset({"effort_none_with_tools", "prefill_flag"})
# Parts of a Responses request that a server may not take: OpenAI shows summaries to verified organisations only, vLLM
# 0.32 answers 400 "Encrypted content is not supported." (2026-11).
OPTIONAL = (
    (re.compile(r"reasoning\.?_?summar|summaries", re.IGNORECASE), "reasoning.summary"),
    (re.compile(r"encrypted|\binclude\b", re.IGNORECASE), "include"),
)


@dataclass(frozen=True, slots=True)
class ResponsesState:
    """The chat request that a Responses request was made of. `left_out`: names of OPTIONAL.

    `settings`: those of reasoning that chat lacks.
    """

    conversion: Conversion = field(repr=False)
    settings: Mapping[str, str]
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ResponsesDialect:
    """Converter for upstreams with `POST <base>/responses`. `Prepared.state` is the `ResponsesState`."""

    keyring: Keyring = field(repr=False)

    def takes_unchecked(self, prompt: Prompt, route: Route, asking: Asking) -> bool:
        return False

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        keyring, target = self.keyring.of_tenant(asking.tenant), to_responses_target(route.target)
        adaptations = (*route.target.adaptations, *asking.adaptations)
        kept = [adaptation for adaptation in adaptations if adaptation.kind not in CHAT_KINDS]
        request = prompt.request.copy()
        request["messages"] = list(request["messages"])  # chat's JSON of known messages is useless here
        settings, request["reasoning"] = to_settings(request, target)
        try:
            conversion = to_chat_request(request, target, keyring, asking.session_id)
            if prompt.has_default_length:
                del conversion.body[target.max_tokens_field]
            conversion = adapted(conversion, kept)
            conversion.body = to_streamed(conversion.body, target)
            state = ResponsesState(conversion, settings, left_out_by(kept))
            written = to_body(state, target)
            body = orjson.dumps(written.body)
        except orjson.JSONEncodeError:
            raise too_deep(prompt.request) from None
        reply = to_reply(prompt, replace(route, target=target), conversion, keyring, asking)
        notes = (*conversion.notes, *written.notes)
        return Prepared(PATH, body, reply, notes, edits_prompt=bool(conversion.applied_edits), state=state)

    def stream(self, prepared: Prepared, *, opened: bool) -> ResponsesStream:
        return ResponsesStream(prepared.reply, opened=opened)

    def collect(self, prepared: Prepared) -> ResponsesStream:
        return ResponsesStream(prepared.reply, collects=True)

    def answer(self, body: bytes, prepared: Prepared) -> Answered:
        return to_collected(self.collect(prepared), body)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, prepared: Prepared) -> GatewayError:
        return ChatDialect(self.keyring).error(status, headers, body, prepared)

    def heal(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        state: ResponsesState = prepared.state
        target = to_responses_target(route.target)
        name = refused_part(error, state)
        if name is not None:
            changed = replace(state, left_out=state.left_out | {name})
            adaptation, notes = Adaptation("drop_fields", (name,)), [Note("dropped", name, "the upstream refused it")]
        else:
            found = to_adaptation(error, state.conversion, target)
            if found is None or found.kind in CHAT_KINDS:
                return None
            conversion = adapted(state.conversion, [found])
            changed = replace(state, conversion=conversion)
            adaptation, notes = found, list(conversion.notes[len(state.conversion.notes) :])
        return replace(
            prepared,
            body=orjson.dumps(to_body(changed, target).body),
            reply=replace(prepared.reply, **to_stops(changed.conversion)),
            state=changed,
            notes=tuple(notes),
            healed=(*prepared.healed, adaptation),
        )

    def count(self, prompt: Prompt, route: Route, asking: Asking) -> None:
        """Return None: no server is known that counts in this form and not in another."""

    def unstreamed(self, prepared: Prepared) -> Prepared:
        state: ResponsesState = prepared.state
        # The chat request too: a part that is refused next is left out of that one.
        conversion = replace(state.conversion, body=to_unstreamed(state.conversion.body))
        body = orjson.dumps(to_unstreamed(orjson.loads(prepared.body)))
        state = replace(state, conversion=conversion)
        return replace(prepared, body=body, state=state, notes=(), is_streamed=False)


@lru_cache(maxsize=1024)
def to_responses_target(target: Target) -> Target:
    """Return the model as Responses serves it: with its reasoning given back, and media in tool results."""
    return replace(
        target, reasoning_field="reasoning_details", media_in_tool_results=True, stop_limit=0, adaptations=()
    )


def to_settings(request: Mapping[str, Any], target: Target) -> tuple[dict[str, str], Any]:
    """Return the settings of reasoning that only OpenAI's Responses have, and the request's `reasoning` without them.

    Thinking that is to be shown asks for a summary, the only form in which OpenAI shows reasoning.
    """
    thinking = request.get("thinking") or {}
    is_shown = thinking.get("type") in ("enabled", "adaptive") and thinking.get("display") != "omitted"
    settings = {"summary": "auto"} if is_shown else {}
    reasoning = request.get("reasoning")
    if not reasoning or not target.summarises_reasoning:
        return settings, reasoning
    settings |= {name: reasoning[name] for name in REASONING_SETTINGS if reasoning.get(name)}
    return settings, {name: value for name, value in reasoning.items() if name not in REASONING_SETTINGS}


def left_out_by(adaptations: Iterable[Adaptation]) -> frozenset[str]:
    names = {name for adaptation in adaptations if adaptation.kind == "drop_fields" for name in adaptation.names}
    return frozenset(names & {name for _, name in OPTIONAL})


def refused_part(error: GatewayError, state: ResponsesState) -> str | None:
    if not isinstance(error, InvalidRequest):
        return None
    words = "\n".join((error.said.text, *error.said.pointers)) if error.said is not None else error.message
    return next((name for words_of, name in OPTIONAL if name not in state.left_out and words_of.search(words)), None)


def to_body(state: ResponsesState, target: Target) -> ResponsesBody:
    settings = dict(state.settings)
    if "reasoning.summary" in state.left_out:
        settings.pop("summary", None)
    written = to_responses_request(state.conversion.body, target, settings)
    if "include" in state.left_out:
        del written.body["include"]
        for item in written.body["input"]:
            item.pop("encrypted_content", None)
    return written
