"""Every row of the table of failures, as JSON and as a stream, alone and with another candidate."""

from dataclasses import replace

import orjson
import pytest

from gateway.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    UpstreamFull,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gateway.upstream.health.failure import FAILURES, failure_of
from gateway.upstream.routes.route import Route, RouteRule
from tests.exchange.test_candidates import ANSWER, FIRST, SECOND, exchange_of, plan_of
from tests.support.exchanges import ListSink, ScriptedAnswer, ScriptedClient


def refused(status: int, message: str = "no", **fields: object) -> ScriptedAnswer:
    body = orjson.dumps({"error": {"message": message, "code": status, **fields}})
    return ScriptedAnswer(status, body, "application/json")


def embedded(**error: object) -> ScriptedAnswer:
    return ScriptedAnswer(200, orjson.dumps({"error": error}), "application/json")


Fault = ScriptedAnswer | GatewayError
# Row of the table, its name in `x-gateway-attempts`, status for the client where every candidate fails so.
FAULTS: dict[str, tuple[str, Fault, str, int]] = {
    "refused connection": ("unreachable", UpstreamUnreachable("refused"), "unreachable", 502),
    "no header": ("silent", UpstreamTimedOut("silent"), "silent", 504),
    "408": ("timeout", refused(408), "408", 504),
    "409": ("broken", refused(409), "409", 502),
    "421": ("broken", refused(421), "421", 502),
    "425": ("broken", refused(425), "425", 502),
    "498": ("overloaded", refused(498), "498", 529),
    "500": ("broken", refused(500), "500", 502),
    "503": ("overloaded", refused(503), "503", 529),
    "520": ("broken", refused(520), "520", 502),
    "524": ("timeout", refused(524), "524", 504),
    "529": ("overloaded", refused(529), "529", 529),
    "redirect": ("broken", ScriptedAnswer(302, b"", "text/plain"), "302", 502),
    "web page": ("broken", ScriptedAnswer(200, b"<html></html>", "text/html"), "broken", 502),
    "no JSON": ("broken", ScriptedAnswer(200, b"{", "application/json"), "broken", 502),
    "only [DONE]": ("broken", ScriptedAnswer(200, b"data: [DONE]\n\n"), "broken", 502),
    "error in a 200": ("overloaded", embedded(code=503, message="busy"), "503", 529),
    "error in a 200 without a code": ("broken", embedded(message="oops"), "502", 502),
    "malformed output": ("malformed", refused(400, code="tool_use_failed"), "400", 502),
    "429": ("limited", refused(429), "429", 429),
    "402": ("account", refused(402), "402", 402),
    "insufficient_quota": ("account", refused(429, code="insufficient_quota"), "429", 402),
    "401": ("account", refused(401), "401", 500),
    "404": ("model", refused(404), "404", 404),
    "not retryable": ("model", refused(503, availability={"retryable": False}), "503", 529),
    "region": ("model", refused(403, "not available in your region"), "403", 403),
    "moderation": ("content", refused(403, "Your input was flagged by moderation"), "403", 403),
    "content filter": ("content", refused(400, "stopped by the content_filter"), "400", 400),
    "overflow": ("overflow", refused(400, "context_length_exceeded", error_type="context_length_exceeded"), "400", 400),
    "wrong field": ("request", refused(422, "temperature: too hot"), "422", 400),
    "limit of the operator": ("limit", UpstreamFull("no more"), "limit", 529),
    "full pool": ("full", Overloaded("no free connection"), "full", 529),
}
STAYS = {"content", "overflow", "request"}


def test_every_row_of_the_table_has_a_fault() -> None:
    assert {row.name for row in FAILURES} - {"open", "forbidden"} == {row for row, *_ in FAULTS.values()}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.covers("Routing · failing over before content, for every kind of failure")
async def test_failure_goes_to_the_next_candidate_unless_it_is_the_requests_own(fault: str, stream: bool) -> None:
    row, answer, told, status = FAULTS[fault]
    client = ScriptedClient([answer, ANSWER])
    exchange, sink = exchange_of(client), ListSink()
    plan = plan_of(exchange, stream=stream)
    if row in STAYS:
        with pytest.raises(GatewayError) as raised:
            await (exchange.stream(plan, sink) if stream else exchange.answer(plan))
        assert (raised.value.status, failure_of(raised.value).name) == (status, row)
        assert len(client.calls) == 1
        return
    await (exchange.stream(plan, sink) if stream else exchange.answer(plan))
    assert [call.url.split("/")[2] for call in client.calls] == ["first", "second"]
    assert [(one.upstream, one.outcome, one.kind) for one in plan.record.attempted] == [
        ("first", told, row),
        ("second", "200", "ok"),
    ]
    assert not stream or b"event: error" not in b"".join(sink.pieces)


