"""`dragoman worker`: replaces itself by `python -m workers`, since `gateway` does not import the workers."""

import os
import sys


def worker() -> None:
    """Drain message batches from Redis, until SIGTERM or SIGINT."""
    os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606 - this interpreter, and no shell
