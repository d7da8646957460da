"""A request that the upstream refuses in some form is asked again, and the next one is right at once."""

from typing import Any

import aiohttp
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from tests.e2e.conftest import KEY, Live, serving

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
CHOICE = {"finish_reason": "stop", "message": {"content": "Yes."}}
ANSWER = json_script({"id": "g", "choices": [CHOICE], "usage": USAGE})
AT_THE_START = json_script({"object": "error", "message": "System message must be at the beginning."}, status=400)
OPAQUE = json_script("Internal Server Error", status=500)
TURNS = [
    {"role": "user", "content": "One."},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three."},
    {"role": "system", "content": "Few tokens left."},
]


async def ask(live: Live, **fields: Any) -> tuple[int, str | None, str]:
    """Return the status, the noted losses and the body."""
    body = {"model": "qwen3", "max_tokens": 100, "messages": TURNS, **fields}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(live.url + "/v1/messages", json=body) as response,
    ):
        return response.status, response.headers.get("x-gateway-ignored"), await response.text()


def roles(simulator: Simulator) -> list[list[str]]:
    return [[message["role"] for message in record.json["messages"]] for record in simulator.requests()]


@STREAMED
@pytest.mark.parametrize("refusal", [AT_THE_START, OPAQUE], ids=["told", "opaque"])
async def test_a_system_message_in_the_middle_is_asked_again_as_user_text_and_remembered(
    simulator: Simulator, refusal: Any, stream: bool
) -> None:
    simulator.script(refusal, ANSWER, ANSWER)
    async with serving(simulator, upstream_flavor="openai") as live:
        for _ in range(2):
            status, losses, body = await ask(live, stream=stream)
            assert (status, losses) == (200, "changed:messages")
            assert "Yes." in body
    assert roles(simulator) == [["user", "assistant", "user", "system"]] + [["user", "assistant", "user"]] * 2
    assert simulator.requests()[-1].json["messages"][-1]["content"].endswith("Few tokens left.")


WORDED = json_script(
    {"error": {"message": "Unsupported parameter: 'temperature' is not supported with this model."}}, status=400
)
OTHER = json_script({"detail": [{"loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]}, status=422)


@STREAMED
async def test_two_refusals_cost_two_more_calls_and_a_third_is_passed_on(simulator: Simulator, stream: bool) -> None:
    fields = {"messages": TURNS, "temperature": 0.2, "metadata": {"user_id": "u1"}, "stream": stream}
    simulator.script(AT_THE_START, WORDED, OTHER)
    async with serving(simulator, upstream_flavor="openai") as live:
        status, _, body = await ask(live, **fields)
        assert (status, orjson.loads(body)["error"]["message"]) == (400, "user: Extra inputs are not permitted")
        assert len(simulator.requests()) == 3
        simulator.script(AT_THE_START, WORDED, ANSWER)
        status, losses, _ = await ask(live, **fields)
    assert (status, losses) == (200, "changed:messages, dropped:temperature")
    assert "temperature" not in simulator.requests()[-1].json


async def test_a_refusal_reported_as_a_failure_of_the_server_is_a_400_asked_once(simulator: Simulator) -> None:
    message = "Failed to parse tools: Unsupported tool type: custom"
    simulator.script(json_script({"error": {"code": 500, "message": message, "type": "server_error"}}, status=500))
    async with serving(simulator, upstream_flavor="openai") as live:
        status, _, body = await ask(live)
    assert (status, orjson.loads(body)["error"]["message"]) == (400, message)
    assert len(simulator.requests()) == 1


async def test_stop_sequences_that_the_upstream_does_not_take_are_matched_by_the_gateway(simulator: Simulator) -> None:
    refusal = json_script({"error": "Argument not supported on this model: stop"}, status=400)
    choice = {"finish_reason": "stop", "message": {"content": "one STOP two"}}
    simulator.script(refusal, json_script({"id": "g", "choices": [choice], "usage": USAGE}))
    async with serving(simulator) as live:
        _, _, body = await ask(live, messages=TURNS[:1], stop_sequences=["STOP"])
    answer = orjson.loads(body)
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "STOP")
    assert answer["content"][0]["text"] == "one "
    assert "stop" not in simulator.requests()[-1].json


async def test_a_second_refusal_of_the_same_kind_is_passed_on(simulator: Simulator) -> None:
    simulator.script(AT_THE_START, AT_THE_START)
    async with serving(simulator, upstream_flavor="openai") as live:
        status, _, body = await ask(live)
    assert (status, orjson.loads(body)["error"]["type"]) == (400, "invalid_request_error")
    assert len(simulator.requests()) == 2
