"""Limits and budgets on a real server: exact over several admissions, all or nothing, settled once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.access.admission import Admission
from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys
from gateway.access.ledger import MAX_MODELS, MAX_WAITING
from gateway.access.periods import period_of
from gateway.access.records import NANO, Allowance, Budget, KeyRecord, Period, RateLimits
from gateway.access.reservation import Grant, Need, Used, to_counted
from gateway.access.spend import SUMS_SECONDS
from gateway.access.store import AccessStore, Actor
from gateway.context import Context
from gateway.errors import (
    BudgetSpent,
    GatewayError,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    StoreAway,
    Unauthenticated,
    Unavailable,
)
from gateway.redis.keys import Keys
from gateway.redis.link import Link
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit

ACTOR = Actor("cli", "tests")
NOTHING = Used(0, 0, 0, {}, "")


def store_on(server: RedisServer) -> AccessStore:
    return AccessStore(server, ClientKeys([], b"s").pepper, b"s")


async def admission_on(server: RedisServer) -> Admission:
    """Return the admission of one more front end."""
    made = Admission(Directory(ClientKeys([], b"s"), store_on(server), silence=SilenceLimit(20)), server)
    await made.directory.refresh()
    return made


async def key_with(server: RedisServer, limits: RateLimits, *budgets: Budget) -> Context:
    record = KeyRecord("", "ci", "red", allowance=Allowance(limits, budgets))
    made, _ = await store_on(server).create_key(record, ACTOR)
    return Context("req", "red", made.id)


async def admitted(admission: Admission, context: Context, need: Need = Need()) -> Grant | GatewayError:  # noqa: B008
    try:
        grant = await admission.admit(context, need)
    except GatewayError as error:
        return error
    assert grant is not None
    return grant


async def settle(admission: Admission, grant: object, used: Used = NOTHING) -> None:
    assert isinstance(grant, Grant)
    admission.settle(grant, used)
    await admission.ledger.flush()


def headers_of(grant: Grant) -> dict[str, str]:
    return dict(line.split(": ") for line in grant.header_lines.splitlines())


@pytest.mark.covers("Access · limits exact over front ends")
async def test_requests_per_minute_are_exact_over_front_ends(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=20))
    several = [await admission_on(server) for _ in range(4)]
    outcomes = await asyncio.gather(*(admitted(several[number % 4], context) for number in range(80)))
    granted = [one for one in outcomes if isinstance(one, Grant)]
    refused = [one for one in outcomes if isinstance(one, RateLimited)]
    assert 20 <= len(granted) <= 21
    assert len(granted) + len(refused) == 80
    assert refused[0].message.startswith("Limit of key ci (tenant red): 20 requests per minute. Try again in ")
    assert 1 <= (refused[0].retry_after or 0) <= 60
    names = dict(refused[0].headers)
    assert names["anthropic-ratelimit-requests-limit"] == "20"
    assert names["anthropic-ratelimit-requests-remaining"] == "0"


async def test_concurrency_is_given_back_when_requests_end(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=3))
    admission = await admission_on(server)
    first = [await admitted(admission, context) for _ in range(4)]
    assert [isinstance(one, Grant) for one in first] == [True, True, True, False]
    await settle(admission, first[0])
    assert isinstance(await admitted(admission, context), Grant)


async def test_input_tokens_are_corrected_by_what_was_used(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(input_tokens=1000))
    admission = await admission_on(server)
    one = await admitted(admission, context, Need(input=900))
    assert isinstance(await admitted(admission, context, Need(input=200)), RateLimited)
    await settle(admission, one, Used(0, 100, 5, {}, ""))
    assert isinstance(await admitted(admission, context, Need(input=800)), Grant)


async def test_prompt_above_a_whole_minute_is_invalid_not_limited(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(input_tokens=1000))
    error = await admitted(await admission_on(server), context, Need(input=1001))
    assert isinstance(error, InvalidRequest)
    assert "1000 input tokens per minute" in error.message


async def test_output_tokens_count_once_written(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(output_tokens=100))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context), Used(0, 0, 150, {}, ""))
    assert isinstance(await admitted(admission, context), RateLimited)


@pytest.mark.covers("Access · budgets are never exceeded")
async def test_budget_is_never_exceeded_by_parallel_requests(server: RedisServer) -> None:
    budget = Budget(NANO, "total")  # a period could end meanwhile
    context = await key_with(server, RateLimits(), budget)
    several = [await admission_on(server) for _ in range(4)]
    spent = 0

    async def request(number: int) -> None:
        nonlocal spent
        admission = several[number % 4]
        while True:
            outcome = await admitted(admission, context, Need(NANO // 20, NANO // 100))
            if isinstance(outcome, BudgetSpent):
                return
            if isinstance(outcome, Grant):
                cost = outcome.money * (number % 20 + 1) // 20
                spent += cost
                await settle(admission, outcome, Used(cost, 0, 0, {}, ""))
            else:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(request(number) for number in range(60)))
    for admission in several:  # a flush gives up after two seconds, and keeps what it has not sent
        while admission.ledger._waiting:
            await admission.ledger.flush()
    assert spent <= NANO
    assert spent > NANO - NANO // 100
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    figures = [state[name] for name in (f"{budget.name}:spent".encode(), f"{budget.name}:held".encode(), b"running")]
    assert figures == [b"%d" % spent, b"0", b"0"]


async def test_money_that_is_only_held_asks_to_wait_and_spent_money_does_not(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "month"))
    admission = await admission_on(server)
    grant = await admitted(admission, context, Need(100, 60))
    held = await admitted(admission, context, Need(100, 60))
    assert isinstance(held, RateLimited)
    assert held.retry_after == 2
    await settle(admission, grant, Used(100, 0, 0, {}, ""))
    spent = await admitted(admission, context, Need(100, 60))
    assert isinstance(spent, BudgetSpent)
    assert (spent.type, spent.code, spent.should_retry) == ("billing_error", "enforced_spend_limit_reached", False)
    assert "is used up. It is renewed on " in spent.message


async def test_request_without_cost_waits_while_all_of_a_budget_is_held(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "total"))
    admission = await admission_on(server)
    grant = await admitted(admission, context, Need(100, 100))
    assert isinstance(await admitted(admission, context), RateLimited)
    await settle(admission, grant)
    assert isinstance(await admitted(admission, context), Grant)


@pytest.mark.parametrize(("tenants", "keys"), [(5, 50), (50, 5)])
async def test_headers_have_the_tightest_of_several_limits(server: RedisServer, tenants: int, keys: int) -> None:
    context = await key_with(server, RateLimits(requests=keys))
    await store_on(server).set_allowance("tenant:red", Allowance(RateLimits(requests=tenants)), ACTOR)
    grant = await admitted(await admission_on(server), context)
    assert isinstance(grant, Grant)
    limits = headers_of(grant)
    assert limits["anthropic-ratelimit-requests-limit"] == "5"
    assert limits["anthropic-ratelimit-requests-remaining"] == "4"


async def test_short_money_is_granted_in_part(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "total"))
    grant = await admitted(await admission_on(server), context, Need(1000, 60))
    assert isinstance(grant, Grant)
    assert grant.money == 100


async def test_refusal_by_one_scope_changes_no_other(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=5))
    await store_on(server).set_allowance("tenant:red", Allowance(RateLimits(requests=1)), ACTOR)
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, context), Grant)
    name = server.keys.scope(f"key:{context.key_id}")
    before = await server.pipeline([("HGETALL", name)])
    error = await admitted(admission, context)
    assert isinstance(error, RateLimited)
    assert error.message.startswith("Limit of tenant red: ")
    assert await server.pipeline([("HGETALL", name)]) == before


async def test_settling_twice_counts_once(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "month"))
    admission = await admission_on(server)
    grant = await admitted(admission, context, Need(10, 10))
    for _ in range(3):
        await settle(admission, grant, Used(7, 0, 0, {}, ""))
    [spent] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "month/UTC:spent")])
    assert spent == b"7"


async def test_reservation_of_a_dead_process_is_charged_what_was_granted(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=1), Budget(100, "month"))
    dead, alive = await admission_on(server), await admission_on(server)
    grant = await admitted(dead, context, Need(40, 40))
    assert isinstance(grant, Grant)
    await server.pipeline([("ZADD", server.keys.access.leases, 1, grant.id)])
    await alive.sweep()
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    assert (state[b"running"], state[b"month/UTC:held"], state[b"month/UTC:spent"]) == (b"0", b"0", b"40")


async def test_changed_limit_and_disabled_key_count_from_the_next_request(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=2))
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, context), Grant)
    await store_on(server).update_key(context.key_id, ACTOR, allowance=Allowance(RateLimits(requests=1)))
    assert isinstance(await admitted(admission, context), RateLimited)
    await store_on(server).update_key(context.key_id, ACTOR, status="inactive")
    assert isinstance(await admitted(admission, context), Unauthenticated)


def test_need_is_nothing_unless_it_is_told() -> None:
    assert Need() == Need(want=0, least=0, input=0, unpriced="")


async def test_unknown_price_is_refused_under_a_budget_where_the_settings_say_so(server: RedisServer) -> None:
    under_budget, limited = await key_with(server, RateLimits(), Budget(100)), Context("req", "red", "key_file_x")
    need = Need(unpriced="m/new")
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, under_budget, need), Grant)
    admission.unknown_price = "refuse"
    refused = await admitted(admission, under_budget, need)
    assert isinstance(refused, PermissionDenied)
    assert refused.message.startswith("No price is known for the model m/new, so the budget of key ci (tenant red)")
    assert isinstance(await admitted(admission, under_budget), Grant)
    await store_on(server).set_allowance("tenant:red", Allowance(RateLimits(requests=5)), ACTOR)
    await admission.directory.refresh()
    assert isinstance(await admitted(admission, limited, need), Grant), "no budget applies"


async def remaining(admission: Admission, context: Context, kind: str, need: Need = Need()) -> int:  # noqa: B008
    """Return what a reply's header says is left of a limit after one more request."""
    grant = await admitted(admission, context, need)
    assert isinstance(grant, Grant)
    await settle(admission, grant, Used(0, need.input, 0, {}, ""))
    return int(headers_of(grant)[f"anthropic-ratelimit-{kind}-remaining"])


