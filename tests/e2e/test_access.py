"""Keys, limits and budgets as clients and operators meet them: over HTTP, by the official SDK and by the CLI."""

import os
import re
import sys
from asyncio import Event, create_subprocess_exec, sleep, subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, stream_script
from tests.e2e.conftest import KEY, Live, front_end, serving
from tests.e2e.test_streams import chunk
from tests.support.messages_server import messages_server
from tests.support.raw_http import converse, request
from tests.support.waiting import until

HELLO: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
ADMIN = {"x-api-key": "admin-key-0123456789"}


@pytest.fixture
async def front(simulator: Simulator, redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Live]:
    prefix = re.sub(r"[^a-z0-9_-]+", "-", request.node.name)[-60:] + ":"
    changes = {"redis_url": redis_url, "redis_prefix": prefix, "keys": None, "admin_key": ADMIN["x-api-key"]}
    async with serving(simulator, **changes) as live:
        yield live


async def admin(live: Live, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=ADMIN) as session,
        session.request(method, f"{live.admin_url}/v1/organizations{path}", json=body, **options) as response,
    ):
        return response.status, await response.json()


async def new_key(live: Live, **fields: Any) -> dict[str, Any]:
    status, made = await admin(live, "POST", "/api_keys", {"name": "ci", "workspace_id": "red", **fields})
    assert status == 200, made
    return dict(made)


@pytest.mark.covers("Access · keys, hashed, in two headers")
async def test_made_key_works_at_once_for_the_sdk_in_both_headers(front: Live) -> None:
    made = await new_key(front)
    by_key, by_bearer = front.client(api_key=made["key"]), front.client(api_key=None, auth_token=made["key"])
    for client in (by_key, by_bearer):
        message = await client.messages.create(model="sim/text-3", **HELLO)
        assert message.type == "message"
    assert "digests" not in made
    assert made["key"] not in orjson.dumps((await admin(front, "GET", "/api_keys"))[1]).decode()


@pytest.mark.covers("Access · limits on every reply")
async def test_limits_are_in_the_headers_of_every_reply_and_refusals_have_the_sdks_class(front: Live) -> None:
    made = await new_key(front, limits={"requests_per_minute": 2})
    client = front.client(api_key=made["key"])
    for remaining, stream in ((1, False), (0, True)):
        raw = await client.messages.with_raw_response.create(model="sim/text-3", stream=stream, **HELLO)
        assert raw.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert raw.headers["anthropic-ratelimit-requests-remaining"] == str(remaining)
    with pytest.raises(anthropic.RateLimitError) as refused:
        await client.messages.create(model="sim/text-3", **HELLO)
    assert refused.value.response.headers["x-gateway-limit"] == f"key:{made['id']};requests"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60


