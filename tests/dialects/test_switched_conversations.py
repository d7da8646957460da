"""Conversations that go to another upstream in the middle: nothing that was said is lost, for clients of each API."""

from random import Random
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import ResponseFacts, to_response
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.messages.fold import fold_stream
from tests.support.fuzz_dialects import DIALECTS, prepare, streamed_by, to_answer
from tests.support.fuzz_history import CLIENT_ASKING, Json

TURNS = 5
IMAGE = "iVBORw0KGgo="
TOOLS = [{"name": f"tool_{number}", "input_schema": {"type": "object"}} for number in range(3)]


class Client:
    """A client that keeps what it was sent as its API has it. `marks`: texts that each later request must hold."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.history: list[Json] = []
        self.marks: list[str] = []

    def mark(self, text: str) -> str:
        self.marks.append(text)
        return text

    def say(self, text: str) -> None:
        self.history.append({"role": "user", "content": self.mark(text)})

    def request(self) -> Json:
        """Return the conversation as a Messages request."""
        if self.api == "messages":
            asked: Json = {"model": "asked", "max_tokens": 99, "messages": self.history}
        elif self.api == "chat":
            asked = from_chat({"model": "asked", "messages": self.history}, CLIENT_ASKING, ToolRegistry()).request
        else:
            asked = from_responses({"model": "asked", "input": self.history}, CLIENT_ASKING)[0].request
        return orjson.loads(orjson.dumps({**asked, "tools": TOOLS}))  # type: ignore[no-any-return]

    def take(self, message: Json) -> None:
        """Keep an answer, and run its calls: each result has a text and an image."""
        self.marks += [block["text"] for block in message["content"] if block["type"] == "text"]
        calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        results = [(call, self.mark(f"result {len(self.marks)} of {call}")) for call in calls]
        url = f"data:image/png;base64,{IMAGE}"
        if self.api == "messages":
            self.history.append({"role": "assistant", "content": message["content"]})
            source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
            blocks = [
                {
                    "type": "tool_result",
                    "tool_use_id": call,
                    "content": [{"type": "text", "text": text}, {"type": "image", "source": source}],
                }
                for call, text in results
            ]
            self.history += [{"role": "user", "content": blocks}] if blocks else []
        elif self.api == "chat":
            self.history.append(to_completion(message, ToolRegistry(), 5)["choices"][0]["message"])
            for call, text in results:
                parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
                self.history.append({"role": "tool", "tool_call_id": call, "content": parts})
        else:
            self.history += to_response(message, ToolRegistry(), ResponseFacts(5, {}), compacts=False)["output"]
            for call, text in results:
                parts = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url}]
                self.history.append({"type": "function_call_output", "call_id": call, "output": parts})


def texts_of(value: Any) -> list[str]:
    """Return all texts within a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in texts_of(each)]


@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
def test_upstreams_that_take_turns_are_told_all_that_was_said(api: str) -> None:
    for seed in range(25):
        random, client = Random(seed), Client(api)
        for turn in range(TURNS):
            if turn == 0 or random.random() < 0.5 or client.history[-1].get("role") == "assistant":
                client.say(f"question {turn}")
            name = random.choice(list(DIALECTS))
            prepared = prepare(name, client.request())
            told = "\n".join(texts_of(orjson.loads(bytes(prepared.body))))
            assert [mark for mark in client.marks if mark not in told] == [], f"{name}, seed {seed}"
            answer = {**to_answer(random), "stop_reason": "end_turn"}
            calls = [block for block in answer["content"] if block["type"] == "tool_use"]
            answer["stop_reason"] = "tool_use" if calls else "end_turn"
            for block in calls:
                block["id"] = f"toolu_{turn}_{block['name']}"
            client.take(fold_stream(streamed_by(name, prepared, answer, random)))
