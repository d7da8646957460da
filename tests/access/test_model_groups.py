"""Limits and budgets of model groups: names and patterns, and their counts on a real server."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.access.admission import Admission
from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys, FileAccess
from gateway.access.model_groups import MAX_WARNINGS, GroupWarnings, ModelGroups, group_scope, split_scope
from gateway.access.records import NANO, Allowance, Budget, KeyRecord, RateLimits
from gateway.access.reservation import Grant, Need, Used
from gateway.access.roster import check_group
from gateway.context import Context
from gateway.errors import BudgetSpent, GatewayError, InvalidRequest, NotFound, RateLimited
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from tests.access.test_admission import ACTOR, settle, store_on

FILE = FileAccess(model_groups={"opus": ("claude-opus-*", "*/Claude-Opus-*"), "all": ("*",)})
OPUS = ("big", "anthropic/claude-opus-5")
NOTHING_NEEDED = Need()


@pytest.mark.parametrize(
    ("models", "groups"),
    [
        pytest.param(("claude-opus-5",), {"opus", "all"}, id="by the requested name"),
        pytest.param(OPUS, {"opus", "all"}, id="by the upstream's name"),
        pytest.param(("CLAUDE-OPUS-5",), {"opus", "all"}, id="in capitals"),
        pytest.param(("my-claude-opus-5", "claude-opus"), {"all"}, id="only as part of a name"),
        pytest.param((), set(), id="without a model"),
    ],
)
def test_model_belongs_to_groups_by_patterns(models: tuple[str, ...], groups: set[str]) -> None:
    assert ModelGroups(FILE.model_groups).of(models) == groups


def test_name_of_a_group_is_apart_from_its_scope() -> None:
    assert [split_scope(group_scope("user:a@b.c", group)) for group in ("opus", "")] == [
        ("user:a@b.c", "opus"),
        ("user:a@b.c", ""),
    ]


def test_tenant_with_a_slash_in_its_name_has_no_limits_of_another_tenants_group() -> None:
    limits = {"tenant:team": Allowance().with_group("opus", Allowance(RateLimits(requests=1)))}
    file = FileAccess(model_groups=FILE.model_groups, allowances=limits)
    directory = Directory(ClientKeys([("team/opus", "k" * 32), ("team", "t" * 32)], b"s", file), None)
    context = Context("req_1", "team/opus", "key_1")
    assert [scope for scope in directory.scopes_of(context) if not scope.allowance.is_empty] == []
    assert directory.scopes_of(Context("req_2", "team", "key_2"))


def test_unknown_group_is_refused_with_the_closest_one() -> None:
    configured = ClientKeys([], b"s", FILE)
    check_group(configured, "")
    check_group(configured, "opus")
    with pytest.raises(NotFound, match=r"no model group 'opsu'\. Did you mean opus\? \[model_groups\] in gateway.toml"):
        check_group(configured, "opsu")


def test_limits_of_one_group_change_no_others() -> None:
    five, ten = Allowance(RateLimits(requests=5)), Allowance(RateLimits(requests=10))
    both = Allowance(blocked=True).with_group("opus", five).with_group("", ten)
    assert (both.of_group("opus"), both.limits, both.blocked) == (five, ten.limits, True)
    assert Allowance.of_json(both.to_json()) == both
    assert both.with_group("opus", Allowance()).to_json() == {**ten.to_json(), "blocked": True}
    assert Allowance.of_json({"model_groups": {"opus": five.to_json()}}).of_group("opus") == five


async def admission_on(server: RedisServer | None) -> Admission:
    store = None if server is None else store_on(server)
    made = Admission(Directory(ClientKeys([], b"s", FILE), store, silence=SilenceLimit(20)), server)
    await made.directory.refresh()
    return made


async def key_with(server: RedisServer, **groups: Allowance) -> Context:
    record = KeyRecord("", "ci", "red", allowance=Allowance(model_groups=groups))
    return Context("req", "red", (await store_on(server).create_key(record, ACTOR))[0].id)


async def admitted(
    admission: Admission, context: Context, *models: str, need: Need = NOTHING_NEEDED
) -> Grant | GatewayError | None:
    try:
        return await admission.admit(context, need, *models)
    except GatewayError as error:
        return error


@pytest.mark.covers("Access · limits by model group")
async def test_limit_of_a_group_is_exact_over_front_ends_and_counts_its_models_alone(server: RedisServer) -> None:
    context = await key_with(server, opus=Allowance(RateLimits(requests=10)))
    several = [await admission_on(server) for _ in range(4)]
    outcomes = await asyncio.gather(*(admitted(several[number % 4], context, *OPUS) for number in range(40)))
    refused = [one for one in outcomes if isinstance(one, RateLimited)]
    assert 10 <= sum(isinstance(one, Grant) for one in outcomes) <= 11
    assert refused[0].message.startswith(
        "Limit of key ci (tenant red) for the model group opus: 10 requests per minute. Try again in "
    )
    headers = dict(refused[0].headers)
    assert headers["x-gateway-limit"] == f"key:{context.key_id}/opus;requests"
    assert headers["anthropic-ratelimit-requests-limit"] == "10"
    for _ in range(20):
        assert isinstance(await admitted(several[0], context, "claude-haiku-5"), Grant)


async def test_request_counts_in_every_group_and_in_the_limits_of_all_models(server: RedisServer) -> None:
    one = Allowance(RateLimits(concurrency=1))
    context = await key_with(server, all=one)
    await store_on(server).set_allowance(
        "tenant:red", Allowance(RateLimits(requests=50)).with_group("opus", one), ACTOR
    )
    admission = await admission_on(server)
    grant = await admitted(admission, context, *OPUS)
    assert isinstance(grant, Grant)
    key = f"key:{context.key_id}"
    assert set(grant.counted.names) == {"tenant:red", "tenant:red/opus", f"{key}/all"}
    assert isinstance(await admitted(admission, context, "other"), RateLimited)
    await settle(admission, grant)
    assert isinstance(await admitted(admission, context, "other"), Grant)


async def test_budget_of_a_group_is_spent_by_its_models_alone(server: RedisServer) -> None:
    context = await key_with(server, opus=Allowance(budgets=(Budget(NANO, "total"),)))
    admission = await admission_on(server)
    need = Need(NANO, NANO // 2)
    await settle(admission, await admitted(admission, context, "other", need=need), Used(NANO, 5, 5, {}, ""))
    await settle(admission, await admitted(admission, context, *OPUS, need=need), Used(NANO, 5, 5, {}, ""))
    spent = await admitted(admission, context, *OPUS, need=need)
    assert isinstance(spent, BudgetSpent)
    assert spent.message == "The budget of key ci (tenant red) for the model group opus, $1.00 in all, is used up."
    assert isinstance(await admitted(admission, context, "other", need=need), Grant)
    await admission.look()
    assert admission.money.seen() == [(f"key:{context.key_id}/opus", "total/UTC")]


async def test_changed_limit_of_a_group_counts_from_the_next_request(server: RedisServer) -> None:
    context = await key_with(server, opus=Allowance(RateLimits(requests=1)))
    admission = await admission_on(server)
    await admitted(admission, context, *OPUS)
    assert isinstance(await admitted(admission, context, *OPUS), RateLimited)
    await store_on(server).update_key(context.key_id, ACTOR, allowance=Allowance())
    assert isinstance(await admitted(admission, context, *OPUS), Grant)


async def test_prompt_above_a_groups_minute_is_invalid_for_its_models_alone(server: RedisServer) -> None:
    context = await key_with(server, opus=Allowance(RateLimits(input_tokens=100)))
    admission = await admission_on(server)
    assert isinstance(await admitted(admission, context, *OPUS, need=Need(input=101)), InvalidRequest)
    assert isinstance(await admitted(admission, context, "other", need=Need(input=101)), Grant)


async def test_limits_of_groups_hold_without_redis() -> None:
    limited = Allowance(model_groups={"opus": Allowance(RateLimits(requests=2))})
    record = KeyRecord("key_file_ci", "ci", "red", allowance=limited)
    keys = ClientKeys([], b"s", FileAccess(((record, "k", ""),), model_groups=FILE.model_groups))
    admission, context = Admission(Directory(keys), None), Context("r", "red", "key_file_ci")
    outcomes = [await admitted(admission, context, *OPUS) for _ in range(3)]
    assert [type(one) for one in outcomes] == [Grant, Grant, RateLimited]
    assert isinstance(await admitted(admission, context, "other"), Grant)


async def test_key_without_limits_of_groups_is_prepared_once_for_all_models(server: RedisServer) -> None:
    record = KeyRecord("", "plain", "blue", allowance=Allowance(RateLimits(requests=50)))
    plain = Context("req", "blue", (await store_on(server).create_key(record, ACTOR))[0].id)
    grouped = await key_with(server, opus=Allowance(RateLimits(requests=50)))
    admission = await admission_on(server)
    for context in (plain, grouped):
        for model in (*OPUS, "other"):
            await admitted(admission, context, model)
    assert len([client for client in admission._prepared if client[2] == plain.key_id]) == 1
    assert len([client for client in admission._prepared if client[2] == grouped.key_id]) == 2


async def test_request_that_may_ask_any_model_counts_in_every_group(server: RedisServer) -> None:
    one, admission = Allowance(RateLimits(requests=1)), await admission_on(server)
    context = await key_with(server, opus=one, gone=one)
    assert admission.limits_of(context) is None, "the key is not known yet"
    assert await admission.admit(context, NOTHING_NEEDED, "gpt-5", any_model=True) is not None
    assert admission.limits_of(context) is not None
    assert await admission.admit(context, NOTHING_NEEDED, "gpt-5") is not None
    with pytest.raises(RateLimited, match="for the model group opus: 1 requests per minute"):
        await admission.admit(context, NOTHING_NEEDED, "gpt-5", any_model=True)


async def test_stored_limits_of_a_group_that_is_gone_are_warned_of_once(server: RedisServer) -> None:
    one = Allowance(RateLimits(requests=1))
    context, store = await key_with(server, opus=one, gone=one), store_on(server)
    await store.set_allowance("tenant:red", Allowance().with_group("gone", one), ACTOR)
    event = "limits_of_unknown_model_group"
    with capture_logs() as logs:
        directory = (await admission_on(server)).directory
        assert [(line["scope"], line["group"]) for line in logs] == [("tenant:red", "gone")]
        for _ in range(2):
            await directory.ensure_cached(context.key_id)
            await directory.refresh()
        assert [(line["event"], line["scope"]) for line in logs[1:]] == [(event, f"key:{context.key_id}")]
        await store.set_allowance("tenant:red", Allowance(RateLimits(requests=2)).with_group("gone", one), ACTOR)
        await directory.refresh()
        assert len(logs) == 2
    with capture_logs() as logs:
        directory.configure(ClientKeys([], b"s", FileAccess(model_groups={"gone": ("*",)})), None)
    assert [(line["scope"], line["group"]) for line in logs] == [(f"key:{context.key_id}", "opus")]


def test_warnings_of_groups_are_bounded() -> None:
    allowance, warnings = Allowance().with_group("gone", Allowance(RateLimits(1))), GroupWarnings()
    with capture_logs() as logs:
        for number in range(MAX_WARNINGS + 5):
            warnings.warn(f"key:{number}", allowance, ModelGroups({}))
    assert len(logs) == MAX_WARNINGS
