"""The audit chain: alterations by someone without the secret are found."""

import orjson
import pytest

from gateway.access.audit import START, chain, verify

SECRET = b"s" * 32


def record(count: int = 4, secret: bytes = SECRET) -> tuple[list[bytes], str]:
    entries, head = [], START
    for number in range(count):
        chained = chain(head, {"action": "key_created", "target": f"key:{number}", "at": number}, secret)
        entries.append(chained.entry)
        head = chained.head
    return entries, head


def altered(entry: bytes) -> bytes:
    return orjson.dumps(orjson.loads(entry) | {"action": "key_updated"}, option=orjson.OPT_SORT_KEYS)


def test_untouched_record_is_sound() -> None:
    entries, head = record()
    assert verify(entries, head, SECRET) is None
    assert verify([], "", SECRET) is None
    assert verify(entries, head, SECRET, record(2)[1]) is None


@pytest.mark.parametrize(
    ("tampered", "problem"),
    [
        (lambda e: [e[0], altered(e[1]), *e[2:]], "entry 2 was altered"),
        (lambda e: [e[0], *e[2:]], "entry 2 is missing"),
        (lambda e: [e[0], e[2], e[1], e[3]], "entry 2 is missing"),
        (lambda e: e[:-1], "the head names entry 4"),
        (
            lambda e: [*e, chain("4 " + orjson.loads(e[-1])["hash"], {"action": "x"}, b"other").entry],
            "entry 5 was not written",
        ),
        (lambda e: record(4, b"other")[0], "entry 1 was not written by this deployment"),
        (lambda e: [e[0], b"{", *e[2:]], "entry 2 is not readable"),
    ],
)
@pytest.mark.covers("Access · audit record")
def test_tampering_is_named(tampered: object, problem: str) -> None:
    entries, head = record()
    found = verify(tampered(entries), head, SECRET)  # type: ignore[operator]
    assert found is not None
    assert problem in found


def test_cut_tail_with_its_head_is_found_by_an_anchor() -> None:
    entries, head = record()
    shorter, its_head = record(3)
    assert verify(shorter, its_head, SECRET) is None
    assert "anchor, entry 4" in str(verify(shorter, its_head, SECRET, head))
    assert len(entries) == 4
