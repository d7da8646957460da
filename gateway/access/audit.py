"""Audit record: a chain of entries, each with the hash of the previous one and a MAC under the deployment's secret.

An entry is JSON with its keys sorted and without spaces. `hash` is the SHA-256 of the entry without `hash` and
`mac`; `mac` is the HMAC of that. An attacker who can write to Redis but does not know the secret cannot change,
remove, reorder or add an entry without `verify` finding it. Only the removal of the newest entries needs an anchor: a
head that was noted elsewhere.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

# What the first entry links to: number 0, and no hash.
START: Final = "0 " + "0" * 64
SUBKEY: Final = b"audit"


@dataclass(frozen=True, slots=True)
class Chained:
    """`head`: number and hash of the entry, for the next one to continue."""

    entry: bytes = field(repr=False)
    head: str


def chain(head: str, fields: dict[str, Any], secret: bytes) -> Chained:
    """Make the entry that continues `head`, which is empty for the first."""
    number, _, previous = (head or START).partition(" ")
    seq = int(number) + 1
    entry = {**fields, "seq": seq, "prev": previous}
    entry["hash"] = digest = _hash(entry)
    entry["mac"] = _mac(digest, secret)
    return Chained(_canonical(entry), f"{seq} {digest}")


def verify(entries: Iterable[bytes], head: str, secret: bytes, anchor: str = "") -> str | None:
    """Return the first fault as a sentence, or None for an intact record.

    `anchor`: a head noted earlier, which must be in the record.
    """
    last, seen = START, not anchor
    for raw in entries:
        number = int(last.partition(" ")[0]) + 1
        try:
            entry = orjson.loads(raw)
            seq, digest, mac = int(entry["seq"]), str(entry.pop("hash")), str(entry.pop("mac"))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return f"entry {number} is not readable"
        if seq != number:
            return f"entry {number} is missing; {seq} is in its place"
        if _hash(entry) != digest:
            return f"entry {seq} was altered"
        if entry.get("prev") != last.partition(" ")[2]:
            return f"entry {seq} does not continue entry {seq - 1}"
        if not hmac.compare_digest(mac, _mac(digest, secret)):
            return f"entry {seq} was not written by this deployment"
        last = f"{seq} {digest}"
        seen = seen or last == anchor
    if last != (head or START):
        return f"the head names entry {(head or START).partition(' ')[0]}, the last one is {last.partition(' ')[0]}"
    return None if seen else f"the anchor, entry {anchor.partition(' ')[0]}, is not in the record"


def _hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(entry)).hexdigest()


def _mac(digest: str, secret: bytes) -> str:
    subkey = hmac.new(secret, SUBKEY, hashlib.sha256).digest()
    return hmac.new(subkey, digest.encode(), hashlib.sha256).hexdigest()


def _canonical(entry: dict[str, Any]) -> bytes:
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
