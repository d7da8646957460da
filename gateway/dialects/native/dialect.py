"""Anthropic Messages as a dialect of upstreams: requests and answers pass as they are."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.access.keyring import Keyring
from gateway.dialects.base import Answered, Asking, CountCall, Prepared, to_collected
from gateway.dialects.native.answer import to_answered
from gateway.dialects.native.errors import to_error
from gateway.dialects.native.files import may_name_files, refuse_files
from gateway.dialects.native.headers import to_headers, to_query
from gateway.dialects.native.heals import to_adapted, to_healed
from gateway.dialects.native.refused import RefusedThinking, to_conversation
from gateway.dialects.native.request import NativeBody, to_body
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, InvalidRequest
from gateway.json_values import to_mappings, to_string
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.messages.repeated_text import RepeatedText
from gateway.messages.tokens.estimate import to_tokens
from gateway.messages.tools.tool_cache import derived
from gateway.sse import holds_events
from gateway.upstream.models.target import signs_thinking
from gateway.upstream.routes.route import CONTEXT_SUFFIX, Route
from gateway.upstream.vendors.adaptation import Adaptation

PATH = "/messages"
# "messages.1.content.0: Invalid `signature` in `thinking` block" (Anthropic); "thinking.signature: Field required"
# (Bedrock); thinking that was changed or is missing (hermes-agent issue 24401, 2026), or is empty (sub2api issue 996).
REFUSES_THINKING = re.compile(
    r"signature|thinking block must contain"
    r"|(?:thinking|redacted_thinking)\W{1,3}(?:or|blocks?|content)[^.]{0,80}(?:cannot be modified|must match)",
    re.IGNORECASE,
)
NO_NAMES: frozenset[str] = frozenset()
# Concerns one conversation, so it is not learned for the model.
WITHOUT_THINKING = Adaptation("drop_reasoning", lasting=False)


@dataclass(frozen=True, slots=True)
class NativeState:
    """Parts that a second request is made from."""

    prompt: Prompt
    asking: Asking = field(repr=False)
    keyring: Keyring = field(repr=False)


@dataclass(frozen=True, slots=True)
class NativeDialect:
    """Converter for upstreams with `POST <base>/messages`. `Prepared.state` is the `NativeState`.

    `shares_files`: clients may name files of the operator's account.
    """

    keyring: Keyring = field(repr=False)
    refused: RefusedThinking = field(repr=False)
    shares_files: bool = False

    def takes_unchecked(self, prompt: Prompt, route: Route, asking: Asking) -> bool:
        return prompt.original is None

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        text = None if prompt.received is None else RepeatedText.of(prompt.received.body, prompt.request)
        is_own = self.shares_files or route.upstream.takes_client_key
        if not is_own and (text is None or may_name_files(text)):
            refuse_files(prompt.request)
        keyring = self.keyring.of_tenant(asking.tenant)
        native = to_body(prompt, text, route, keyring, drops_thinking=self.refused.has(asking, prompt.request))
        adaptations = asking.adaptations
        body, heal_notes = _adapted(native, prompt, adaptations) if adaptations else (native.body, ())
        long_context = CONTEXT_SUFFIX.search(route.requested) is not None
        return Prepared(
            PATH + to_query(route.upstream, prompt.received),
            body,
            to_reply(prompt, route, asking, keyring),
            (*native.notes, *heal_notes),
            is_streamed=bool(prompt.request.get("stream")),
            is_edited=native.is_edited or body is not native.body,
            headers=to_headers(route.upstream, asking, prompt.received, long_context=long_context),
            state=NativeState(prompt, asking, keyring),
        )

    def stream(self, prepared: Prepared, *, opened: bool) -> NativeStream:
        return NativeStream(prepared.reply, opened=opened)

    def collect(self, prepared: Prepared) -> NativeStream:
        return NativeStream(prepared.reply, collects=True)

    def answer(self, body: bytes, prepared: Prepared) -> Answered:
        """Convert a body that came whole: JSON, or a stream that is labelled as JSON."""
        if holds_events(body):
            return to_collected(self.collect(prepared), body)
        return to_answered(body, prepared.reply)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, prepared: Prepared) -> GatewayError:
        return to_error(status, headers, body, prepared.reply)

    def heal(self, prepared: Prepared, route: Route, error: GatewayError) -> Prepared | None:
        """Leave out earlier thinking with a refused signature, and remember the conversation; or see `heals`."""
        state: NativeState = prepared.state
        if not isinstance(error, InvalidRequest) or not REFUSES_THINKING.search(error.message):
            return None if signs_thinking(route.target.model) else _healed(prepared, error)
        native = to_body(state.prompt, None, route, state.keyring, drops_thinking=True)
        if native.body == prepared.body:
            return None
        self.refused.add(to_conversation(state.asking, state.prompt.request))
        notes = tuple(note for note in native.notes if note not in prepared.notes)
        return replace(
            prepared, body=native.body, notes=notes, is_edited=True, healed=(*prepared.healed, WITHOUT_THINKING)
        )

    def count(self, prompt: Prompt, route: Route, asking: Asking) -> CountCall:
        prepared = self.prepare(prompt, route, asking)
        path, query, more = prepared.path.partition("?")
        url = f"{route.upstream.url}{path}/count_tokens{query}{more}"
        headers = route.upstream.headers if prepared.headers is None else prepared.headers
        return CountCall(url, bytes(prepared.body), "input_tokens", headers)

    def unstreamed(self, prepared: Prepared) -> None:
        """Return None: the client's bytes say whether to stream."""


def _adapted(native: NativeBody, prompt: Prompt, adaptations: Iterable[Adaptation]) -> tuple[bytes, tuple[Note, ...]]:
    """Return the body as adapted. The parsed request stands for it unless one of them has been changed."""
    is_as_received = not (native.is_edited or native.notes or prompt.is_checked)
    return to_adapted(native.body, adaptations, prompt.request if is_as_received else None)


def _healed(prepared: Prepared, error: GatewayError) -> Prepared | None:
    found = to_healed(bytes(prepared.body), error)
    if found is None:
        return None
    healed = (*prepared.healed, found.adaptation)
    return replace(prepared, body=found.body, notes=found.notes, is_edited=True, healed=healed)


def to_reply(prompt: Prompt, route: Route, asking: Asking, keyring: Keyring) -> Reply:
    request: Mapping[str, Any] = prompt.request
    max_tokens, sequences, tools = request.get("max_tokens"), request.get("stop_sequences"), request.get("tools")
    return Reply(
        asking.message_id,
        asking.request_id,
        route.requested,
        route.target.model,
        keyring,
        input_estimate=max(1, to_tokens(prompt.body_size)),
        context_length=route.target.context_length,
        sent_stop_sequences=tuple(sequences) if isinstance(sequences, list) else (),
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        offered=NO_NAMES if not tools or signs_thinking(route.target.model) else derived(to_names, tools),
    )


def to_names(tools: Any) -> frozenset[str]:
    return frozenset([name for tool in to_mappings(tools) if (name := to_string(tool.get("name")))])
