"""The candidates of one exchange: which of them are asked, when each is prepared, and what the record says."""

from dataclasses import replace
from typing import ClassVar

import orjson
import pytest

from gateway.context import Context
from gateway.dialects.base import Asking, Prepared
from gateway.dialects.chat.dialect import ChatDialect
from gateway.errors import CredentialsRefused, GatewayError, InvalidRequest, UpstreamUnreachable
from gateway.exchange.candidates import with_longer_windows
from gateway.exchange.exchange import Exchange
from gateway.exchange.plan import Plan
from gateway.messages.prompt import Prompt, to_prompt
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.capacity.lanes import LaneDemand
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import Routing, one_upstream_table
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.exchanges import KEYRING, ListSink, ScriptedAnswer, ScriptedClient
from tests.support.live_calls import entered

CONTEXT = Context("req_1")
HELLO = {"model": "quick", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = ScriptedAnswer(
    200,
    b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n',
)
UNREACHABLE = UpstreamUnreachable("refused")


def route(name: str) -> Route:
    return Route("quick", Upstream(name, f"http://{name}/v1"), "chat", to_target(f"{name}-model", COMPATIBLE))


FIRST, SECOND = route("first"), route("second")


class CountingDialect(ChatDialect):
    prepared_for: ClassVar[list[str]] = []

    def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
        self.prepared_for.append(route.upstream.name)
        return super().prepare(prompt, route, asking)


def exchange_of(client: ScriptedClient) -> Exchange:
    CountingDialect.prepared_for = []
    table = one_upstream_table(FIRST.upstream)
    return Exchange(
        client,
        Routing(table),
        KEYRING,
        {"chat": CountingDialect(KEYRING)},
        retry=RetryPolicy(max_attempts=3, first_delay=0.0),
    )


def plan_of(exchange: Exchange, routes: tuple[Route, ...] = (FIRST, SECOND), **fields: object) -> Plan:
    prompt = to_prompt({**HELLO, **fields}, 100, CONTEXT)
    return exchange.plan(CONTEXT, prompt, UsageRecord(CONTEXT), routes)


async def test_second_candidate_is_asked_at_once_and_repeated_since_it_is_the_last() -> None:
    client = ScriptedClient([UNREACHABLE, UNREACHABLE, ANSWER])
    exchange = exchange_of(client)
    plan = plan_of(exchange)
    assert CountingDialect.prepared_for == ["first"]
    answered = await exchange.answer(plan)
    assert [call.url for call in client.calls] == [
        "http://first/v1/chat/completions",
        "http://second/v1/chat/completions",
        "http://second/v1/chat/completions",
    ]
    assert CountingDialect.prepared_for == ["first", "second"]
    assert orjson.loads(client.calls[2].body)["model"] == "second-model"
    assert answered.message["content"][0]["text"] == "hello"
    assert (plan.record.upstream, plan.record.upstream_model, plan.record.attempts) == ("second", "second-model", 3)


async def test_refused_credentials_go_to_the_next_candidate_without_a_retry() -> None:
    client = ScriptedClient([CredentialsRefused("no", should_retry=False), ANSWER])
    await (exchange := exchange_of(client)).answer(plan_of(exchange))
    assert [call.url.split("/")[2] for call in client.calls] == ["first", "second"]


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), UNREACHABLE])
async def test_error_of_the_last_attempt_is_raised(error: GatewayError) -> None:
    attempts = 1 if isinstance(error, InvalidRequest) else 3
    client = ScriptedClient([error] * attempts)
    exchange = exchange_of(client)
    with pytest.raises(type(error)):
        await exchange.answer(plan_of(exchange))
    assert len(client.calls) == attempts


@pytest.mark.covers("Routing · never a second call after content")
async def test_no_candidate_is_asked_after_content_was_streamed() -> None:
    half = ScriptedAnswer(200, b'data: {"choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n')
    client = ScriptedClient([half])
    exchange, sink = exchange_of(client), ListSink()
    plan = plan_of(exchange, stream=True)
    await exchange.stream(plan, sink)
    assert sink.pieces[-1].startswith(b"event: error\n")
    assert len(client.calls) == 1
    assert plan.is_released