async def test_raised_limit_lets_in_the_difference_at_once(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=2, input_tokens=1000))
    admission, need = await admission_on(server), Need(input=500)
    assert [await remaining(admission, context, "requests", need) for _ in range(2)] == [1, 0]
    assert isinstance(await admitted(admission, context), RateLimited)
    for limit, left in ((10, 7), (100, 96)):
        raised = Allowance(RateLimits(requests=limit, input_tokens=limit * 1000))
        await store_on(server).update_key(context.key_id, ACTOR, allowance=raised)
        assert await remaining(admission, context, "requests", Need(input=0)) == left
    assert 98_900 <= await remaining(admission, context, "input-tokens", Need(input=100)) <= 99_000
    lowered = Allowance(RateLimits(requests=8))
    await store_on(server).update_key(context.key_id, ACTOR, allowance=lowered)
    assert await remaining(admission, context, "requests") == 6, "what is owed does not grow with a lower limit"


async def test_tokens_of_a_request_in_flight_count_by_the_limit_that_was_raised_meanwhile(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(input_tokens=1000, output_tokens=1000))
    admission, other = await admission_on(server), await admission_on(server)
    grant = await admitted(admission, context, Need(input=1000))
    raised = Allowance(RateLimits(input_tokens=10_000, output_tokens=10_000))
    await store_on(server).update_key(context.key_id, ACTOR, allowance=raised)
    assert 8900 <= await remaining(other, context, "input-tokens", Need(input=100)) <= 8920
    await settle(admission, grant, Used(0, 2000, 900, {}, ""))
    grant = await admitted(other, context, Need(input=100))
    assert isinstance(grant, Grant)
    left = headers_of(grant)
    assert 7800 <= int(left["anthropic-ratelimit-input-tokens-remaining"]) <= 8400
    assert 9100 <= int(left["anthropic-ratelimit-output-tokens-remaining"]) <= 9600


