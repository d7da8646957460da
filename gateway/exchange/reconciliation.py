"""Late correction of costs: a stream that was broken off ends without its usage, but OpenRouter bills what it had
generated, and reports that by the generation's id some time later.

Until then the estimate counts. The correction goes to the period that the request was admitted in, and is booked once,
also if several processes ask.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
import structlog

from gateway.access.ledger import LATE_SECONDS
from gateway.access.records import NANO
from gateway.access.reservation import Grant, Used, to_counted
from gateway.errors import GatewayError
from gateway.exchange.exchange import Exchange
from gateway.messages.usage import MAX_TOKENS, to_dollars
from gateway.redis.server import RedisServer
from gateway.upstream.http.client import Call, Timeouts

log = structlog.get_logger()

LOOK_SECONDS: Final = 2.0
# Seconds after the end of the exchange (by the ledger), or after the last question, until the upstream is asked again.
DELAYS: Final = (LATE_SECONDS, 30, 120, 600, 3600)
# Another process takes over what this one has not finished by then.
LEASE_SECONDS: Final = 60
MOST: Final = 20
MAX_ANSWER_BYTES: Final = 256 * 1024
TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=20.0)


@dataclass(slots=True)
class Reconciliation:
    """Run `correct_due` beside the exchange."""

    exchange: Exchange
    server: RedisServer
    wall_clock: Callable[[], float] = time.time

    async def correct_due(self) -> None:
        """Ask for every cost that is due. Raises StoreAway."""
        name, now = self.server.keys.access.late, self.wall_clock()
        [due] = await self.server.pipeline([("ZRANGEBYSCORE", name, "-inf", int(now), "LIMIT", 0, MOST)], near=name)
        for member in due:
            await self.server.pipeline([("ZADD", name, "XX", int(now) + LEASE_SECONDS, member)])
            late = orjson.loads(member)
            tries, found = late["tries"] + 1, await self._ask(late)
            if found is not None:
                await self._enter(late, found)
            elif tries < len(DELAYS):
                again = orjson.dumps({**late, "tries": tries})
                await self.server.pipeline([("ZADD", name, int(self.wall_clock() + DELAYS[tries]), again)])
            else:
                log.warning("cost_not_reconciled", id=late["entry"]["id"], generation=late["generation"])
            await self.server.pipeline([("ZREM", name, member)])

    async def _ask(self, late: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the upstream says of the generation; None while it does not know it."""
        lanes = [one for one in self.exchange.table.upstreams if one.name == late["upstream"]]
        if not lanes:
            return None
        upstream = next((one for one in lanes if one.lane == late["lane"]), lanes[0])
        url = f"{upstream.url}/generation?id={quote(late['generation'], safe='')}"
        try:
            answer = await self.exchange.client.open(Call("GET", url, upstream.headers, b"", TIMEOUTS))
            body = orjson.loads(await answer.read(MAX_ANSWER_BYTES))
        except (GatewayError, orjson.JSONDecodeError):
            return None
        data = body.get("data") if isinstance(body, dict) else None
        if answer.status != 200 or not isinstance(data, dict) or to_dollars(data.get("total_cost")) is None:
            return None
        return data

    async def _enter(self, late: dict[str, Any], found: dict[str, Any]) -> None:
        entry = late["entry"]
        written = found.get("native_tokens_completion")
        output = written - late["output"] if isinstance(written, int) and 0 <= written <= MAX_TOKENS else 0
        cost = round(found["total_cost"] * NANO) - late["cost"]
        if not cost and not output:
            return
        named = {**entry, "generation": late["generation"], "id": f"{entry['id']}.late", "adjusts": entry["id"]}
        correction = {**named, "cost": cost, "output": output}
        grant = Grant(correction["id"], 0, to_counted(late["budgets"]), is_local=True)
        used = Used(cost, 0, output, {**correction, "source": "upstream"}, late["sums"], requests=0)
        assert self.exchange.admission is not None
        await self.exchange.admission.ledger.account(grant, used)
