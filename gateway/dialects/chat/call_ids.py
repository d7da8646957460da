"""Ids of tool calls: legal and unique over a conversation for clients, the upstream's own when they go back.

Anthropic's ids are of letters, digits, `_` and `-`, and clients pair calls and results by id alone. Chat upstreams
count calls from 0 in every answer (`call_0`) or write `functions.Bash:0`, and Kimi's template counts its calls by these
ids. An id that a client cannot have is carried within one that it can, so that nothing has to be kept.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

# Anthropic refuses ids with other characters, and clients send them back to it.
LEGAL = re.compile(r"[a-zA-Z0-9_-]+")
ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
# Between our part of an id and the upstream's: as it is, or in base64.
PLAIN, ENCODED = "_gwp_", "_gwe_"
MARK = "_gw"
CARRIER = re.compile(r"toolu_[a-zA-Z0-9_-]*?_\d+(?P<mark>_gw[pe]_)(?P<id>[a-zA-Z0-9_-]+)")


def to_client_id(upstream_id: str, message_id: str, index: int) -> str:
    """An id that no other block has, of the block at `index`, with the upstream's in it if there is one."""
    own = f"toolu_{ILLEGAL.sub('_', message_id)}_{index}"
    if not upstream_id:
        return own
    if LEGAL.fullmatch(upstream_id):
        return f"{own}{PLAIN}{upstream_id}"
    encoded = urlsafe_b64encode(upstream_id.encode()).rstrip(b"=").decode()
    return f"{own}{ENCODED}{encoded}"


def to_upstream_id(client_id: str) -> str:
    """The upstream's id if the client's carries one, else the client's."""
    if MARK not in client_id:
        return client_id
    found = CARRIER.fullmatch(client_id)
    if found is None:
        return client_id
    if found["mark"] == PLAIN:
        return found["id"]
    try:
        return urlsafe_b64decode(found["id"] + "=" * (-len(found["id"]) % 4)).decode() or client_id
    except (Base64Error, UnicodeDecodeError):
        # It only looks like an id of ours: the client made it.
        return client_id
