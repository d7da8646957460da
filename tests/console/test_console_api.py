"""The JSON behind the console's pages, from real traffic on a real Redis."""

import asyncio
import csv
import io
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from gateway.redis.codec import pack
from gateway.redis.keys import Keys
from gateway.web.console.batches import SAMPLE
from gateway.web.console.exchanges import MAX_VIEWERS
from tests.console.stage import ADMIN_KEY, HOSTILE, TENANTS, Stage, spend_a_month, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def get(stage: Stage, path: str) -> Any:
    status, value = await stage.api("GET", path)
    assert status == 200, value
    return value


async def test_exchanges_are_listed_newest_first_by_filter(stage: Stage) -> None:
    listed = await get(stage, "/api/exchanges?limit=1000")
    rows = listed["data"]
    assert listed["searched"] == len(rows)
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    failed = (await get(stage, "/api/exchanges?status=failed"))["data"]
    assert sorted(row["status"] for row in failed) == [429, 500, 502, 529, 529]
    of_tenant = (await get(stage, "/api/exchanges?tenant=research&limit=1000"))["data"]
    assert {row["tenant"] for row in of_tenant} == {"research"}
    assert 0 < len(of_tenant) < len(rows)
    assert (await get(stage, "/api/exchanges?session=session-acme&limit=1"))["data"][0]["tenant"] == "acme"


async def test_request_is_found_by_its_id_with_attempts_and_notes(stage: Stage) -> None:
    body = {
        "model": "sim/text-3",
        "max_tokens": 9,
        "top_k": 3,
        "messages": [{"role": "user", "content": "canary-prompt"}],
    }
    headers = {"x-api-key": TENANTS["acme"]}
    async with stage.session.post(f"{stage.url}/v1/messages", json=body, headers=headers) as response:
        request_id, answer = response.headers["request-id"], await response.text()
    await stage.seen(20)
    row = await get(stage, f"/api/exchanges/{request_id}")
    assert row["calls"][0][:2] == ["openrouter", "200"]
    assert (row["tenant"], row["model"], row["output_tokens"] > 0) == ("acme", "sim/text-3", True)
    shown = orjson.dumps(row).decode()
    assert "canary-prompt" not in shown
    assert orjson.loads(answer)["content"][0]["text"] not in shown
    assert TENANTS["acme"] not in shown


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", f"limit={'9' * 5000}", "since=x", f"tenant={'x' * 300}"]
)
async def test_wrong_query_is_a_400(stage: Stage, query: str) -> None:
    assert (await stage.api("GET", f"/api/exchanges?{query}"))[0] == 400


async def test_unknown_request_is_a_404_that_names_the_log(stage: Stage) -> None:
    status, body = await stage.api("GET", "/api/exchanges/req_unknown")
    assert (status, "log" in body["error"]["message"]) == (404, True)


async def test_failures_are_grouped_by_cause_with_examples(stage: Stage) -> None:
    groups = (await get(stage, "/api/errors"))["data"]
    assert sum(group["count"] for group in groups) == 5
    assert max(groups, key=lambda group: group["count"])["status"] == 529
    assert {group["cause"]: group["meaning"] for group in groups}["overloaded"] == "the upstream has no room now"
    for group in groups:
        for example in group["examples"]:
            row = await get(stage, f"/api/exchanges/{example}")
            assert (row["status"], row["meaning"]) == (group["status"], group["meaning"])


async def test_overview_counts_the_exchanges_of_a_quarter_of_an_hour(stage: Stage) -> None:
    overview = await get(stage, "/api/overview")
    assert overview["fleet"] == {"front end": 1, "worker": 0}
    assert len(overview["series"]["live"]) == 90
    assert overview["tiles"]["cost_of"] == "today"
    assert overview["tiles"]["cost"] > 0


async def test_overview_warns_about_batches_without_a_worker(stage: Stage) -> None:
    batch = await stage.create_batch("acme", 2)
    problems = (await get(stage, "/api/overview"))["problems"]
    assert any("no worker runs" in problem["text"] and problem["help"] == "dragoman worker" for problem in problems)
    await stage.api("POST", f"/api/batches/{batch}/cancel", json={})


