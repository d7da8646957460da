"""A client's Responses request as a Messages request.

Responses are not stored, so references to stored ones are refused: an answer without the conversation that
the client means is worse than an error. `store` itself is accepted, since true is the SDKs' default.
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

from gateway.dialects.clients.choice import to_choice
from gateway.dialects.clients.content import to_text_blocks
from gateway.dialects.clients.fields import to_count, to_object, to_text
from gateway.dialects.clients.parameters import (
    DEFAULT_MAX_TOKENS,
    STREAM_OPTIONS,
    ClientAsking,
    ClientRequest,
    note_ignored,
    note_unknown,
    to_sampling_fields,
    to_tier_fields,
)
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.clients.turns import Turns
from gateway.dialects.responses.client.input import TRIGGER, add_items, declare_tools, to_items
from gateway.dialects.responses.client.settings import (
    NO_LOGPROBS,
    STATELESS,
    note_absent_parts,
    note_truncation,
    to_text_fields,
)
from gateway.dialects.responses.items import REASONING_SETTINGS
from gateway.errors import InvalidRequest
from gateway.json_values import to_mapping
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEffort
from gateway.upstream.models.target import Target

REFUSED: Final = {
    "previous_response_id": "responses are not stored here; send the whole conversation as input",
    "conversation": "conversations are not stored here; send the whole conversation as input",
    "background": "responses are not stored here, so none can be fetched later",
    "prompt": "prompts are not stored here; send instructions and input",
}
IGNORED: Final = {
    "client_metadata": "no upstream takes it",
    "max_tool_calls": "it limits hosted tools, which are not available here",
    "metadata": STATELESS,
    "top_logprobs": NO_LOGPROBS,
    "store": STATELESS,
}
PASSED_ON: Final = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "user")
# Of no consequence, or read by name.
READ: Final = frozenset({
    *REFUSED, *IGNORED, *PASSED_ON, "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls",
    "stream", "stream_options", "max_output_tokens", "temperature", "top_p", "reasoning", "text", "include",
    "service_tier", "truncation",
})  # fmt: skip
EFFORTS: Final = get_args(ReasoningEffort)
READ_OF_REASONING: Final = frozenset({*REASONING_SETTINGS, "effort", "generate_summary"})


def to_messages_request(body: Mapping[str, Any], asking: ClientAsking) -> tuple[ClientRequest, bool]:
    """Convert a request; also return whether it asks for a compaction of its conversation.

    Raises InvalidRequest naming the first field that is wrong or refers to something stored.
    """
    for name, reason in REFUSED.items():
        if body.get(name):
            raise InvalidRequest(f"{name}: {reason}", code="unsupported_parameter")
    items = to_items(body.get("input"))
    registry, turns = ToolRegistry(asking.takes_grammars), Turns(asking.target.model, asking.keyring)
    registry.declare_all(body.get("tools"), "tools")
    declare_tools(items, registry)
    if body.get("instructions"):
        turns.add_instructions(to_text_blocks(to_text(body["instructions"], "instructions")))
    add_items(items, turns, registry)
    request: dict[str, Any] = {"model": body["model"], **turns.finish()}
    if not request["messages"]:
        raise InvalidRequest("input: Input should have at least one message with content")
    compacts = bool(items) and items[-1].get("type") == TRIGGER
    wanted = "none" if compacts else body.get("tool_choice")
    choice = to_choice(wanted, body.get("parallel_tool_calls"), registry)
    if registry.tools:
        request["tools"] = registry.tools
    if choice is not None:
        request["tool_choice"] = choice
    asked = ClientRequest(request, registry, [*registry.notes, *turns.notes])
    _add_parameters(body, asking.target, asked)
    return asked, compacts


def _add_parameters(body: Mapping[str, Any], target: Target, asked: ClientRequest) -> None:
    request, notes = asked.request, asked.notes
    length = to_count(body.get("max_output_tokens"), "max_output_tokens")
    asked.has_default_length = length is None
    request["max_tokens"] = length or target.max_output or DEFAULT_MAX_TOKENS
    if body.get("stream"):
        request["stream"] = True
    request |= {name: body[name] for name in PASSED_ON if body.get(name)}
    request |= to_sampling_fields(body) | to_tier_fields(body.get("service_tier"), notes)
    reasoning = to_object(body.get("reasoning") or {}, "reasoning")
    effort = reasoning.get("effort")
    if effort in EFFORTS:
        asked.request["reasoning_effort"] = effort
    elif effort is not None:
        asked.notes.append(Note("dropped", "reasoning.effort", "the gateway knows no such effort"))
    settings = {name: reasoning[name] for name in REASONING_SETTINGS if reasoning.get(name) not in (None, "auto")}
    summary = reasoning.get("summary") or reasoning.get("generate_summary")
    if settings or summary:
        request["reasoning"] = settings | ({"summary": summary} if summary else {})
    note_unknown(reasoning, READ_OF_REASONING, "reasoning", notes)
    request |= to_text_fields(body.get("text"), notes)
    note_absent_parts(body.get("include"), notes)
    asked.session = body.get("prompt_cache_key") if isinstance(body.get("prompt_cache_key"), str) else None
    note_truncation(body.get("truncation"), notes)
    note_ignored(body, IGNORED, notes)
    note_unknown(to_mapping(body.get("stream_options")), STREAM_OPTIONS, "stream_options", notes)
    note_unknown(body, READ, "", notes)
