"""Small damage to JSON values, bytes and streams: pure functions of a source of random numbers."""

from collections.abc import Sequence
from random import Random
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = Any

# Values that are useless in most places, and valid in unexpected ones.
ODD_VALUES: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 1e300, 2**63, -(2**63), 2**64 - 1),
    *("", " ", "a", "é😀", "\x00", "x" * 300, "[text]", "[list]", "gw2.k1.a.b", "data:,", "https://example.com/"),
    *(
        [],
        {},
        [[]],
        [{}],
        {"type": "text"},
        {"type": "x"},
        {"type": None},
        [None],
        ["a"],
        [{"type": "text", "text": "t"}],
    ),
)

# How often a walk through a value goes on to what lies within.
DESCENT = 0.75


class Mutator:
    """Damage to JSON values. `donors`: whole values, parts of which are inserted in wrong places."""

    def __init__(self, donors: Sequence[Json]) -> None:
        self._parts = [part for donor in donors for part in parts_of(donor)]
        self._keys = sorted({key for part in self._parts if isinstance(part, dict) for key in part})

    def mutate(self, value: Json, random: Random, times: int) -> Json:
        """Return a copy with this many changes."""
        holder = [orjson.loads(orjson.dumps(value))]
        for _ in range(times):
            self._change(holder, random)
        return holder[0] if holder else None

    def _change(self, holder: list[Json], random: Random) -> None:
        place: Json = holder
        key: Json = 0
        if not holder:
            return
        while isinstance(place[key], dict | list) and place[key] and random.random() < DESCENT:
            place = place[key]
            key = random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
        match random.randrange(6):
            case 0:
                place[key] = _copy(random.choice(ODD_VALUES))
            case 1:
                place[key] = self._part(random)
            case 2:
                del place[key]
            case 3 if isinstance(place, list):
                place.insert(random.randrange(len(place) + 1), _copy(place[key]))
            case 4 if isinstance(place, list):
                place.insert(random.randrange(len(place) + 1), self._part(random))
            case _ if isinstance(place, dict):
                place[random.choice(self._keys)] = random.choice((_copy(place[key]), self._part(random)))
            case _:
                random.shuffle(place)

    def _part(self, random: Random) -> Json:
        return _copy(random.choice(self._parts))


def _copy(value: Json) -> Json:
    """Return a copy in which no two places share a part, so that each change affects one place."""
    return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value


def parts_of(value: Json) -> list[Json]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(part for child in inner for part in parts_of(child))]


def damaged(source: bytes, random: Random, times: int) -> bytes:
    """Return bytes with some of them changed, removed, inserted or repeated."""
    data = bytearray(source)
    for _ in range(times):
        place = random.randrange(len(data) + 1)
        length = random.choice((0, 1, 1, 2, 4, 16))
        match random.randrange(4):
            case 0:
                data[place : place + length] = random.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = random.choice(
                    (b'"', b"\\", b"{", b"]", b"\n\n", b"\xf0\x9f", b"\\ud83d", b"\xff", b"1e999")
                )
            case _:
                data[place:place] = data[place : place + length]
    return bytes(data)


def pieces_of(stream: bytes, random: Random) -> list[bytes]:
    """Cut a stream as a network might: whole, byte by byte, or at random places."""
    if not stream or random.random() < 0.3:
        return [stream]
    if random.random() < 0.05:
        return [stream[index : index + 1] for index in range(len(stream))]
    cuts = sorted(random.randrange(len(stream) + 1) for _ in range(random.randrange(1, 6)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
