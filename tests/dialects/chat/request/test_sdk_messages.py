"""Every field of requests that Anthropic's SDK knows reaches a chat upstream, or is noted or refused by name."""

import re
from typing import Any, cast

import orjson
import pytest
from anthropic.types.beta import BetaContentBlockParam, BetaToolUnionParam
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming

from gateway.context import Context
from gateway.dialects.base import Asking
from gateway.dialects.chat.dialect import ChatDialect
from gateway.errors import GatewayError
from gateway.messages.prompt import to_prompt
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import VENDORS
from tests.dialects.clients.conversions import KEYRING
from tests.support.sdk_fields import fields_of, hints

DIALECT = ChatDialect(KEYRING)
# Without those that are tried in other requests, and those of headers.
READ = frozenset({"betas", "max_tokens", "messages", "model", "stream", "tools", "user_profile_id", "workspace_id"})
TOOL = {"name": "look", "input_schema": {"type": "object"}}
USER = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}
TEXT = {"type": "text", "text": "x"}
OF_THE_USER = ("text", "image", "document", "search_result", "container_upload")
OF_NO_CONSEQUENCE = {
    r"context_management: ": "the gateway edits the prompt",
    r"thinking: .*display": "the gateway shows the thinking so",
    r"thinking: \w+Adaptive$": "the default of the model",
    r"(container|metadata|output_config): \w+$|=BetaThinkingBlockBinding$|\.citations=\w+ConfigParam\]?$": "empty",
    r"speed: standard|service_tier: auto|=\[?direct\]|caller=BetaDirectCaller": "the default",
    r"Toolset\w*\.configs=\w+(\.\w+=\w+)?$|\.enabled=bool": "each member is enabled unless it is switched off",
    r"display_number": "for the client that runs the tool",
    r"toolset_name|BetaTool(Use|Result)Block\.(id|tool_use_id)$": "the conversation around the block has it",
    r"ToolResultBlock\.cache_control": "a result without content has no part to mark",
    r"ThinkingBlock\.signature": "no signature of this gateway",
}
PATTERN = re.compile("|".join(OF_NO_CONSEQUENCE))


def route(vendor: str, model: str) -> Route:
    row = VENDORS[vendor]
    return one_upstream_table(Upstream(vendor, row.base, "key", row, dialect="chat")).resolve(model)[0]


def outcome(request: dict[str, Any], to: Route) -> tuple[Any, ...]:
    """Return what the upstream gets and what is noted, or the refusal."""
    try:
        prompt = to_prompt(orjson.loads(orjson.dumps(request)), 500, Context("req_1"))
        prepared = DIALECT.prepare(prompt, to, Asking("msg_1", "req_1", "acme"))
    except GatewayError as error:
        return ("refused", error.message)
    notes = sorted(note.text for note in (*prompt.notes, *prepared.notes))
    return bytes(prepared.body), notes, prepared.reply.stop_sequences


def around(block: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation with this block, and those around it that it needs."""
    kind = block["type"]
    if kind in OF_THE_USER:
        return [{"role": "user", "content": [block]}]
    if kind in ("tool_addition", "tool_removal"):
        return [USER, {"role": "system", "content": [block]}]
    if kind == "tool_result":
        told = {**block, "tool_use_id": "toolu_1"}
        return [USER, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [told]}]
    if kind == "tool_use":
        called = {**block, "id": "toolu_1", "name": "look"}
        return [USER, {"role": "assistant", "content": [called]}, {"role": "user", "content": [RESULT]}]
    if "id" in block:
        block = {**block, "id": "srvtoolu_1"}
    before = []
    if kind.endswith("_tool_result"):
        block = {**block, "tool_use_id": "srvtoolu_1"}
        name = kind.removesuffix("_tool_result")
        call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": {}}
        before = [{**call, "type": "mcp_tool_use", "server_name": "s"} if name == "mcp" else call]
    return [USER, {"role": "assistant", "content": [*before, block, TEXT]}, USER]


def requests() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return path, request and the same request without the field."""
    base = {"model": "m", "max_tokens": 5000, "messages": [USER], "tools": [TOOL]}
    found = []
    for name, kind in hints(MessageCreateParamsNonStreaming).items():
        for case in fields_of(kind, name) if name not in READ else ():
            without = base if case.without is None else {**base, name: case.without}
            found.append((f"{name}: {case.path}", {**base, name: case.value}, without))
    for case in fields_of(BetaToolUnionParam):
        if case.without is not None:
            tried, without = ({**base, "tools": [TOOL, one]} for one in (case.value, case.without))
            found.append((f"tools: {case.path}", tried, without))
    for case in fields_of(BetaContentBlockParam):
        if case.without is not None:
            tried, without = ({**base, "messages": around(one)} for one in (case.value, case.without))
            found.append((f"block: {case.path}", tried, without))
    return cast(Any, found)


@pytest.mark.parametrize(("vendor", "model"), [("vllm", "m"), ("openrouter", "z-ai/glm-5")])
def test_no_field_of_a_messages_request_is_dropped_in_silence(vendor: str, model: str) -> None:
    silent, to = [], route(vendor, model)
    for path, request, without in requests():
        told = outcome(request, to)
        if told[0] == "refused" or told[1] or PATTERN.search(path):
            continue
        if told == outcome(without, to):
            silent.append(path)
    assert not silent