async def test_prompt_of_exactly_a_minutes_tokens_is_admitted(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(input_tokens=100))
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, context, Need(input=101)), InvalidRequest)
    assert isinstance(await admitted(admission, context, Need(input=100)), Grant)


async def test_batch_items_leave_a_share_to_live_requests(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=10))
    batch = Context("req", "red", context.key_id, priority="batch")
    admission = await admission_on(server)
    outcomes = [await admitted(admission, batch) for _ in range(10)]
    assert sum(isinstance(one, Grant) for one in outcomes) == 7
    assert isinstance(await admitted(admission, context), Grant)


async def test_batch_items_leave_places_to_live_requests(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=10))
    batch = Context("req", "red", context.key_id, priority="batch")
    admission = await admission_on(server)
    outcomes = [await admitted(admission, batch) for _ in range(8)]
    assert sum(isinstance(one, Grant) for one in outcomes) == 7
    assert isinstance(await admitted(admission, context), Grant)


def put_on(admission: Admission, server: RedisServer, link: Link | None = None) -> None:
    """Have an admission use this server; without a link, as on a Cluster."""
    admission.server = admission.ledger.server = server
    admission._link = admission.ledger.link = link


def put_away(admission: Admission, server: RedisServer) -> RedisServer:
    away = RedisServer(Redis.from_url("redis://127.0.0.1:1"), server.keys)
    put_on(admission, away, Link(away.redis, admission.directory.silence))
    return away


@pytest.mark.parametrize("money", [1, 10**12 + 1, 4 * 10**15 - 1, 4 * 10**15, 9 * 10**15])
async def test_money_of_every_size_is_held_and_spent_exactly(server: RedisServer, money: int) -> None:
    context = await key_with(server, RateLimits(), Budget(9 * 10**15, "total"))
    admission = await admission_on(server)
    grant = await admitted(admission, context, Need(money, money))
    scope = server.keys.scope(f"key:{context.key_id}")
    [held] = await server.pipeline([("HGET", scope, "total/UTC:held")])
    await settle(admission, grant, Used(money, 1, 1, {}, ""))
    figures = await server.pipeline([("HMGET", scope, "total/UTC:held", "total/UTC:spent")])
    assert (held, *figures[0]) == (b"%d" % money, b"0", b"%d" % money)


async def test_place_of_a_request_is_free_for_the_next_one_of_the_process(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=1))
    admission = await admission_on(server)
    await server.redis.script_flush()  # as after a restart of the server
    for _ in range(20):
        grant = await admitted(admission, context)
        assert isinstance(grant, Grant)
        admission.settle(grant, NOTHING)


