"""The gateway without observers: `python -m bench.quiet serve` writes no log line, counts no metrics and keeps no
console row for an exchange. The difference to `dragoman serve` is the cost of these."""

from gateway.__main__ import main
from gateway.exchange.exchange import Exchange
from gateway.telemetry.usage import UsageRecord


def report_nothing(_exchange: Exchange, _record: UsageRecord) -> None:
    """Replace `Exchange.report`."""


if __name__ == "__main__":
    Exchange.report = report_nothing  # type: ignore[method-assign]
    main()
