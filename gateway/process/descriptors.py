"""Running out of file descriptors: how to recognize it, and its metric.

A process at its limit (`ulimit -n`) can neither accept nor connect. The failure comes from the system, so without a
look at its cause it reads as the upstream's or Redis' fault.
"""

import errno
import os
import socket
import sys
from typing import Literal

from gateway.telemetry.metrics import DESCRIPTORS_EXHAUSTED

if sys.platform != "win32":
    import resource

# Of the process, of the system, and of the kernel's memory for sockets.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
MESSAGE = "The gateway has no file descriptors left for another connection. Please try again."
RETRY_AFTER = 1.0  # connections come and go by the second at such a load

Purpose = Literal["client", "upstream", "redis"]


def descriptor_limit() -> int:
    """Return this process's limit of descriptors, 0 for none."""
    if sys.platform == "win32":
        return 0
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if limit == resource.RLIM_INFINITY else limit


def out_of_descriptors(error: BaseException | None, purpose: Purpose) -> bool:
    """Return whether `error`, or what it came from, is a want of descriptors or memory for sockets; counts it if so."""
    while error is not None:
        if _is_exhaustion(error):
            DESCRIPTORS_EXHAUSTED.labels(purpose).inc()
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_exhaustion(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        # Its codes do not show why the resolver could not open its files, so another one is opened.
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as failure:
            return failure.errno in EXHAUSTED
        return False
    return isinstance(error, OSError) and error.errno in EXHAUSTED