async def test_without_redis_rates_are_kept_in_the_process_and_money_is_refused(server: RedisServer) -> None:
    limited = await key_with(server, RateLimits(requests=2))
    admission = await admission_on(server)
    away = put_away(admission, server)
    outcomes = [await admitted(admission, limited) for _ in range(3)]
    assert [type(one) for one in outcomes] == [Grant, Grant, RateLimited]
    await store_on(server).update_key(limited.key_id, ACTOR, allowance=Allowance(budgets=(Budget(100),)))
    await admission.directory.refresh()
    assert isinstance(await admitted(admission, limited, Need(10, 10)), Unavailable)
    await away.redis.aclose()


class NeverAnswers(RedisServer):
    """Runs the scripts and keeps their replies."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        super().__init__(redis, keys)
        self.ran = asyncio.Event()

    async def run(self, *arguments: Any) -> Any:
        await super().run(*arguments)
        self.ran.set()
        await asyncio.sleep(60)


class LosesReplies(RedisServer):
    """Runs scripts and commands, and reports a broken connection."""

    async def run(self, *arguments: Any) -> Any:
        await super().run(*arguments)
        raise StoreAway("lost")

    async def pipeline(self, *arguments: Any, **options: Any) -> list[Any]:
        await super().pipeline(*arguments, **options)
        raise StoreAway("lost")


async def test_use_without_limits_whose_reply_is_lost_is_entered_once(server: RedisServer) -> None:
    admission = await admission_on(server)
    admission.settle(Grant("r1", 0), Used(7, 5, 5, {"id": "r1"}, "red||k|m|p"))
    admission.ledger.server = LosesReplies(server.redis, server.keys)
    await admission.ledger.flush()
    admission.settle(Grant("r2", 0), Used(4, 5, 5, {"id": "r2"}, "red||k|m|p"))
    admission.ledger.server = server
    await admission.ledger.flush()
    [sums] = await server.pipeline([("HGETALL", server.keys.usage_sums(admission.ledger._day()))])
    assert (sums[b"red||k|m|p|cost"], sums[b"red||k|m|p|requests"]) == (b"11", b"2")
    [entries] = await server.pipeline([("XLEN", server.keys.access.usage)])
    assert entries == 2


async def test_use_without_limits_is_entered_once_when_another_one_cannot_be_settled(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=9))
    admission = await admission_on(server)
    grant = await admitted(admission, context)
    assert isinstance(grant, Grant)

    class FailsToSettle(RedisServer):
        async def run(self, script: Any, *arguments: Any) -> Any:
            if script.name == "account":
                raise StoreAway("away")
            return await super().run(script, *arguments)

    admission.settle(Grant("r1", 0), Used(7, 5, 5, {"id": "r1"}, "red||k|m|p"))
    admission.settle(grant, Used(4, 5, 5, {"id": "r2"}, "red||k|m|p"))
    admission.ledger.server = FailsToSettle(server.redis, server.keys)
    await admission.ledger.flush()
    admission.ledger.server = server
    await admission.ledger.flush()
    [sums] = await server.pipeline([("HGETALL", server.keys.usage_sums(admission.ledger._day()))])
    assert (sums[b"red||k|m|p|cost"], sums[b"red||k|m|p|requests"]) == (b"11", b"2")


async def test_admission_whose_reply_is_lost_is_charged_nothing(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=1), Budget(100, "month"))
    admission = await admission_on(server)
    put_on(admission, LosesReplies(server.redis, server.keys))
    assert isinstance(await admitted(admission, context, Need(40, 40)), Unavailable)
    admission.server = server
    await admission.ledger.flush()
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    assert (state[b"running"], state[b"month/UTC:held"], state[b"month/UTC:spent"]) == (b"0", b"0", b"0")


class SettlesMeanwhile(RedisServer):
    """Runs `meanwhile` before it answers with the time."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    async def now(self) -> int:
        self.meanwhile()
        return await super().now()


async def test_leases_are_renewed_while_the_last_request_ends(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=1))
    admission = await admission_on(server)
    grant = await admitted(admission, context)
    assert isinstance(grant, Grant)
    admission.server = meanwhile = SettlesMeanwhile(server.redis, server.keys)
    [before] = await server.pipeline([("ZSCORE", server.keys.access.leases, grant.id)])
    await asyncio.sleep(0.002)
    await admission.renew()
    [after] = await server.pipeline([("ZSCORE", server.keys.access.leases, grant.id)])
    assert float(after) > float(before)
    meanwhile.meanwhile = lambda: admission.settle(grant, NOTHING)
    await admission.renew()


