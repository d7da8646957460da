"""Rules of identity in a gateway.toml that changes while the front end serves."""

import time
from asyncio import to_thread
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.app import running
from gateway.simulator.loopback import Simulator
from tests.chaos.world import until
from tests.e2e.conftest import settings_for
from tests.support.issuer import AUDIENCE, ISSUER, RSA, token

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
KEYS = orjson.dumps({"keys": [RSA.as_dict(private=False)]}).decode()
FILE = f"""
[identity]
audience = ["{AUDIENCE}"]
managed_settings = {{ model = "MODEL" }}

[[identity.issuers]]
issuer = "{ISSUER}"
jwks = '{KEYS}'

[[identity.rules]]
name = "RULE"
issuer = "{ISSUER}"
subject = "ann"
role = "ROLE"
"""


def file_with(rule: str, role: str, model: str) -> str:
    return FILE.replace("RULE", rule).replace("ROLE", role).replace("MODEL", model)


async def test_changed_rules_hold_for_exchange_managed_settings_and_the_admin_listener(
    simulator: Simulator, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(file_with("first", "viewer", "one"))
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", simulator.url)  # the file is read again without the settings below
    now = int(time.time())
    bearer = token(iat=now, exp=now + 3600)
    settings = settings_for(simulator, keys=None, redis_url=redis_url, redis_prefix="identity-reload:")
    async with running(settings) as addresses, aiohttp.ClientSession() as session:
        assert addresses.admin is not None
        url, admin_url = (f"http://{host}:{port}" for host, port in (addresses.client, addresses.admin))

        async def seen(rule: str) -> tuple[int, str, int]:
            """Return the status of an exchange, the model of the managed settings, and the status of a change."""
            body: dict[str, Any] = {"grant_type": GRANT, "assertion": bearer, "federation_rule_id": rule}
            headers = {"authorization": f"Bearer {bearer}"}
            async with session.post(f"{url}/v1/oauth/token", json=body) as exchanged:
                pass
            async with session.get(f"{url}/managed/settings", headers=headers) as shown:
                model = (await shown.json())["settings"]["model"]
            async with session.post(f"{admin_url}/cache/clear", headers=headers) as changed:
                return exchanged.status, model, changed.status

        assert await seen("first") == (200, "one", 403)
        await to_thread(path.write_text, file_with("second", "operator", "two"))

        async def is_in_force() -> bool:
            return (await seen("second"))[1] == "two"

        await until(is_in_force, "the changed file")
        exchanged, _, changed = await seen("second")
        assert exchanged == 200
        assert changed != 403, "the rule's role has changed too"
        assert (await seen("first"))[0] == 401, "this rule is gone"
