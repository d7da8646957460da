"""Live traffic through the balancer by the official SDK, without its retries, so that every failure is seen.

Each client keeps its connection and asks one thing after the other, JSON or streams, and checks every answer. A
request during which a front end was killed may fail once and is asked again, which is counted; no other may fail.
"""

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass, field

import anthropic
import httpx2

from gateway.simulator.behaviours import to_words

JSON_MODEL = "sim/echo"
# Words, and milliseconds between them: a stream of a second, and one of three that outlives a restart.
Stream = tuple[int, int]
STREAMS: tuple[Stream, ...] = ((40, 25), (60, 50))
FAILURES = (anthropic.APIError, httpx2.HTTPError)
# A killed process' connections may be noticed this much later.
NOTICED_SECONDS = 0.5


class Wrong(Exception):
    """An answer that came, and is not the one to this question."""


@dataclass(slots=True)
class Live:
    """`kills` are the times at which a front end was killed (time.monotonic)."""

    url: str
    key: str
    clients: int = 12
    kills: list[float] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of JSON answers
    phase: str = ""

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._client(number, stop))

    async def _client(self, number: int, stop: asyncio.Event) -> None:
        async with anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=0, timeout=60) as client:
            asked = 0
            while not stop.is_set():
                asked += 1
                await self._ask(client, f"live:client-{number}/{asked}", STREAMS[asked % 2] if number % 2 else None)
                await asyncio.sleep(0.01)

    async def _ask(self, client: anthropic.AsyncAnthropic, mark: str, stream: Stream | None) -> None:
        kind = "JSON" if stream is None else "streams"
        begun = time.monotonic()
        try:
            await self._once(client, mark, stream)
        except (*FAILURES, Wrong) as error:
            if not self._killed_since(begun):
                self.failures.append(f"{self.phase}: {kind}: {describe(error)}")
                return
            self.retried += 1
            try:
                await self._once(client, mark, stream)
            except (*FAILURES, Wrong) as again:
                self.failures.append(f"{self.phase}: {kind}, asked again: {describe(again)}")
                return
        if kind == "JSON":
            self.seconds.append(time.monotonic() - begun)
        self.answered[kind] += 1

    async def _once(self, client: anthropic.AsyncAnthropic, mark: str, stream: Stream | None) -> None:
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": mark}]
        if stream is None:
            message = await client.messages.create(model=JSON_MODEL, max_tokens=500, messages=messages)
            if mark not in text_of(message):
                raise Wrong(f"{mark} was answered {text_of(message)!r}")
            return
        words, pause = stream
        model = f"sim/stream-{words}-d{pause}"
        async with client.messages.stream(model=model, max_tokens=500, messages=messages) as events:
            message = await events.get_final_message()
        if text_of(message) != to_words(words) or message.stop_reason != "end_turn":
            raise Wrong(f"a stream of {words} words ended with {text_of(message)[-20:]!r}, {message.stop_reason}")

    def _killed_since(self, begun: float) -> bool:
        return any(begun - NOTICED_SECONDS <= kill for kill in self.kills)

    def p99(self) -> float:
        """Seconds that 99 % of JSON answers took at most; the upstream's 0.02 to 0.2 s included."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)] if ordered else math.nan


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