async def test_use_that_cannot_be_booked_holds_up_no_other(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=9), Budget(100, "month"))
    admission = await admission_on(server)
    grants = [await admitted(admission, context, Need(9, 9)) for _ in range(4)]
    costs = (10**30, 3, 2**63 - 1, 4)
    for grant, cost in zip(grants, costs, strict=True):
        assert isinstance(grant, Grant)
        admission.settle(grant, Used(cost, 5, 5, {"id": grant.id}, "red||k|m|p"))
    admission.settle(Grant("free", 0), Used(10**30, 5, 5, {"id": "free"}, "red||k|m|p"))
    with capture_logs() as lines:
        await admission.ledger.flush()
    assert {line["event"] for line in lines} == {"settlement_refused"}
    [spent] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "month/UTC:spent")])
    assert spent == b"7"
    assert not admission.ledger._waiting


async def test_settlement_that_redis_refuses_is_logged_by_its_id(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=9))
    admission = await admission_on(server)
    grant = await admitted(admission, context)
    assert isinstance(grant, Grant)
    admission.ledger.link = None
    admission.settle(grant, Used(10**30, 5, 5, {"id": grant.id}, "red||k|m|p"))
    with capture_logs() as lines:
        await admission.ledger.flush()
    assert [(line["event"], line["id"]) for line in lines] == [("settlement_refused", grant.id)]


async def test_number_of_settlements_that_wait_is_bounded(server: RedisServer) -> None:
    admission = await admission_on(server)
    admission.ledger._waiting = [(Grant("r", 0), NOTHING)] * (MAX_WAITING - 1)
    for _ in range(3):
        admission.ledger.add(Grant("r", 0), NOTHING)
    assert len(admission.ledger._waiting) == MAX_WAITING


async def test_late_costs_wait_in_redis_until_they_are_due(server: RedisServer) -> None:
    admission = await admission_on(server)
    admission.wall_clock = admission.ledger.wall_clock = lambda: 1000.0
    for one in (b"a", b"b"):
        admission.ledger.correct_later(one)
    await admission.ledger.flush()
    await admission.ledger.flush()
    [due] = await server.pipeline([("ZRANGE", server.keys.access.late, 0, -1, "WITHSCORES")])
    assert due == [b"a", b"1005", b"b", b"1005"]


async def test_connection_is_open_before_the_first_request(server: RedisServer) -> None:
    admission = await admission_on(server)
    await admission.connect()
    away = Admission(Directory(ClientKeys([], b"s")), RedisServer(Redis(port=1), server.keys))
    with pytest.raises(StoreAway):
        await away.connect()
    await Admission(Directory(ClientKeys([], b"s")), None).connect()


async def test_models_of_a_day_are_counted_apart_up_to_a_number(server: RedisServer) -> None:
    admission = await admission_on(server)
    for number in range(MAX_MODELS + 20):
        admission.settle(Grant(f"r{number}", 0), Used(1, 5, 5, {"id": f"r{number}"}, f"red||k|m{number}|p"))
    await admission.ledger.flush()
    [sums] = await server.pipeline([("HGETALL", server.keys.usage_sums(admission.ledger._day()))])
    assert len([name for name in sums if name.endswith(b"|requests")]) == MAX_MODELS + 1
    assert sums[b"red||k|other|p|cost"] == b"20"


async def test_client_that_leaves_during_admission_is_charged_nothing(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=1), Budget(100, "month"))
    admission = await admission_on(server)
    silent = NeverAnswers(server.redis, server.keys)
    put_on(admission, silent)
    task = asyncio.create_task(admitted(admission, context, Need(40, 40)))
    await silent.ran.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    admission.server = server
    await admission.ledger.flush()
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    assert state.get(b"month/UTC:spent", b"0") == b"0"
    assert isinstance(await admitted(admission, context, Need(40, 40)), Grant)


async def test_rolling_budget_has_room_again_when_its_parts_are_older_than_the_window(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "rolling", window=3600))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(100, 60)), Used(90, 0, 0, {}, ""))
    refused = await admitted(admission, context, Need(100, 60))
    assert isinstance(refused, BudgetSpent)
    assert "$0.0000001 in 3600 seconds, has $0.00000001 left" in refused.message
    assert "It has room again on " in refused.message
    assert 3600 <= (refused.retry_after or 0) <= 3720
    name = server.keys.scope(f"key:{context.key_id}")
    [fields] = await server.pipeline([("HGETALL", name)])
    [part] = [field for field, value in fields.items() if value.endswith(b" 90")]
    newest = int(fields[part].split()[0])
    store, budget = store_on(server), Budget(100, "rolling", window=3600)
    store.clock = lambda: newest * 60.0 + 1
    await server.pipeline([("HSET", name, part, f"{newest - 60} 90")])
    assert await store.spent([(f"key:{context.key_id}", budget)]) == [90]
    assert isinstance(await admitted(admission, context, Need(100, 60)), BudgetSpent)
    await server.pipeline([("HSET", name, part, f"{newest - 61} 90")])
    assert await store.spent([(f"key:{context.key_id}", budget)]) == [0]
    grant = await admitted(admission, context, Need(100, 60))
    assert isinstance(grant, Grant)
    assert grant.money == 100


