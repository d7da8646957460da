"""Conversations with each hosted server that the simulator plays: accepted, answered right, reasoning there and back.

The simulator refuses what these servers refuse, so a conversation that passes was converted, or healed, as each needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.messages.fold import fold_events
from gateway.simulator.loopback import Simulator
from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.rows import ROWS, SIMULATED_NAMES, VENDOR_ROWS
from tests.e2e.conftest import KEY, Live, serving
from tests.support.streams import read_events

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
# As Claude Code and MCP servers describe tools: keywords that only some compilers know, and gaps that others refuse.
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city. " + "Call it before each answer. " * 60,
    "input_schema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1},
            "days": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "tags": {"type": "array"},
            "options": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
}
CLOCK = {"name": "get_time", "description": "The time.", "input_schema": {"type": "object"}}
TOOLS = [WEATHER, CLOCK]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "note": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
THOUGHTS = ("thinking", "redacted_thinking")
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


@dataclass(frozen=True, slots=True, repr=False)
class VendorConversation:
    """A conversation with one vendor, JSON or streamed, and the losses that were noted so far."""

    live: Live
    row: SimulatedVendor
    model: str
    stream: bool

    async def ask(self, *messages: Any, **fields: Any) -> dict[str, Any]:
        body = {"model": self.model, "max_tokens": 4000, "messages": list(messages), "stream": self.stream, **fields}
        async with (
            aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
            session.post(self.live.url + "/v1/messages", json=body) as response,
        ):
            assert response.status == 200, await response.text()
            if not self.stream:
                return await response.json()  # type: ignore[no-any-return]
            return fold_events(read_events(await response.read()))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def results_of(answer: dict[str, Any]) -> dict[str, Any]:
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    return user([{"type": "tool_result", "tool_use_id": call["id"], "content": "Rain."} for call in calls])


def kinds(answer: dict[str, Any]) -> list[str]:
    return [block["type"] for block in answer["content"] if block["type"] not in THOUGHTS]


def text_in(answer: dict[str, Any]) -> str:
    return "".join(block["text"] for block in answer["content"] if block["type"] == "text")


async def says_text(talk: VendorConversation) -> None:
    answer = await talk.ask(user("Hello there"), system="Be brief.", temperature=0.5, top_k=5)
    assert "Hello there" in text_in(answer)
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["input_tokens"] > 0 < answer["usage"]["output_tokens"]


async def calls_a_tool(talk: VendorConversation) -> None:
    answer = await talk.ask(user("Use get_weather for `Paris`"), tools=TOOLS)
    assert kinds(answer) == ["tool_use"]
    assert answer["content"][-1]["input"] == {"city": "Paris"}
    assert answer["stop_reason"] == "tool_use"


async def calls_two_tools(talk: VendorConversation) -> None:
    answer = await talk.ask(user("Use get_weather and get_time"), tools=TOOLS)
    assert kinds(answer) == ["tool_use", "tool_use"]
    assert len({block["id"] for block in answer["content"] if block["type"] == "tool_use"}) == 2


async def continues_after_results(talk: VendorConversation) -> None:
    question = user("Use get_weather and get_time")
    answer = await talk.ask(question, tools=TOOLS)
    turn = {"role": "assistant", "content": answer["content"]}
    after = await talk.ask(question, turn, results_of(answer), tools=TOOLS)
    assert "Rain." in text_in(after)
    third = await talk.ask(
        question, turn, results_of(answer), {"role": "assistant", "content": after["content"]}, user("And now?")
    )
    assert "And now?" in text_in(third)


async def continues_a_foreign_history(talk: VendorConversation) -> None:
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01A", "name": "get_time", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "toolu_01A", "content": [{"type": "text", "text": "Noon."}]}
    text = {"type": "text", "text": "So?"}
    answer = await talk.ask(user("The time?"), turn, user([result, text]), tools=TOOLS, **THINKING)
    # A server that takes no user turn behind a result gets the result, a short answer, and then the turn.
    assert ("Noon." if talk.row.user_after_tool else "So?") in text_in(answer)


async def thinks_and_takes_its_thinking_back(talk: VendorConversation) -> None:
    question, thinking = user("Use get_weather"), talk.row.thinking
    answer = await talk.ask(question, tools=TOOLS, **THINKING)
    assert kinds(answer) == ["tool_use"]
    assert (answer["content"][0]["type"] in THOUGHTS) is bool(thinking.field or thinking.back == "signature")
    turn = {"role": "assistant", "content": answer["content"]}
    after = await talk.ask(question, turn, results_of(answer), tools=TOOLS, **THINKING)
    assert "Rain." in text_in(after)


async def sees_an_image(talk: VendorConversation) -> None:
    answer = await talk.ask(user([IMAGE, {"type": "text", "text": "What is this?"}]))
    assert "What is this?" in text_in(answer)


async def sees_an_image_in_a_result(talk: VendorConversation) -> None:
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01A", "name": "get_time", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "toolu_01A", "content": [IMAGE, {"type": "text", "text": "Noon."}]}
    answer = await talk.ask(user("A picture of the time?"), turn, user([result]), tools=TOOLS)
    # Where results take no images, the last user message is the image with a label.
    assert "Noon." in text_in(answer) or "[from the result of" in text_in(answer)
    assert answer["stop_reason"] == "end_turn"


async def follows_a_schema(talk: VendorConversation) -> None:
    answer = await talk.ask(user("Paris, as JSON"), output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    if "json_schema" in talk.row.formats:
        assert "city" in orjson.loads(text_in(answer))
    elif "json_object" in talk.row.formats:  # the schema is in the prompt, which the simulator does not read
        assert isinstance(orjson.loads(text_in(answer)), dict)
    else:  # the schema is in the prompt alone, which the simulator repeats
        assert "Paris, as JSON" in text_in(answer)


async def stops_at_a_sequence(talk: VendorConversation) -> None:
    answer = await talk.ask(user("one two STOP three"), stop_sequences=["STOP", "~~"])
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "STOP")
    assert "STOP" not in text_in(answer)


async def calls_the_tool_that_is_forced(talk: VendorConversation) -> None:
    answer = await talk.ask(
        user("Hello"), tools=TOOLS, tool_choice={"type": "tool", "name": "get_time", "disable_parallel_tool_use": True}
    )
    row = talk.row
    can_force = row.obeys_choice and not row.choices.isdisjoint({"named", "required"})
    stays_on = row.thinking.by_default and row.thinking.always
    is_forced = can_force and (row.forced_while_thinking or not stays_on)
    assert kinds(answer) == (["tool_use"] if is_forced else ["text"])
    if is_forced:
        assert answer["content"][-1]["name"] == "get_time"


async def reads_an_instruction_in_the_middle(talk: VendorConversation) -> None:
    said = {"role": "assistant", "content": "Hi."}
    answer = await talk.ask(user("Hello"), said, user("Go on"), {"role": "system", "content": "Be brief."}, system="S.")
    assert "Go on" in text_in(answer)


async def knows_the_user(talk: VendorConversation) -> None:
    answer = await talk.ask(
        user("Hello"), metadata={"user_id": "user_" + "a" * 64 + "_account__session_" + "b" * 36}, temperature=1
    )
    assert "Hello" in text_in(answer)


CONVERSATIONS: tuple[Callable[[VendorConversation], Any], ...] = (
    says_text,
    calls_a_tool,
    calls_two_tools,
    continues_after_results,
    continues_a_foreign_history,
    thinks_and_takes_its_thinking_back,
    sees_an_image,
    sees_an_image_in_a_result,
    follows_a_schema,
    stops_at_a_sequence,
    calls_the_tool_that_is_forced,
    reads_an_instruction_in_the_middle,
    knows_the_user,
)


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.covers("Upstreams · chat completions")
async def test_each_conversation_with_a_simulated_vendor_is_answered(
    simulator: Simulator, row: SimulatedVendor, stream: bool
) -> None:
    url = simulator.url.removesuffix("/api/v1") + f"/{row.name}/v1"
    failures: list[str] = []
    async with serving(simulator, upstream_url=url, upstream_flavor=row.name, dialect="chat") as live:
        for model in row.models[:1] if stream else row.models:
            for conversation in CONVERSATIONS:
                try:
                    await conversation(VendorConversation(live, row.for_model(model.id), model.id, stream))
                except AssertionError as error:
                    failures.append(f"{model.id} {conversation.__name__}: {str(error)[:300]}")
    assert failures == []


async def test_a_model_named_after_a_vendor_is_answered_by_it_where_all_are_simulated(simulator: Simulator) -> None:
    async with (
        serving(simulator, simulator="all", upstream_name="simulator", dialect="chat") as live,
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
    ):
        for name, vendor in {**SIMULATED_NAMES, "sim": "simulator", "anthropic": "simulator"}.items():
            first = VENDOR_ROWS[vendor].models[0].id if vendor in VENDOR_ROWS else "echo"
            asked = {"model": f"{name}/{first}", "max_tokens": 4000, "messages": [user("Hello")]}
            async with session.post(live.url + "/v1/messages", json=asked) as response:
                answer = await response.json()
                assert response.status == 200, answer
                assert response.headers["x-gateway-upstream"] == vendor
                assert (answer["model"], "Hello" in text_in(answer)) == (asked["model"], True)
        async with session.get(live.url + "/v1/models?limit=1000") as response:
            listed = {model["id"]: model["max_input_tokens"] for model in (await response.json())["data"]}
    assert listed["groq/qwen/qwen3-32b"] == 131_072
    assert {f"{row.name}/{row.models[0].id}" for row in ROWS} <= listed.keys()
