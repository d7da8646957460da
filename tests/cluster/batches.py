"""Batches through the balancer by the official SDK: submitted, polled, read, and every line checked.

A submission that fails is repeated under the same idempotency key, so that an answer that got lost doubles no batch;
failures under a fault are counted, since a batch call may be refused while Redis is unavailable.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anthropic
from anthropic.types.messages import MessageBatch
from anthropic.types.messages.batch_create_params import Request

from tests.cluster.live import FAILURES, describe, text_of

POLL_SECONDS = 0.5
TRIES = 60  # of a batch call, half a second apart: Redis is never away that long

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Submitted:
    id: str
    name: str
    total: int


@dataclass(slots=True)
class Batches:
    url: str
    key: str
    submitted: list[Submitted] = field(default_factory=list)
    refused: int = 0
    polls: int = 0
    wrong: list[str] = field(default_factory=list)
    items: int = 0
    _client: anthropic.AsyncAnthropic = field(init=False)

    def __post_init__(self) -> None:
        self._client = anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=0, timeout=60)

    async def close(self) -> None:
        await self._client.close()

    async def submit(self, name: str, total: int) -> Submitted:
        requests = [to_request(name, number) for number in range(total)]
        headers = {"idempotency-key": name}
        batch = await self._tried(
            lambda: self._client.messages.batches.create(requests=requests, extra_headers=headers)
        )
        found = Submitted(batch.id, name, total)
        self.submitted.append(found)
        return found

    async def keep_submitting(self, name: str, total: int, stop: asyncio.Event, every: float = 2.0) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await self.submit(f"{name}-{number}", total)
            await asyncio.sleep(every)

    async def keep_polling(self, stop: asyncio.Event) -> None:
        """Poll the oldest and the newest batch at any front end."""
        while not stop.is_set():
            for batch in {id(found): found for found in (self.submitted[0], self.submitted[-1])}.values():
                await self.progress(batch)
            await asyncio.sleep(POLL_SECONDS)

    async def progress(self, batch: Submitted) -> MessageBatch:
        self.polls += 1
        found = await self._tried(lambda: self._client.messages.batches.retrieve(batch.id))
        counts = found.request_counts
        added = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
        if added != batch.total:
            self.wrong.append(f"{batch.name}: the counts add up to {added} of {batch.total}: {counts}")
        return found

    async def ended(self, batch: Submitted) -> None:
        while (await self.progress(batch)).processing_status != "ended":  # noqa: ASYNC110 - it is polled over HTTP
            await asyncio.sleep(POLL_SECONDS)

    async def check_all(self) -> None:
        """Every batch ends, is listed once, and has one sound line for each item. Findings go to `wrong`."""
        for batch in self.submitted:
            await self.ended(batch)
            await self._check(batch)
        listed = Counter([batch.id async for batch in self._client.messages.batches.list(limit=100)])
        for batch in self.submitted:
            if listed.pop(batch.id, 0) != 1:
                self.wrong.append(f"{batch.name} is not listed once")
        self.wrong += [f"{left} was never submitted" for left in listed]

    async def _check(self, batch: Submitted) -> None:
        lines: Counter[str] = Counter()
        async for line in await self._client.messages.batches.results(batch.id):
            lines[line.custom_id] += 1
            mark = mark_of(batch.name, int(line.custom_id.removeprefix("item-")))
            if line.result.type != "succeeded":
                self.wrong.append(f"{mark} is {line.result.type}: {line.result}")
            elif not re.search(rf"{mark}(?!\d)", text_of(line.result.message)):
                self.wrong.append(f"{mark} was answered {text_of(line.result.message)!r}")
        self.items += len(lines)
        lost = {f"item-{number}" for number in range(batch.total)} - set(lines)
        doubled = {name: count for name, count in lines.items() if count > 1}
        if lost or doubled:
            self.wrong.append(f"{batch.name}: {len(lost)} items lost, {len(doubled)} doubled")

    async def _tried(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        for _ in range(TRIES):
            try:
                return await call()
            except FAILURES as error:
                if isinstance(error, anthropic.APIStatusError) and error.status_code < 500:
                    raise
                self.refused += 1
                failure = describe(error)
                await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"a batch call failed {TRIES} times: {failure}")


def to_request(name: str, number: int) -> Request:
    return {
        "custom_id": f"item-{number}",
        "params": {
            "model": "sim/echo",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": mark_of(name, number)}],
        },
    }


def mark_of(name: str, number: int) -> str:
    return f"batch:{name}/{number}"
