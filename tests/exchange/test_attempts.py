"""Number and duration of an exchange's calls to upstreams."""

from dataclasses import dataclass, field, replace

import pytest

from gateway.context import Context
from gateway.errors import GatewayError, MalformedOutput, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gateway.exchange.exchange import Exchange
from gateway.messages.prompt import Prompt
from gateway.messages.validation import check_messages_request
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.http.client import Answer, Call, Timeouts
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.exchanges import chat_exchange

CONTEXT = Context("req_1", tenant="acme")


@dataclass(slots=True)
class Failing:
    """An upstream of which every call fails after `seconds` on its own clock."""

    seconds: float
    error: type[GatewayError] = UpstreamTimedOut
    now: float = 1000.0
    calls: list[Timeouts] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def open(self, call: Call) -> Answer:
        self.calls.append(call.timeouts)
        total = call.timeouts.total if call.timeouts.total is not None else call.timeouts.first_byte
        assert total is not None
        self.now += min(self.seconds, total)
        raise self.error("no answer")

    async def close(self) -> None: ...


class Wire:
    committed = False

    def write(self, data: bytes) -> None: ...
    def attach(self, source: object) -> None: ...
    def abort(self) -> None: ...


def exchange_on(upstream: Failing, **changes: object) -> Exchange:
    table = one_upstream_table(Upstream("up", "http://127.0.0.1:9/v1", vendor=COMPATIBLE))
    policy = {"retry": RetryPolicy(max_attempts=3, first_delay=0.0), "timeouts": Timeouts(total=9.0, first_byte=6.0)}
    options = {**policy, **changes}
    return replace(chat_exchange(upstream, table), clock=upstream.clock, **options)  # type: ignore[arg-type]


async def failed(exchange: Exchange, *, stream: bool = False) -> UsageRecord:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    request, _ = check_messages_request(body, version=CONTEXT.api_version, betas=CONTEXT.betas)
    record = UsageRecord(CONTEXT)
    plan = exchange.plan(CONTEXT, Prompt(request, 100), record)
    with pytest.raises(GatewayError):
        await (exchange.stream(plan, Wire()) if stream else exchange.answer(plan))
    return record


async def test_an_attempt_has_what_is_left_of_the_total_time() -> None:
    upstream = Failing(seconds=4.0, error=UpstreamUnreachable)
    await failed(exchange_on(upstream))
    assert [call.total for call in upstream.calls] == [9.0, 5.0, 1.0]
    assert [call.first_byte for call in upstream.calls] == [6.0, 5.0, 1.0]
    assert upstream.now == 1009.0


async def test_a_stream_that_is_tried_again_has_what_is_left_until_its_header() -> None:
    upstream = Failing(seconds=60.0, error=UpstreamUnreachable)
    await failed(exchange_on(upstream), stream=True)
    assert [call.first_byte for call in upstream.calls] == [6.0, 3.0]
    assert [call.total for call in upstream.calls] == [None, None]
    assert upstream.now == 1009.0


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("error", [UpstreamUnreachable, UpstreamError])
async def test_the_upstream_is_called_as_often_as_the_record_counts_and_the_setting_allows(
    most: int, error: type[GatewayError]
) -> None:
    upstream = Failing(seconds=0.0, error=error)
    record = await failed(exchange_on(upstream, retry=RetryPolicy(max_attempts=most, first_delay=0.0)))
    assert len(upstream.calls) == record.attempts == most


async def test_a_silent_upstream_is_called_once() -> None:
    upstream = Failing(seconds=1.0)
    record = await failed(exchange_on(upstream))
    assert len(upstream.calls) == record.attempts == 1
    assert record.attempts_line() == "up silent 1.00s"


@pytest.mark.parametrize(
    ("errors", "calls"),
    [
        ([MalformedOutput, MalformedOutput], 2),
        ([UpstreamError, MalformedOutput, MalformedOutput], 3),
        ([MalformedOutput, UpstreamError, MalformedOutput], 3),
    ],
)
async def test_only_output_that_cannot_be_read_counts_against_its_limit(
    errors: list[type[GatewayError]], calls: int
) -> None:
    upstream = Failing(seconds=0.1)
    left = iter(errors)

    class Next(Failing):
        async def open(self, call: Call) -> Answer:
            upstream.error = next(left)
            return await upstream.open(call)

    await failed(exchange_on(Next(seconds=0.1)))
    assert len(upstream.calls) == calls
