"""`If-Match` and `Idempotency-Key` in the admin API."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Live
from tests.e2e.test_access import ADMIN, admin, front

__all__ = ["front"]

LIMIT = {"scope": {"type": "workspace", "workspace_id": "red"}, "amount": "500", "gateway": {"new": True}}


async def ask(live: Live, path: str, body: Any, **headers: str) -> tuple[int, Any, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{live.admin_url}/v1/organizations{path}"
    async with aiohttp.ClientSession(headers=ADMIN) as session, session.post(url, json=body, headers=named) as reply:
        return reply.status, await reply.json(), reply.headers.get("etag", "")


async def test_repeated_post_has_one_effect_and_one_answer(front: Live) -> None:
    body = {"name": "ci", "workspace_id": "red"}
    first = await ask(front, "/api_keys", body, idempotency_key="k1")
    assert first[0] == 200
    assert await ask(front, "/api_keys", dict(reversed(body.items())), idempotency_key="k1") == first
    assert len((await admin(front, "GET", "/api_keys"))[1]["data"]) == 1
    for path, other in (("/api_keys", {**body, "name": "cd"}), (f"/api_keys/{first[1]['id']}/rotate", body)):
        status, answer, _ = await ask(front, path, other, idempotency_key="k1")
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert (await ask(front, "/api_keys", body, idempotency_key="k2"))[0] == 409  # the name is taken


async def test_change_with_the_etag_of_an_older_version_is_refused(front: Live) -> None:
    _, made, first = await ask(front, "/api_keys", {"name": "ci"})
    path = f"/api_keys/{made['id']}"
    status, _, second = await ask(front, path, {"max_tokens": 5}, if_match=first)
    assert (status, first, second) == (200, '"1"', '"2"')
    status, answer, _ = await ask(front, path, {"max_tokens": 6}, if_match=first)
    assert (status, answer["error"]["message"][:9]) == (412, "if-match:")
    assert (await ask(front, f"{path}/rotate", {}, if_match=f"W/{second}"))[0] == 200
    assert (await ask(front, path, {"max_tokens": 7}, if_match="*"))[0] == 200


@pytest.mark.parametrize(
    "headers", [{"if_match": "yes"}, {"if_match": "9" * 5000}, {"idempotency_key": ""}, {"idempotency_key": "k" * 256}]
)
async def test_conditions_that_cannot_be_read_are_refused(front: Live, headers: dict[str, str]) -> None:
    status, answer, _ = await ask(front, "/limits", {"scope": "tenant:red", "new": True}, **headers)
    assert (status, next(iter(headers)).replace("_", "-") in answer["error"]["message"]) == (400, True)


async def test_budgets_of_one_scope_that_are_set_at_once_are_all_there_or_refused(front: Live) -> None:
    periods = ("daily", "weekly", "monthly", "total")
    found = await asyncio.gather(*(ask(front, "/spend_limits", {**LIMIT, "period": one}) for one in periods))
    accepted = {period for period, (status, _, _) in zip(periods, found, strict=True) if status == 200}
    assert {status for status, _, _ in found} <= {200, 409}
    data = (await admin(front, "GET", "/spend_limits"))[1]["data"]
    assert {one["period"] for one in data} == accepted
    status, _, etag = await ask(front, "/spend_limits", {**LIMIT, "period": "daily", "amount": "7"})
    assert status == 200
    for amount, expected in (("8", 200), ("9", 412)):
        body = {**LIMIT, "period": "daily", "amount": amount}
        assert (await ask(front, "/spend_limits", body, if_match=etag))[0] == expected
