"""Native requests that have to be edited, healed or refused, and the choice of a dialect for one request."""

from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.base import Asking, Prepared
from gateway.dialects.choice import for_request
from gateway.dialects.native.dialect import NativeDialect
from gateway.dialects.native.refused import SECONDS, RefusedThinking
from gateway.dialects.native.thinking import with_sealed_thinking
from gateway.errors import InvalidRequest
from gateway.messages.envelope import seal
from gateway.messages.prompt import Prompt, Received, to_unchecked
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import VENDORS
from tests.support.clock import Clock

KEYRING = Keyring((("t", b"secret"),))
ASKING = Asking("msg_1", "req_1", "acme")
CLAUDE = {"type": "thinking", "thinking": "hm", "signature": "EqRaw=="}


CLOCK = Clock(0.0)


def dialect(*, shares_files: bool = False) -> NativeDialect:
    return NativeDialect(KEYRING, RefusedThinking(CLOCK), shares_files)


def route_to(vendor: str, model: str = "claude-opus-4-5", url: str = "", choice: Any = "auto") -> Route:
    row = VENDORS[vendor]
    return one_upstream_table(Upstream(vendor, url or row.base, "key", row, dialect=choice)).resolve(model)[0]


ANTHROPIC = route_to("anthropic")


def prompt_of(*content: Any, headers: tuple[tuple[str, str], ...] = (), **fields: Any) -> Prompt:
    request = {"model": "claude-opus-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    if content:
        request["messages"] += [
            {"role": "assistant", "content": [*content]},
            {"role": "user", "content": "go on"},
        ]
    body = orjson.dumps(request)
    prompt = to_unchecked(orjson.loads(body), len(body), Received(body, headers))
    assert prompt is not None
    return prompt


def prepare(prompt: Prompt, native: NativeDialect | None = None, route: Route = ANTHROPIC) -> Prepared:
    return (native or dialect()).prepare(prompt, route, ASKING)


def sent(prepared: Prepared) -> Any:
    return orjson.loads(bytes(prepared.body))


def sealed(entries: list[Any], model: str, tenant: str = "acme") -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": seal(entries, model, KEYRING.of_tenant(tenant))}


OPENROUTERS = {"type": "reasoning.text", "text": "hm", "signature": "EqRaw==", "format": "anthropic-claude-v1"}


def test_claudes_own_thinking_goes_back_untouched() -> None:
    prompt = prompt_of(CLAUDE, {"type": "text", "text": "a"})
    prepared = prepare(prompt)
    assert prepared.body == prompt.received.body  # type: ignore[union-attr]
    assert not prepared.is_edited


def test_claudes_thinking_is_taken_out_of_our_envelope() -> None:
    prepared = prepare(
        prompt_of(sealed([OPENROUTERS, OPENROUTERS], "anthropic/claude-opus-4.5"), {"type": "text", "text": "a"})
    )
    assert sent(prepared)["messages"][1]["content"][:2] == [CLAUDE, CLAUDE]
    assert prepared.is_edited
    assert prepared.notes == ()


@pytest.mark.parametrize(
    "block",
    [
        sealed([{"type": "reasoning.text", "text": "hm"}], "z-ai/glm-5"),
        sealed([OPENROUTERS], "anthropic/claude-opus-4.5", tenant="another"),
        sealed([], "anthropic/claude-opus-4.5"),
    ],
)
@pytest.mark.covers("Thinking · of another model in one conversation", "noted")
def test_thinking_of_others_is_left_out_and_noted(block: dict[str, Any]) -> None:
    prepared = prepare(prompt_of(block, {"type": "text", "text": "a"}))
    assert sent(prepared)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert [note.text for note in prepared.notes] == ["dropped:messages.thinking"]


def test_thinking_setting_goes_where_a_tool_loop_lost_its_thinking() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    prompt = prompt_of(thinking={"type": "enabled", "budget_tokens": 1024})
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]}
    messages: Any = prompt.request["messages"]
    messages += [{"role": "assistant", "content": [sealed([], "z-ai/glm-5"), call]}, result]
    prompt.received = None
    prepared = prepare(prompt)
    assert "thinking" not in sent(prepared)
    assert [note.text for note in prepared.notes] == ["dropped:messages.thinking", "dropped:thinking"]


