"""Report a finished exchange to logs and metrics."""

from gateway.telemetry.counters import observe
from gateway.telemetry.logs import log_exchange
from gateway.telemetry.usage import UsageRecord


def report(record: UsageRecord) -> None:
    log_exchange(record)
    observe(record)
