"""Processes that drain message batches from Redis: `dragoman worker`, also `python -m workers`."""
