"""A log that is slow, full, stuck or closed costs lines and never a request: calls neither block nor raise."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from gateway.telemetry.log_writer import FLUSH_BYTES, MAX_WAITING_BYTES, LogWriter, to_descriptor

NEVER = 3600.0
SECONDS = 10.0


@dataclass(slots=True)
class File:
    """A file with scripted writes: each takes a number of bytes, or raises; later ones take all."""

    script: list[int | OSError] = field(default_factory=list)
    data: bytes = b""

    def write(self, data: memoryview) -> int:
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, OSError):
            raise step
        self.data += data[:step]
        return min(step, len(data))


def dropped_line(lines: int) -> bytes:
    return f"dropped {lines}".encode()


def writer_to(file: File) -> LogWriter:
    """Its thread is not started: a test calls `write_waiting` in its place."""
    return LogWriter(file.write, dropped_line, retry=0)


@contextmanager
def piped() -> Iterator[tuple[LogWriter, int]]:
    """A running writer into a pipe that writes only when it is asked to; and the pipe's other end."""
    reading, writing = os.pipe()
    writer = LogWriter(to_descriptor(writing), dropped_line, every=NEVER)
    writer.start()
    try:
        yield writer, reading
    finally:
        os.close(reading)
        writer.close()
        os.close(writing)


def dropped() -> float:
    return REGISTRY.get_sample_value("gateway_log_lines_dropped_total") or 0.0


def test_lines_wait_and_are_written_together() -> None:
    file = File()
    writer = writer_to(file)
    writer.info(b"one")
    writer.info(b"two")
    assert file.data == b""
    writer.write_waiting()
    assert file.data == b"one\ntwo\n"


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
def test_a_problem_is_written_at_once_with_all_before_it(level: str) -> None:
    with piped() as (writer, reading):
        writer.info(b"before")
        getattr(writer, level)(b"wrong")
        assert os.read(reading, 100) == b"before\nwrong\n"


def test_many_lines_are_written_at_once() -> None:
    with piped() as (writer, reading):
        writer.info(b"x" * FLUSH_BYTES)
        assert os.read(reading, 10) == b"x" * 10


def test_lines_that_are_few_are_written_by_a_timer() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(to_descriptor(writing), dropped_line, every=0.01)
    writer.start()
    writer.info(b"one")
    assert os.read(reading, 100) == b"one\n"
    writer.close()
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_stuck_log_blocks_no_caller_and_the_loss_is_reported_once_it_moves_again() -> None:
    before, first, line = dropped(), b"x" * (1 << 20), b"y" * 1023
    total = 2 * MAX_WAITING_BYTES // (len(line) + 1)
    with piped() as (writer, reading):
        writer.warning(first)
        data = os.read(reading, 1)  # the thread writes now, more than a pipe holds
        for _ in range(total):
            writer.info(line)
        lost = int(dropped() - before)
        assert lost == total - MAX_WAITING_BYTES // (len(line) + 1)
        writer.flush()
        while b"dropped" not in data or not data.endswith(b"\n"):
            data += os.read(reading, 1 << 20)
        assert data.splitlines() == [first, *[line] * (total - lost), b"dropped %d" % lost]
        writer.warning(b"next")
        assert os.read(reading, 100) == b"next\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
@pytest.mark.parametrize("taken", [0, 3, 9])
def test_a_write_that_fails_is_continued_where_it_stopped(number: int, taken: int) -> None:
    file = File([taken, OSError(number, ""), OSError(number, "")])
    writer = writer_to(file)
    writer.info(b"one line")
    writer.info(b"another")
    writer.write_waiting()
    assert file.data == b"one line\nanother\n"


def test_closing_writes_what_waits() -> None:
    with piped() as (writer, reading):
        writer.info(b"last")
        writer.close()
        assert os.read(reading, 100) == b"last\n"


def test_closing_gives_up_on_a_log_that_is_stuck() -> None:
    stuck, entered = threading.Event(), threading.Event()

    def block(data: memoryview) -> int:
        entered.set()
        stuck.wait(SECONDS)
        return len(data)

    writer = LogWriter(block, dropped_line)
    writer.start()
    writer.error(b"first")
    assert entered.wait(SECONDS)
    writer.close(0.01)
    assert not stuck.is_set()
    stuck.set()


def test_closing_gives_up_on_a_log_that_fails() -> None:
    def fail(data: memoryview) -> int:
        raise BrokenPipeError

    writer = LogWriter(fail, dropped_line, retry=NEVER)
    writer.start()
    writer.error(b"lost")
    writer.close(SECONDS)
    assert not writer._thread.is_alive()


def test_a_descriptor_that_another_program_made_non_blocking_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LogWriter(to_descriptor(writing), dropped_line)
    writer.start()
    size = 1 << 20
    writer.warning(b"x" * size)
    found = 0
    while found < size + 1:
        found += len(os.read(reading, 1 << 16))
    writer.close()
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_writers_that_share_a_pipe_do_not_tear_each_others_lines() -> None:
    reading, writing = os.pipe()
    writers = {letter: LogWriter(to_descriptor(writing), dropped_line, every=0.01) for letter in (b"a", b"b")}
    for writer in writers.values():
        writer.start()
    with os.fdopen(reading, "rb") as reader:
        for _ in range(5_000):
            for letter, writer in writers.items():
                writer.info(letter * 99)
        lines = [reader.readline() for _ in range(10_000)]
        for writer in writers.values():
            writer.close()
        os.close(writing)
        assert reader.read() == b""
    assert set(lines) == {letter * 99 + b"\n" for letter in writers}


def test_a_line_that_is_longer_than_a_pipe_keeps_together_is_written_whole() -> None:
    with piped() as (writer, reading), os.fdopen(os.dup(reading), "rb") as reader:
        lines = [b"x" * 10_000, b"short", b"y" * 100_000]
        for line in lines:
            writer.error(line)
        assert [reader.readline() for _ in lines] == [line + b"\n" for line in lines]


def test_threads_that_log_at_once_lose_no_line() -> None:
    file, letters, count = File(), (b"a", b"b", b"c"), 20_000
    writer = writer_to(file)

    def log(letter: bytes) -> None:
        for number in range(count):
            writer.info(b"%b%d" % (letter, number))

    threads = [threading.Thread(target=log, args=[letter]) for letter in letters]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            writer.write_waiting()
    finally:
        sys.setswitchinterval(interval)
    writer.write_waiting()
    lines = file.data.split()
    for letter in letters:
        assert [line for line in lines if line.startswith(letter)] == [b"%b%d" % (letter, n) for n in range(count)]
