"""Prometheus collectors of a worker. Labels come from closed sets."""

from prometheus_client import Counter, Gauge, Histogram

from gateway.telemetry.metrics import SECONDS, create_series

RESULTS = Counter(
    "gateway_batch_results_total",
    "Finished items: succeeded or errored; duplicate and late ones were not kept",
    ["result"],
)
ITEM_SECONDS = Histogram("gateway_batch_item_seconds", "From claim to recorded result", ["result"], buckets=SECONDS)
IN_FLIGHT = Gauge("gateway_batch_items_in_flight", "Items this worker has claimed and not finished")
SLOTS = Gauge("gateway_batch_slots", "Items that this worker may have in flight")
RELEASED = Counter(
    "gateway_batch_items_released_total",
    "Items put back into the queue: after a failure (pressure, failure, unreachable, account), before a call"
    " (rejected), or because the worker stops or gave up its lease",
    ["reason"],
)
LEASES_GIVEN_UP = Counter("gateway_batch_leases_given_up_total", "Items with a call that was broken off", ["reason"])
CLAIMS = Counter("gateway_batch_claims_total", "Claims by outcome", ["outcome"])

# Totals of all workers; each worker exports the same value.
QUEUE_ITEMS = Gauge("gateway_batch_queue_items", "Items of batches that have not ended, by state", ["state"])
OLDEST_SECONDS = Gauge("gateway_batch_queue_oldest_seconds", "Age of the oldest batch with unclaimed items")

for _collector, _labels in (
    (RESULTS, ("succeeded", "errored", "duplicate", "late")),
    (ITEM_SECONDS, ("succeeded", "errored")),
    (
        RELEASED,
        ("pressure", "failure", "unreachable", "account", "rejected", "stopping", "unstarted", "broken", "unread"),
    ),
    (LEASES_GIVEN_UP, ("lost", "fenced", "slept")),
    (CLAIMS, ("granted", "empty")),
    (QUEUE_ITEMS, ("pending", "leased", "retrying", "suspect")),
):
    create_series(_collector, _labels)
