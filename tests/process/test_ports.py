"""The claim to a port that processes share, and the errors that name its variables."""

import errno
import os
import socket
import sys

import pytest

from gateway.process.ports import cannot_listen, claimed
from gateway.web.listener import open_sockets

NAMES = ("GATEWAY_HOST", "GATEWAY_PORT")


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def test_a_port_that_another_deployment_shares_among_its_processes_cannot_be_claimed(free_port: int) -> None:
    [theirs] = await open_sockets("127.0.0.1", free_port, shared=True)
    with theirs, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)), claimed("127.0.0.1", free_port):
        pass


async def test_processes_can_share_a_port_that_was_claimed(free_port: int) -> None:
    with claimed("127.0.0.1", free_port):
        [one] = await open_sockets("127.0.0.1", free_port, shared=True)
        [other] = await open_sockets("127.0.0.1", free_port, shared=True)
    one.close()
    other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' abstract socket names")
def test_two_deployments_that_start_at_the_same_moment_cannot_both_claim_a_port(free_port: int) -> None:
    with (
        claimed("127.0.0.1", free_port),
        pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)),
        claimed("127.0.0.1", free_port),
    ):
        pass
    with claimed("127.0.0.1", free_port):
        pass


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "GATEWAY_PORT: cannot listen on here:80: in use"),
        (OSError(errno.EACCES, "denied"), "GATEWAY_PORT: cannot listen on here:80: denied"),
        (OSError(errno.EADDRNOTAVAIL, "not here"), "GATEWAY_HOST: cannot listen on here:80: not here"),
        (socket.gaierror(-2, "unknown"), "GATEWAY_HOST: cannot listen on here:80: unknown"),
        (UnicodeError("label too long"), "GATEWAY_HOST: cannot listen on here:80: this is no host name"),
    ],
    ids=str,
)
def test_an_address_that_cannot_be_listened_on_names_the_variable_at_fault(error: Exception, line: str) -> None:
    assert str(cannot_listen(NAMES, "here", 80, error)) == line
