"""A coding agent over ten turns, in the shapes that Claude Code 2.1.197 was recorded to send: thinking and a tool call
in every turn, an overflow in the middle that makes it summarize, and the rest of the work after that.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.messages.fold import fold_events
from gateway.simulator.failures import overflow_script
from gateway.simulator.script import COMMENT, Script, json_script, stream_script
from gateway.simulator.shapes import Completion, Generation, SimulatedToolCall, to_chunks, to_thinking
from tests.e2e.conftest import KEY, Live
from tests.e2e.raw import parse_events

MODEL = "anthropic/claude-sonnet-4.5"
DONE = b"data: [DONE]\n\n"

HEADERS = {
    "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
    "x-claude-code-session-id": "196a49c5-2958-4231-8763-8bf6df69350a",
    "x-stainless-timeout": "600",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2023-06-01",
    "x-api-key": KEY,
    "x-app": "cli",
}
EPHEMERAL = {"type": "ephemeral"}
SYSTEM = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.fd0; cc_entrypoint=sdk-cli;"},
    {"type": "text", "text": "You are a Claude agent.", "cache_control": EPHEMERAL},
    {"type": "text", "text": "\nYou help with software.", "cache_control": EPHEMERAL},
]
BASH = {
    "name": "Bash",
    "description": "Executes a given bash command and returns its output.",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command"],
    },
}
QUESTION = [
    {"type": "text", "text": "<system-reminder>\nToday's date is 2026-11-22.\n</system-reminder>"},
    {"type": "text", "text": "Do ten steps."},
]
# Pattern by which the program recognises an overflow and its size.
OVERFLOW = re.compile(r"prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Agent:
    """Actions of the program between its requests, as far as the gateway can see them."""

    session: aiohttp.ClientSession
    url: str
    messages: list[dict[str, Any]] = field(default_factory=lambda: [{"role": "user", "content": QUESTION}])
    overflows: list[dict[str, Any]] = field(default_factory=list)

    async def work(self) -> str:
        """Until the model calls no more tools; its last text."""
        while True:
            message = await self._ask()
            self.messages.append({"role": "assistant", "content": message["content"]})
            calls = [block for block in message["content"] if block["type"] == "tool_use"]
            if message["stop_reason"] != "tool_use":
                return "".join(block["text"] for block in message["content"] if block["type"] == "text")
            self.messages.append({"role": "user", "content": [_to_result(call) for call in calls]})

    async def _ask(self) -> dict[str, Any]:
        status, answer = await self._send(self.messages)
        if status == 200:
            return answer
        self.overflows.append({"status": status, **answer})
        assert "prompt is too long" in answer["error"]["message"]
        wish = {"role": "user", "content": [{"type": "text", "text": "Write a summary of the conversation."}]}
        status, answer = await self._send([*self.messages[:-2], wish])
        assert status == 200
        told = {"type": "text", "text": f"This session is being continued: {answer['content'][-1]['text']}"}
        self.messages = [{"role": "user", "content": [told]}, *self.messages[-2:]]
        return await self._ask()

    async def _send(self, messages: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        """The cache breakpoint moves with the last block."""
        *earlier, last = messages
        marked = [*last["content"][:-1], {**last["content"][-1], "cache_control": EPHEMERAL}]
        body = {
            "model": "claude-sonnet-4-5",
            "messages": [*earlier, {**last, "content": marked}],
            "system": SYSTEM,
            "tools": [BASH],
            "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s-1"}'},
            "max_tokens": 32000,
            "thinking": {"budget_tokens": 31999, "type": "enabled"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "stream": True,
        }
        async with self.session.post(f"{self.url}/v1/messages?beta=true", json=body, headers=HEADERS) as response:
            data = await response.read()
            if response.status != 200:
                return response.status, {**orjson.loads(data), "retry": response.headers["x-should-retry"]}
            return 200, fold_events(parse_events(data))


def _to_result(call: dict[str, Any]) -> dict[str, Any]:
    command = call["input"]["command"]
    return {"tool_use_id": call["id"], "type": "tool_result", "content": f"did {command}", "is_error": False}


def step(number: int) -> Script:
    call = SimulatedToolCall(
        f"toolu_{number:06d}", "Bash", f'{{"command":"step {number}","description":"Step {number}"}}'
    )
    said = Completion(
        1000,
        f"Step {number}.",
        (to_thinking(f"Now comes step {number}. "),),
        (call,),
        finish_reason="tool_calls",
        native_finish_reason="tool_use",
    )
    return stream_script(COMMENT, *to_chunks(Generation(number, 1, MODEL), said), DONE)


def says(text: str) -> Script:
    return stream_script(COMMENT, *to_chunks(Generation(99, 1, MODEL), Completion(1000, text)), DONE)


UNNUMBERED = json_script({"error": {"code": 400, "message": "Input is too long for requested model."}}, status=400)


@pytest.mark.parametrize(
    ("overflow", "has_numbers"),
    [
        pytest.param(overflow_script(250_000), True, id="an overflow in numbers"),
        pytest.param(UNNUMBERED, False, id="an overflow without any"),
    ],
)
@pytest.mark.covers("Agents · a coding agent's overflow and compaction")
async def test_ten_turns_with_an_overflow_in_the_middle(live: Live, overflow: Script, has_numbers: bool) -> None:
    steps = [step(number) for number in range(1, 11)]
    live.simulator.script(*steps[:5], overflow, says("Five are done."), *steps[5:], says("All done."))
    async with aiohttp.ClientSession() as session:
        agent = Agent(session, live.url)
        assert await agent.work() == "All done."

    (told,) = agent.overflows
    assert (told["status"], told["retry"], told["error"]["type"]) == (400, "false", "invalid_request_error")
    assert (OVERFLOW.search(told["error"]["message"]) is not None) == has_numbers
    asked = [record.json for record in live.simulator.requests()]
    assert len(asked) == 13
    for body in asked:
        _check_request(body)
    _check_growth(asked[:6])
    _check_growth(asked[7:])
    assert asked[6]["messages"][-1]["content"][-1]["text"] == "Write a summary of the conversation."
    assert asked[7]["messages"][1]["content"] == "This session is being continued: Five are done."


def _check_request(body: dict[str, Any]) -> None:
    assert (body["model"], body["session_id"], body["max_tokens"]) == (MODEL, "s-1", 32000)
    assert body["reasoning"] == {"max_tokens": 31999}
    system, *messages = body["messages"]
    assert [part["text"] for part in system["content"]] == ["You are a Claude agent.", "\nYou help with software."]
    for message in messages:
        if message["role"] != "assistant":
            continue
        number = int(message["tool_calls"][0]["id"].removeprefix("toolu_"))
        arguments = f'{{"command":"step {number}","description":"Step {number}"}}'
        assert message["content"] == f"Step {number}."
        assert message["tool_calls"][0]["function"] == {"name": "Bash", "arguments": arguments}
        assert message["reasoning_details"] == [to_thinking(f"Now comes step {number}. ")]


def _check_growth(bodies: list[dict[str, Any]]) -> None:
    """Each request starts with all of the one before it, to the byte, except for the moved breakpoint."""
    for one, other in pairwise(bodies):
        earlier, later = _without_breakpoints(one), _without_breakpoints(other)
        assert orjson.dumps(later[: len(earlier)]) == orjson.dumps(earlier)
        assert len(later) == len(earlier) + 2


def _without_breakpoints(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = orjson.loads(orjson.dumps(body["messages"]))
    for message in messages:
        content = message["content"]
        for part in content if isinstance(content, list) else ():
            part.pop("cache_control", None)
        if isinstance(content, list) and len(content) == 1 and message["role"] == "tool":
            message["content"] = content[0]["text"]
    return messages
