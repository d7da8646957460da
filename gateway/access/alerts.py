"""Budget alerts: a log line, a metric and a webhook call for each crossed threshold, once over all processes.

Each threshold is crossed by one settlement: its script returns the sums before and after it. So only the process that
sent this settlement sees the crossing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import structlog

from gateway.access.records import NANO, to_dollars
from gateway.telemetry.metrics import BUDGET_ALERTS

log = structlog.get_logger()

# `account.lua` returns the sums of budgets from the first threshold on.
THRESHOLDS: Final = (0.5, 0.75, 0.9, 0.95, 1.0)
# Alerts that wait for a webhook without an answer. Beyond it the oldest are dropped; all are in the log.
MAX_WAITING: Final = 100
WEBHOOK_SECONDS: Final = 10.0
ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 2.0

Post = Callable[[str, dict[str, Any]], Awaitable[None]]


async def post_json(url: str, body: dict[str, Any]) -> None:
    """Raises aiohttp.ClientError or TimeoutError unless the answer is 2xx."""
    limit = aiohttp.ClientTimeout(total=WEBHOOK_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as session, session.post(url, json=body) as response:
        response.raise_for_status()


@dataclass(slots=True)
class Alerts:
    """Alerts of one process. `webhook`: URL that gets each alert as JSON, empty for none. Run `deliver` in a loop."""

    webhook: str = field(default="", repr=False)
    post: Post = post_json
    wall_clock: Callable[[], float] = time.time
    retry_seconds: float = RETRY_SECONDS
    _waiting: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_WAITING), repr=False)
    _wakes: asyncio.Event = field(default_factory=asyncio.Event)

    def crossed(self, spent_by: Sequence[bytes]) -> None:
        """Raise alerts for the thresholds that a settlement crossed.

        `spent_by` is the script's flat list for budgets that are at least half spent: scope, budget, nano-dollars spent
        before and after the settlement, and amount.
        """
        for place in range(0, len(spent_by), 5):
            before, after, amount = map(int, spent_by[place + 2 : place + 5])
            for threshold in THRESHOLDS:
                if before < amount * threshold <= after:
                    scope, name = spent_by[place].decode(), spent_by[place + 1].decode()
                    self._raise(scope, name, round(threshold * 100), after, amount)

    def _raise(self, scope: str, name: str, percent: int, spent: int, amount: int) -> None:
        whole, part = to_dollars(amount), to_dollars(spent)
        log.warning("budget_threshold", scope=scope, budget=name, percent=percent, spent=part, amount=whole)
        BUDGET_ALERTS.labels(str(percent)).inc()
        if not self.webhook:
            return
        body = {
            "type": "budget_threshold",
            "scope": "deployment" if scope == "*" else scope,
            "budget": name,
            "percent": percent,
            "spent_usd": spent / NANO,
            "amount_usd": amount / NANO,
            "at": int(self.wall_clock()),
        }
        self._waiting.append(body)
        self._wakes.set()

    async def deliver(self) -> None:
        """Wait for alerts, and send them to the webhook. Call it in a loop."""
        await self._wakes.wait()
        self._wakes.clear()
        while self._waiting:
            body = self._waiting.popleft()
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    await self.post(self.webhook, body)
                    break
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    log.warning("budget_alert_failed", attempt=attempt, error=type(error).__name__)
                    await asyncio.sleep(self.retry_seconds)
