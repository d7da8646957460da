"""The official SDK's Admin API resources on the admin listener: reports, spend limits; and exports of the same."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys
from gateway.access.spend import SpendStore
from gateway.cli.spend_export import ROWS, write_entries
from gateway.context import Context
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from gateway.web.api.own_usage import own_budgets
from tests.e2e.conftest import Live, serving
from tests.support.redis_server import redis_server
from tests.support.waiting import until

ADMIN = "admin-key-0123456789"
HELLO: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = (("ann", "sim/text-3"), ("ann", "sim/text-3"), ("bob", "sim/text-3"), ("ann", "sim/tool"))

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Organization:
    """A front end after some requests of two users, with the SDK on its admin listener."""

    def __init__(self, live: Live, server: RedisServer, keys: dict[str, str]) -> None:
        self.live, self.server, self.keys = live, server, keys
        self.sdk = live.client(base_url=live.admin_url, api_key=ADMIN).beta.organization

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        return await self._ask("GET", path, query)

    async def post(self, path: str) -> tuple[int, Any]:
        return await self._ask("POST", path, {})

    async def _ask(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        url = f"{self.live.admin_url}/v1/organizations{path}"
        async with (
            aiohttp.ClientSession(headers={"x-api-key": ADMIN}) as session,
            session.request(method, url, params=query) as response,
        ):
            return response.status, await response.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organization() -> AsyncIterator[Organization]:
    async with (
        redis_server() as url,
        Simulator() as simulator,
        serving(simulator, redis_url=url, keys=None, admin_key=ADMIN) as live,
    ):
        keys = {}
        for user in ("ann", "bob"):
            made = await made_key(live, user)
            keys[user] = made["id"]
            client = live.client(api_key=made["key"])
            for _, model in [one for one in REQUESTS if one[0] == user]:
                await client.messages.create(model=model, **HELLO)
        redis = Redis.from_url(url, protocol=2)
        server = RedisServer(redis, Keys())

        async def is_settled() -> bool:  # settlements are sent beside requests
            return len([entry async for entry in SpendStore(server).entries()]) == len(REQUESTS)

        await until(is_settled, seconds=20)
        yield Organization(live, server, keys)
        await redis.aclose()


async def made_key(live: Live, name: str, user: str = "") -> dict[str, Any]:
    url = f"{live.admin_url}/v1/organizations/api_keys"
    body = {"name": name, "user": user or name, "workspace_id": "red"}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": ADMIN}) as session,
        session.post(url, json=body) as response,
    ):
        return dict(await response.json())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, {"ann", "bob"}),
        ({"workspace_id": "red"}, {"ann", "bob"}),
        ({"workspace_id": "blue"}, set()),
        ({"status": "active"}, {"ann", "bob"}),
        ({"status": "archived"}, set()),
    ],
)
async def test_keys_are_listed_by_workspace_and_status(
    organization: Organization, query: dict[str, str], names: set[str]
) -> None:
    status, listed = await organization.get("/api_keys", **query)
    assert (status, {key["name"] for key in listed["data"]} & {"ann", "bob"}) == (200, names)


def begin() -> str:
    """The begin of the day, and of the day before for a run over midnight."""
    return (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")


async def test_cost_report_sums_equal_the_entries_in_every_grouping(organization: Organization) -> None:
    entries = [entry async for entry in SpendStore(organization.server).entries()]
    whole = sum(entry["cost"] for entry in entries)
    assert whole > 0
    for groups in ([], ["model"], ["actor"], ["api_key_id", "model"], ["workspace_id", "actor"], ["session_id"]):
        query = [("starting_at", begin()), *(("group_by[]", name) for name in groups)]
        status, body = await organization.get("/cost_report?" + "&".join(f"{a}={b}" for a, b in query))
        assert status == 200, body
        rows = [row for bucket in body["data"] for row in bucket["results"]]
        assert sum(round(float(row["amount"]) * 1e7) for row in rows) == whole, groups
        assert sum(row["requests"] for row in rows) == len(REQUESTS)


async def test_sdk_reads_cost_and_usage_by_person_and_model(organization: Organization) -> None:
    rows = [row async for row in organization.sdk.analytics.cost.list(starting_at=begin(), group_by=["actor", "model"])]
    found = {(row.group.actor.user_id, row.group.model): row.cost.requests for row in rows}  # type: ignore[union-attr]
    assert found == {("ann", "sim/text-3"): 2, ("bob", "sim/text-3"): 1, ("ann", "sim/tool"): 1}
    usage = [row async for row in organization.sdk.analytics.usage.list(starting_at=begin(), group_by=["api_key_id"])]
    assert {row.group.api_key_id for row in usage} == set(organization.keys.values())
    assert all(row.usage.uncached_input_tokens > 0 and row.usage.output_tokens > 0 for row in usage)


async def test_report_is_filtered_and_paged_by_days_with_a_cursor_of_its_own(organization: Organization) -> None:
    starts = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%dT00:00:00Z")
    query = {"starting_at": starts, "limit": "2", "models[]": "sim/tool", "group_by[]": "model"}
    _, first = await organization.get("/usage_report/messages", **query)
    assert (len(first["data"]), first["has_more"]) == (2, True)
    _, second = await organization.get("/usage_report/messages", **query, page=first["next_page"])
    rows = [row for page in (first, second) for bucket in page["data"] for row in bucket["results"]]
    assert [row["requests"] for row in rows] == [1]
    assert (second["has_more"], second["next_page"]) == (False, None)
    status, error = await organization.get(
        "/usage_report/messages", **{**query, "models[]": "x"}, page=first["next_page"]
    )
    assert (status, error["error"]["message"].split(":")[0]) == (400, "page")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "starting_at: is required"),
        ({"starting_at": "soon"}, "starting_at: must be a time"),
        ({"starting_at": "2026-11-02T00:00:00Z", "ending_at": "2026-11-01T00:00:00Z"}, "ending_at: must be later"),
        ({"starting_at": "2026-11-02T00:00:00Z", "bucket_width": "1h"}, "bucket_width: must be 1d"),
        ({"starting_at": "2026-11-02T00:00:00Z", "group_by[]": "mood"}, "group_by[]: mood is not one of"),
        ({"starting_at": "0001-01-01T00:00:00+23:59"}, "starting_at: must be a time"),
        ({"starting_at": "9999-12-31T23:59:59-01:00"}, "starting_at: must be a time"),
        ({"starting_at": "2026-11-02T00:00:00Z", "limit": "0"}, "limit: must be 1 to 31"),
        ({"starting_at": "2026-11-02T00:00:00Z", "limit": "9" * 5000}, "limit: must be 1 to 31"),
    ],
)
async def test_wrong_parameter_of_a_report_is_named(
    organization: Organization, query: dict[str, str], words: str
) -> None:
    status, error = await organization.get("/usage_report/messages", **query)
    assert status == 400
    assert words in error["error"]["message"]


async def test_sdk_sets_lists_shows_and_deletes_spend_limits(organization: Organization) -> None:
    limits = organization.sdk.spend_limits
    made = await limits.set(scope={"type": "user", "user_id": "ann"}, amount="50000", period="daily")
    again = await limits.set(scope={"type": "user", "user_id": "ann"}, amount="60000", period="daily")
    monthly = await limits.set(scope={"type": "workspace", "workspace_id": "red"}, amount="7")
    assert (made.id, again.amount, monthly.period) == (again.id, "60000", "monthly")
    assert {(one.id, one.amount) async for one in limits.list()} == {(made.id, "60000"), (monthly.id, "7")}
    assert (await limits.retrieve(made.id)).scope.type == "user"
    _, effective = await organization.get("/spend_limits/effective")
    assert {row["spend_limit_id"] for row in effective["data"]} == {made.id, monthly.id}
    _, first = await organization.get("/spend_limits/effective", limit="1")
    _, second = await organization.get("/spend_limits/effective", limit="1", page=first["next_page"])
    assert [*first["data"], *second["data"]] == effective["data"]
    assert (first["has_more"], second["has_more"], second["next_page"]) == (True, False, None)
    status, row = await organization.post(f"/spend_limits/{made.id}/reset")
    assert (status, row["spend_limit_id"], row["period_to_date_spend"]) == (200, made.id, "0")
    assert (await limits.delete(made.id)).id == made.id
    with pytest.raises(anthropic.NotFoundError):
        await limits.retrieve(made.id)
    for amount in ("12.10", "-5", "1e3", ""):
        with pytest.raises(anthropic.BadRequestError, match="whole cents"):
            await limits.set(scope={"type": "organization"}, amount=amount)


async def test_exports_have_every_entry_once_and_quote_what_a_client_sent(organization: Organization) -> None:
    entries = [entry async for entry in SpendStore(organization.server).entries()]
    written: dict[str, str] = {}
    for form in ("jsonl", "csv", "sql"):
        out = io.StringIO()
        await write_entries(SpendStore(organization.server).entries(), form, out)
        written[form] = out.getvalue()
    assert [orjson.loads(line) for line in written["jsonl"].splitlines()] == entries
    rows = list(csv.DictReader(io.StringIO(written["csv"])))
    assert [(row["id"], int(row["cost"])) for row in rows] == [(entry["id"], entry["cost"]) for entry in entries]
    assert written["sql"].count("insert into dragoman_usage") == 1, "one statement for many rows"
    assert all(f"'{entry['id']}'" in written["sql"] for entry in entries)


async def hostile() -> AsyncIterator[dict[str, Any]]:
    yield {"at": "2026-11-01T00:00:00.000+00:00", "id": "a", "session": "x'); drop table t; --\0", "cost": 5}


async def test_text_in_sql_cannot_end_its_literal() -> None:
    out = io.StringIO()
    await write_entries(hostile(), "sql", out)
    assert "'x''); drop table t; --'" in out.getvalue()
    assert "\0" not in out.getvalue()


@pytest.mark.parametrize("count", [0, ROWS, ROWS + 1])
async def test_export_in_statements_of_many_rows_leaves_none_out(count: int) -> None:
    async def several() -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield {"at": "2026-11-01T00:00:00.000+00:00", "id": f"req_{number}", "cost": number}

    out = io.StringIO()
    assert await write_entries(several(), "sql", out) == count
    statements = [one for one in out.getvalue().split(";\n") if one.startswith("insert into dragoman_usage (")]
    assert [one.count("'req_") for one in statements] == [ROWS, 1][: -(-count // ROWS)]
    assert all(one.endswith(")\non conflict (id) do nothing") for one in statements)


async def test_client_sees_what_it_has_spent_of_its_own_budgets(organization: Organization) -> None:
    await organization.sdk.spend_limits.set(scope={"type": "user", "user_id": "bob"}, amount="1", period="monthly")
    made = await made_key(organization.live, "bob-2", user="bob")
    client = organization.live.client(api_key=made["key"])
    await client.messages.create(model="sim/text-3", **HELLO)
    async with (
        aiohttp.ClientSession(headers={"x-api-key": made["key"]}) as session,
        session.get(f"{organization.live.url}/api/oauth/usage") as response,
    ):
        body = await response.json()
    assert (body["extra_usage"]["is_enabled"], body["extra_usage"]["monthly_limit"]) == (True, 1)
    own = [(one["kind"], one["severity"]) for one in body["limits"] if one["group"] == "monthly"]
    assert own == [("spend", "normal")]
    key = {"type": "api_key", "api_key_id": made["id"]}
    await organization.sdk.spend_limits.set(scope={"type": "workspace", "workspace_id": "red"}, amount=None)
    for of_key, of_user, shown in (("900", "700", 700), ("300", "700", 300)):
        await organization.sdk.spend_limits.set(scope=key, amount=of_key, period="monthly")  # type: ignore[arg-type]
        await organization.sdk.spend_limits.set(scope={"type": "user", "user_id": "bob"}, amount=of_user)

        async def is_shown(expected: int = shown) -> bool:
            return bool((await own_usage(organization.live, made["key"]))["monthly_limit"] == expected)

        await until(is_shown)  # the budget with the least left


async def own_usage(live: Live, key: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": key}) as session,
        session.get(f"{live.url}/api/oauth/usage") as response,
    ):
        body: dict[str, Any] = await response.json()
    return dict(body["extra_usage"])


async def test_without_redis_nothing_is_spent() -> None:
    assert await own_budgets(Directory(ClientKeys([], b"s")), Context("req", "red", "k")) == []