async def test_spent_budget_is_a_billing_error_that_no_sdk_retries(front: Live) -> None:
    made = await new_key(front, budget={"amount_usd": "0.0000001", "period": "daily"})
    requests_before = len(front.simulator.requests())
    with pytest.raises(anthropic.APIStatusError) as refused:
        await front.client(api_key=made["key"], max_retries=3).messages.create(model="sim/text-3", **HELLO)
    assert refused.value.status_code == 429
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.response.json()["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert len(front.simulator.requests()) == requests_before


async def test_answer_is_shortened_to_what_the_budget_buys(front: Live) -> None:
    made = await new_key(front, budget={"amount_usd": "0.1"})
    raw = await front.client(api_key=made["key"], timeout=20).messages.with_raw_response.create(
        model="sim/text-3", **{**HELLO, "max_tokens": 100_000}
    )
    lowered = int(raw.headers["x-gateway-max-tokens"])
    assert 1024 <= lowered < 4000  # $0.1 at $25 per million tokens
    assert front.simulator.requests()[-1].json["max_tokens"] == lowered
    assert "changed:max_tokens" in raw.headers["x-gateway-ignored"]


async def test_key_has_its_own_floor_for_a_shortened_answer(front: Live) -> None:
    body: dict[str, Any] = {"model": "sim/text-3", **HELLO, "max_tokens": 100_000}
    for floor, words in (("off", "this request may cost more"), (50_000, "this request may cost more"), (64, None)):
        made = await new_key(front, name=f"floor-{floor}", budget={"amount_usd": "0.01"}, shrink_floor=floor)
        assert made["gateway"]["shrink_floor"] == floor
        client = front.client(api_key=made["key"], timeout=20)
        if words is None:
            raw = await client.messages.with_raw_response.create(**body)
            assert 64 <= int(raw.headers["x-gateway-max-tokens"]) < 1024
        else:
            with pytest.raises(anthropic.APIStatusError, match=words):
                await client.messages.create(**body)


async def test_native_upstream_gets_a_shortened_answer_with_still_shorter_thinking(
    simulator: Simulator, redis_url: str
) -> None:
    changes = {"redis_url": redis_url, "redis_prefix": "native-floor:", "keys": None, "admin_key": ADMIN["x-api-key"]}
    async with (
        messages_server() as upstream,
        serving(simulator, upstream_url=upstream.url, upstream_flavor=None, dialect="messages", **changes) as front,
    ):
        made = await new_key(front, budget={"amount_usd": "0.1"})
        raw = await front.client(api_key=made["key"], timeout=20).messages.with_raw_response.create(
            model="claude-x", **{**HELLO, "max_tokens": 60_000}, thinking={"type": "enabled", "budget_tokens": 50_000}
        )
        sent = orjson.loads(upstream.requests[-1].body)
    assert sent["max_tokens"] == int(raw.headers["x-gateway-max-tokens"]) < 6000
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": sent["max_tokens"] - 1}
    assert raw.headers["x-gateway-dialect"] == "messages; edited"


async def test_length_that_a_chat_client_leaves_out_is_sent_where_a_budget_was_reserved_for_it(front: Live) -> None:
    body = {"model": "sim/text-3", "messages": HELLO["messages"]}
    for fields, is_sent in (({}, False), ({"budget": {"amount_usd": "5"}}, True)):
        made = await new_key(front, name=f"chat-{is_sent}", **fields)
        async with (
            aiohttp.ClientSession(headers={"x-api-key": made["key"]}) as session,
            session.post(front.url + "/v1/chat/completions", json=body) as response,
        ):
            assert response.status == 200
        assert ("max_tokens" in front.simulator.requests()[-1].json) is is_sent


async def test_budget_is_reserved_for_every_answer_that_is_asked_for(front: Live) -> None:
    made = await new_key(front, budget={"amount_usd": "0.1"})
    body = {"model": "sim/text-3", "messages": HELLO["messages"], "max_tokens": 1000}
    async with aiohttp.ClientSession(headers={"x-api-key": made["key"]}) as session:
        for several, status in ((1, 200), (2, 200), (50, 402)):
            async with session.post(front.url + "/v1/chat/completions", json={**body, "n": several}) as response:
                assert response.status == status, await response.text()
                if status == 200:
                    assert front.simulator.requests()[-1].json["n"] == several
    assert len(front.simulator.requests()) == 2


async def test_budget_is_reserved_for_a_dearer_model_that_the_request_names(front: Live) -> None:
    made = await new_key(front, budget={"amount_usd": "0.02"}, shrink_floor="off")
    body: dict[str, Any] = {"model": "sim/echo", **HELLO, "max_tokens": 1000}  # $5 per million tokens
    dearer = "sim/unlisted"  # without a price: counted as $25
    advisor = {"type": "openrouter:advisor", "parameters": {"model": dearer, "max_uses": 1}}
    async with aiohttp.ClientSession(headers={"x-api-key": made["key"]}) as session:
        for fields, status in (({}, 200), ({"models": [dearer]}, 429), ({"tools": [advisor]}, 429)):
            async with session.post(front.url + "/v1/messages", json=body | fields) as response:
                assert response.status == status, await response.text()
    assert len(front.simulator.requests()) == 1


async def test_key_counts_tokens_for_its_models_only(front: Live) -> None:
    made = await new_key(front, models=["sim/text-*"])
    client = front.client(api_key=made["key"])
    assert (await client.messages.count_tokens(model="sim/text-3", messages=HELLO["messages"])).input_tokens > 0
    with pytest.raises(anthropic.PermissionDeniedError, match="may not use the model sim/tool"):
        await client.messages.count_tokens(model="sim/tool", messages=HELLO["messages"])


@pytest.mark.covers("Access · models of a key")
async def test_key_may_only_use_its_models(front: Live) -> None:
    made = await new_key(front, models=["sim/text-*"])
    client = front.client(api_key=made["key"])
    await client.messages.create(model="sim/text-3", **HELLO)
    with pytest.raises(anthropic.PermissionDeniedError, match="may not use the model sim/tool"):
        await client.messages.create(model="sim/tool", **HELLO)


async def test_disabled_key_is_refused_from_the_next_request_on_and_enabled_again(front: Live) -> None:
    made = await new_key(front, limits={"requests_per_minute": 100})
    client = front.client(api_key=made["key"])
    await client.messages.create(model="sim/text-3", **HELLO)
    assert (await admin(front, "POST", f"/api_keys/{made['id']}", {"status": "inactive"}))[1]["status"] == "inactive"
    with pytest.raises(anthropic.AuthenticationError):
        await client.messages.create(model="sim/text-3", **HELLO)
    await admin(front, "POST", f"/api_keys/{made['id']}", {"status": "active"})
    await until_accepted(client, expected=True)


async def test_disabled_key_without_limits_is_refused_within_seconds(front: Live) -> None:
    made = await new_key(front)
    client = front.client(api_key=made["key"])
    assert await is_accepted(client)
    await admin(front, "POST", f"/api_keys/{made['id']}", {"status": "inactive"})
    await until_accepted(client, expected=False)


async def test_stream_of_a_key_that_is_disabled_meanwhile_ends_regularly(front: Live) -> None:
    made, gate = await new_key(front, limits={"requests_per_minute": 100}), Event()
    last = {"choices": [{"index": 0, "delta": {"content": "two"}, "finish_reason": "stop"}]}
    front.simulator.script(stream_script(chunk("one"), Hold(gate), last, b"data: [DONE]\n\n"))
    client = front.client(api_key=made["key"])
    async with client.messages.stream(model="sim/text-3", **HELLO) as stream:
        texts = stream.text_stream
        assert await anext(texts) == "one"
        await admin(front, "POST", f"/api_keys/{made['id']}", {"status": "inactive"})
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="sim/text-3", **HELLO)
        gate.set()
        assert (await stream.get_final_text()) == "onetwo"