async def test_outage_allows_a_part_of_what_was_left_and_records_it_afterwards(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(1000 * NANO, "month"))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(NANO, NANO)), Used(0, 0, 0, {}, ""))
    admission.money.most, admission.money.processes = 20 * NANO, 2
    away = put_away(admission, server)
    grants = [await admitted(admission, context, Need(4 * NANO, NANO)) for _ in range(4)]
    # 5 % of $1,000 are $50, of which the setting allows $20, for two processes
    assert [one.money // NANO for one in grants if isinstance(one, Grant)] == [4, 4, 2]
    assert isinstance(grants[3], Unavailable)
    for number, grant in enumerate(one for one in grants if isinstance(one, Grant)):
        admission.settle(grant, Used(NANO, 5, 5, {"id": f"r{number}"}, "red||k|m|p"))
    assert isinstance(await admitted(admission, context, Need(4 * NANO, NANO)), Grant), (
        "what was not used is given back"
    )
    await away.redis.aclose()
    admission.server = admission.ledger.server = server
    for _ in range(2):
        await admission.ledger.flush()
    [spent] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "month/UTC:spent")])
    assert int(spent) == 3 * NANO
    [running] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "running")])
    assert running == b"0"


async def test_request_that_a_rate_refuses_in_an_outage_gives_its_money_back(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=1), Budget(1000, "month"))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(0, 0)))
    await admission.look()
    away = put_away(admission, server)
    assert isinstance(await admitted(admission, context, Need(10, 10)), Grant)
    assert isinstance(await admitted(admission, context, Need(10, 10)), RateLimited)
    name = (f"key:{context.key_id}", "month/UTC")
    assert admission.money._pots == {name: 40}  # 5 % of 1000, less what the first request holds
    await away.redis.aclose()


async def test_use_of_an_outage_is_recorded_once_however_often_it_is_sent(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(1000, "month"))
    admission = await admission_on(server)
    budgets = [{"name": "month/UTC", "amount": 1000, "start": 1, "ends": 2, "window": 0}]
    counted = to_counted([{"name": f"key:{context.key_id}", "budgets": budgets}])
    grant = Grant("once", 0, counted, is_local=True)
    for _ in range(3):
        await admission.ledger.account(grant, Used(7, 0, 0, {"id": "once"}, "red||k|m|p"))
    [spent] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "month/UTC:spent")])
    assert spent == b"7"


async def test_look_counts_processes_and_what_is_left_of_budgets(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(1000, "month"))
    several = [await admission_on(server) for _ in range(3)]
    for admission in several:
        await settle(admission, await admitted(admission, context, Need(100, 100)), Used(100, 0, 0, {}, ""))
        await admission.look()
    assert [one.local.processes for one in several] == [1, 2, 3]
    await several[0].look()
    assert several[0].local.processes == several[0].money.processes == 3
    assert several[0]._left(
        {(f"key:{context.key_id}", "month/UTC"): [b"0", b"900", b"0"]}, several[0].wall_clock()
    ) == {(f"key:{context.key_id}", "month/UTC"): 1000}, "a sum of an earlier period is none of this one's"
    now = several[0].wall_clock()
    begun = b"%d" % period_of("month", "UTC", now)[0]
    name = (f"key:{context.key_id}", "month/UTC")
    assert several[0]._left({name: [begun, b"900", b"30"]}, now) == {name: 70}
    assert several[0]._left({name: [None, None, None]}, now) == {name: 1000}


async def test_clock_of_another_period_is_set_to_the_exact_time_of_the_server(
    server: RedisServer,
) -> None:
    context = await key_with(server, RateLimits(), Budget(1000, "day"))
    admission = await admission_on(server)
    admission.wall_clock = lambda: 0.0
    begun, _ = await server.redis.time(), await admitted(admission, context, Need(1, 1))
    ended = await server.redis.time()
    assert to_seconds(begun) <= admission.ledger.offset <= to_seconds(ended)


def to_seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1e6


