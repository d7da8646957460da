"""Waiting for batches: polled less and less often, through outages of the gateway, with a bar for all of them."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from gateway.cli.api import Api, ApiError, patiently
from gateway.cli.batch_calls import progress_of, to_line
from gateway.cli.progress import Meter

# A batch of a few items ends within a second, one of 100,000 takes hours: short at first, then rarely.
FIRST_POLL: Final = 0.2
LONGEST_POLL: Final = 5.0
POLL_GROWTH: Final = 1.3


async def wait_for_all(api: Api, batches: Mapping[str, int], meter: Meter, label: str = "requests") -> None:
    """Until each has ended. `batches` are ids with their numbers of requests. Raises ApiError."""
    done = dict.fromkeys(batches, 0)
    left = list(batches)
    pause = FIRST_POLL
    while left:
        for batch_id in tuple(left):
            shown, done[batch_id] = await patiently(partial(progress_of, api, batch_id), partial(tell, meter))
            if shown["processing_status"] == "ended":
                left.remove(batch_id)
                meter.note(to_line(shown), "ended", batch=batch_id, request_counts=shown["request_counts"])
        meter.show(label, sum(done.values()), sum(batches.values()))
        if left:
            await asyncio.sleep(pause)
            pause = min(pause * POLL_GROWTH, LONGEST_POLL)


def tell(meter: Meter, error: ApiError) -> None:
    """Report a temporary failure while it lasts."""
    meter.note(f"{error.message}; trying again", "waiting", message=error.message)
