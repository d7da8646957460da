"""Workspaces, users, roles, rate limits, federation and requests for higher budgets, by the official SDK."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import Live, serving
from tests.support.issuer import ISSUER
from tests.support.redis_server import redis_server

ADMIN = "admin-key-0123456789"
HELLO: dict[str, Any] = {"model": "sim/text-3", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
FILE = f"""
[[keys]]
name = "file"
key = "file-key"
tenant = "green"
user = "gil"
budget_usd = 5

[limits."user:gil"]
rpm = 77

[limits.deployment]
rpm = 5000

[model_groups]
texts = ["sim/text-*"]
others = ["other*"]

[[identity.issuers]]
issuer = "{ISSUER}"
jwks_url = "{ISSUER}/keys"

[[identity.rules]]
name = "robots"
issuer = "{ISSUER}"
subject = "robot:*"
tenant = "robots"
rpm = 3
token_lifetime_seconds = 900

[[identity.rules]]
name = "people"
issuer = "{ISSUER}"
groups = ["dev"]
email_domain = "example.com"
user_claim = "email"
role = "admin"
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Company:
    def __init__(self, live: Live, redis_url: str) -> None:
        self.live, self.redis_url = live, redis_url
        self.sdk = live.client(base_url=live.admin_url, api_key=ADMIN).beta.organization

    async def call(self, method: str, path: str, body: Any = None, key: str = ADMIN) -> tuple[int, Any]:
        base = self.live.url if path.startswith("/api/") else f"{self.live.admin_url}/v1/organizations"
        async with (
            aiohttp.ClientSession(headers={"x-api-key": key}) as session,
            session.request(method, base + path, json=body) as response,
        ):
            return response.status, await response.json()

    async def key(self, name: str, **fields: Any) -> dict[str, Any]:
        status, made = await self.call("POST", "/api_keys", {"name": name, **fields})
        assert status == 200, made
        return dict(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Company]:
    file = tmp_path_factory.mktemp("organization") / "gateway.toml"
    await asyncio.to_thread(file.write_text, FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_CONFIG", str(file))
        async with (
            redis_server() as url,
            Simulator() as simulator,
            serving(simulator, redis_url=url, keys=None, admin_key=ADMIN) as live,
        ):
            found = Company(live, url)
            for name, user, tenant in (("a", "ann", "red"), ("b", "bob", "red"), ("c", "ann", "blue")):
                await found.key(name, user=user, workspace_id=tenant)
            yield found


async def test_tenants_are_workspaces_with_their_users_as_members(company: Company) -> None:
    names = [one.id async for one in company.sdk.workspaces.list(limit=2)]
    assert names == ["blue", "green", "red", "robots"]
    assert "default" in [one.id async for one in company.sdk.workspaces.list(include_default=True)]
    assert [one.id async for one in company.sdk.workspaces.list(ids=["red", "none"])] == ["red"]
    assert (await company.sdk.workspaces.retrieve("red")).created_at.year > 2000
    members = company.sdk.workspaces.members
    assert [one.user_id async for one in members.list("red")] == ["ann", "bob"]
    assert (await members.retrieve("bob", workspace_id="red")).workspace_role == "workspace_developer"
    with pytest.raises(anthropic.NotFoundError, match=r"no workspace 'rde'\. Did you mean red"):
        await company.sdk.workspaces.retrieve("rde")
    with pytest.raises(anthropic.NotFoundError, match="no member of this workspace 'bob'"):
        await members.retrieve("bob", workspace_id="blue")


async def test_users_and_roles_are_listed(company: Company) -> None:
    users = [one async for one in company.sdk.users.list()]
    assert [(one.id, one.role) for one in users] == [("ann", "developer"), ("bob", "developer"), ("gil", "developer")]
    assert (await company.sdk.users.retrieve("ann")).name == "ann"
    assert [one async for one in company.sdk.users.list(roles=["admin"])] == []
    assert [one.id async for one in company.sdk.rbac_roles.list(limit=2)] == ["admin", "lead", "operator", "viewer"]
    assert (await company.sdk.rbac_roles.retrieve("viewer")).source.type == "built_in"


async def test_rules_of_identity_are_federation_rules_and_service_accounts(company: Company) -> None:
    [issuer] = [one async for one in company.sdk.federation.issuers.list()]
    assert (issuer.issuer_url, issuer.jwks.type) == (ISSUER, "explicit_url")
    assert (await company.sdk.federation.issuers.retrieve(issuer.id)).id == issuer.id
    rules = {one.id: one async for one in company.sdk.federation.rules.list(issuer_id=issuer.id, limit=1)}
    assert sorted(rules) == ["people", "robots"]
    robots = rules["robots"]
    assert (robots.match.subject_prefix, robots.workspace_ids, robots.token_lifetime_seconds) == (
        "robot:*",
        ["robots"],
        900,
    )
    account = await company.sdk.service_accounts.retrieve(robots.target.service_account_id)
    assert (account.name, account.organization_role) == ("robots", "developer")
    accounts = {one.id: one.organization_role async for one in company.sdk.service_accounts.list()}
    assert accounts == {"rule_people": "admin", "rule_robots": "developer"}
    places = [one.workspace_id async for one in company.sdk.service_accounts.workspaces.list(account.id)]
    assert places == ["robots"]
    assert [one.workspace_id async for one in company.sdk.federation.rules.workspaces.list("robots")] == ["robots"]
    held = [one.service_account_id async for one in company.sdk.workspaces.service_accounts.list("robots")]
    assert held == ["rule_robots"]
    assert [one async for one in company.sdk.federation.rules.list(issuer_id="fdis_none")] == []


async def test_rate_limits_of_a_workspace_are_set_beside_those_of_the_organization(company: Company) -> None:
    [entry] = [one async for one in company.sdk.rate_limits.list()]
    assert [(one.type, one.value) for one in entry.limits] == [("requests_per_minute", 5000)]
    limits = company.sdk.workspaces.rate_limits
    assert [one async for one in limits.list("blue")] == []
    changes: list[Any] = [
        {"type": "requests_per_minute", "value": 60},
        {"type": "output_tokens_per_minute", "value": 9000},
    ]
    made = await limits.update(entry.id, workspace_id="blue", limits=changes)
    assert {one.type: (one.value, one.org_limit) for one in made.limits} == {
        "requests_per_minute": (60, 5000),
        "output_tokens_per_minute": (9000, None),
    }
    removed: list[Any] = [{"type": "requests_per_minute", "value": None}]
    left = await limits.update(entry.id, workspace_id="blue", limits=removed)
    assert [one.type for one in left.limits] == ["output_tokens_per_minute"]
    [shown] = [one async for one in limits.list("blue", include_inherited=True)]
    assert [(one.type, one.value, one.source.type) for one in shown.limits] == [
        ("output_tokens_per_minute", 9000, "workspace"),
        ("requests_per_minute", 5000, "organization"),
    ]
    assert [one async for one in limits.list("blue", group_type="batch")] == []
    made_key = await company.key("limited", workspace_id="blue")
    raw = await company.live.client(api_key=made_key["key"]).messages.with_raw_response.create(**HELLO)
    assert raw.headers["anthropic-ratelimit-output-tokens-limit"] == "9000"
    for rate_limit, workspace, wrong, words in (
        ("none", "blue", changes, "no rate limit 'none'"),
        (entry.id, "bleu", changes, "Did you mean blue"),
        (entry.id, "blue", [{"type": "tokens_per_day", "value": 1}], r"limits\.0\.type: must be one of"),
        (entry.id, "blue", [{"type": "concurrency", "value": 0}], r"limits\.0\.value: must be a positive"),
    ):
        with pytest.raises(anthropic.APIStatusError, match=words):
            await limits.update(rate_limit, workspace_id=workspace, limits=wrong)  # type: ignore[arg-type]


async def test_limits_of_a_model_group_are_set_for_a_workspace_and_a_key(company: Company) -> None:
    limits = company.sdk.workspaces.rate_limits
    one: list[Any] = [{"type": "requests_per_minute", "value": 1}]
    key = await company.key("texts-only", workspace_id="violet", model_groups={"others": {"budget": {"amount_usd": 3}}})
    made = await limits.update("texts", workspace_id="violet", limits=one)
    assert (made.rate_limit_id, made.models, made.group.id) == ("texts", ["sim/text-*"], "texts")
    listed = [(entry.rate_limit_id, len(entry.limits)) async for entry in limits.list("violet")]
    assert listed == [("texts", 1)]
    client = company.live.client(api_key=key["key"], max_retries=0)
    await client.messages.create(**HELLO)
    with pytest.raises(anthropic.RateLimitError, match="Limit of tenant violet for the model group texts: 1 requests"):
        await client.messages.create(**HELLO)
    await client.messages.create(**HELLO | {"model": "sim/echo"})
    budgets = company.sdk.spend_limits
    [shown] = [one async for one in budgets.list() if one.scope.type == "api_key" and one.amount == "300"]
    status, again = await company.call("POST", f"/spend_limits/{shown.id}/reset")
    assert (status, again["period_to_date_spend"]) == (200, "0")
    group = {"model_group": "others"}
    scope = {"type": "api_key", "api_key_id": key["id"]}
    status, changed = await company.call("POST", "/spend_limits", {"scope": scope, "amount": "400", "gateway": group})
    assert (status, changed["id"], changed["gateway"]["model_group"]) == (200, shown.id, "others")
    _, stored = await company.call("GET", f"/api_keys/{key['id']}")
    assert stored["gateway"]["model_groups"]["others"]["budgets"][0]["amount"] == 4_000_000_000
    assert stored["gateway"]["budgets"] == []
    for path, body, status, words in (
        ("/api_keys", {"name": "x", "model_groups": {"none": {}}}, 400, "model_groups.none: there is no such group"),
        ("/api_keys", {"name": "x", "model_groups": {"texts": 5}}, 400, "model_groups: must be an object of objects"),
        ("/api_keys", {"name": "x", "model_groups": {"texts": {"rpm": 5}}}, 400, "model_groups.texts.rpm: there is no"),
        ("/spend_limits", {"scope": scope, "amount": "1", "gateway": {"model_group": "txts"}}, 404, "mean texts"),
        ("/workspaces/violet/rate_limits/txts", {"limits": one}, 404, "Did you mean texts"),
    ):
        found, error = await company.call("POST", path, body)
        assert (found, words in error["error"]["message"]) == (status, True), error


async def test_limit_of_a_name_that_does_not_exist_is_refused_with_the_closest_ones(company: Company) -> None:
    limits = company.sdk.spend_limits
    await company.key("asks-for-nothing")
    for scope, words in (
        ({"type": "user", "user_id": "annn"}, "no user .*annn.* Did you mean ann"),
        ({"type": "workspace", "workspace_id": "rad"}, "no tenant .*rad.* Did you mean red"),
        (
            {"type": "api_key", "api_key_id": "asks-for-nothin"},
            "no key .*asks-for-nothin.* Did you mean",
        ),
    ):
        with pytest.raises(anthropic.NotFoundError, match=words):
            await limits.set(scope=scope, amount="100")  # type: ignore[arg-type]
    status, error = await company.call("POST", "/limits", {"scope": "user:an", "limits": {"concurrency": 1}})
    assert (status, "Did you mean ann" in error["error"]["message"]) == (404, True)
    status, _ = await company.call(
        "POST", "/limits", {"scope": "tenant:later", "limits": {"concurrency": 1}, "new": True}
    )
    assert status == 200
    person = await limits.set(scope={"type": "user", "user_id": "new@example.com"}, amount="100")
    assert person.amount == "100", "a token may name this user"
    await limits.delete(person.id)


async def test_amount_that_is_no_number_of_nano_dollars_is_refused(company: Company) -> None:
    with pytest.raises(anthropic.BadRequestError, match="amount: must be at most 900719925"):
        await company.sdk.spend_limits.set(scope={"type": "user", "user_id": "ann"}, amount="9" * 18)


async def test_limits_in_the_file_stay_when_a_budget_is_set_beside_them(company: Company) -> None:
    made = await company.sdk.spend_limits.set(scope={"type": "user", "user_id": "gil"}, amount="1000")
    _, shown = await company.call("GET", "/limits?scope=user:gil")
    assert shown["limits"] == {"requests": 77}
    await company.sdk.spend_limits.delete(made.id)


async def test_client_asks_for_a_higher_budget_and_an_administrator_answers(company: Company) -> None:
    made = await company.key("asks", user="una", budget={"amount_usd": 1})
    await company.sdk.spend_limits.set(scope={"type": "user", "user_id": "una"}, amount="1", period="daily")
    path, ask = "/api/spend_limit_increase_requests", {"period": "daily", "amount": "500", "reason": "a migration"}
    assert (await company.call("POST", path, {"period": []}, made["key"]))[0] == 400
    status, asked = await company.call("POST", path, ask, made["key"])
    assert (status, asked["status"], asked["period"]) == (200, "pending", "daily")
    assert (await company.call("POST", path, ask, made["key"]))[1]["id"] == asked["id"], "one open request"
    requests = company.sdk.spend_limits.increase_requests
    [found] = [one async for one in requests.list(status=["pending"])]
    assert (found.id, found.actor.type, found.spend_summary.amount) == (asked["id"], "user_actor", "1")  # type: ignore[union-attr]
    approved = await requests.approve(found.id, amount="700")
    assert (approved.status, approved.spend_limit.amount) == ("approved", "700")  # type: ignore[union-attr]
    assert approved.resolved_by is not None
    assert (await requests.approve(found.id, amount="700")).status == "approved", "a repetition"
    for call in (requests.approve(found.id, amount="800"), requests.deny(found.id)):
        with pytest.raises(anthropic.BadRequestError, match="is already approved"):
            await call
    _, other = await company.call("POST", path, {}, made["key"])
    assert other["period"] == "monthly", "the budget with the least left"
    assert (await requests.deny(other["id"])).status == "denied"
    assert (await requests.deny(other["id"])).status == "denied"
    assert (await requests.retrieve(other["id"])).status == "denied"
    own = (await company.call("GET", path, key=made["key"]))[1]["data"]
    assert [one["status"] for one in own] == ["denied", "approved"]
    actions = [one["action"] for one in (await company.call("GET", "/audit"))[1]["data"]]
    assert actions.count("budget_increase_asked") == 2
    assert {"budget_increase_approved", "budget_increase_denied"} <= set(actions)
    with pytest.raises(anthropic.NotFoundError):
        await requests.retrieve("slir_none")


async def dragoman(url: str, *arguments: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments, "--json"),
        env={**os.environ, "GATEWAY_REDIS_URL": url, "GATEWAY_SECRET": "t:secret"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, orjson.loads(out)


async def test_request_for_a_higher_budget_is_answered_on_the_command_line(company: Company) -> None:
    made = await company.key("cli", budget={"amount_usd": 1})
    path = "/api/spend_limit_increase_requests"
    _, asked = await company.call("POST", path, {"reason": "more\x1b[2J"}, made["key"])
    status, listed = await dragoman(company.redis_url, "limits", "requests")
    assert (status, [one["id"] for one in listed["data"]]) == (0, [asked["id"]])
    for _ in range(2):  # again is no change
        status, done = await dragoman(company.redis_url, "limits", "approve", asked["id"], "--budget-usd", "3")
        assert (status, done["status"]) == (0, "approved")
    _, shown = await company.call("GET", f"/api_keys/{made['id']}")
    assert [one["amount"] for one in shown["gateway"]["budgets"]] == [3_000_000_000]
    assert (await dragoman(company.redis_url, "limits", "deny", asked["id"]))[0] != 0
    status, done = await dragoman(company.redis_url, "limits", "reset", "key:cli")
    [reset] = done["reset"]
    assert (status, reset) == (0, {"model_group": None, "period": "month", "time_zone": "UTC", "spent_usd": 0.0})
    status, done = await dragoman(company.redis_url, "limits", "reset", "key:file")
    assert (status, [one["spent_usd"] for one in done["reset"]]) == (0, [0.0])
    listed = {one.scope.api_key_id: one async for one in company.sdk.spend_limits.list() if one.scope.type == "api_key"}
    in_file = listed["key_file_file"]
    assert (in_file.amount, (await company.call("POST", f"/spend_limits/{in_file.id}/reset"))[0]) == ("500", 200)
    status, error = await company.call("DELETE", f"/spend_limits/{in_file.id}")
    assert (status, error["error"]["message"]) == (400, "The limits of file are in gateway.toml; change them there.")
    assert (await dragoman(company.redis_url, "limits", "reset", "tenant:none"))[0] != 0
    status, error = await dragoman(company.redis_url, "limits", "set", "user:bobb", "--rpm", "1")
    assert (status != 0, "Did you mean bob" in str(error)) == (True, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"period": "hourly"}, "period: must be one of"),
        ({"amount": "1.5"}, "amount: must be whole cents"),
        ({"reason": "x" * 501}, "reason: must be text"),
        ({"sum": 1}, "sum: there is no such field"),
        ({}, "no budget of your own that can be raised here"),
    ],
)
async def test_wrong_request_for_a_higher_budget_is_named(company: Company, body: dict[str, Any], words: str) -> None:
    status, error = await company.call("POST", "/api/spend_limit_increase_requests", body, "file-key")
    assert (status, words in error["error"]["message"]) == (400, True), error


