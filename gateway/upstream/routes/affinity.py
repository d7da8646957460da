"""The order of candidates that have shares: a session stays at one of them, and all replicas choose the same.

Weighted rendezvous hashing: each candidate gets a score from its share and a hash of session and candidate, and the
highest score wins. There is no state, and when a candidate is lost only its sessions move (Thaler and Ravishankar,
1998; weights: Schindelhauer and Schomaker, 2005).
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from math import log
from operator import attrgetter
from typing import Final

from gateway.upstream.routes.route import Route

SHARE: Final = attrgetter("share")
# Of a hash, as a fraction of one.
SCALE: Final = float(1 << 64)


def in_order(routes: Sequence[Route], session: bytes, turn: int | None = None) -> tuple[Route, ...]:
    """Return the routes in the order in which they are tried for this session.

    `turn`: the number of a request without a session; the keys of one upstream take turns then.
    """
    ordered: list[Route] = []
    for _, group in groupby(routes, lambda route: route.group):
        members = list(group)
        if len(members) > 1:
            members.sort(key=lambda route: _score(route, session, turn), reverse=True)
            members = members if turn is None else _rotated(members, turn)
        ordered += members
    return tuple(ordered)


def needs_order(routes: Sequence[Route]) -> bool:
    return len(routes) > 1 and any(map(SHARE, routes))


def _score(route: Route, session: bytes, turn: int | None) -> float:
    """Return the score. Without a session the keys of one upstream score alike, and stay beside one another."""
    lane = route.upstream.lane if turn is None else 0
    name = f"{route.upstream.name}\0{route.target.model}\0{lane}".encode()
    hashed = int.from_bytes(blake2b(session + b"\0" + name, digest_size=8).digest())
    return -(route.share or 1.0) / log((hashed + 1) / (SCALE + 1))


def _rotated(members: list[Route], turn: int) -> list[Route]:
    """Rotate the keys of each upstream, which take turns to be first."""
    result: list[Route] = []
    for _, lanes in groupby(members, lambda route: (route.upstream.name, route.target.model)):
        group = sorted(lanes, key=lambda route: route.upstream.lane)
        first = turn % len(group)
        result += [*group[first:], *group[:first]]
    return result
