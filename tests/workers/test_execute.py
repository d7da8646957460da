"""One attempt at an item: the way to a result line, against a real upstream on loopback."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from typing import Any

import orjson
import pytest

from gateway.batches.lifecycle import BatchRecord
from gateway.batches.queue import Lease, WorkItem
from gateway.batches.splitter import Item
from gateway.dialects.chat.response import writers
from gateway.errors import InternalError, InvalidRequest, RateLimited, UpstreamError
from gateway.exchange.exchange import Exchange
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import HangUp, json_script, stream_script
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.http.http_client import Transport
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from tests.support.exchanges import chat_exchange
from tests.workers.conftest import item, said, text_of
from workers.execute import LARGE_ITEM, Failed, Succeeded, execute, read_item, to_context
from workers.wiring import to_patient_exchange

BATCH = BatchRecord(
    id="msgbatch_a",
    version=1,
    tenant="acme",
    status="in_progress",
    rest="",
    total=1,
    created=0,
    expires=1,
    archive=1,
    ended=None,
    cancel=None,
    succeeded=0,
    errored=0,
    priority=1,
    spend=0,
    spend_cap=None,
    max_lost=3,
    models=(),
    api_version="2023-06-01",
    betas=("beta-1",),
    context={"request_id": "req_create", "key_id": "k1", "session_id": "s1", "trace_parent": "00-1"},
    digest="",
    read=0,
)


@pytest.fixture
def records() -> list[UsageRecord]:
    return []


@pytest.fixture
async def exchange(simulator: Simulator, records: list[UsageRecord]) -> AsyncIterator[Exchange]:
    client = Transport()
    table = one_upstream_table(
        Upstream("sim", simulator.url, headers=(("content-type", "application/json"),), dialect="chat")
    )
    yield to_patient_exchange(chat_exchange(client, table, records.append))
    await client.close()


def work(one: Item, index: int = 0) -> WorkItem:
    return WorkItem(Lease(index, tries=0, lost=0), one)


async def run(exchange: Exchange, one: Item, batch: BatchRecord = BATCH) -> tuple[Succeeded | Failed, dict[str, Any]]:
    outcome = await execute(exchange, batch, work(one), lambda _: None, turns=asyncio.Lock())
    line = orjson.loads(outcome.line)
    assert line["custom_id"] == one.custom_id
    return outcome, line["result"]


async def test_an_item_becomes_a_message_of_the_batch_tier(exchange: Exchange, records: list[UsageRecord]) -> None:
    outcome, result = await run(exchange, item(7, model="claude-sonnet-4-5"))
    assert isinstance(outcome, Succeeded)
    message = result["message"]
    assert said(7) in text_of(result)
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "claude-sonnet-4-5")
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["service_tier"] == "batch"
    assert message["usage"]["output_tokens"] > 0
    [record] = records
    assert outcome.cost == round((record.cost or 0) * 1e6) > 0
    assert record.attempts == 1


async def test_the_upstream_is_streamed_so_that_a_long_answer_is_never_silent(
    exchange: Exchange, simulator: Simulator
) -> None:
    await run(exchange, item(1))
    assert simulator.requests()[0].json["stream"] is True


async def test_an_answer_that_comes_whole_all_the_same_is_taken(exchange: Exchange, simulator: Simulator) -> None:
    completion = {"choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}]}
    simulator.script(json_script(completion))
    _, result = await run(exchange, item(1))
    assert text_of(result) == "whole"


async def test_tools_and_thinking_come_back_whole(exchange: Exchange) -> None:
    tool = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    _, result = await run(exchange, item(1, model="sim/thinking-tool", tools=[tool]))
    kinds = [block["type"] for block in result["message"]["content"]]
    assert kinds == ["thinking", "tool_use"]
    assert result["message"]["content"][0]["signature"]
    assert result["message"]["stop_reason"] == "tool_use"


# Invalid items, and their errors.
INVALID = {
    "no model": ({"model": None}, "model: Input should be a valid string"),
    "no messages": ({"messages": []}, "messages: at least one message is required"),
    "max_tokens is no number": ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
    "no tokens at all": ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    "a stream": ({"stream": True}, "stream: Streaming is not supported in message batches"),
    "a speed": ({"speed": "fast"}, "speed: Speed is not supported in message batches"),
    "a thread": ({"thread": {"type": "new"}}, "thread: Extra inputs are not permitted"),
    "billing to somebody else": ({"billing_policy": {"a": 1}}, "billing_policy: Extra inputs are not permitted"),
}


@pytest.mark.parametrize(("params", "message"), INVALID.values(), ids=INVALID)
async def test_params_that_cannot_be_served_are_an_errored_item_without_a_call(
    exchange: Exchange, simulator: Simulator, params: dict[str, Any], message: str
) -> None:
    outcome, result = await run(exchange, item(1, **params))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InvalidRequest)
    assert not outcome.sent
    envelope = result["error"]
    assert (result["type"], envelope["type"], envelope["error"]["type"]) == (
        "errored",
        "error",
        "invalid_request_error",
    )
    assert message in envelope["error"]["message"]
    assert envelope["request_id"].startswith("req_")
    assert not simulator.requests()


async def test_stream_false_is_what_a_batch_does_anyway(exchange: Exchange) -> None:
    outcome, _ = await run(exchange, item(1, stream=False))
    assert isinstance(outcome, Succeeded)


async def test_the_rules_are_those_of_the_version_the_batch_was_created_with(exchange: Exchange) -> None:
    newer = replace(BATCH, api_version="2026-10-21")
    assert isinstance((await run(exchange, item(1, temperature=0.5)))[0], Succeeded)
    assert isinstance((await run(exchange, item(1, temperature=0.5), newer))[0], Failed)


async def test_a_refusal_by_the_upstream_is_worded_as_for_a_live_client(exchange: Exchange) -> None:
    outcome, result = await run(exchange, item(1, model="sim/error-429"))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RateLimited)
    assert outcome.sent
    assert outcome.error.retry_after == 1
    assert result["error"]["error"]["type"] == "rate_limit_error"


async def test_a_batch_makes_one_attempt_at_a_time_itself(exchange: Exchange, simulator: Simulator) -> None:
    await run(exchange, item(1, model="sim/error-503"))
    assert len(simulator.requests()) == 1


BROKEN = {
    "an error within the stream": "sim/error-mid-stream",
    "a connection that breaks within the stream": "sim/hang-up",
    "a stream without an end": "sim/cut-off",
    "a page instead of an answer": "sim/html-200",
}


@pytest.mark.parametrize("model", BROKEN.values(), ids=BROKEN)
async def test_half_an_answer_is_a_failure_that_may_pass(exchange: Exchange, model: str) -> None:
    outcome, _ = await run(exchange, item(1, model=model))
    assert isinstance(outcome, Failed)
    assert outcome.error.retryable


async def test_an_answer_without_end_is_given_up_for_good(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MAX_COLLECTED_BYTES", 1000)
    outcome, _ = await run(exchange, item(1, model="sim/text-500", max_tokens=1000))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UpstreamError)
    assert outcome.error.should_retry is False


async def test_an_unexpected_error_is_an_errored_item_without_its_words(exchange: Exchange) -> None:
    def fail(_: Route) -> None:
        raise RuntimeError("secret prompt")

    outcome = await execute(exchange, BATCH, work(item(1)), fail, turns=asyncio.Lock())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InternalError)
    assert b"secret prompt" not in outcome.line


async def test_the_upstream_is_known_to_answer_before_its_answer_is_whole(
    exchange: Exchange, simulator: Simulator
) -> None:
    begun: list[int] = []
    chunk = {"choices": [{"delta": {"content": "half"}, "index": 0}]}
    simulator.script(stream_script(chunk, HangUp()))
    outcome = await execute(exchange, BATCH, work(item(1)), lambda _: begun.append(1), turns=asyncio.Lock())
    assert isinstance(outcome, Failed)
    assert begun == [1]


async def test_large_items_that_begin_together_are_prepared_in_a_turn_of_the_loop_each(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, turns, prepared = asyncio.get_running_loop(), count(), []
    now = [next(turns)]

    def turn() -> None:
        now[0] = next(turns)
        now[1:] = [loop.call_soon(turn)]

    def read(*given: Any) -> Any:
        prepared.append(now[0])
        return read_item(*given)

    turn()
    monkeypatch.setattr("workers.execute.read_item", read)
    large = item(1, messages=[{"role": "user", "content": "word " * (LARGE_ITEM // 4)}])
    lock = asyncio.Lock()
    outcomes = await asyncio.gather(
        *(execute(exchange, BATCH, work(large, index), lambda _: None, turns=lock) for index in range(5))
    )
    now[1].cancel()
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes)
    assert len(set(prepared)) == 5


def test_the_context_is_the_batchs_with_a_new_request_id() -> None:
    one, other = to_context(BATCH, work(item(1), 4)), to_context(BATCH, work(item(1), 5))
    assert (one.batch, one.item, other.item) == ("msgbatch_a", 4, 5)
    assert (one.tenant, one.key_id, one.priority, one.session_id) == ("acme", "k1", "batch", "s1")
    assert (one.trace_parent, one.betas, one.agent_id) == ("00-1", frozenset({"beta-1"}), None)
    assert len({one.request_id, other.request_id, "req_create"}) == 3


async def test_an_item_may_hold_an_earlier_answer_of_white_space(exchange: Exchange, simulator: Simulator) -> None:
    blank = [{"type": "text", "text": "\n"}]
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": blank},
        {"role": "user", "content": "Go on."},
    ]
    outcome, _ = await run(exchange, item(1, messages=turns))
    assert isinstance(outcome, Succeeded)
    assert [message["role"] for message in simulator.requests()[0].json["messages"]] == ["user"]
