"""The role lead has access to the client keys of one tenant, with their limits, budgets and use, and to no other."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import anthropic
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from gateway.web.routes import ADMIN_LEAD_ROUTES, ADMIN_ROLES
from tests.cli.conftest import dragoman
from tests.console.test_authorization import address
from tests.e2e.conftest import Live, serving
from tests.support.redis_server import redis_server

ADMIN = "admin-key-0123456789"
HELLO: dict[str, Any] = {"model": "sim/text-3", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Tenants:
    """Tenants red and blue with a key each, and the key of the lead of red."""

    def __init__(self, live: Live, lead: str, keys: dict[str, dict[str, Any]]) -> None:
        self.live, self.lead, self.keys = live, lead, keys

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        url = f"{self.live.admin_url}/v1/organizations{path}"
        async with (
            aiohttp.ClientSession(headers={"x-api-key": key or self.lead}) as session,
            session.request(method, url, json=body) as response,
        ):
            return response.status, await response.json()

    async def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        status, answer = await self.call(method, path, body)
        assert status >= 400, answer
        return status, answer["error"]["message"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants() -> AsyncIterator[Tenants]:
    async with (
        redis_server() as url,
        Simulator() as simulator,
        serving(simulator, redis_url=url, keys=None, admin_key=ADMIN, secret="t:secret") as live,
    ):
        variables = {"GATEWAY_REDIS_URL": url, "GATEWAY_SECRET": "t:secret"}
        made = await dragoman("keys", "create", "boss", "--tenant", "red", "--role", "lead", "--json", **variables)
        found = Tenants(live, made.lines[0]["key"], {"boss": made.lines[0]})
        for name, tenant, user in (("one", "red", "ann"), ("two", "blue", "bob")):
            body = {"name": name, "workspace_id": tenant, "user": user, "budget": {"amount_usd": 5}}
            status, found.keys[name] = await found.call("POST", "/api_keys", body, ADMIN)
            assert status == 200
            await live.client(api_key=found.keys[name]["key"]).messages.create(**HELLO)
        for scope in ({"type": "workspace", "workspace_id": "red"}, {"type": "user", "user_id": "ann"}):
            await found.call("POST", "/spend_limits", {"scope": scope, "amount": "900"}, ADMIN)
        yield found


async def test_lead_has_its_own_routes_and_no_others(tenants: Tenants) -> None:
    assert set(ADMIN_ROLES) >= ADMIN_LEAD_ROUTES
    for (method, path), role in ADMIN_ROLES.items():
        if role == "open":
            continue
        async with aiohttp.ClientSession(headers={"x-api-key": tenants.lead}) as session:
            url = tenants.live.admin_url + address(path)
            async with session.request(method, url, data=None if method == "GET" else b"{}") as response:
                assert (response.status == 403) == ((method, path) not in ADMIN_LEAD_ROUTES), path
                assert response.status != 500, path


@pytest.mark.covers("Access · a lead of each tenant")
async def test_lead_makes_limits_and_disables_keys_of_its_tenant(tenants: Tenants) -> None:
    body = {"name": "new", "user": "ann", "limits": {"requests_per_minute": 1}}
    status, made = await tenants.call("POST", "/api_keys", body)
    assert (status, made["workspace_id"]) == (200, "red")
    client = tenants.live.client(api_key=made["key"], max_retries=0)
    await client.messages.create(**HELLO)
    with pytest.raises(anthropic.RateLimitError, match="Limit of key new"):
        await client.messages.create(**HELLO)
    limits = {"limits": {"concurrency": 5}}
    assert (await tenants.call("POST", "/api_keys/new", limits))[0] == 200, "a name is as good as an id"
    await client.messages.create(**HELLO)
    status, rotated = await tenants.call("POST", f"/api_keys/{made['id']}/rotate", {"grace_seconds": 0})
    assert (status, rotated["key"] != made["key"]) == (200, True)
    assert (await tenants.call("POST", f"/api_keys/{made['id']}", {"status": "archived"}))[0] == 200


async def test_lead_sees_keys_budgets_and_use_of_its_tenant_alone(tenants: Tenants) -> None:
    _, listed = await tenants.call("GET", "/api_keys")
    assert {one["workspace_id"] for one in listed["data"]} == {"red"}
    assert "boss" not in [one["name"] for one in listed["data"]]
    for path in ("/spend_limits", "/spend_limits/effective"):
        _, budgets = await tenants.call("GET", path)
        scopes = [one["scope"] for one in budgets["data"]]
        assert {"type": "workspace", "workspace_id": "red"} in scopes
        assert {"type": "api_key", "api_key_id": tenants.keys["one"]["id"]} in scopes
        assert len(scopes) == 2, "the budget of ann counts in other tenants too"
    start = datetime.now(UTC) - timedelta(days=1)
    query = f"?starting_at={start:%Y-%m-%dT00:00:00Z}&group_by[]=workspace_id&workspace_ids[]=blue"
    for path in ("/usage_report/messages", "/cost_report", "/analytics/usage", "/analytics/cost"):
        _, report = await tenants.call("GET", f"{path}{query}")
        rows = [row for bucket in report["data"] for row in bucket.get("results", [bucket.get("group")])]
        assert {row["workspace_id"] for row in rows} == {"red"}, path
    _, workspaces = await tenants.call("GET", "/workspaces?include_default=true")
    assert [one["id"] for one in workspaces["data"]] == ["red"]


async def test_another_tenants_things_and_keys_with_a_role_are_unknown_to_a_lead(tenants: Tenants) -> None:
    _, foreign = await tenants.call("GET", "/spend_limits", key=ADMIN)
    budgets = {one["scope"].get("api_key_id"): one["id"] for one in foreign["data"]}
    two, boss = tenants.keys["two"], tenants.keys["boss"]
    for method, path, body in (
        ("GET", "/api_keys/{}", None),
        ("POST", "/api_keys/{}", {"status": "inactive"}),
        ("POST", "/api_keys/{}/rotate", {}),
    ):
        for wanted in (two["id"], "two", boss["id"], "boss"):
            status, message = await tenants.refusal(method, path.format(wanted), body)
            assert (status, message.startswith(f"There is no key '{wanted}'.")) == (404, True), path
            assert not {"two", "boss"} & set(message.removeprefix(f"There is no key '{wanted}'.").split()), message
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/reset")):
        limit = budgets[two["id"]]
        assert await tenants.refusal(method, f"/spend_limits/{limit}{path}") == (
            404,
            f"There is no spend limit {limit[:80]!r}.",
        )
    for path in ("", "/members", "/members/bob", "/rate_limits"):
        assert (await tenants.refusal("GET", f"/workspaces/blue{path}"))[0] == 404
    assert (await tenants.refusal("POST", "/api_keys", {"name": "x", "workspace_id": "blue"}))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        pytest.param("/api_keys", {"name": "x", "role": "admin"}, 400, "there is no such field", id="a role"),
        pytest.param("/api_keys", {"name": "x", "user": "bob"}, 404, "no member of this workspace 'bob'", id="a user"),
        pytest.param("/api_keys/one", {"user": "bob"}, 404, "There is only ann", id="a user of a key that it has"),
        pytest.param("/api_keys/one", {"priority": "high"}, 403, "low or normal", id="before other tenants"),
        *(
            pytest.param("/spend_limits", {"scope": scope, "amount": amount}, 403, "limits of keys alone", id=name)
            for name, scope, amount in (
                ("the budget of its tenant", {"type": "workspace", "workspace_id": "red"}, "99900"),
                ("the budget of a person", {"type": "user", "user_id": "ann"}, "1"),
                ("the budget of the deployment", {"type": "organization"}, None),
            )
        ),
        pytest.param(
            "/spend_limits",
            {"scope": {"type": "api_key", "api_key_id": "two"}, "amount": "1"},
            404,
            "There is no key 'two'.",
            id="the budget of another tenant's key",
        ),
    ],
)
async def test_lead_gives_nothing_beyond_its_tenant(
    tenants: Tenants, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    found, message = await tenants.refusal("POST", path, body)
    assert (found, words in message) == (status, True), message


async def test_lead_resets_budgets_of_keys_and_not_of_its_tenant(tenants: Tenants) -> None:
    _, budgets = await tenants.call("GET", "/spend_limits")
    statuses = {}
    for one in budgets["data"]:
        statuses[one["scope"]["type"]], _ = await tenants.call("POST", f"/spend_limits/{one['id']}/reset")
    assert statuses == {"workspace": 403, "api_key": 200}


async def test_lead_answers_requests_for_budgets_of_its_keys_alone(tenants: Tenants) -> None:
    url = f"{tenants.live.url}/api/spend_limit_increase_requests"
    asked = {}
    _, own = await tenants.call("POST", "/api_keys", {"name": "asks", "budget": {"amount_usd": 1}})
    for name, key in (("two", tenants.keys["two"]["key"]), ("asks", own["key"])):
        async with (
            aiohttp.ClientSession(headers={"x-api-key": key}) as session,
            session.post(url, json={"amount": "100"}) as response,
        ):
            asked[name] = (await response.json())["id"]
    _, listed = await tenants.call("GET", "/spend_limit_increase_requests")
    assert [one["id"] for one in listed["data"]] == [asked["asks"]]
    path = f"/spend_limit_increase_requests/{asked['two']}"
    for method, answer, body in (("GET", "", None), ("POST", "/approve", {"amount": "100"}), ("POST", "/deny", {})):
        assert (await tenants.refusal(method, path + answer, body))[0] == 404
    path = f"/spend_limit_increase_requests/{asked['asks']}/approve"
    status, done = await tenants.call("POST", path, {"amount": "100"})
    assert (status, done["status"]) == (200, "approved")