@pytest.mark.parametrize(
    "words",
    [
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.1.content.0.thinking.signature: Field required",
        "messages.1.content.0.thinking: each thinking block must contain thinking",
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
    ],
)
@pytest.mark.covers("Thinking · refused signatures are answered once and remembered")
def test_refused_signature_is_answered_without_thinking_and_remembered_for_an_hour(words: str) -> None:
    CLOCK.now = 0.0
    native = dialect()
    prompt = prompt_of(CLAUDE, {"type": "text", "text": "a"})
    healed = native.heal(prepare(prompt, native), ANTHROPIC, InvalidRequest(words))
    assert healed is not None
    assert sent(healed)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert [note.text for note in healed.notes] == ["dropped:messages.thinking"]
    assert native.heal(healed, ANTHROPIC, InvalidRequest(words)) is None
    assert prepare(prompt, native).body == healed.body
    assert (
        prepare(prompt_of(CLAUDE, system="x"), native).body
        == prepare(
            prompt_of(system="x", messages=[{"role": "user", "content": "hi"}, {"role": "user", "content": "go on"}]),
            native,
        ).body
    )
    CLOCK.now = SECONDS + 1
    assert not prepare(prompt, native).is_edited


def test_other_refusals_are_not_answered() -> None:
    prompt = prompt_of(CLAUDE)
    assert dialect().heal(prepare(prompt), ANTHROPIC, InvalidRequest("max_tokens: too large")) is None


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, "messages.1.content.0.source.file_id"),
        ({"type": "container_upload", "file_id": "file_1"}, "messages.1.content.0.file_id"),
    ],
)
def test_file_ids_of_the_operators_account_are_refused_unless_shared(content: dict[str, Any], path: str) -> None:
    prompt = prompt_of(content)
    with pytest.raises(InvalidRequest, match=path):
        prepare(prompt)
    assert prepare(prompt, dialect(shares_files=True)).body == prompt.received.body  # type: ignore[union-attr]


def test_file_id_whose_key_is_written_with_escapes_is_refused_too() -> None:
    body = orjson.dumps(prompt_of({"type": "container_upload", "file_id": "file_1"}).request)
    escaped = body.replace(b'"file_id"', b'"file\\u005fid"')
    prompt = to_unchecked(orjson.loads(escaped), len(escaped), Received(escaped))
    assert prompt is not None
    with pytest.raises(InvalidRequest, match="file_id"):
        prepare(prompt)


def test_file_id_in_the_input_of_a_call_is_no_file() -> None:
    prompt = prompt_of({"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "x"}})
    assert prompt.received is not None
    assert prepare(prompt).body == prompt.received.body


def test_long_context_suffix_becomes_a_beta_behind_the_clients_own() -> None:
    row = VENDORS["anthropic"]
    route = one_upstream_table(Upstream("a", row.base, "key", row)).resolve("claude-opus-4-5[1m]")[0]
    prompt = prompt_of(model="claude-opus-4-5[1m]", headers=(("Anthropic-Beta", "b,a"), ("anthropic-beta", "c")))
    prepared = prepare(prompt, route=route)
    assert sent(prepared)["model"] == "claude-opus-4-5"
    assert dict(prepared.headers or ())["anthropic-beta"] == "b,a,c,context-1m-2025-08-07"


def test_chosen_headers_are_forwarded_and_credentials_never() -> None:
    row = VENDORS["anthropic"]
    names = ("x-app", "authorization")
    route = one_upstream_table(Upstream("a", row.base, "key", row, forward_headers=names)).resolve("claude-x")[0]
    sent_by_client = (("X-App", "cli"), ("Authorization", "Bearer canary"), ("anthropic-workspace-id", "w"))
    headers = prepare(prompt_of(headers=(*sent_by_client, ("anthropic-odd", "a\r\nb"))), route=route).headers or ()
    assert ("x-app", "cli") in headers
    assert {"authorization", "anthropic-workspace-id", "anthropic-odd"}.isdisjoint(dict(headers))
    assert "canary" not in str(headers)


@pytest.mark.parametrize(
    ("vendor", "model", "url", "expected"),
    [
        ("anthropic", "claude-opus-4-5", "", "messages"),
        ("openrouter", "anthropic/claude-opus-4.5", "", "messages"),
        ("openrouter", "claude-opus-4-5", "", "messages"),
        ("openrouter", "openai/gpt-6", "", "chat"),
        ("deepseek", "deepseek-v4", "", "chat"),
        ("deepseek", "deepseek-v4", "https://api.deepseek.com/anthropic/v1", "messages"),
        ("azure", "claude-opus-4-5", "https://x.services.ai.azure.com/anthropic/v1", "messages"),
        ("bedrock", "claude-opus-4-5", "https://bedrock-runtime.eu-west-1.amazonaws.com/anthropic/v1", "messages"),
        ("vllm", "qwen", "http://gpu:8000/v1", "chat"),
        ("compatible", "claude-opus-4-5", "http://gpu:8000/v1", "chat"),
    ],
)  # fmt: skip
@pytest.mark.covers("Upstreams · the dialect is chosen per request")
def test_auto_chooses_by_vendor_and_model(vendor: str, model: str, url: str, expected: str) -> None:
    assert route_to(vendor, model, url).dialect == expected


OPENROUTER = route_to("openrouter", "anthropic/claude-opus-4.5")


@pytest.mark.parametrize("field", ["seed", "logit_bias", "min_p", "openrouter", "plugins"])
def test_chat_parameters_choose_chat_where_the_upstream_speaks_both(field: str) -> None:
    assert for_request(OPENROUTER, {field: 1}).dialect == "chat"
    assert for_request(OPENROUTER, {field: None}).dialect == "messages"
    assert for_request(ANTHROPIC, {field: 1}).dialect == "messages"


def test_request_that_needs_both_dialects_is_refused_naming_both() -> None:
    with pytest.raises(InvalidRequest, match=r"mcp_servers.*seed"):
        for_request(OPENROUTER, {"seed": 1, "mcp_servers": [{}]})


@pytest.mark.parametrize(
    ("vendor", "request_fields", "expected"),
    [
        ("vllm", {"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "chat"),
        ("vllm", {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "document"}]}]}]}, "chat"),
        ("sglang", {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "chat"),
        ("vllm", {"tools": [{"name": "f", "input_schema": {}}], "messages": [{"content": "x"}]}, "messages"),
    ],
)
def test_request_that_a_compatible_server_would_drop_is_converted_to_chat(
    vendor: str, request_fields: dict[str, Any], expected: str
) -> None:
    route = route_to(vendor, "qwen", "http://gpu:8000/v1", "messages")
    assert for_request(route, request_fields).dialect == expected


