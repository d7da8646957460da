"""Encryption of the few secrets that are temporarily stored in Redis, so that a copy of Redis reveals none of them.

`cryptography` is imported on first use: it takes 8 MB, and most processes never seal anything.
"""

import hashlib
import importlib
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def seal(secret: bytes, text: bytes, purpose: bytes) -> bytes:
    """Encrypt with AES-GCM, under a key derived from the deployment's secret and `purpose` (at most 16 bytes)."""
    nonce = secrets.token_bytes(12)
    return nonce + _cipher(secret, purpose).encrypt(nonce, text, None)


def unseal(secret: bytes, sealed: bytes, purpose: bytes) -> bytes:
    """Decrypt. Raises ValueError for data sealed with another secret or for another purpose."""
    cipher = _cipher(secret, purpose)
    try:
        return cipher.decrypt(sealed[:12], sealed[12:], None)
    except importlib.import_module("cryptography.exceptions").InvalidTag:
        raise ValueError("sealed with another secret, or for another purpose") from None


def _cipher(secret: bytes, purpose: bytes) -> "AESGCM":
    aead = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
    cipher: AESGCM = aead.AESGCM(hashlib.blake2b(secret, person=purpose, digest_size=32).digest())
    return cipher
