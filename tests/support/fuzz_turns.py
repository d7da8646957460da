"""Conversations that grow, branch, shrink and change: known turns change only the cost.

Each request of a session is read, checked and converted twice: by caches that have seen the earlier requests, and
without caches. For every dialect, bytes, notes, replies and estimates are the same, or the error is.
"""

import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

import orjson

from gateway.context import Context
from gateway.dialects.base import Asking
from gateway.errors import InvalidRequest
from gateway.messages.envelope import seal
from gateway.messages.prompt import Prompt, Received, parse_body, to_prompt, to_unchecked
from gateway.messages.tokens.estimate import estimate_by_size
from gateway.messages.tokens.profiles import to_profile
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import LEAST_BYTES, CachedMessages, TurnCache, known_messages
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER
from tests.support.fuzz_dialects import DIALECTS, KEYRING, route_to

Json = dict[str, Any]

STEPS = 6
EDITS: tuple[dict[str, Any], ...] = (
    {"type": "clear_thinking_20251015"},
    {"type": "clear_thinking_20251015", "keep": "all"},
    {"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 1}},
    {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 3}, "clear_tool_inputs": True},
)
TENANTS = ("red", "blue")
SYSTEM = "You are careful. " * (LEAST_BYTES // 17 + 1)
OPENING = "Look at these files: " + "a.py, " * 200
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAA"}}
MARK = {"cache_control": {"type": "ephemeral"}}
LONG = {"type": "text", "text": SYSTEM}
SYSTEMS: Final[tuple[Callable[[Random], Any], ...]] = (
    lambda _: SYSTEM,
    lambda _: [{**LONG, **MARK}],
    lambda random: [{"type": "text", "text": text_of(random)}, {**LONG, **MARK}, LONG],
    lambda random: [{"type": "text", "text": f"x-anthropic-billing-header: cch={random.random()};"}, LONG],
    lambda random: [{**LONG, "text": SYSTEM + "},{" + text_of(random)}, {**LONG, "unknown": 1}, LONG],
    lambda _: [LONG, "text", LONG],
)
WORDS = ("one", "two → 2", 'a "quoted" word', "line\nbreak", "\\", "{}", "é", "]},{", '"messages":[')

SCHEMA: Final = {"type": "object", "properties": {"model": {"type": "string"}, "path": {"type": "string"}}}
TOOLS: Final = [{"name": "look", "description": "Look at a file.", "input_schema": SCHEMA}]

ADAPTATIONS = (Adaptation("short_ids"), Adaptation("alternate_turns"), Adaptation("omit_content"))


def chat_route(target: Target, vendor: Any) -> Route:
    return Route("asked", Upstream("u", "http://u/v1", "key", vendor), "chat", target)


WRITER: Final = to_target("acme/writer", COMPATIBLE)
ROUTES: Final = (
    chat_route(to_target("anthropic/claude-sonnet-4.5", OPENROUTER), OPENROUTER),
    chat_route(to_target("openai/gpt-5", OPENROUTER), OPENROUTER),
    chat_route(WRITER, COMPATIBLE),
    chat_route(to_target("deepseek/deepseek-chat", OPENROUTER), OPENROUTER),
    route_to("responses"),
    route_to("messages"),
    Route("renamed", Upstream("u", "http://u/v1", "key", COMPATIBLE, dialect="messages"), "messages", WRITER),
)
LATER: Final = {"adaptations": ADAPTATIONS}


def fuzz_turns(random: Random) -> str:
    """Return True if the session had known turns. Raises AssertionError for any difference."""
    tools, turns = ToolCache("t" * 32), TurnCache("m" * 32, random.choice((1 << 18, 1 << 24)))
    messages: list[Json] = [{"role": "user", "content": [{"type": "text", "text": OPENING}]}]
    marks, knows = random.random() < 0.5, False
    tenant, route = random.choice(TENANTS), random.choice(ROUTES)
    for _ in range(STEPS):
        messages = random.choice(LASTING)(list(messages), random)
        sent = random.choice(PASSING)(list(messages), random)
        if random.random() < 0.1:
            tenant = random.choice(TENANTS)
        if random.random() < 0.1:
            route = random.choice(ROUTES)
        body, context = to_body(sent, random, marks=marks), to_context(tenant, random)
        loads = partial(turns.parse, tenant=tenant)
        known = outcome(partial(parse_body, body, tools, loads), body, context, route)
        plain = outcome(partial(orjson.loads, body), body, context, route)
        assert known[0] == plain[0], f"{known[0]} is not {plain[0]}"
        knows = knows or known[1] > 0
    return "known" if knows else "new"


def to_context(tenant: str, random: Random) -> Context:
    version = "2026-10-21" if random.random() < 0.1 else "2023-06-01"
    return Context("req_1", tenant, "key", api_version=version)


def outcome(parse: Callable[[], object], body: bytes, context: Context, route: Route) -> tuple[Any, int]:
    """Return all results of the request, and the number of its known messages."""
    size, repeated = len(body), 0
    asking = Asking("msg_1", "req_1", context.tenant, None, LATER["adaptations"] if size % 7 == 0 else ())
    try:
        parsed: Any = parse()
        repeated = repeated_messages(parsed["messages"])
        if route.dialect != "messages":
            return said(to_prompt(parsed, size, context), route, asking), repeated
        prompt = to_unchecked(parsed, size, Received(body))
        assert prompt is not None
        prompt.remember()
        prepared = DIALECTS["messages"].prepare(prompt, route, asking)
        passed_on = bytes(prepared.body), prepared.notes, prepared.reply
        if size % 5:
            return passed_on, repeated
        # The upstream has failed, and one of another dialect is asked.
        notes = prompt.check(context)
        return (passed_on, notes, said(prompt, ROUTES[0], asking)), repeated
    except InvalidRequest as error:
        return ("refused", error.message), repeated


def repeated_messages(messages: Any) -> int:
    repeated = messages.repeated if isinstance(messages, CachedMessages) else None
    return 0 if repeated is None else len(repeated.messages)


def said(prompt: Prompt, route: Route, asking: Asking) -> tuple[Any, ...]:
    prepared = DIALECTS[route.dialect].prepare(prompt, route, asking)
    known = known_messages(prompt.request["messages"])
    estimate = estimate_by_size(prompt.body_size, prompt.request, to_profile(route.target.model), known)
    return bytes(prepared.body), prepared.notes, prompt.notes, prepared.reply, estimate, prompt.request


def to_body(messages: list[Json], random: Random, *, marks: bool) -> bytes:
    if marks and isinstance(messages[-1]["content"], list) and messages[-1]["content"]:
        *before, last = messages[-1]["content"]
        messages = [*messages[:-1], {**messages[-1], "content": [*before, {**last, **MARK}]}]
    request: Json = {"model": "asked", "max_tokens": 99, "system": random.choice(SYSTEMS)(random), "messages": messages}
    if random.random() < 0.2:
        request["context_management"] = {"edits": [random.choice(EDITS)]}
    if random.random() < 0.3:
        request["tools"] = TOOLS
    if random.random() < 0.3:  # the name of the model at the end
        request["model"] = request.pop("model")
    if random.random() < 0.2:
        request = {"metadata": {"messages": [{"role": "user"}]}, **request}
    if random.random() < 0.1:
        return json.dumps(request, separators=(",", ":")).encode()  # other escapes
    return orjson.dumps(request)


# Messages


def answer(random: Random, number: int) -> Json:
    """Return an answer, sometimes with a part that no later request may take over."""
    if random.random() < 0.1:
        return {"role": "assistant", "content": random.choice((text_of(random), [NOTHING]))}
    blocks: list[Json] = [{"type": "text", "text": text_of(random)}] if random.random() < 0.8 else []
    if random.random() < 0.2:
        blocks.insert(0, {"type": "thinking", "thinking": text_of(random), "signature": signature_of(random)})
    for call in range(random.randrange(3)):
        name = "n" * 70 if random.random() < 0.03 else "look"
        used = {"path": text_of(random), "deep": {"list": [1, 2.5, None]}, **random.choice(INPUTS)}
        call_id = f"toolu_{0 if random.random() < 0.1 else number}_{call}"
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": used})
    if random.random() < 0.1:
        blocks.append(random.choice(ODD_BLOCKS))
    return {"role": "assistant", "content": blocks or [{"type": "text", "text": "Done."}]}


def signature_of(random: Random) -> str:
    keyring = KEYRING.of_tenant(random.choice(TENANTS))
    model = random.choice(("openai/gpt-5", "openai/gpt-5", *(route.target.model for route in ROUTES)))
    entry: Any = {"type": "reasoning.encrypted", "data": text_of(random), "id": random.choice(("r", "s"))}
    return random.choice(("", "EqQB", seal([entry], model, keyring), seal([], model, keyring)))


INPUTS: Final[tuple[Json, ...]] = ({}, {"model": "asked"}, {"file_id": "file_1"}, {"text": "\x1b[0m"})
NOTHING: Final = {"type": "thinking", "thinking": "", "signature": ""}
ODD_BLOCKS: Final[tuple[Json, ...]] = (
    {"type": "text", "text": " "},
    {"type": "text", "text": "cited", "citations": None},
    {"type": "text", "text": "x", "unknown": 1},
    {"type": "text", "text": "marked", **MARK},
    {"type": "tool_use", "id": "wide", "name": "look", "input": {"n": 2.0**70}},
    {"type": "tool_use", "id": "called", "name": "look", "input": {}, "caller": {"type": "direct"}},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "compaction", "content": "summary"},
    {"type": "redacted_thinking", "data": "opaque"},
)


