"""What is packed comes back byte for byte; what is damaged is noticed."""

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.batches.chunks import BrokenBlob, ChunkIndex, pack, pack_ids, pack_items, unpack, unpack_ids, unpack_items
from gateway.batches.splitter import Item

CONTENT = st.one_of(st.binary(max_size=600), st.binary(min_size=1, max_size=8).map(lambda piece: piece * 200))
ITEMS = st.lists(
    st.builds(
        Item,
        custom_id=st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
        params=CONTENT,
        model=st.text(max_size=8),
        prefix=st.just("0123456789abcdef"),
    ),
    min_size=1,
    max_size=5,
)


@given(content=CONTENT)
@settings(max_examples=50)
def test_content_comes_back(content: bytes) -> None:
    assert unpack(pack(content)) == content
    assert len(pack(content)) <= len(content) + 1


@given(items=ITEMS)
@settings(max_examples=50)
def test_items_come_back_byte_for_byte(items: list[Item]) -> None:
    assert unpack_items(pack_items(items)) == items
    assert unpack_ids(pack_ids(items)) == [item.custom_id for item in items]


def test_repeated_prompts_are_stored_once() -> None:
    system = b'{"system":"' + bytes(range(97, 123)) * 40 + b'","n":%d}'
    items = [Item(str(number), system % number, "m", "p") for number in range(64)]
    assert len(pack_items(items)) < 64 * len(system) / 20


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


DAMAGED_ITEMS = {
    "an index that is no JSON": b"rx\n",
    "an index of another shape": b"r[[1,2]]\n",
    "params that are too short": b'r[["a","m","p",9]]\n{}',
    "params that are too long": b'r[["a","m","p",1]]\n{}',
}


@pytest.mark.parametrize("blob", DAMAGED_ITEMS.values(), ids=DAMAGED_ITEMS)
def test_a_damaged_chunk_is_noticed(blob: bytes) -> None:
    with pytest.raises(BrokenBlob):
        unpack_items(blob)


@given(sizes=st.lists(st.integers(1, 64), min_size=1, max_size=20))
@settings(max_examples=50)
def test_every_item_is_found_in_its_chunk(sizes: list[int]) -> None:
    places = [(chunk, place) for chunk, size in enumerate(sizes) for place in range(size)]
    starts = [sum(sizes[:chunk]) for chunk in range(len(sizes))]
    index = ChunkIndex.unpack(ChunkIndex.of(starts).pack())
    assert [index.find(number) for number in range(len(places))] == places
