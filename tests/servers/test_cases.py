"""The tables of cases.py, on every chosen server."""

from typing import Any

import pytest

from tests.servers.cases import CASES, CONVERSATIONS
from tests.servers.client import Answer, user
from tests.servers.conftest import PATIENT, Servers, for_servers, front_end
from tests.servers.expectation import Case, Conversation

pytestmark = PATIENT


@pytest.mark.parametrize(("name", "case"), for_servers(CASES))
@pytest.mark.covers("Upstreams · llama.cpp, vLLM, SGLang, LiteLLM and others")
async def test_a_real_server_behind_the_gateway(servers: Servers, name: str, case: Case) -> None:
    async with front_end(servers.get(name)) as client:
        for stream in case.forms:
            case.expected.check(await client.ask(stream=stream, **case.ask))


@pytest.mark.parametrize(("name", "case"), for_servers(CONVERSATIONS))
async def test_an_answer_of_a_real_server_given_back(servers: Servers, name: str, case: Conversation) -> None:
    async with front_end(servers.get(name)) as client:
        for stream in (False, True):
            first = await client.ask(stream=stream, **case.ask)
            case.first.check(first)
            messages = [user(case.replaced or case.ask["messages"]), first.given_back(), next_turn(first, case.then)]
            case.expected.check(await client.ask(stream=stream, **{**case.ask, "messages": messages}))


def next_turn(answer: Answer, text: str) -> dict[str, Any]:
    """Return the results of an answer's calls, or the text if it made none."""
    calls = [block for block in answer.content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"} for call in calls]
    return user(*results) if results else user(text)
