"""Keys that may be used from some networks only."""

from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys, Pepper
from gateway.access.records import KeyRecord
from gateway.access.store import AccessStore, Actor
from gateway.errors import PermissionDenied
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from gateway.web.admin.authorization import OtherCallers
from tests.e2e.conftest import Live, serving
from tests.e2e.test_access import ADMIN, HELLO, admin, new_key

ELSEWHERE = "203.0.113.0/24"


async def status_of(live: Live, key: str, **headers: str) -> tuple[int, Any]:
    named = {"x-api-key": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    body = {"model": "sim/text-3", **HELLO}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{live.url}/v1/messages", json=body, headers=named) as answer,
    ):
        return answer.status, await answer.json()


async def test_key_is_refused_outside_its_networks_until_they_are_changed(simulator: Simulator, redis_url: str) -> None:
    changes: dict[str, Any] = {"redis_url": redis_url, "redis_prefix": "addr:", "keys": None}
    async with serving(simulator, admin_key=ADMIN["x-api-key"], **changes) as live:
        free, bound = await new_key(live, name="free"), await new_key(live, name="bound", addresses=[ELSEWHERE])
        assert (await status_of(live, free["key"]))[0] == 200
        status, answer = await status_of(live, bound["key"], x_forwarded_for="203.0.113.9")
        assert (status, answer["error"]["type"]) == (403, "permission_error")
        assert answer["error"]["message"] == "Key bound may not be used from this address."
        path = f"/api_keys/{bound['id']}"
        _, changed = await admin(live, "POST", path, {"addresses": ["127.0.0.0/8"]})
        assert changed["gateway"]["addresses"] == ["127.0.0.0/8"]
        async with serving(simulator, **changes, trusted_proxies="127.0.0.1") as proxied:
            assert (await status_of(proxied, bound["key"]))[0] == 200
            assert (await status_of(proxied, bound["key"], x_forwarded_for="203.0.113.9"))[0] == 403
            assert (await status_of(proxied, free["key"], x_forwarded_for="203.0.113.9"))[0] == 200
        status, refused = await admin(live, "POST", path, {"addresses": ["10.0.0.1/8"]})
        assert (status, refused["error"]["message"].startswith("addresses: expected")) == (400, True)


async def test_key_of_the_admin_api_is_bound_to_its_networks_too(redis_url: str) -> None:
    async with Redis.from_url(redis_url, protocol=2) as redis:
        store = AccessStore(RedisServer(redis, Keys("admin-addr:")), Pepper(b"s"), b"s")
        record = KeyRecord("", "ops", role="viewer", addresses=(ELSEWHERE,))
        _, key = await store.create_key(record, Actor("cli", "tests"))
        callers = OtherCallers(Directory(ClientKeys([], b"s"), store))
        found = await callers.find(key, "203.0.113.9")
        assert found is not None
        assert found.role == "viewer"
        with pytest.raises(PermissionDenied, match="from this address"):
            await callers.find(key, "127.0.0.1")