async def test_upstreams_are_shown_by_model(stage: Stage) -> None:
    rows = (await get(stage, "/api/upstreams"))["data"]
    by_model = {row["model"]: row for row in rows}
    assert by_model["sim/text-2"]["failed"] == 0
    assert by_model["sim/text-2"]["exchanges"] == 3
    assert HOSTILE in by_model


async def test_batches_of_all_tenants_show_counts_before_their_end(stage: Stage) -> None:
    batch = await stage.create_batch("research", 3)
    [row] = [row for row in (await get(stage, "/api/batches"))["data"] if row["id"] == batch]
    assert (row["tenant"], row["total"], row["counts"]["processing"]) == ("research", 3, 3)
    assert {row["tenant"] for row in (await get(stage, "/api/batches?tenant=acme"))["data"]} <= {"acme"}
    status, changed = await stage.api("POST", f"/api/batches/{batch}/cancel", json={})
    assert (status, changed["status"], changed["counts"]["canceled"]) == (200, "ended", 3)
    audit = (await get(stage, "/v1/organizations/audit"))["data"]
    details = [entry["details"] for entry in audit if entry["action"] == "batch_canceled"]
    assert {"batch": batch, "tenant": "research"} in details
    assert (await get(stage, f"/api/batches/{batch}"))["errors"] == []


async def test_failures_of_a_large_batch_are_counted_in_a_sample(stage: Stage) -> None:
    batch = await stage.create_batch("research", 1)
    error = {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}}
    blobs = {str(one): pack(orjson.dumps({"custom_id": f"r{one}", "result": error})) for one in range(2 * SAMPLE)}
    async with Redis.from_url(stage.redis_url) as redis:
        await redis.hset(Keys("gw:").batch(batch).err, mapping=blobs)
    shown = await get(stage, f"/api/batches/{batch}")
    [found] = shown["errors"]
    assert (found["type"], found["count"], len(found["examples"])) == ("overloaded_error", SAMPLE, 3)
    assert (shown["sampled"], shown["counts"]["errored"]) == (SAMPLE, 2 * SAMPLE)
    await stage.api("POST", f"/api/batches/{batch}/cancel", json={})


async def test_unknown_batch_is_a_404(stage: Stage) -> None:
    assert (await stage.api("GET", "/api/batches/msgbatch_x"))[0] == 404
    assert (await stage.api("POST", "/api/batches/msgbatch_x/cancel", json={}))[0] == 404


async def test_spend_equals_the_csv(stage: Stage) -> None:
    await spend_a_month(stage.redis_url)
    report = await get(stage, "/api/spend?by=tenant")
    async with stage.session.get(f"{stage.admin_url}/api/usage.csv", headers={"x-api-key": ADMIN_KEY}) as response:
        rows = list(csv.DictReader(io.StringIO(await response.text())))
        assert "attachment" in response.headers["content-disposition"]
    for row in report["data"]:
        of_tenant = [one for one in rows if one["tenant"] == row["tenant"]]
        assert sum(int(one["requests"]) for one in of_tenant) == row["requests"]
        assert float(sum(Decimal(one["cost_usd"]) for one in of_tenant)) == pytest.approx(row["cost"], abs=1e-9)


async def test_csv_cell_of_a_hostile_name_is_no_formula(stage: Stage) -> None:
    today = datetime.now(UTC).date().isoformat()
    async with Redis.from_url(stage.redis_url) as redis:
        await redis.hset(Keys().usage_sums(today), "acme||k|=HYPERLINK(1)|p|requests", 1)
    async with stage.session.get(f"{stage.admin_url}/api/usage.csv", headers={"x-api-key": ADMIN_KEY}) as response:
        assert ",'=HYPERLINK(1)," in await response.text()


async def test_spend_of_the_first_days_of_the_calendar_is_nothing(stage: Stage) -> None:
    assert (await get(stage, "/api/spend?to=0001-01-02"))["data"] == []


