"""A client of the gateway that keeps what it got: content, stop reason, usage, headers, errors.

Reads JSON and streams by itself, without the gateway's own code, and reads both into the same Answer.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

MAX_TOKENS = 100
TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    start_usage: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(block["text"] for block in self.content if block["type"] == "text")

    @property
    def thinking(self) -> str:
        return "".join(block["thinking"] for block in self.content if block["type"] == "thinking")

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(block["name"], block["input"]) for block in self.content if block["type"] == "tool_use"]

    @property
    def noted(self) -> str:
        return self.headers.get("x-gateway-ignored", "")

    @property
    def message(self) -> str:
        """Return the error's message, or an empty text."""
        return str(self.error.get("message", ""))

    @property
    def input_tokens(self) -> int:
        return total_input(self.usage)

    @property
    def start_input_tokens(self) -> int:
        """Return the input tokens of message_start."""
        return total_input(self.start_usage)

    def given_back(self) -> dict[str, Any]:
        return {"role": "assistant", "content": self.content}

    def describe(self) -> str:
        if self.error:
            return f"{self.status} {self.error}"
        parts = {"content": self.content, "stop": (self.stop_reason, self.stop_sequence), "noted": self.noted}
        return f"{self.status} {parts} {self.usage}"


@dataclass(slots=True)
class Client:
    """One front end, asked for one model."""

    session: aiohttp.ClientSession
    url: str
    model: str

    async def ask(self, *, stream: bool = False, **fields: Any) -> Answer:
        """Send a request with these fields; `messages` may be the text of one user message."""
        begun = time.monotonic()
        async with self.session.post(f"{self.url}/v1/messages", json=self.body(stream=stream, **fields)) as response:
            data = await response.read()
            answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()})
        answer.seconds = time.monotonic() - begun
        if answer.status != 200:
            answer.error = orjson.loads(data)["error"]
        elif stream:
            _read_events(answer, data)
        else:
            message = orjson.loads(data)
            for name in ("content", "stop_reason", "stop_sequence", "usage"):
                setattr(answer, name, message[name])
        return answer

    def body(self, **fields: Any) -> dict[str, Any]:
        if isinstance(fields.get("messages"), str):
            fields["messages"] = [user(fields["messages"])]
        return {"model": self.model, "max_tokens": MAX_TOKENS, **fields}

    async def both(self, **fields: Any) -> AsyncIterator[Answer]:
        """Ask for JSON, then for a stream."""
        for stream in (False, True):
            yield await self.ask(stream=stream, **fields)

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            return orjson.loads(await response.read())

    async def post(self, path: str, body: Any) -> Any:
        async with self.session.post(self.url + path, json=body) as response:
            return orjson.loads(await response.read())


def user(*content: Any) -> dict[str, Any]:
    """Return a user message of one text or of blocks."""
    is_text = len(content) == 1 and isinstance(content[0], str)
    return {"role": "user", "content": content[0] if is_text else list(content)}


def total_input(usage: dict[str, Any]) -> int:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name) or 0 for name in names)


def _read_events(answer: Answer, data: bytes) -> None:
    pieces: dict[int, str] = {}
    for line in data.split(b"\n"):
        if line.startswith(b"data: "):
            _read_event(answer, orjson.loads(line[6:]), pieces)


def _read_event(answer: Answer, event: dict[str, Any], pieces: dict[int, str]) -> None:
    match event["type"]:
        case "message_start":
            answer.start_usage = answer.usage = event["message"]["usage"]
        case "content_block_start":
            assert event["index"] == len(answer.content), "blocks start in order"
            answer.content.append(event["content_block"])
        case "content_block_delta":
            _read_delta(answer.content[event["index"]], event, pieces)
        case "content_block_stop" if event["index"] in pieces:
            answer.content[event["index"]]["input"] = orjson.loads(pieces[event["index"]] or "{}")
        case "message_delta":
            answer.stop_reason = event["delta"]["stop_reason"]
            answer.stop_sequence = event["delta"]["stop_sequence"]
            answer.usage = {**answer.start_usage, **event["usage"]}
        case "error":
            answer.error = event["error"]


def _read_delta(block: dict[str, Any], event: dict[str, Any], pieces: dict[int, str]) -> None:
    delta = event["delta"]
    if delta["type"] == "input_json_delta":
        pieces[event["index"]] = pieces.get(event["index"], "") + delta["partial_json"]
        return
    name = delta["type"].removesuffix("_delta")
    block[name] = block.get(name, "") + delta[name]