def reply_to(message: Json, random: Random) -> Json:
    """Return the user's next message: results for the calls, and text."""
    content = message["content"]
    calls = [block["id"] for block in content if block["type"] == "tool_use"] if isinstance(content, list) else []
    blocks: list[Json] = [
        {"type": "tool_result", "tool_use_id": call, **random.choice(RESULTS)} for call in dict.fromkeys(calls)
    ]
    if not blocks or random.random() < 0.3:
        blocks.append({"type": "text", "text": text_of(random)})
    if random.random() < 0.1:
        blocks.append(random.choice((IMAGE, PIXEL, {"type": "text", "text": "a", "citations": [{}]})))
    return {"role": "user", "content": blocks}


RESULTS: Final[tuple[Json, ...]] = (
    {"content": "ok"},
    {"content": [{"type": "text", "text": "ok"}]},
    {"content": [{"type": "text", "text": "ok"}, {"type": "text", "text": "more"}]},
    {"content": "ok", "is_error": False},
    {"content": "failed", "is_error": True},
    {},
    {"content": [{"type": "text", "text": "ok"}, IMAGE]},
)


def text_of(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randrange(1, 5)))


# Changes


def grow(messages: list[Json], random: Random) -> list[Json]:
    for _ in range(random.randrange(1, 3)):
        said = answer(random, len(messages))
        messages += [said, reply_to(said, random)]
    return messages


