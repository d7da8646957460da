"""Unknown keys inside known objects: each is noted, at every place."""

from functools import reduce
from operator import getitem
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.request.convert import to_chat_request
from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.validation.unknown_keys import MAX_NOTED
from gateway.upstream.models.target import Target
from tests.messages.validation.test_validation_fuzz import RICH, places, replaced
from tests.support.bodies import (
    assistant,
    body,
    call,
    check,
    document,
    image,
    result,
    system,
    text,
    tool,
    user,
)
from tests.support.conversions import CLAUDE, DEEPSEEK, KEYRING, OPENAI, STRICT

NEW = {"zeta": 1}
CACHED = {"cache_control": {"type": "ephemeral"}}

NOTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a text": ({"messages": [user(text("a"), text("b", **NEW))]}, ["messages.0.content.1.zeta"]),
    "a text with a mark": ({"messages": [user(text("b", **NEW, **CACHED))]}, ["messages.0.content.0.zeta"]),
    "a message": ({"messages": [user("a"), {**assistant("b"), "id": "msg_1"}]}, ["messages.1.id"]),
    "a system message": ({"messages": [user("a"), {**system("b"), **NEW}]}, ["messages.1.zeta"]),
    "a call": ({"messages": [user("a"), assistant(call(**NEW)), user(result())]}, ["messages.1.content.0.zeta"]),
    "a result": (
        {"messages": [user("a"), assistant(call()), user({**result(), **NEW})]},
        ["messages.2.content.0.zeta"],
    ),
    "a text in a result": (
        {"messages": [user("a"), assistant(call()), user(result(content=[text("b", **NEW)]))]},
        ["messages.2.content.0.content.0.zeta"],
    ),
    "an image": ({"messages": [user({**image(), **NEW})]}, ["messages.0.content.0.zeta"]),
    "an image's source": (
        {"messages": [user({"type": "image", "source": {**image()["source"], **NEW}})]},
        ["messages.0.content.0.source.zeta"],
    ),
    "a text in a document": (
        {"messages": [user(document(type="content", content=[text("d", **NEW)]))]},
        ["messages.0.content.0.source.content.0.zeta"],
    ),
    "the system prompt": ({"system": [text("s"), text("t", **NEW)]}, ["system.1.zeta"]),
    "a tool": ({"tools": [tool(), tool("b", **NEW)]}, ["tools.1.zeta"]),
    "a tool that Claude knows": (
        {"tools": [{"type": "bash_20250124", "name": "bash", **NEW}]},
        ["tools.0.zeta"],
    ),
    "the choice of tools": ({"tools": [tool()], "tool_choice": {"type": "auto", **NEW}}, ["tool_choice.zeta"]),
    "thinking": ({"thinking": {"type": "adaptive", **NEW}}, ["thinking.zeta"]),
    "the output's form": (
        {"output_config": {"format": {"type": "json_schema", "schema": {}, **NEW}, "eta": 1}},
        ["output_config.eta", "output_config.format.zeta"],
    ),
    "its older name": ({"output_format": {"type": "json_schema", "schema": {}, **NEW}}, ["output_format.zeta"]),
    "context management": (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", **NEW}], "eta": 1}},
        ["context_management.eta", "context_management.edits.0.zeta"],
    ),
    "the same in every turn": (
        {"messages": [user(text("a", **NEW)), assistant(text("b", **NEW)), user(text("c", **NEW, eta=1))]},
        ["messages.0.content.0.zeta", "messages.2.content.0.eta"],
    ),
    "a name that fits no header": ({"messages": [user(text("a", **{"z\r\n": 1}))]}, ["messages.0.content.0.?"]),
}  # fmt: skip

SILENT: dict[str, dict[str, Any]] = {
    "null, which asks for nothing": {"messages": [user(text("a", zeta=None))]},
    "what a schema holds": {"tools": [tool(input_schema={"type": "object", **NEW})]},
    "what a call is given": {"messages": [user("a"), assistant(call(input=NEW)), user(result())]},
    "chat's own parts, which are handed on": {
        "messages": [user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}, **NEW})]
    },
    "OpenRouter's tools, which are handed on": {"tools": [{"type": "openrouter:datetime", **NEW}]},
    "pairs of metadata, which are handed on": {"metadata": {"user_id": "u", **NEW}},
}


@pytest.mark.parametrize("name", NOTED)
def test_an_unknown_key_is_noted_where_it_is(name: str) -> None:
    fields, expected = NOTED[name]
    _, notes = check(body(**fields))
    assert notes == [Note("dropped", path, "no such field is known") for path in expected]


@pytest.mark.parametrize("name", SILENT)
def test_nothing_is_noted_of(name: str) -> None:
    assert check(body(**SILENT[name]))[1] == []


def test_a_body_full_of_unknown_keys_makes_few_notes() -> None:
    blocks = [text("a", **{f"key{number}": 1}) for number in range(1000)]
    assert len(check(body(messages=[user(*blocks)]))[1]) == MAX_NOTED


def test_known_tools_are_noted_every_time() -> None:
    memory = ToolCache("x")
    written = orjson.dumps(body(tools=[tool(description="a" * 10_000, **NEW)]))
    for _ in range(4):
        assert [note.field for note in check(memory.parse(written))[1]] == ["tools.0.zeta"]


def rich_for(target: Target) -> dict[str, Any]:
    """One of nearly everything that the target can be asked."""
    foreign = "custom" if target.openrouter else "parameters"
    tools = [entry for entry in RICH["tools"] if foreign not in entry]
    if not target.openrouter:
        tools = [entry for entry in tools if not str(entry.get("type")).startswith("openrouter:")]
    if target is STRICT:
        tools = [entry for entry in tools if "custom" not in entry]
    return {**RICH, "tools": tools, "openrouter": None}


@pytest.mark.parametrize("target", [CLAUDE, DEEPSEEK, OPENAI, STRICT], ids=lambda target: target.model)
def test_any_added_field_is_carried_noted_or_refused(target: Target) -> None:
    rich = rich_for(target)
    objects = [path for path in places(rich) if isinstance(reduce(getitem, path, rich), dict)]
    wrong, refused = [], []
    for path in objects:
        try:
            request, notes = check(replaced(rich, (*path, "canary"), 1))
            conversion = to_chat_request(request, target, KEYRING)
        except InvalidRequest:
            refused.append(path)
            continue
        place = ".".join(map(str, (*path, "canary")))
        told = [note.field for note in (*notes, *conversion.notes)]
        carried = b"canary" in orjson.dumps(conversion.body)
        if place in told if carried else not any(place.startswith(field) for field in told):
            wrong.append(place)
    assert wrong == []
    assert refused == [("logit_bias",)]
    assert len(objects) > 30