@pytest.mark.parametrize("grace", [0, 3600])
@pytest.mark.covers("Access · rotation with a grace")
async def test_rotated_key_has_two_values_until_the_grace_ends(front: Live, grace: int) -> None:
    made = await new_key(front)
    status, rotated = await admin(front, "POST", f"/api_keys/{made['id']}/rotate", {"grace_seconds": grace})
    assert (status, rotated["id"]) == (200, made["id"])
    assert await is_accepted(front.client(api_key=rotated["key"]))
    assert await is_accepted(front.client(api_key=made["key"])) is (grace > 0)


async def test_replies_to_the_old_value_of_a_rotated_key_name_its_end(front: Live) -> None:
    made = await new_key(front, models=["sim/*"])
    _, rotated = await admin(front, "POST", f"/api_keys/{made['id']}/rotate", {"grace_seconds": 3600})
    old, new = (front.client(api_key=key) for key in (made["key"], rotated["key"]))
    await until_accepted(new, expected=True)
    for model, stream in (("sim/text-3", False), ("sim/text-3", True), ("other", False)):
        ends = []
        for client in (old, new):
            try:
                raw = await client.messages.with_raw_response.create(model=model, stream=stream, **HELLO)
                headers = raw.headers
            except anthropic.PermissionDeniedError as error:
                headers = error.response.headers
            ends.append(headers.get_list("x-gateway-key-expires"))
        in_an_hour = datetime.now(UTC) + timedelta(hours=1)
        assert len(ends[0]) == 1
        assert abs(datetime.fromisoformat(ends[0][0]) - in_an_hour) < timedelta(minutes=2)
        assert ends[1] == []


