import errno
import socket

import pytest

from gateway.process.descriptors import out_of_descriptors
from gateway.telemetry.metrics import DESCRIPTORS_EXHAUSTED
from tests.support.descriptors import no_descriptors_left


def counted() -> float:
    return DESCRIPTORS_EXHAUSTED.labels("upstream")._value.get()  # type: ignore[no-any-return]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_exhaustion_is_recognized_and_counted(code: int) -> None:
    before = counted()
    assert out_of_descriptors(OSError(code, "no"), "upstream")
    assert counted() == before + 1


def test_exhaustion_is_recognized_behind_the_errors_of_libraries() -> None:
    wrapped = ConnectionError("Error connecting")
    wrapped.__context__ = OSError(errno.EMFILE, "no")
    assert out_of_descriptors(wrapped, "redis")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNREFUSED, "no"),
        ConnectionResetError(),
        socket.gaierror(socket.EAI_NONAME, "no"),
        ValueError(),
        None,
    ],
)
def test_other_failures_are_not_taken_for_exhaustion(error: BaseException | None) -> None:
    before = counted()
    assert not out_of_descriptors(error, "upstream")
    assert counted() == before


def test_a_lookup_that_fails_for_want_of_descriptors_is_recognized() -> None:
    """The resolver's error does not show it."""
    with no_descriptors_left():
        assert out_of_descriptors(socket.gaierror(socket.EAI_AGAIN, "no"), "upstream")