async def test_half_an_answer_is_asked_again_for_a_client_that_waits_for_json() -> None:
    half = ScriptedAnswer(200, b'data: {"choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n')
    client = ScriptedClient([half, ANSWER])
    answered = await (exchange := exchange_of(client)).answer(plan_of(exchange))
    assert answered.message["content"] == [{"type": "text", "text": "hello", "citations": None}]


async def test_empty_stream_is_asked_again_without_stream() -> None:
    refusal = ScriptedAnswer(400, b'{"error":{"message":"no such thing"}}', "application/json")
    client = ScriptedClient([ScriptedAnswer(200, b""), refusal])
    exchange = exchange_of(client)
    with pytest.raises(InvalidRequest, match="no such thing"):
        await exchange.answer(plan_of(exchange, routes=(FIRST,)))
    first, second = (orjson.loads(call.body) for call in client.calls)
    assert first["stream"] is True
    assert "stream" not in second
    assert "stream_options" not in second


async def test_full_upstream_is_asked_after_those_with_room() -> None:
    limited = replace(FIRST, upstream=replace(FIRST.upstream, limits=LaneLimits(concurrency=1)))
    exchange = exchange_of(ScriptedClient([ANSWER]))
    assert plan_of(exchange, (limited, SECOND)).route is limited
    demand = LaneDemand(1, is_batch=False, waits=False, used=lambda: 1)
    async with entered(exchange.circuits.call(limited, alone=False, demand=demand)):
        assert plan_of(exchange, (limited, SECOND)).route is SECOND
        assert plan_of(exchange, (limited,)).route is limited  # the only candidate
    assert plan_of(exchange, (limited, SECOND)).route is limited


async def test_candidate_that_cannot_serve_the_prompt_leaves_the_one_before_in_place() -> None:
    class Refusing(CountingDialect):
        def prepare(self, prompt: Prompt, route: Route, asking: Asking) -> Prepared:
            if route.upstream.name == "second":
                raise InvalidRequest("Not here.")
            return super().prepare(prompt, route, asking)

    client = ScriptedClient([UNREACHABLE, ANSWER])
    exchange = replace(exchange_of(client), dialects={"chat": Refusing(KEYRING)})
    plan = plan_of(exchange)
    await exchange.answer(plan)
    assert [call.url for call in client.calls] == ["http://first/v1/chat/completions"] * 2
    assert (plan.route, plan.record.upstream) == (FIRST, "first")


def with_window(name: str, tokens: int | None) -> Route:
    return replace(route(name), target=replace(route(name).target, context_length=tokens))


@pytest.mark.parametrize(
    ("left", "overflow", "asked"),
    [
        pytest.param({"longer": 2000}, {}, ["longer"], id="longer window that is known"),
        pytest.param({"shorter": 500, "same": 1000}, {}, [], id="shorter window, and one of the same length"),
        pytest.param({"unknown": None}, {}, [], id="window that is not known"),
        pytest.param({"longer": 1499}, {}, [], id="window that prompt and answer exceed together"),
        pytest.param({"unknown": None}, {"large": None}, ["large"], id="overflow whose window is not known"),
        pytest.param({"longer": 1500}, {"large": 9000}, ["longer", "large"], id="overflow comes last"),
        pytest.param({}, {"large": 1200}, [], id="overflow that is too short"),
        pytest.param({}, {"first": 9000}, [], id="overflow that refused the prompt"),
    ],
)
def test_prompt_that_was_too_long_goes_where_it_fits(
    left: dict[str, int | None], overflow: dict[str, int | None], asked: list[str]
) -> None:
    routes, large = ([with_window(*one) for one in each.items()] for each in (left, overflow))
    found = with_longer_windows(routes, large, with_window("first", 1000), 1100, 400)
    assert [one.upstream.name for one in found] == asked
