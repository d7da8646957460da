"""Ports to listen on: the error that names their settings, and a deployment's claim to a port that processes share."""

import errno
import socket
import sys
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from gateway.settings import SettingsError

MOST_LOOKED_AT: Final = 50  # ports that `dragoman dev` tries, in a row
MAX_PORT: Final = 65_535
# The port is at fault; any other error is the host's.
PORT_ERRORS: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})


def cannot_listen(names: tuple[str, str], host: str, port: int, error: Exception) -> SettingsError:
    """`names` are the variables of host and port."""
    code = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) else "this is no host name"
    variable = names[1] if code in PORT_ERRORS else names[0]
    return SettingsError(f"{variable}: cannot listen on {host}:{port}: {reason}")


@contextmanager
def claimed(host: str, port: int) -> Iterator[None]:
    """Make sure that this deployment alone is about to listen on a port. Raises OSError where another one does.

    Processes that share a port listen with SO_REUSEPORT, which would let a second deployment join them and take half of
    the clients. Binding without that option fails while anyone listens. It cannot last while the children start, so in
    that time a name in Linux' abstract namespace, which ends with its process, keeps out a deployment that starts at
    the same moment.
    """
    with ExitStack() as stack:
        if sys.platform == "linux":
            name = stack.enter_context(socket.socket(socket.AF_UNIX))
            name.bind(f"\0dragoman:{host}:{port}")
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            _bind_alone(family, address)
        yield


def next_free(host: str, port: int, taken: Container[int] = ()) -> int:
    """Return the port, or the next one that is free; the port itself where none of MOST_LOOKED_AT is."""
    for candidate in range(port, min(port + MOST_LOOKED_AT, MAX_PORT + 1)):
        if candidate in taken:
            continue
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM):
                _bind_alone(family, address)
        except (OSError, UnicodeError):
            continue
        return candidate
    return port


def _bind_alone(family: int, address: tuple[Any, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as the listeners do
        probe.bind(address)
