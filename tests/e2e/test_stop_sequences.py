"""Stop sequences by the operator's choice: matched exactly by the gateway, or left to the upstream."""

import asyncio
from typing import Any

import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, json_script, stream_script
from tests.e2e.conftest import Live, serving
from tests.support.streams import delta_chunk

ASK: dict[str, Any] = {
    "model": "sim/echo",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Hello"}],
    "stop_sequences": ["END", "STOP"],
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def ending(message: Any) -> tuple[str, str | None, str]:
    return message.stop_reason, message.stop_sequence, "".join(block.text for block in message.content)


async def streamed(live: Live) -> Any:
    async with asyncio.timeout(10), live.client().messages.stream(**ASK) as events:
        return await events.get_final_message()


@pytest.mark.covers("Messages · stop sequences, and which one ended the answer")
async def test_the_gateway_names_the_sequence_for_an_upstream_that_does_not(simulator: Simulator) -> None:
    whole = {"content": "One. STOP Two. END"}
    async with serving(simulator, stop_sequences="gateway") as live:
        simulator.script(
            json_script({"id": "g", "choices": [{"finish_reason": "stop", "message": whole}], "usage": USAGE}),
            stream_script(delta_chunk({"content": "One. S"}), delta_chunk({"content": "TOP Two."}), Hold()),
        )
        message = await live.client().messages.create(**ASK)
        assert ending(message) == ("stop_sequence", "STOP", "One. ")
        assert message.usage.output_tokens == 4
        assert ending(await streamed(live)) == ("stop_sequence", "STOP", "One. ")
    record = await simulator.received(2)
    async with asyncio.timeout(10):
        await record.closed.wait()
    assert record.closed_by_client
    assert ["stop" in one.json for one in simulator.requests()] == [False, False]


@pytest.mark.parametrize("choice", [{}, {"stop_sequences": "upstream"}], ids=["by default", "as chosen"])
async def test_the_upstream_gets_them_otherwise(simulator: Simulator, choice: dict[str, str]) -> None:
    async with serving(simulator, **choice) as live:
        end = delta_chunk({}, finish_reason="stop", native_finish_reason="stop_sequence")
        simulator.script(stream_script(delta_chunk({"content": "One. "}), end, b"data: [DONE]\n\n"))
        assert ending(await streamed(live)) == ("stop_sequence", None, "One. ")
    assert simulator.requests()[0].json["stop"] == ["END", "STOP"]


async def test_a_strict_upstream_gets_none_and_a_call_that_holds_one_stays_whole(simulator: Simulator) -> None:
    """vLLM would look for it in the call's arguments too."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": "the END"}'}}
    async with serving(simulator, upstream_flavor="openai") as live:
        ended = delta_chunk({}, finish_reason="tool_calls")
        simulator.script(stream_script(delta_chunk({"tool_calls": [call]}), ended, b"data: [DONE]\n\n"))
        tools: Any = [{"name": "look", "input_schema": {"type": "object"}}]
        async with live.client().messages.stream(**ASK, tools=tools) as events:
            message: Any = await events.get_final_message()
    assert (message.stop_reason, message.content[0].input) == ("tool_use", {"at": "the END"})
    assert "stop" not in simulator.requests()[0].json