async def test_threshold_is_alerted_once_over_several_processes(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "month"))
    sent: list[tuple[str, Any]] = []

    async def post(url: str, body: dict[str, Any]) -> None:
        sent.append((url, body))

    def counted() -> list[float]:
        names = [{"percent": str(percent)} for percent in (50, 75, 90, 95, 100)]
        return [REGISTRY.get_sample_value("gateway_budget_alerts_total", one) or 0.0 for one in names]

    before, several = counted(), [await admission_on(server) for _ in range(4)]
    for admission in several:
        admission.alerts.webhook, admission.alerts.post = "http://hook", post
    for number in range(10):
        admission = several[number % 4]
        await settle(admission, await admitted(admission, context, Need(10, 1)), Used(10, 0, 0, {}, ""))
        if admission.alerts._waiting:
            await admission.alerts.deliver()
    assert sorted(body["percent"] for _, body in sent) == [50, 75, 90, 95, 100]
    assert [after - one for after, one in zip(counted(), before, strict=True)] == [1.0] * 5
    assert all(body["scope"] == f"key:{context.key_id}" and url == "http://hook" for url, body in sent)


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        pytest.param(40, {"status": "allowed", "overage-utilization": "0.40"}, id="below the first notice"),
        pytest.param(
            80,
            {"status": "allowed_warning", "overage-utilization": "0.80", "overage-surpassed-threshold": "0.75"},
            id="above it",
        ),
    ],
)
async def test_replies_under_a_budget_carry_unified_headers(
    server: RedisServer, spent: int, expected: dict[str, str]
) -> None:
    context = await key_with(server, RateLimits(), Budget(100, "month"))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(spent, 1)), Used(spent, 0, 0, {}, ""))
    grant = await admitted(admission, context, Need(1, 1))
    assert isinstance(grant, Grant)
    headers = headers_of(grant)
    for name, value in expected.items():
        assert headers[f"anthropic-ratelimit-unified-{name}"] == value
    assert int(headers["anthropic-ratelimit-unified-reset"]) > admission.wall_clock()


async def test_spent_budget_is_rejected_in_unified_headers(server: RedisServer) -> None:
    context = await key_with(server, RateLimits())
    await store_on(server).set_allowance("tenant:red", Allowance(budgets=(Budget(10, "day"),)), ACTOR)
    admission = await admission_on(server)
    error = await admitted(admission, context, Need(11, 11))
    assert isinstance(error, BudgetSpent)
    headers = {name.removeprefix("anthropic-ratelimit-unified-"): value for name, value in error.headers}
    assert (headers["status"], headers["overage-period"]) == ("rejected", "daily")
    assert headers["overage-scope"] == "group_pool"
    assert "representative-claim" not in headers


async def test_request_above_a_rate_is_refused_with_the_state_of_its_budget_too(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=1), Budget(100, "month"))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(80, 1)), Used(80, 0, 0, {}, ""))
    error = await admitted(admission, context, Need(1, 1))
    assert isinstance(error, RateLimited)
    headers = dict(error.headers)
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-unified-overage-utilization"] == "0.80"


async def test_refusal_of_a_spent_budget_has_the_state_of_rates(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(requests=5), Budget(10, "day"))
    error = await admitted(await admission_on(server), context, Need(11, 11))
    assert isinstance(error, BudgetSpent)
    assert dict(error.headers)["anthropic-ratelimit-requests-limit"] == "5"


