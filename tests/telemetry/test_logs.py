import io

import pytest

from gateway.telemetry.logs import FLUSH_BYTES, BufferedLogger


class Closed(io.BytesIO):
    def write(self, data: object) -> int:
        raise BrokenPipeError


def test_lines_are_written_together() -> None:
    file = io.BytesIO()
    logger = BufferedLogger(file)
    logger.info(b"one")
    logger.info(b"two")
    assert file.getvalue() == b""
    logger.flush()
    assert file.getvalue() == b"one\ntwo\n"


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
def test_what_went_wrong_is_written_at_once_with_all_before_it(level: str) -> None:
    file = io.BytesIO()
    logger = BufferedLogger(file)
    logger.info(b"before")
    getattr(logger, level)(b"wrong")
    assert file.getvalue() == b"before\nwrong\n"


def test_the_buffer_is_bounded() -> None:
    file = io.BytesIO()
    logger = BufferedLogger(file)
    for _ in range(FLUSH_BYTES // 100 + 1):
        logger.info(b"x" * 100)
    assert len(file.getvalue()) >= FLUSH_BYTES


def test_a_reader_that_has_gone_does_not_stop_the_service() -> None:
    logger = BufferedLogger(Closed())
    logger.error(b"lost")
    logger.flush()