def shrink(messages: list[Json], random: Random) -> list[Json]:
    """Remove messages from the end, in most cases up to a user message."""
    ends = [index + 1 for index, message in enumerate(messages) if message["role"] == "user" or random.random() < 0.1]
    return messages[: random.choice(ends)] if ends else messages


def branch(messages: list[Json], random: Random) -> list[Json]:
    return grow(shrink(messages, random), random)


def change(messages: list[Json], random: Random) -> list[Json]:
    """Change a text in the middle, and leave the rest."""
    place = random.randrange(len(messages))
    content = messages[place]["content"]
    text = text_of(random) if random.random() < 0.95 else " "
    changed = text if isinstance(content, str) else [*content, {"type": "text", "text": text}]
    messages[place] = {**messages[place], "content": changed}
    return messages


def lose(messages: list[Json], random: Random) -> list[Json]:
    """Remove results of calls, calls of results, or messages, so that roles repeat."""
    del messages[random.randrange(len(messages))]
    return messages or [{"role": "user", "content": "Hi"}]


def ask_again(messages: list[Json], random: Random) -> list[Json]:
    content = messages[-1]["content"]
    if isinstance(content, str) or random.random() < 0.1:
        return [*messages[:-1], {"role": random.choice(("user", "assistant")), "content": text_of(random)}]
    return [*messages[:-1], {**messages[-1], "content": [*content[:-1], {"type": "text", "text": text_of(random)}]}]


def prefill(messages: list[Json], random: Random) -> list[Json]:
    return [*messages, {"role": "assistant", "content": random.choice((text_of(random), [], " ", ""))}]


def instruct(messages: list[Json], random: Random) -> list[Json]:
    extra = random.choice(({}, {"clear_at": "next_user_message"}, {"output_config": {"effort": "low"}}))
    return [*messages, {"role": "system", "content": "" if random.random() < 0.1 else "Be brief.", **extra}]


def damage(messages: list[Json], random: Random) -> list[Json]:
    place = random.randrange(len(messages))
    wrong: Json = random.choice(({"role": "robot"}, {"content": None}, {"content": [{"type": "text"}]}, {"name": "a"}))
    messages[place] = {**messages[place], **wrong} if random.random() < 0.5 else messages[place]
    return messages


def repeat(messages: list[Json], _: Random) -> list[Json]:
    return messages


# What stays in the conversation, and what only one request has.
LASTING: Final = (*[grow] * 7, shrink, branch, change, ask_again, instruct)
PASSING: Final = (*[repeat] * 12, lose, prefill, damage)