async def test_scopes_are_prepared_for_a_bounded_number_of_clients(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.access.admission.MAX_CLIENTS", 2)
    context = await key_with(server, RateLimits(requests=50))
    admission = await admission_on(server)
    for number in range(5):
        granted = await admitted(admission, replace(context, user=f"u{number}"))
        assert isinstance(granted, Grant)
        assert len(admission._prepared) <= 2


@pytest.mark.parametrize("is_known", [pytest.param(True, id="with the script"), pytest.param(False, id="without it")])
async def test_settlements_of_one_moment_are_sent_together_and_count_once(server: RedisServer, is_known: bool) -> None:
    context = await key_with(server, RateLimits(concurrency=50), Budget(1000, "month"))
    admission = await admission_on(server)
    if is_known:
        await settle(admission, await admitted(admission, context, Need(1, 1)), Used(0, 0, 0, {}, ""))
    else:
        await server.pipeline([("SCRIPT", "FLUSH")])
    grants = [await admitted(admission, context, Need(10, 10)) for _ in range(20)]
    for grant in grants:
        assert isinstance(grant, Grant)
        admission.settle(grant, Used(7, 0, 0, {"id": grant.id}, "red||k|m|p"))
    await admission.ledger.flush()
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    assert (state[b"month/UTC:spent"], state[b"month/UTC:held"], state[b"running"]) == (b"140", b"0", b"0")


async def test_blocked_user_is_refused_until_unblocked_and_stays_blocked_when_limits_change(
    server: RedisServer,
) -> None:
    store = store_on(server)
    made, key = await store.create_key(KeyRecord("", "ci", "red", "ann"), ACTOR)
    admission = await admission_on(server)
    assert (await admission.directory.authenticate(key, None)).user == "ann"
    await store.block_user("ann", True, ACTOR)
    await store.set_allowance("user:ann", Allowance(RateLimits(requests=9)), ACTOR)
    await admission.directory.refresh()
    with pytest.raises(Unauthenticated):
        await admission.directory.authenticate(key, None)
    with pytest.raises(Unauthenticated):
        admission.directory.check(Context("req", "red", made.id, "ann"))
    await store.block_user("ann", False, ACTOR)
    await admission.directory.refresh()
    assert (await admission.directory.authenticate(key, None)).user == "ann"
    assert (await store.allowance("user:ann")).limits.requests == 9


@pytest.mark.parametrize(("tenants", "keys"), [("day", "total"), ("total", "day")])
async def test_refusal_names_the_spent_budget_that_is_renewed_last(
    server: RedisServer, tenants: Period, keys: Period
) -> None:
    context = await key_with(server, RateLimits(), Budget(10, keys))
    await store_on(server).set_allowance("tenant:red", Allowance(budgets=(Budget(10, tenants),)), ACTOR)
    error = await admitted(await admission_on(server), context, Need(11, 11))
    assert isinstance(error, BudgetSpent)
    assert "$0.00000001 in all" in error.message


async def test_spent_budget_is_named_before_a_rate_whose_wait_is_longer(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(output_tokens=10), Budget(10, "rolling", window=60))
    admission = await admission_on(server)
    await settle(admission, await admitted(admission, context, Need(10, 10)), Used(10, 0, 1000, {}, ""))
    error = await admitted(admission, context, Need(1, 1))
    assert isinstance(error, BudgetSpent)
    assert (error.retry_after or 0) < 120


async def test_request_that_counts_in_no_scope_leaves_nothing_in_redis(server: RedisServer) -> None:
    grouped = Allowance().with_group("opus", Allowance(RateLimits(requests=1)))
    made, _ = await store_on(server).create_key(KeyRecord("", "ci", "red", allowance=grouped), ACTOR)
    context, admission, names = Context("req", "red", made.id), await admission_on(server), server.keys.access
    grant = await admitted(admission, context)
    assert isinstance(grant, Grant)
    assert grant.counted.names == ()
    scopes = [("EXISTS", server.keys.scope(name)) for name in ("*", "tenant:red", f"key:{made.id}")]
    kept = await server.pipeline([("HLEN", names.reservations), ("ZCARD", names.leases), *scopes])
    assert kept == [0, 0, 0, 0, 0]


async def test_scope_without_limits_is_not_counted_and_its_first_limit_counts_from_the_next_request(
    server: RedisServer,
) -> None:
    context = await key_with(server, RateLimits(concurrency=5))
    admission = await admission_on(server)
    first = await admitted(admission, context)
    [exists] = await server.pipeline([("EXISTS", server.keys.scope("tenant:red"))])
    assert exists == 0
    await store_on(server).set_allowance("tenant:red", Allowance(RateLimits(concurrency=1)), ACTOR)
    second = await admitted(admission, context)
    assert isinstance(await admitted(admission, context), RateLimited)
    for grant in (first, second):
        await settle(admission, grant)
    names = [server.keys.scope(name) for name in ("tenant:red", f"key:{context.key_id}")]
    assert await server.pipeline([("HGET", name, "running") for name in names]) == [b"0", b"0"]


async def test_reservation_of_an_earlier_version_is_charged_what_was_granted(server: RedisServer) -> None:
    context, names = await key_with(server, RateLimits()), server.keys.access
    start, ends = period_of("month", "UTC", 0)
    budget = f'{{"name":"month/UTC","amount":1e+15,"start":{start},"ends":{ends},"window":0}}'
    key = f'{{"name":"key:a","record":"key:a","version":"1","limits":{{"concurrency":5}},"budgets":[{budget}]}}'
    empty = '{"name":"*","record":"scope:*","version":"0","limits":{},"budgets":{}}'
    stored = f'{{"want":40,"least":1,"input":9,"share":1,"scopes":[{empty},{key}],"granted":40}}'
    held = ("running", 1, "month/UTC:start", start, "month/UTC:spent", 2, "month/UTC:held", 40)
    await server.pipeline(
        [
            ("HSET", names.reservations, "old", stored),
            ("ZADD", names.leases, 1, "old"),
            ("HSET", server.keys.scope("*"), "running", 1),
            ("HSET", server.keys.scope("key:a"), *held),
        ]
    )
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, context), Grant)
    await admission.sweep()
    state, running, left = await server.pipeline(
        [
            ("HGETALL", server.keys.scope("key:a")),
            ("HGET", server.keys.scope("*"), "running"),
            ("HEXISTS", names.reservations, "old"),
        ]
    )
    assert (state[b"running"], state[b"month/UTC:held"], state[b"month/UTC:spent"]) == (b"0", b"0", b"42")
    assert (running, left) == (b"0", 0)


async def test_sums_of_a_day_are_kept_for_a_time(server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=5))
    admission = await admission_on(server)
    for number in range(2):
        used = Used(1, 5, 5, {"id": f"r{number}", "cache_read": 3, "cache_write": 4}, f"red||{context.key_id}|m|p")
        await settle(admission, await admitted(admission, context), used)
    name = server.keys.usage_sums(admission.ledger._day())
    sums, seconds = await server.pipeline([("HGETALL", name), ("TTL", name)])
    row = f"red||{context.key_id}|m|p|"
    assert {key.decode().removeprefix(row): int(value) for key, value in sums.items()} == {
        "requests": 2,
        "input": 10,
        "output": 10,
        "cost": 2,
        "cache_read": 6,
        "cache_write": 8,
    }
    assert SUMS_SECONDS - 60 < seconds <= SUMS_SECONDS
