"""Activity of a process: what is kept of exchanges for the console, and what is only counted."""

from typing import Any

import orjson
import pytest

from gateway.context import Context
from gateway.errors import StoreAway
from gateway.telemetry.activity import FAILURES_A_PUSH, ROWS_A_PUSH, Activity
from gateway.telemetry.activity_store import LOCAL_EXCHANGES, SLOTS, LocalActivity, matches
from gateway.telemetry.usage import Attempted, UsageRecord

NOW = 1_800_000_003.0


def record(number: int = 0, **fields: Any) -> UsageRecord:
    made = UsageRecord(Context(f"req_{number}", tenant="acme", key_id="k1"), model="m", upstream="up", **fields)
    made.attempted = [Attempted("up", "200", 0.25)]
    return made


def activity(store: LocalActivity) -> Activity:
    return Activity(store, "front end", wall=lambda: NOW, clock=lambda: 0.0, name="host:1")


async def rows(store: LocalActivity, *, failed: bool = False) -> list[dict[str, Any]]:
    return [orjson.loads(row) async for row in store.newest(failed=failed)]


async def test_push_hands_on_rows_newest_first_with_attempts() -> None:
    store = LocalActivity()
    process = activity(store)
    for number in range(3):
        process.observe(record(number))
    await process.push()
    found = await rows(store)
    assert [row["request_id"] for row in found] == ["req_2", "req_1", "req_0"]
    assert found[0]["calls"] == [["up", "200", 0.25]]
    assert found[0]["process"] == "host:1"


async def test_busy_second_keeps_failures_and_counts_what_it_does_not_list() -> None:
    store = LocalActivity()
    process = activity(store)
    for number in range(ROWS_A_PUSH + 5):
        process.observe(record(number))
    for number in range(FAILURES_A_PUSH + 2):
        process.observe(record(1000 + number, status=529, error_type="overloaded_error"))
    await process.push()
    assert len(await rows(store, failed=True)) == FAILURES_A_PUSH
    assert len(await rows(store)) == ROWS_A_PUSH + FAILURES_A_PUSH
    counts = (await store.slots(NOW))[1_800_000_000]
    assert counts == {"live": ROWS_A_PUSH + FAILURES_A_PUSH + 7, "failed": FAILURES_A_PUSH + 2, "unlisted": 7}


async def test_clients_that_left_are_no_failures() -> None:
    store = LocalActivity()
    process = activity(store)
    process.observe(record(status=499, error_type="client_gone"))
    await process.push()
    assert await rows(store, failed=True) == []


async def test_counts_of_a_failed_push_go_with_the_next_one() -> None:
    store = LocalActivity()
    process = activity(store)
    process.observe(record(cost=0.5))

    class Away(LocalActivity):
        async def push(self, *arguments: Any) -> None:
            raise StoreAway("away", reason="away")

    process.store = Away()
    with pytest.raises(StoreAway):
        await process.push()
    process.observe(record(cost=0.25))
    process.store = store
    await process.push()
    counts = (await store.slots(NOW))[1_800_000_000]
    assert (counts["live"], counts["cost"]) == (2, 750_000_000)


async def test_memory_of_a_process_is_bounded() -> None:
    store = LocalActivity()
    for slot in range(2 * SLOTS):
        await store.push(slot * 10, {"live": 1}, [(b"{}", True)] * 20, "host:1", b"{}")
    assert len([row async for row in store.newest()]) == LOCAL_EXCHANGES
    assert len(await store.slots(2 * SLOTS * 10)) == SLOTS


async def test_rows_hold_neither_headers_nor_more_than_twenty_notes() -> None:
    store = LocalActivity()
    process = activity(store)
    noted = record(notes=[f"dropped:{number}" for number in range(300)])
    noted.context.forwarded = (("x-secret", "canary"),)
    process.observe(noted)
    await process.push()
    [row] = await rows(store)
    assert len(row["notes"]) == 20
    assert "canary" not in orjson.dumps(row).decode()


async def test_position_without_a_value_begins_now() -> None:
    store = LocalActivity()
    await store.push(0, {}, [(b"1", False)], "host:1", b"{}")
    position, seen = await store.since("")
    assert seen == []
    await store.push(0, {}, [(b"2", False), (b"3", False)], "host:1", b"{}")
    assert (await store.since(position))[1] == [b"2", b"3"]


ROW = {"model": "asked", "served_model": "answered", "tenant": "acme", "status": 529, "error": "overloaded_error"}


@pytest.mark.parametrize(
    ("wanted", "does"),
    [
        ({}, True),
        ({"tenant": "acme"}, True),
        ({"tenant": "other"}, False),
        ({"model": "asked"}, True),
        ({"model": "answered"}, True),
        ({"model": "neither"}, False),
        ({"status": "failed"}, True),
        ({"status": "529"}, True),
        ({"status": "200"}, False),
        ({"session": "s"}, False),
        ({"tenant": "acme", "model": "neither"}, False),
    ],
)
def test_filters_match_a_row(wanted: dict[str, str], does: bool) -> None:
    assert matches(ROW, wanted) is does
