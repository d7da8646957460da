"""Wait for batches: poll less and less often, survive outages of the gateway, and show a bar for all of them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway.cli.api import Api, Outage, patiently
from gateway.cli.batch.calls import duration_text, progress_of, to_line
from gateway.cli.batch.progress import Meter

# A batch of a few items ends within a second, one of 100,000 takes hours: short at first, then rarely.
FIRST_POLL: Final = 0.2
LONGEST_POLL: Final = 5.0
POLL_GROWTH: Final = 1.3


async def wait_for_all(
    api: Api, batches: Mapping[str, int], meter: Meter, label: str = "requests"
) -> dict[str, float | None]:
    """Wait until each has ended, and return the cost of each. `batches` are ids with their numbers of requests.

    Raises ApiError.
    """
    done = dict.fromkeys(batches, 0)
    costs: dict[str, float | None] = dict.fromkeys(batches)
    left = list(batches)
    pause = FIRST_POLL
    while left:
        for batch_id in tuple(left):
            call = partial(progress_of, api, batch_id)
            shown, done[batch_id], costs[batch_id] = await patiently(call, partial(report_outage, meter))
            if shown["processing_status"] == "ended":
                left.remove(batch_id)
                meter.note(to_line(shown), "ended", batch=batch_id, request_counts=shown["request_counts"])
        meter.show(label, sum(done.values()), sum(batches.values()))
        if left:
            await asyncio.sleep(pause)
            pause = min(pause * POLL_GROWTH, LONGEST_POLL)
    return costs


def report_outage(meter: Meter, outage: Outage) -> None:
    """Report a temporary failure while it lasts, and its end."""
    if outage.error is None:
        meter.clear(
            f"the gateway answers again, after {duration_text(outage.seconds)}", "recovered", seconds=outage.seconds
        )
        return
    since, until = (f"{to_local(at):%H:%M:%S}" for at in (outage.since, outage.until))
    meter.keep(
        f"{outage.error.message}; since {since}, trying again until {until}",
        "waiting",
        message=outage.error.message,
        since=to_utc(outage.since),
        until=to_utc(outage.until),
    )


def to_local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()


def to_utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
