"""A session of Claude Code before every server: ten turns with thinking and a tool.

No turn fails, each prompt starts with all of the one before it (else the server's cache of prompts is lost), and
reasoning returns to the servers with templates that read it.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.servers import claude_code
from tests.servers.cases import ANSWERED, THOUGHT, WITH_REASONING, WITH_TOOLS
from tests.servers.claude_code import Turn, environment_for
from tests.servers.conftest import KEY, Servers, front_end, on_servers
from tests.servers.recorder import Exchange, recording
from tests.servers.report import CHOICE

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHOICE not in os.environ, reason="`make servers` runs it: it downloads Claude Code"),
    pytest.mark.skipif(claude_code.missing() is not None, reason=str(claude_code.missing())),
]

# Room for the program's prompt and ten turns, and for the part of the window that it keeps free.
CONTEXT = 65_536
TURNS = 10


@on_servers(WITH_TOOLS)
@pytest.mark.covers("Agents · Claude Code with thinking on a real server")
async def test_ten_turns_of_claude_code_with_thinking_and_a_tool(servers: Servers, name: str, tmp_path: Path) -> None:
    options = {} if name == "transformers" else {"context": CONTEXT}
    async with recording(servers.get(name, **options)) as (server, exchanges), front_end(server) as client:
        variables = await environment_for(client.url, KEY, client.model)
        async with claude_code.session(variables, tmp_path) as session:
            turns = [await session.turn(f"#thinkbash, turn {number}") for number in range(1, TURNS)]
            last = await session.turn("#recall")
    for turn in turns:
        check_turn(turn)
    assert not last.has_failed, last.result
    check_prompts(exchanges)
    if name in WITH_REASONING.split():
        assert last.text == "Reasoning is here."
        check_reasoning(exchanges)


@on_servers("llama-cpp vllm")
@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
@pytest.mark.covers("Agents · Claude Code with thinking on a real server in each dialect")
async def test_ten_turns_of_claude_code_in_each_dialect_where_the_template_takes_system_messages_anywhere(
    servers: Servers, name: str, dialect: str, tmp_path: Path
) -> None:
    server = servers.get(name, context=CONTEXT, lenient=True)
    async with front_end(server, dialect=dialect) as client:
        variables = await environment_for(client.url, KEY, client.model)
        async with claude_code.session(variables, tmp_path) as session:
            turns = [await session.turn(f"#thinkbash, turn {number}") for number in range(1, TURNS)]
            last = await session.turn("#recall")
    for turn in turns:
        check_turn(turn)
    assert (last.has_failed, last.text) == (False, "Reasoning is here.")


@on_servers("llama-cpp-python")
async def test_ten_turns_of_claude_code_with_thinking_alone(servers: Servers, name: str, tmp_path: Path) -> None:
    async with recording(servers.get(name, context=CONTEXT)) as (server, exchanges), front_end(server) as client:
        variables = await environment_for(client.url, KEY, client.model)
        async with claude_code.session(variables, tmp_path) as session:
            turns = [await session.turn(f"#think, turn {number}") for number in range(TURNS)]
    assert [(turn.has_failed, turn.text) for turn in turns] == [(False, "Thought and said.")] * TURNS
    check_prompts(exchanges)


def check_turn(turn: Turn) -> None:
    assert not turn.has_failed, turn.result
    results = [block["content"] for block in turn.blocks("tool_result")]
    assert (results, turn.text) == (["scripted"], ANSWERED)
    assert [block["thinking"].strip() for block in turn.blocks("thinking")] == [THOUGHT]


def check_prompts(exchanges: list[Exchange]) -> None:
    """Each prompt that was answered repeats the bytes before it, and at most the first one was refused and changed."""
    prompts = [exchange.body for exchange in exchanges if exchange.status == 200 and exchange.body.get("tools")]
    assert len(prompts) >= TURNS
    refused = [exchange.status for exchange in exchanges if exchange.status != 200]
    assert len(refused) <= 2, refused
    for one, other in pairwise(prompts):
        assert orjson.dumps(one["tools"]) == orjson.dumps(other["tools"])
        earlier, later = one["messages"], other["messages"]
        assert orjson.dumps(later[: len(earlier)]) == orjson.dumps(earlier)
        assert len(later) > len(earlier)


def check_reasoning(exchanges: list[Exchange]) -> None:
    messages: list[dict[str, Any]] = exchanges[-1].body["messages"]
    thoughts = [
        (message.get("reasoning_content") or message.get("reasoning") or "").strip()
        for message in messages
        if message.get("tool_calls")
    ]
    assert thoughts == [THOUGHT] * (TURNS - 1)