@pytest.mark.parametrize("query", ["by=nothing", "from=yesterday", "from=2026-02-01&to=2026-01-01", "from=2020-01-01"])
async def test_wrong_spend_query_is_a_400(stage: Stage, query: str) -> None:
    assert (await stage.api("GET", f"/api/spend?{query}"))[0] == 400


async def test_keys_are_listed_with_their_last_use_and_without_their_text(stage: Stage) -> None:
    status, made = await stage.api("POST", "/api/keys", json={"name": "ci", "workspace_id": "red"})
    assert status == 200
    listed = await get(stage, "/api/keys")
    assert {row["source"] for row in listed["data"]} == {"configured", "made"}
    assert all(row["last_used"] for row in listed["data"] if row["source"] == "configured")
    assert made["key"] not in orjson.dumps(listed).decode()
    assert (await stage.api("PATCH", f"/api/keys/{made['id']}", json={"status": "inactive"}))[1]["status"] == "inactive"


async def test_fleet_shows_settings_without_secrets(stage: Stage) -> None:
    fleet = await get(stage, "/api/fleet")
    assert fleet["redis"]["product"]
    shown = orjson.dumps(fleet).decode()
    for secret in (ADMIN_KEY, *TENANTS.values(), "sk-upstream-canary", "t:secret"):
        assert secret not in shown


async def test_live_events_respect_the_filters_of_the_list(stage: Stage) -> None:
    names: list[str] = []
    tenants: list[str] = []
    timeout = aiohttp.ClientTimeout(total=30)
    url = f"{stage.admin_url}/api/events?tenant=research"
    async with stage.session.get(url, headers={"x-api-key": ADMIN_KEY}, timeout=timeout) as response:
        assert response.content_type == "text/event-stream"
        asked = False
        async for line in response.content:
            if line.startswith(b"event: "):
                names.append(line.decode()[7:].strip())
            if line.startswith(b"data: ") and names[-1] == "exchange":
                tenants.append(orjson.loads(line[6:])["tenant"])
                break
            if not asked and names:
                asked = True
                await stage.ask("acme")
                await stage.ask("research")
    assert names[0] == "overview"
    assert tenants == ["research"]


async def test_consoles_beyond_the_limit_are_refused_until_others_leave(stage: Stage) -> None:
    url, headers = f"{stage.admin_url}/api/events", {"x-api-key": ADMIN_KEY}
    async with AsyncExitStack() as stack, aiohttp.ClientSession(headers=headers) as session:
        watching = [await stack.enter_async_context(session.get(url)) for _ in range(MAX_VIEWERS)]
        assert {one.status for one in watching} == {200}
        async with session.get(url) as refused:
            assert (refused.status, refused.headers["retry-after"]) == (529, "30")
        watching[0].close()
        async with asyncio.timeout(20):
            while True:
                async with session.get(url) as again:
                    if again.status == 200:
                        break
                await asyncio.sleep(0.05)


async def test_process_without_redis_shows_its_own_exchanges() -> None:
    async with staged(redis_url=None) as bare:
        await bare.ask("acme")
        [row] = await bare.seen(1)
        assert row["tenant"] == "acme"
        overview = await get(bare, "/api/overview")
        assert overview["tiles"]["cost_of"] == "15 minutes"
        assert (await bare.api("GET", "/api/batches"))[0] == 503
        assert (await get(bare, "/api/fleet"))["redis"] is None


async def test_gone_processes_leave_the_fleet(stage: Stage) -> None:
    async with Redis.from_url(stage.redis_url) as redis:
        report = {"name": "old", "kind": "worker", "version": "0", "seen": 1.0, "started": 1.0, "lag_ms": 0.0}
        await redis.hset(Keys().fleet, "worker old", orjson.dumps(report))
    names = [one["name"] for one in (await get(stage, "/api/fleet"))["processes"]]
    assert "old" not in names
    async with Redis.from_url(stage.redis_url) as redis:
        assert not await redis.hexists(Keys().fleet, "worker old")
