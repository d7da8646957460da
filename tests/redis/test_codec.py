"""Packed values unpack byte for byte; damage is noticed."""

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.redis.codec import BrokenBlob, pack, unpack

CONTENT = st.one_of(st.binary(max_size=600), st.binary(min_size=1, max_size=8).map(lambda piece: piece * 200))


@given(content=CONTENT)
@settings(max_examples=50)
def test_content_comes_back(content: bytes) -> None:
    assert unpack(pack(content)) == content
    assert len(pack(content)) <= len(content) + 1


GOOD = pack(b"x" * 1000)
DAMAGED = {
    "nothing": b"",
    "another codec": b"q" + GOOD[1:],
    "a cut-off end": GOOD[:-3],
    "no compressed data at all": b"z" + b"plain text",
    "no size in the header": b"z" + zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000),
    "a size beyond every limit": b"z" + zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024 + 1)),
}


@pytest.mark.parametrize("blob", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_blob_is_noticed(blob: bytes) -> None:
    with pytest.raises(BrokenBlob):
        unpack(blob)
