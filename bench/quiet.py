"""The gateway without observers: `python -m bench.quiet serve` writes no log line for an exchange, counts no metrics of
it, and keeps no row for the console. The difference to `dragoman serve` is what these cost.
"""

from gateway.__main__ import main
from gateway.exchange.exchange import Exchange
from gateway.telemetry.usage import UsageRecord


def report_nothing(_exchange: Exchange, _record: UsageRecord) -> None:
    """Replace `Exchange.report`."""


if __name__ == "__main__":
    Exchange.report = report_nothing  # type: ignore[method-assign]
    main()