async def test_a_name_that_no_candidate_has_stays_unknown_without_further_calls() -> None:
    client = ScriptedClient([refused(404, "no such model"), refused(404, "no such model")])
    exchange = exchange_of(client)
    for calls in (2, 2):
        with pytest.raises(GatewayError, match="no such model") as raised:
            await exchange.answer(plan_of(exchange))
        assert (raised.value.status, len(client.calls)) == (404, calls)


@pytest.mark.parametrize("fault", FAULTS)
async def test_failure_alone_is_repeated_where_the_table_allows_it(fault: str) -> None:
    row, answer, _, status = FAULTS[fault]
    client = ScriptedClient([answer] * 5)
    exchange = exchange_of(client)
    plan = plan_of(exchange, routes=(FIRST,))
    with pytest.raises(GatewayError) as raised:
        await exchange.answer(plan)
    again = next(one.again for one in FAILURES if one.name == row)
    assert raised.value.status == status
    # An empty stream is asked for once more without streaming, and output that its server cannot read only once more.
    repeated = {"only [DONE]": 4, "malformed output": 2}.get(fault, 3)
    assert len(client.calls) == (repeated if again else 1)


async def test_no_request_makes_more_than_three_calls() -> None:
    third = Route("quick", replace(SECOND.upstream, name="third"), "chat", SECOND.target)
    fourth = Route("quick", replace(SECOND.upstream, name="fourth"), "chat", SECOND.target)
    client = ScriptedClient([refused(500)] * 5)
    exchange = exchange_of(client)
    with pytest.raises(GatewayError):
        await exchange.answer(plan_of(exchange, routes=(FIRST, SECOND, third, fourth)))
    assert len(client.calls) == 3


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (429, 500, 429),
        (500, 429, 429),
        (503, 500, 529),
        (504, 500, 504),
        (500, 404, 502),
        (404, 500, 502),
        (402, 404, 402),
        (500, 402, 502),
        (500, 400, 400),
    ],
)
async def test_error_that_says_most_is_returned_at_the_end(first: int, second: int, status: int) -> None:
    client = ScriptedClient([refused(first), refused(second), refused(second)])
    exchange = exchange_of(client)
    with pytest.raises(GatewayError) as raised:
        await exchange.answer(plan_of(exchange))
    assert raised.value.status == status


@pytest.mark.parametrize(("on_refusal", "calls"), [("stop", 1), ("next", 2)])
async def test_refused_content_goes_on_only_where_the_route_asks_for_it(on_refusal: str, calls: int) -> None:
    rule = RouteRule("*", (), on_refusal=on_refusal)  # type: ignore[arg-type]
    client = ScriptedClient([FAULTS["moderation"][1], ANSWER])
    exchange = exchange_of(client)
    plan = plan_of(exchange, routes=(replace(FIRST, rule=rule), replace(SECOND, rule=rule)))
    if calls == 1:
        with pytest.raises(GatewayError):
            await exchange.answer(plan)
    else:
        await exchange.answer(plan)
    assert len(client.calls) == calls


async def test_open_circuit_is_skipped_without_a_call_and_all_open_circuits_give_529() -> None:
    client = ScriptedClient([UpstreamUnreachable("refused"), ANSWER] * 5)
    exchange = exchange_of(client)
    for _ in range(5):
        await exchange.answer(plan_of(exchange))
    client.script = [ANSWER]
    await exchange.answer(plan := plan_of(exchange))
    assert client.calls[-1].url.startswith("http://second")
    assert plan.record.attempts == 1
    assert exchange.circuits.states()[0]["circuit"] == "first"
    client.script = [UpstreamUnreachable("refused")] * 30
    for _ in range(5):
        with pytest.raises(GatewayError):
            await exchange.answer(plan_of(exchange))
    made = len(client.calls)
    with pytest.raises(Overloaded) as raised:
        await exchange.answer(plan_of(exchange))
    assert len(client.calls) == made
    assert 0 < (raised.value.retry_after or 0) <= 2


async def test_a_lone_candidate_is_never_refused_for_failures() -> None:
    client = ScriptedClient([UpstreamUnreachable("refused")] * 100)
    exchange = exchange_of(client)
    for _ in range(20):
        with pytest.raises(UpstreamUnreachable):
            await exchange.answer(plan_of(exchange, routes=(FIRST,)))
    assert len(client.calls) >= 20


async def test_candidate_that_cannot_serve_the_prompt_is_passed_over() -> None:
    client = ScriptedClient([UpstreamUnreachable("refused"), ANSWER])
    exchange = exchange_of(client)
    misfit = replace(SECOND, dialect="messages")
    exchange.dialects = {**exchange.dialects, "messages": Refusing()}  # type: ignore[dict-item]
    await exchange.answer(plan_of(exchange, routes=(FIRST, misfit, SECOND)))
    assert [call.url.split("/")[2] for call in client.calls] == ["first", "second"]


class Refusing:
    def takes_unchecked(self, *_: object) -> bool:
        return False

    def prepare(self, *_: object) -> None:
        raise InvalidRequest("not at this upstream")