def test_thread_prompts_without_bytes_are_written_again() -> None:
    prompt = Prompt({"model": "claude-opus-4-5", "messages": []}, 10, is_checked=False)  # type: ignore[typeddict-item]
    assert sent(prepare(prompt)) == {"model": "claude-opus-4-5", "messages": []}


@pytest.mark.covers("Messages · API versions and betas")
def test_context_carries_version_and_betas_of_a_batch() -> None:
    context = Context("req_1", api_version="2026-10-21", betas=frozenset({"b", "a"}))
    prompt = prompt_of()
    prompt.received = Received(prompt.received.body)  # type: ignore[union-attr]
    asking = Asking("m", "r", "t", api_version=context.api_version, betas=context.betas)
    headers = dict(dialect().prepare(prompt, ANTHROPIC, asking).headers or ())
    assert (headers["anthropic-version"], headers["anthropic-beta"]) == ("2026-10-21", "a,b")


def test_blocks_whose_type_is_no_text_are_left_as_they_are() -> None:
    content = [{"type": []}, {"type": {"thinking": "x"}}, "text"]
    assert with_sealed_thinking(content, "claude", Keyring(())) == content


LONG = {"mode": "explicit", "ttl": "12h"}


def test_cache_breakpoints_of_openai_become_anthropics() -> None:
    mark = {"mode": "explicit"}
    text = {"type": "text", "text": "a", "prompt_cache_breakpoint": mark}
    result = {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": [{**text, "prompt_cache_breakpoint": {**mark, "ttl": "12h"}}],
    }
    request = {
        "model": "claude-opus-4-5",
        "max_tokens": 9,
        "system": [text],
        "messages": [{"role": "user", "content": [result, {**text, "prompt_cache_breakpoint": None}]}],
    }
    body = sent(prepare(Prompt(request, 100)))  # type: ignore[arg-type]
    assert body["system"] == [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    seen, plain = body["messages"][0]["content"]
    assert seen["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert plain == {"type": "text", "text": "a"}


def test_latest_four_cache_breakpoints_remain() -> None:
    texts = [{"type": "text", "text": str(number), "prompt_cache_breakpoint": LONG} for number in range(6)]
    texts[1] = {"type": "text", "text": "1", "cache_control": {"type": "ephemeral"}}
    request = {"model": "m", "max_tokens": 9, "system": [texts[0]], "messages": [{"role": "user", "content": texts}]}
    body = sent(prepare(Prompt(request, 100)))  # type: ignore[arg-type]
    marked = [block["text"] for block in body["messages"][0]["content"] if block.get("cache_control")]
    assert (marked, body["system"]) == (["1", "3", "4", "5"], [{"type": "text", "text": "0"}])


@pytest.mark.parametrize(("summary", "display"), [("auto", "summarized"), (None, None)])
def test_summary_that_a_client_of_responses_asks_for_is_shown(summary: str | None, display: str | None) -> None:
    request = {
        "model": "claude-opus-4-5",
        "max_tokens": 9_000,
        "messages": [{"role": "user", "content": "hi"}],
        "reasoning_effort": "low",
        "reasoning": {"summary": summary},
    }
    assert sent(prepare(Prompt(request, 100)))["thinking"].get("display") == display  # type: ignore[arg-type]
