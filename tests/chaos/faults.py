"""The faults to be tried, by number; each is one function.

Numbers of items are those of the small run; `scale` multiplies them for the full one. A fault hurts the world while it
works, then says what must hold beyond the invariants.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos import (
    beside,
    budget_race,
    client_faults,
    cluster,
    gone_clients,
    hostile_bodies,
    log_faults,
    mixed,
    month,
    policies,
    redis_faults,
    refusals,
    route_faults,
    silent_redis,
    slow_clients,
    torn_log,
    two_tenants,
    unread_clients,
    worker_faults,
)
from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """`run` returns what was measured, and raises Violation.

    `fsync` are the server's modes to try it under; `once`: it has little to do with the server, and is tried on one;
    `wrong_clock`: it sets the server's clock.
    """

    number: str
    says: str
    run: Callable[[World, int], Awaitable[str]]
    lease: float = 2.0
    slots: int = 16
    fsync: tuple[str, ...] = ("everysec",)
    once: bool = False
    wrong_clock: bool = False


FAULTS = (
    Fault("1", "kill -9 workers", worker_faults.kill_workers),
    Fault("2", "freeze workers for three leases", worker_faults.freeze_workers),
    Fault("3", "wall clocks an hour off", worker_faults.wrong_clocks, once=True),
    Fault("4", "kill -9 Redis", redis_faults.restart_redis, lease=8.0, fsync=("everysec", "always")),
    Fault("5", "cut the log at any byte", torn_log.cut_log, fsync=("always",)),
    Fault("6", "Redis away, then frozen", redis_faults.without_redis, lease=4.0),
    Fault("7", "Redis that does not answer", silent_redis.silence, lease=4.0),
    Fault("budget", "a budget spent while Redis fails", budget_race.race),
    Fault("month", "a month's reports and the bill", month.spend_a_month, lease=30.0, once=True),
    Fault("8", "fail over to a replica that lags", redis_faults.fail_over, lease=4.0),
    Fault("balancer", "fail over behind a balancer", refusals.fail_over_behind_balancer, lease=4.0),
    Fault("refusals", "NOREPLICAS, MASTERDOWN, NOPERM", refusals.refuse, lease=4.0),
    Fault("deleted", "results deleted while they are read", refusals.delete_while_read, lease=30.0, once=True),
    Fault("9", "cut a worker off from Redis", redis_faults.partition),
    Fault("10", "poison items", worker_faults.poison, slots=8),
    Fault("11", "memory full", redis_faults.fill_memory, lease=4.0),
    Fault("12", "upstream down, then limited", worker_faults.bad_upstream, lease=30.0, slots=8, once=True),
    Fault("12-402", "items without credit", worker_faults.unaffordable, lease=30.0, slots=8, once=True),
    Fault("13", "cancel", client_faults.cancel, lease=30.0),
    Fault("14", "expiry and retention", client_faults.expire, once=True),
    Fault("15", "a small batch among many", client_faults.crowd, lease=30.0, once=True),
    Fault("16", "SIGTERM workers in turn", worker_faults.roll, lease=30.0),
    Fault("18", "cut and refused uploads", client_faults.bad_uploads),
    Fault("clock-back", "the clock of Redis set back", redis_faults.set_clock_back, lease=8.0, wrong_clock=True),
    Fault("20", "thousands who leave", gone_clients.leave, lease=30.0, once=True),
    Fault("21-slow", "headers, bodies byte by byte", slow_clients.trickle, lease=30.0, once=True),
    Fault("21", "hundreds who read nothing", unread_clients.unread, lease=30.0, once=True),
    Fault("23", "bodies that nest, swell or lie", hostile_bodies.refuse, lease=30.0, once=True),
    Fault("27", "two tenants who leave at any moment", two_tenants.differ, lease=30.0, once=True),
    Fault("29", "lost replies", redis_faults.lose_replies),
    Fault("log-stuck", "a log without a reader", log_faults.reader_stuck, lease=30.0, once=True),
    Fault("log-full", "the log's disk is full", log_faults.disk_full, lease=30.0, once=True),
    Fault("routes", "two of three upstreams fail in turn", route_faults.fail_in_turn, once=True),
    Fault("policies", "an upstream fails in six ways", policies.fail_over, once=True),
    Fault("beside", "live requests beside a batch", beside.live_beside_batch, slots=64, lease=30.0, once=True),
    Fault("reload", "gateway.toml changes under load", route_faults.reload_often, once=True),
    Fault("30", "everything at once", mixed.mix, once=True),
    Fault("cluster", "a Cluster of three nodes", cluster.cluster),
)
