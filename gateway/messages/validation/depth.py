"""Limits of JSON in requests: nesting depth, and integers wider than 64 bits."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import InvalidRequest, shorten

# 64 levels within a tool's schema or input, which themselves lie up to eight levels deep in the body.
MAX_DEPTH = 72

# orjson refuses to write what nests deeper than this.
WRITABLE_DEPTH = 254


class _Hole:
    """Object that orjson cannot write, so that it asks for a replacement: the body."""


def _framed(levels: int) -> object:
    frame: object = _Hole()
    for _ in range(levels):
        frame = [frame]
    return frame


# In as many levels as are left, a body that is too deep cannot be written. A chat body's schemas lie one level deeper.
FRAME_LEVELS = WRITABLE_DEPTH - MAX_DEPTH - 1
FRAME = _framed(FRAME_LEVELS)
TIGHT_FRAME = _framed(FRAME_LEVELS + 1)


# Part of a deep path that identifies its tool or block.
QUOTED_LEVELS = 5

# orjson reads integers beyond 64 bits as floats: they would reach the upstream changed, so they are refused.
WIDEST = 2**63


def check_depth(body: Mapping[str, object]) -> None:
    """Raises InvalidRequest for what nests deeper than MAX_DEPTH: of bodies that do not become chat requests."""
    try:
        orjson.dumps(TIGHT_FRAME, default=lambda _: body)
    except orjson.JSONEncodeError:
        raise too_deep(body) from None


def too_deep(body: Mapping[str, object]) -> InvalidRequest:
    """Return the error, with the start of the path to the place."""
    level: list[tuple[str, Any]] = [("", body)]
    for depth in range(MAX_DEPTH):
        level = [
            (f"{path}.{key}" if depth < QUOTED_LEVELS else path, child)
            for path, node in level
            for key, child in (node.items() if isinstance(node, dict) else enumerate(node))
            if isinstance(child, (dict, list))
        ]
    place = shorten(level[0][0].removeprefix(".")) if level else "body"
    return InvalidRequest(f"{place}: nested more than {MAX_DEPTH} levels deep")


def has_wide_number(value: dict[str, Any]) -> bool:
    """Return whether an integer has become floating point, since it did not fit 64 bits."""
    nodes: list[Any] = [value]
    while nodes:
        node = nodes.pop()
        for child in node.values() if isinstance(node, dict) else node:
            if type(child) is str:
                continue  # as most of them are
            if isinstance(child, float) and abs(child) >= WIDEST:
                return True
            if isinstance(child, (dict, list)):
                nodes.append(child)
    return False
