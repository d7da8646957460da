import gzip
import zlib

import pytest

from gateway.errors import InvalidRequest, RequestTooLarge
from gateway.web.body import inflate

LIMIT = 1000


def test_a_gzip_body_is_inflated() -> None:
    assert inflate(gzip.compress(b"x" * LIMIT), LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"no gzip at all", "request_body_encoding_invalid", id="not gzip"),
        pytest.param(gzip.compress(b"x" * 100)[:-5], "request_body_encoding_invalid", id="cut off"),
        pytest.param(gzip.compress(b"x") + b"more", "request_body_encoding_invalid", id="bytes after the end"),
        pytest.param(gzip.compress(b"x") * 2, "request_body_encoding_invalid", id="two members"),
        pytest.param(zlib.compress(b"x"), "request_body_encoding_invalid", id="zlib without gzip's header"),
        pytest.param(b"", "request_body_encoding_invalid", id="empty"),
    ],
)
def test_a_broken_gzip_body_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inflate(body, LIMIT)
    assert caught.value.code == code


@pytest.mark.covers("Security · compressed bombs, slow and endless bodies")
def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RequestTooLarge) as caught:
        inflate(bomb, LIMIT)
    assert caught.value.code == "request_body_too_large_after_decoding"
