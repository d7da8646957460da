"""Oracle of the splitter, which parses a body at once, and the bodies of its tests."""

import json
import re
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import strategies as st

from gateway.batches.splitter import MAX_DEPTH, BatchLimits, Item, Splitter

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def split(body: bytes, cuts: list[int] | None = None, limits: BatchLimits | None = None) -> list[Item]:
    """Fed in the pieces between the cuts. Raises what the splitter raises."""
    edges = [0, *sorted(cuts or ()), len(body)]
    splitter = Splitter(limits)
    items = [item for start, end in pairwise(edges) for item in splitter.feed(body[start:end])]
    splitter.finish()
    assert splitter.count == len(items)
    return items


def expected(body: bytes) -> list[tuple[str, Any]] | None:
    """custom_id and params of each item; None for a body that is to be refused."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or depth_of(value) > MAX_DEPTH or has_repeated_keys(body):
        return None
    requests = value.get("requests")
    if not isinstance(requests, list) or not requests or not all(is_item(item) for item in requests):
        return None
    if len({item["custom_id"] for item in requests}) < len(requests):
        return None
    return [(item["custom_id"], item["params"]) for item in requests]


def is_item(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"custom_id", "params"}
        and isinstance(value["custom_id"], str)
        and CUSTOM_ID.fullmatch(value["custom_id"]) is not None
        and isinstance(value["params"], dict)
    )


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def has_repeated_keys(body: bytes) -> bool:
    """`requests` given twice, or two objects or lists directly inside an item: which one counts would be a guess."""
    pairs = json.loads(body, object_pairs_hook=lambda pairs: Pairs(pairs))
    requests = [value for key, value in pairs if key == "requests"]
    if len(requests) > 1:
        return True
    items = requests[0] if requests and isinstance(requests[0], list) and not isinstance(requests[0], Pairs) else []
    inner = [[value for _, value in item if isinstance(value, list)] for item in items if isinstance(item, Pairs)]
    return any(len(values) > 1 for values in inner)


class Pairs(list[tuple[str, Any]]):
    """An object with all its keys, in order; a list is a list."""


# Text that puts structure where only a string is, escapes, and characters of every length.
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "requests", "}]", '"', "\\", '\\"', '{"requests":[', "é", "𝄞", "\u2028", "\x00", "a" * 300]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, width=32), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
ITEMS = st.fixed_dictionaries(
    {"custom_id": st.from_regex(CUSTOM_ID, fullmatch=True), "params": st.dictionaries(TEXTS, VALUES, max_size=4)}
)
ODD_ITEMS = st.one_of(
    VALUES, ITEMS.map(lambda item: {**item, "custom_id": "same"}), ITEMS.map(lambda item: {**item, "x": 1})
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly right bodies, in every spelling: key order, white space, escapes, other keys."""
    items = draw(st.lists(st.one_of(ITEMS, ITEMS, ITEMS, ODD_ITEMS), max_size=5))
    body = draw(st.dictionaries(TEXTS, VALUES, max_size=2)) | {"requests": items}
    if draw(st.booleans()):
        body = dict(reversed(body.items()))
    return json.dumps(
        body,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\r\n", "\t: ")])),
    ).encode("utf-8", "surrogatepass")


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """A body with a few bytes replaced, inserted or removed."""
    body = bytearray(draw(bodies()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        piece = draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b" ", b"0", b"\xff", b"null"])
        )
        body[start : start + draw(st.integers(0, 3))] = piece
    return bytes(body)
