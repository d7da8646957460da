"""Every field of requests that OpenAI's SDK knows is carried, noted or refused by name, never dropped in silence."""

import re
from typing import Any

import orjson
import pytest
from openai.types.chat.chat_completion_message_param import ChatCompletionMessageParam
from openai.types.chat.chat_completion_tool_union_param import ChatCompletionToolUnionParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam

from gateway.context import Context
from gateway.dialects.base import Asking
from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.clients.parameters import ClientAsking
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.errors import InvalidRequest
from gateway.messages.prompt import to_prompt
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import VENDORS
from tests.dialects.clients.conversions import KEYRING
from tests.support.sdk_fields import fields_of, hints

DIALECT = ResponsesDialect(KEYRING)
ROW = VENDORS["openai"]
ROUTE = one_upstream_table(Upstream("openai", ROW.base, "key", ROW, dialect="responses")).resolve("gpt-6")[0]
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
USER = {"role": "user", "content": "hi"}
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
# Patterns of paths, and the reason why dropping them loses no meaning.
OF_NO_CONSEQUENCE = {
    r"(: |=)auto\]?$": "the default",
    r"function_call: none": "the default, without functions",
    r"parallel_tool_calls|modalities: \[text\]": "the default",
    r"stream_options": "no stream is asked for",
    r"truncation: disabled|store: ": "what the gateway does in any case",
    r"metadata": "noted unless it is empty",
    r"(prompt_cache_options|reasoning|text): \w+$|\.format=\w+": "empty, or free text",
    r"include: .*reasoning\.encrypted_content": "it is included in any case",
    r"\.type=message|\.id\b|\.status=|\.caller=|\.async=|\.logprobs=": "the conversation is the same without it",
    r"ResponseOutputText\.annotations": "sources of an earlier answer, whose text is the same",
    r"\.phase=": "set by the place of the message",
    r"AssistantMessage.*prompt_cache_breakpoint": "an answer can have none",
}
OF_NO_CONSEQUENCE_PATTERN = re.compile("|".join(OF_NO_CONSEQUENCE))


def outcome(request: dict[str, Any], api: str) -> tuple[Any, ...]:
    """Return what the upstream gets and what is noted, or the refusal."""
    body = orjson.loads(orjson.dumps(request))
    asking = ClientAsking(ROUTE.target, KEYRING, takes_grammars=True)
    try:
        asked = from_chat(body, asking, ToolRegistry(True)) if api == "chat" else from_responses(body, asking)[0]
        prompt = to_prompt(asked.request, 500, Context("req_1"))
        prepared = DIALECT.prepare(prompt, ROUTE, Asking("msg_1", "req_1", "acme"))
    except InvalidRequest as error:
        return ("refused", error.message)
    notes = [note.text for note in (*asked.notes, *prompt.notes, *prepared.notes)]
    return bytes(prepared.body), sorted(notes), prepared.reply.stop_sequences


def conversation(api: str, item: dict[str, Any]) -> dict[str, Any]:
    """A request with this message or item, and those around it that it needs."""
    if api == "chat":
        before = [{"role": "assistant", "tool_calls": [CHAT_CALL]}] if item.get("role") == "tool" else []
        return {"model": "gpt-6", "tools": [CHAT_TOOL], "messages": [USER, *before, item, USER]}
    is_output, is_call = str(item.get("type")).endswith("_output"), str(item.get("type")).endswith("_call")
    before, after = [CALL] if is_output else [], []
    if is_call:
        kind = "custom_tool_call_output" if item["type"] == "custom_tool_call" else "function_call_output"
        after = [{"type": kind, "call_id": item.get("call_id", "call_1"), "output": "r"}]
    return {"model": "gpt-6", "tools": [TOOL], "input": [USER, *before, item, *after, USER]}


def requests_of(api: str) -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    parameters = CompletionCreateParamsNonStreaming if api == "chat" else ResponseCreateParamsNonStreaming
    items, tools = (
        (ChatCompletionMessageParam, ChatCompletionToolUnionParam)
        if api == "chat"
        else (ResponseInputItemParam, ToolParam)
    )
    base = conversation(api, USER)
    found = []
    for name, kind in hints(parameters).items():
        if name not in ("model", "messages", "input", "tools", "stream"):
            found += [
                (
                    f"{name}: {case.path}",
                    {**base, name: case.value},
                    base if case.without is None else {**base, name: case.without},
                )
                for case in fields_of(kind, name, 2)
            ]
    for case in fields_of(tools, "", 2):
        found.append(
            (
                f"tools: {case.path}",
                {**base, "tools": [case.value]},
                None if case.without is None else {**base, "tools": [case.without]},
            )
        )
    for case in fields_of(items, "", 3):
        if isinstance(case.value, dict):
            found.append(
                (
                    f"item: {case.path}",
                    conversation(api, case.value),
                    None if case.without is None else conversation(api, case.without),
                )
            )
    return found


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_no_field_of_a_request_is_dropped_in_silence(api: str) -> None:
    silent = []
    for path, request, without in requests_of(api):
        told = outcome(request, api)
        if without is None or told[0] == "refused" or OF_NO_CONSEQUENCE_PATTERN.search(path):
            continue
        if told == outcome(without, api) and not told[1]:
            silent.append(path)
    assert not silent
