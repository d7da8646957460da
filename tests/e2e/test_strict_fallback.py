"""A refusal of strict schemas: passed on, or answered with one more try where the operator allows it."""

from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Script, json_script, stream_script
from tests.e2e.conftest import KEY, Live, serving
from tests.support.streams import delta_chunk

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
ASK: dict[str, Any] = {
    "model": "acme/writer",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
    "tools": [{"name": "look", "input_schema": SCHEMA, "strict": True}],
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}
MESSAGE = "No endpoints found that can handle the requested parameters."
REFUSED = json_script({"error": {"message": MESSAGE, "code": 404}}, status=404)
LOSSES = "dropped:tools.strict, changed:response_format.strict"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])


def answer(stream: bool) -> Script:
    if stream:
        return stream_script(delta_chunk({"content": "{}"}), delta_chunk({}, finish_reason="stop"), b"data: [DONE]\n\n")
    return json_script(
        {"id": "g", "choices": [{"finish_reason": "stop", "message": {"content": "{}"}}], "usage": USAGE}
    )


async def ask(live: Live, **fields: Any) -> tuple[int, str | None, str]:
    """Return the status, the noted losses and the body."""
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(live.url + "/v1/messages", json={**ASK, **fields}) as response,
    ):
        return response.status, response.headers.get("x-gateway-ignored"), await response.text()


def strictness(simulator: Simulator) -> list[tuple[Any, Any]]:
    """Return `strict` of each request's tool and schema, in order."""
    bodies = [record.json for record in simulator.requests()]
    return [
        (body["tools"][0]["function"].get("strict"), body["response_format"]["json_schema"]["strict"])
        for body in bodies
    ]


@STREAMED
async def test_refusal_is_passed_on_where_the_operator_says_so(simulator: Simulator, stream: bool) -> None:
    simulator.script(REFUSED)
    async with serving(simulator, strict_fallback="off") as live:
        status, _, body = await ask(live, stream=stream)
    assert (status, orjson.loads(body)["error"]["message"]) == (404, MESSAGE)
    assert strictness(simulator) == [(True, True)]


@STREAMED
async def test_by_default_schemas_without_strict_are_sent_and_noted(live: Live, stream: bool) -> None:
    simulator = live.simulator
    simulator.script(REFUSED, answer(stream))
    status, losses, body = await ask(live, stream=stream)
    assert (status, losses) == (200, LOSSES)
    assert "{}" in body
    assert strictness(simulator) == [(True, True), (None, False)]
    first, second = (record.json for record in simulator.requests())
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second["tools"][0]["function"]["parameters"] == SCHEMA
    assert second["provider"] == {"require_parameters": True}


@STREAMED
async def test_a_second_refusal_is_passed_on(simulator: Simulator, stream: bool) -> None:
    simulator.script(REFUSED, REFUSED)
    async with serving(simulator) as live:
        status, _, _ = await ask(live, stream=stream)
    assert status == 404
    assert strictness(simulator) == [(True, True), (None, False)]


async def test_what_was_shown_is_never_asked_for_again(simulator: Simulator) -> None:
    broken = {"error": {"message": MESSAGE, "code": 404}, **delta_chunk({}, finish_reason="error")}
    simulator.script(stream_script(delta_chunk({"content": "{"}), broken, b"data: [DONE]\n\n"))
    async with serving(simulator) as live:
        with pytest.raises(anthropic.APIStatusError, match="No endpoints found"):
            async with live.client().messages.stream(**ASK) as events:
                await events.get_final_message()
    assert strictness(simulator) == [(True, True)]


@STREAMED
async def test_reasoning_that_cannot_be_verified_is_left_out_with_a_note(live: Live, stream: bool) -> None:
    invalid = {"error": {"message": "messages.1: Invalid `signature` in `thinking` block", "code": 400}}
    live.simulator.script(json_script(invalid, status=400), answer(stream))
    thought = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]}
    status, losses, _ = await ask(
        live, stream=stream, model="anthropic/claude-opus-4.5", messages=[*ASK["messages"], said, *ASK["messages"]]
    )
    assert (status, losses) == (200, "dropped:reasoning")
    first, second = (record.json["messages"][1] for record in live.simulator.requests())
    assert "reasoning_details" in first
    assert "reasoning_details" not in second
