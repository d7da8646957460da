"""Answers beyond text and calls, from the upstream to the official client and the operator's records."""

import asyncio
from base64 import b64encode
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator.script import Hold, json_script, stream_script
from tests.e2e.conftest import Live, serving
from tests.support.streams import delta_chunk

ASK: dict[str, Any] = {"model": "sim/echo", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}
MODELS = "GET /models"
DONE = b"data: [DONE]\n\n"
TEXT = "Cats purr. Dogs bark."
SOURCE = {"url": "https://cats.example/", "title": "Cats", "content": "They purr.", "start_index": 0, "end_index": 10}
ANNOTATIONS = [{"type": "url_citation", "url_citation": SOURCE}]
DOT = f"data:image/png;base64,{b64encode(bytes.fromhex('89504e470d0a1a0a') + b' a dot').decode()}"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def answer(message: dict[str, Any], usage: dict[str, int] = USAGE) -> Any:
    return json_script({"id": "g", "choices": [{"finish_reason": "stop", "message": message}], "usage": usage})


async def metrics(live: Live) -> str:
    async with aiohttp.ClientSession() as session, session.get(live.admin_url + "/metrics") as response:
        return await response.text()


async def test_the_upstream_is_left_once_the_gateway_has_found_a_stop_sequence(live: Live) -> None:
    """More sequences than the upstream takes; without a word more from it the client has its whole message."""
    live.simulator.script(
        stream_script(delta_chunk({"content": "One. S"}), delta_chunk({"content": "TOP two"}), Hold())
    )
    stops = ["A", "B", "C", "D", "STOP"]
    async with asyncio.timeout(10), live.client().messages.stream(**ASK, stop_sequences=stops) as events:
        message = await events.get_final_message()
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")
    assert [block.text for block in message.content if block.type == "text"] == ["One. "]
    record = await live.simulator.received()
    async with asyncio.timeout(10):
        await record.closed.wait()
    assert record.closed_by_client


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
@pytest.mark.covers("Messages · citations")
async def test_citations_reach_the_sdk_and_their_text_goes_back_whole(live: Live, streamed: bool) -> None:
    client = live.client()
    if streamed:
        found, end = delta_chunk({"annotations": ANNOTATIONS}), delta_chunk({}, finish_reason="stop")
        live.simulator.script(stream_script(found, delta_chunk({"content": TEXT}), end, DONE))
        async with client.messages.stream(**ASK) as events:
            message = await events.get_final_message()
    else:
        live.simulator.script(answer({"content": TEXT, "annotations": ANNOTATIONS}))
        message = await client.messages.create(**ASK)
    assert [block.type for block in message.content] == ["server_tool_use", "web_search_tool_result", "text", "text"]
    texts: list[Any] = list(message.content[2:])
    assert [text.text for text in texts] == ["Cats purr. ", "Dogs bark."]
    (citation,) = texts[0].citations
    assert (citation.url, citation.cited_text) == (SOURCE["url"], SOURCE["content"])

    said: Any = {"role": "assistant", "content": message.content}
    await client.messages.create(**{**ASK, "messages": [*ASK["messages"], said, *ASK["messages"]]})
    record = await live.simulator.received(2)
    assert [part["text"] for part in record.json["messages"][1]["content"]] == [
        "[web_search results]\n- Cats: https://cats.example/\n  They purr.",
        TEXT,
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
async def test_images_reach_the_sdk_and_go_back_as_they_came(live: Live, streamed: bool) -> None:
    client, drawn = live.client(), {"content": "A dot:", "images": [{"type": "image_url", "image_url": {"url": DOT}}]}
    asked: Any = {**ASK, "extra_body": {"modalities": ["image", "text"], "seed": 7}}
    if streamed:
        live.simulator.script(stream_script(delta_chunk(drawn), delta_chunk({}, finish_reason="stop"), DONE))
        async with client.messages.stream(**asked) as events:
            message = await events.get_final_message()
    else:
        live.simulator.script(answer(drawn))
        message = await client.messages.create(**asked)
    text, image = (block.to_dict() for block in message.content)
    assert (text["text"], image["type"]) == ("A dot:", "image")
    assert (await live.simulator.received()).json["modalities"] == ["image", "text"]

    said: Any = {"role": "assistant", "content": message.content}
    await client.messages.create(**{**ASK, "messages": [*ASK["messages"], said, *ASK["messages"]]})
    record = await live.simulator.received(2)
    assert record.json["messages"][1]["content"] == [{"type": "text", "text": "A dot:"}, drawn["images"][0]]


async def test_counts_that_do_not_add_up_are_counted(live: Live) -> None:
    live.simulator.script(answer({"content": "a"}), answer({"content": "a"}, {**USAGE, "total_tokens": 99}))
    client = live.client()
    name = "gateway_usage_mismatches_total{"
    before = [line for line in (await metrics(live)).splitlines() if line.startswith(name)]
    await client.messages.create(**ASK)
    assert [line for line in (await metrics(live)).splitlines() if line.startswith(name)] == before
    await client.messages.create(**ASK)
    after = [line for line in (await metrics(live)).splitlines() if line.startswith(name)]
    assert after != before


async def test_the_upstreams_list_shows_what_a_model_takes(live: Live) -> None:
    """The front end reads it by itself; no request waits for it."""
    await live.simulator.received(on=MODELS)
    listed = {"id": "acme/old", "context_length": 30, "supported_parameters": ["max_tokens", "stop"]}
    live.simulator.script(json_script({"data": [{**listed, "top_provider": {"max_completion_tokens": 20}}]}), on=MODELS)
    async with serving(live.simulator) as other:
        await live.simulator.received(2, on=MODELS)
        await other.client().models.list()
        overflow = {"error": {"code": 400, "message": "input is too long"}}
        live.simulator.script(answer({"content": "a"}), json_script(overflow, status=400))
        raw = await other.client().messages.with_raw_response.create(
            **{**ASK, "model": "acme/old"}, extra_body={"seed": 5}
        )
        assert raw.headers["x-gateway-ignored"] == "changed:max_tokens, dropped:seed"
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 30 maximum"):
            await other.client().messages.create(**{**ASK, "model": "acme/old", "system": "long " * 50})
    first = live.simulator.requests()[0].json
    assert (first["max_tokens"], "seed" in first) == (20, False)
    assert first["plugins"] == [{"id": "context-compression", "enabled": False}]
