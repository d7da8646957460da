"""Processes that drain message batches from Redis: `dragoman worker`, also `python -m workers`."""

from gateway.process.structlog_import import import_structlog

import_structlog()  # before the package's other modules import it
