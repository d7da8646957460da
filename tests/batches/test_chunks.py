"""Packed chunks unpack byte for byte; damage is noticed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.batches.chunks import ChunkIndex, pack_ids, pack_items, unpack_ids, unpack_items
from gateway.batches.splitter import Item
from gateway.redis.codec import BrokenBlob

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


@given(items=ITEMS)
@settings(max_examples=50)
def test_items_come_back_byte_for_byte(items: list[Item]) -> None:
    assert unpack_items(pack_items(items)) == items
    assert unpack_ids(pack_ids(items)) == [item.custom_id for item in items]


def test_repeated_prompts_are_stored_once() -> None:
    system = b'{"system":"' + bytes(range(97, 123)) * 40 + b'","n":%d}'
    items = [Item(str(number), system % number, "m", "p") for number in range(64)]
    assert len(pack_items(items)) < 64 * len(system) / 20


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
