"""Processes that drain message batches from Redis: `dragoman worker`, also `python -m workers`."""

import gateway  # noqa: F401 - before structlog, which it imports without rich
