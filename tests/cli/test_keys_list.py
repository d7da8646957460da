"""`dragoman keys list` has the keys of GATEWAY_KEYS too, by the ids that log lines have."""

import aiohttp
from structlog.testing import capture_logs

from gateway.simulator.loopback import Simulator
from tests.cli.conftest import dragoman
from tests.e2e.conftest import KEY, serving

BODY = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


async def test_configured_keys_are_listed_by_tenant_and_the_id_of_the_log(redis_url: str) -> None:
    async with Simulator() as simulator, serving(simulator, redis_url=redis_url) as live:
        with capture_logs() as captured:
            url, headers = f"{live.url}/v1/messages", {"x-api-key": KEY}
            async with aiohttp.ClientSession() as session, session.post(url, json=BODY, headers=headers) as answer:
                assert answer.status == 200
        [line] = [line["fields"] for line in captured if line["event"] == "exchange_finished"]
    variables = {"GATEWAY_KEYS": f"tests:{KEY}", "GATEWAY_SECRET": "t:secret", "GATEWAY_REDIS_URL": redis_url}
    ran = await dragoman("keys", "list", **variables)
    assert ran.out == f"{line['key']}  tenant tests  GATEWAY_KEYS\n"
    [shown] = (await dragoman("keys", "list", "--json", **variables)).lines[0]["data"]
    assert (shown["id"], shown["tenant"]) == (line["key"], "tests")
    assert KEY not in ran.all