async def test_lists_by_cursor_are_stable_while_objects_are_added_and_bound_to_their_filters(company: Company) -> None:
    limits = company.sdk.spend_limits
    for user in ("ann", "bob", "gil"):
        await limits.set(scope={"type": "user", "user_id": user}, amount="5", period="weekly")
    _, first = await company.call("GET", "/spend_limits?limit=2&scope_type[]=user")
    await limits.set(scope={"type": "user", "user_id": "0@example.com"}, amount="5", period="weekly")
    seen = [one["id"] for one in first["data"]]
    page = first["next_page"]
    while page:
        _, more = await company.call("GET", f"/spend_limits?limit=2&scope_type[]=user&page={page}")
        seen += [one["id"] for one in more["data"]]
        page = more["next_page"]
    assert len(seen) == len(set(seen)) >= 3
    for query in (f"limit=2&page={first['next_page']}", "page=page_zzz", "page=%00", "limit=0"):
        assert (await company.call("GET", f"/spend_limits?{query}"))[0] == 400
    [effective] = [one async for one in limits.effective.list(user_ids=["bob"], period=["weekly"])]
    assert effective.amount == "5"


async def test_resource_that_is_not_served_is_named_with_those_that_are(company: Company) -> None:
    with pytest.raises(anthropic.NotFoundError, match=r"has no .*invites.* It has .*api_keys, .*workspaces"):
        await company.sdk.invites.create(email="a@example.com", role="user")
    with pytest.raises(anthropic.NotFoundError, match="no such path below workspaces"):
        await company.sdk.workspaces.archive("red")
    with pytest.raises(anthropic.APIStatusError, match="Method POST is not allowed here; use GET"):
        await company.sdk.workspaces.create(name="x")
