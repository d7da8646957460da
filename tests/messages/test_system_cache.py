"""Long blocks of system prompts are shared by requests of one tenant (`fuzz_turns` compares with and without)."""

from typing import Any

import orjson
import pytest

from gateway.messages.system_cache import LEAST_TEXT, MOST_BLOCKS, MOST_OF_TENANT, CachedBlock, SystemCache

Json = dict[str, Any]
SHORT = {"type": "text", "text": "short"}


def long(mark: str = "a") -> Json:
    return {"type": "text", "text": mark + "→ long " * LEAST_TEXT, "cache_control": {"type": "ephemeral"}}


def body(*system: Any, **fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "system": [*system], "messages": [], **fields})


def cache(most_json: int = 1 << 20) -> SystemCache:
    return SystemCache("s" * 32, most_json)


def parse(cache: SystemCache, raw: bytes, tenant: str = "red") -> list[Any]:
    parsed = cache.parse(raw, tenant)
    assert parsed == orjson.loads(raw)
    system: list[Any] = parsed["system"]
    return system


def shared(cache: SystemCache, raw: bytes, tenant: str = "red") -> list[int]:
    """Return the indexes of the blocks that an earlier request had."""
    known = [block for blocks in cache._known.values() for block in blocks]
    return [index for index, block in enumerate(parse(cache, raw, tenant)) if any(block is one for one in known)]


def test_long_blocks_are_shared_behind_one_that_changes() -> None:
    systems = cache()
    parse(systems, body({**SHORT, "text": "x-anthropic-billing-header: cch=1;"}, long("a"), SHORT, long("b")))
    again = body({**SHORT, "text": "x-anthropic-billing-header: cch=2;"}, long("a"), SHORT, long("b"))
    assert shared(systems, again) == [1, 3]


def test_blocks_are_those_of_one_tenant() -> None:
    systems = cache()
    first = parse(systems, body(long()))[0]
    assert parse(systems, body(long()))[0] is first
    assert parse(systems, body(long()), "blue")[0] is not first


@pytest.mark.parametrize(
    "raw",
    [
        orjson.dumps({"messages": [{"input": {"system": [long()]}}], "system": [SHORT]}),
        b'{"system":[' + orjson.dumps(long()) + b'],"system":[]}',
        orjson.dumps({"system": [long()]}, option=orjson.OPT_INDENT_2),
        body(SHORT, "},{", 7, None, [long()]),
        body({"text": "},{" * 9}, long()),
    ],
    ids=["within a message", "named twice", "spaces", "no blocks", "text that looks like the next block"],
)
def test_known_bytes_that_are_no_block_of_the_prompt_change_nothing(raw: bytes) -> None:
    systems = cache()
    parse(systems, body(long()))
    parse(systems, raw)
    parse(systems, raw)


def test_blocks_behind_the_first_ones_are_left_alone() -> None:
    systems = cache()
    raw = body(*[SHORT] * MOST_BLOCKS, long())
    parse(systems, raw)
    assert shared(systems, raw) == []


def test_least_recently_used_blocks_make_room() -> None:
    systems, size = cache(len(orjson.dumps(long())) * MOST_BLOCKS), len(orjson.dumps(long()))
    for mark in "abcdefgh":
        parse(systems, body(long(mark)), mark)
    assert systems._json == sum(len(one.written.json) for known in systems._known.values() for one in known)
    assert systems._json <= MOST_BLOCKS * size
    assert shared(systems, body(long("h")), "h") == [0]
    assert "a" not in systems._known


def test_one_tenant_has_a_bounded_number() -> None:
    systems = cache(1 << 30)
    for number in range(MOST_OF_TENANT + 3):
        parse(systems, body(long(str(number))))
    assert len(systems._known["red"]) == MOST_OF_TENANT


def test_json_that_is_broken_behind_known_blocks_is_refused_at_its_place() -> None:
    systems, broken = cache(), body(long())[:-1] + b",}"
    parse(systems, body(long()))
    with pytest.raises(orjson.JSONDecodeError) as plain:
        orjson.loads(broken)
    with pytest.raises(orjson.JSONDecodeError) as known:
        systems.parse(broken, "red")
    assert str(known.value) == str(plain.value)


def test_cached_block_is_written_as_it_was() -> None:
    assert orjson.dumps(CachedBlock(long(), b"")) == orjson.dumps(long())