async def until_accepted(client: anthropic.AsyncAnthropic, *, expected: bool) -> None:
    """Wait for a change of a key without limits; a second is enough on an idle machine."""

    async def is_in_force() -> bool:
        return await is_accepted(client) is expected

    await until(is_in_force)


async def is_accepted(client: anthropic.AsyncAnthropic) -> bool:
    try:
        await client.messages.create(model="sim/text-3", **HELLO)
    except anthropic.AuthenticationError:
        return False
    return True


WRONG = {
    "no name": ({"name": None}, "name: a name is required"),
    "a name with a line end": ({"name": "a\nb"}, "name: expected 1 to 64"),
    "an unknown limit": ({"limits": {"rpm": 1}}, "limits: must be an object with some of"),
    "a limit of nothing": ({"limits": {"requests_per_minute": 0}}, "limits.requests_per_minute: must be a positive"),
    "a negative budget": ({"budget": {"amount_usd": -1}}, "budget: -1 is not an amount"),
    "an unknown period": ({"budget": {"amount_usd": 1, "period": "hourly"}}, "budget: 'hourly' is not a period"),
    "an unknown zone": ({"budget": {"amount_usd": 1, "time_zone": "Mars"}}, "budget: 'Mars' is not a time zone"),
    "an unknown field": ({"budgets": {"amount_usd": 1}}, "budgets: there is no such field; there are "),
    "an unknown field of a budget": ({"budget": {"amount_usd": 1, "zone": "UTC"}}, "budget.zone: there is no such"),
    "models that are no list": ({"models": "x"}, "models: must be a list"),
    "a floor of nothing": ({"shrink_floor": 0}, "shrink_floor: must be a positive whole number"),
    "no time": ({"expires_at": "soon"}, "expires_at: must be a time"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_properties_of_a_key_are_named(front: Live, case: str) -> None:
    fields, words = WRONG[case]
    status, error = await admin(front, "POST", "/api_keys", {"name": "ci", **fields})
    assert (status, error["error"]["type"]) == (400, "invalid_request_error")
    assert words in error["error"]["message"]


async def test_admin_request_whose_body_comes_after_its_header_is_read(front: Live) -> None:
    body = b'{"name": "ci", "models": ["%b"]}' % (b"m" * 100_000)
    headers = [("x-api-key", ADMIN["x-api-key"].encode())]
    asked = request("POST", "/v1/organizations/api_keys", body, headers)
    told = await converse(front.admin_url, [asked[: -len(body)], 0.05, body[:99], 0.05, body[99:]], replies=1)
    assert told.statuses == [200]
    asked = request("POST", "/v1/organizations/api_keys", b" " * 1_100_000, headers)
    assert (await converse(front.admin_url, [asked], replies=1)).statuses == [413]


@pytest.mark.covers("Access · admin API")
async def test_admin_api_needs_the_admin_key_and_a_client_key_is_none(front: Live) -> None:
    made = await new_key(front)
    for headers in ({}, {"x-api-key": made["key"]}, {"x-api-key": "wrong"}):
        async with aiohttp.ClientSession() as session:
            for method, path in (("GET", "api_keys"), ("POST", "api_keys"), ("GET", "limits"), ("GET", "audit")):
                url = f"{front.admin_url}/v1/organizations/{path}"
                async with session.request(method, url, headers=headers) as response:
                    assert response.status == 401
    async with aiohttp.ClientSession() as session, session.get(f"{front.url}/v1/organizations/api_keys") as response:
        assert response.status == 404


async def run_cli(variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, **variables}
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_cli_and_front_end_share_keys_and_spend(simulator: Simulator, redis_url: str) -> None:
    variables = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_REDIS_PREFIX": "cli:", "GATEWAY_SECRET": "t:secret"}
    status, out = await run_cli(
        variables, "keys", "create", "ci", "--tenant", "red", "--rpm", "5", "--budget-usd", "1", "--json"
    )
    assert status == 0, out
    made = orjson.loads(out)
    async with serving(simulator, redis_url=redis_url, redis_prefix="cli:", keys=None) as live:
        await live.client(api_key=made["key"]).messages.create(model="sim/text-3", **HELLO)
        for _ in range(100):
            status, out = await run_cli(variables, "spend", "--by", "tenant,key", "--json")
            if orjson.loads(out)["data"]:
                break
            await sleep(0.05)
    [row] = orjson.loads(out)["data"]
    assert (row["tenant"], row["key"], row["requests"]) == ("red", made["id"], 1)
    assert float(row["cost_usd"]) > 0
    again = await run_cli(variables, "keys", "create", "ci", "--tenant", "red")
    assert again[1].startswith("dragoman: There is a key named 'ci' already in the tenant 'red'.")
    assert (await run_cli(variables, "audit", "verify"))[0] == 0
    status, listed = await run_cli(variables, "audit", "list")
    assert (status, listed.split()[0], listed.split()[-3:]) == (0, "1", ["key_created", f"key:{made['id']}", "ci"])
    status, listed = await run_cli(variables, "audit", "list", "--json")
    assert (status, orjson.loads(listed)["target"]) == (0, f"key:{made['id']}")
    elsewhere = {**variables, "GATEWAY_REDIS_PREFIX": "empty:"}
    assert await run_cli(elsewhere, "audit", "list") == (0, "There are no entries.\n")
    status, problem = await run_cli(variables, "audit", "verify", "--anchor", "1 short")
    assert (status, problem.split("\n")[0]) == (2, "dragoman: --anchor: '1 short' is no head")


REFUSED: dict[str, tuple[str, str, dict[str, str], Any, int]] = {
    "a wrong key": ("POST", "/v1/messages", {"x-api-key": "wrong"}, {}, 401),
    "no key": ("POST", "/v1/messages", {"x-api-key": ""}, {}, 401),
    "an invalid body": ("POST", "/v1/messages", {}, {"model": "m"}, 400),
    "an unknown path": ("GET", "/v1/nothing", {}, None, 404),
    "a wrong method": ("GET", "/v1/messages", {}, None, 405),
    "an unknown batch": ("GET", "/v1/messages/batches/msgbatch_0", {}, None, 503),
    "an upstream's refusal": ("POST", "/v1/messages", {}, {**HELLO, "model": "sim/error-429"}, 429),
}


async def test_every_refused_request_has_one_log_line_with_its_id(simulator: Simulator) -> None:
    async with front_end(simulator, GATEWAY_MAX_ATTEMPTS="1") as (live, process), aiohttp.ClientSession() as session:
        ids = {}
        for case, (method, path, headers, body, status) in REFUSED.items():
            async with session.request(
                method, live.url + path, headers={"x-api-key": KEY, **headers}, json=body
            ) as response:
                assert response.status == status, case
                ids[response.headers["request-id"]] = status
        process.process.terminate()
        await process.process.wait()
        await sleep(0.1)
    for request_id, status in ids.items():
        lines = [line for line in process.lines if line.get("request_id") == request_id]
        assert [line["status"] for line in lines] == [status], lines
