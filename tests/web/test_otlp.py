"""The relay of traces, metrics and logs to a collector: what it logs of failures."""

import asyncio
from typing import Any, cast

from structlog.testing import capture_logs

from gateway.errors import UpstreamUnreachable
from gateway.upstream.http.client import Call, UpstreamClient
from gateway.web.otlp import Export, OtlpRelay
from tests.support.waiting import until


class Collector:
    """Answer with these statuses in turn; None is no answer."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = list(statuses)
        self.status = 0

    async def open(self, _: Call) -> Any:
        status = self.statuses.pop(0)
        if status is None:
            raise UpstreamUnreachable("no route")
        self.status = status
        return self

    async def read(self, _: int) -> bytes:
        return b""


async def test_failures_in_a_row_are_logged_once() -> None:
    collector = Collector(200, 503, None, 503, 299, 300)
    relay = OtlpRelay(cast(UpstreamClient, collector), "http://collector.test", ())
    with capture_logs() as logs:
        for _ in range(6):
            relay.add(Export("traces", (), b"x"))
        running = asyncio.create_task(relay.run())
        await until(lambda: not collector.statuses and bool(logs[1:]))
        running.cancel()
    assert [line["problem"] for line in logs] == ["it answered 503", "it answered 300"]
