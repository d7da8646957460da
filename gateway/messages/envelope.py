"""Reasoning that an Anthropic client carries for us: sealed into the opaque string of a thinking block, opened again.

An envelope is `gw2.<key id>.<base64url of deflated JSON>.<mac>`. It holds the upstream's reasoning entries exactly as
they came and the model they came from. The MAC proves that this deployment wrote it for this tenant: encrypted
reasoning belongs to the operator's account at the upstream, which would decrypt it for any tenant that sends it. The
content is not secret from the client. Other replicas and later keys open it while the keyring names its key.

Version `gw1` (until November 2026) was not bound to a tenant. It is still opened, or conversations and tool loops that
are under way during an upgrade would lose their reasoning. No new envelope has that version, and removing its key
from GATEWAY_SECRET invalidates the old ones.
"""

import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from gateway.access.keyring import Keyring
from gateway.schemas.openai import ReasoningEntry

VERSION = "gw2"
VERSION_WITHOUT_TENANT = "gw1"

# The largest body a client may send; a thinking block cannot hold more than that.
MAX_INFLATED = 32 * 1024 * 1024

# An entry that holds the signature of a thinking block of an upstream that speaks Messages.
NATIVE_THINKING = "native.thinking"

# 128 bits: beyond guessing, and half the length in a string that every later request repeats.
MAC_BYTES = 16

# Of 8 kB of prose level 1 leaves 24 %, level 6 leaves 19 % and takes twice as long.
DEFLATE_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Envelope:
    """`entries` is empty when the upstream sent plain reasoning, without details or with an explicit empty list."""

    model: str
    entries: list[ReasoningEntry] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectedEnvelope:
    """An envelope that this deployment did not write for this tenant, or wrote with a key since removed."""

    reason: Literal["unknown key", "forged", "damaged"]


def seal(entries: Sequence[ReasoningEntry], model: str, keyring: Keyring) -> str:
    key_id, key = keyring.keys[0]
    content = zlib.compress(orjson.dumps({"model": model, "entries": entries}), DEFLATE_LEVEL)
    signed = f"{VERSION}.{key_id}.{_to_base64(content)}"
    return f"{signed}.{_mac(key, f'{signed}.{keyring.tenant}')}"


def open_envelope(text: str, keyring: Keyring) -> Envelope | RejectedEnvelope | None:
    """Open an envelope; return None for other strings, such as a Claude signature. Never raises for client input."""
    if not text.startswith((f"{VERSION}.", f"{VERSION_WITHOUT_TENANT}.")):
        return None
    parts = text.split(".")
    if len(parts) != 4:
        return RejectedEnvelope("damaged")
    key = keyring.find(parts[1])
    if key is None:
        return RejectedEnvelope("unknown key")
    signed, _, mac = text.rpartition(".")
    if parts[0] == VERSION:
        signed = f"{signed}.{keyring.tenant}"
    if not hmac.compare_digest(_mac(key, signed).encode(), mac.encode("utf-8", "surrogatepass")):
        return RejectedEnvelope("forged")
    try:
        deflated = urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4))
        inflater = zlib.decompressobj()
        value = orjson.loads(inflater.decompress(deflated, MAX_INFLATED))
        return Envelope(model=value["model"], entries=value["entries"])
    except (ValueError, zlib.error, KeyError, TypeError):
        # The MAC was right, so this is an envelope of another version of the gateway.
        return RejectedEnvelope("damaged")


def _mac(key: bytes, signed: str) -> str:
    digest = hmac.digest(key, signed.encode("utf-8", "surrogatepass"), "sha256")
    return _to_base64(digest[:MAC_BYTES])


def _to_base64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
