"""Tokens that the gateway issues: for a sign-in, or in exchange for a workload's token.

They are JWTs, since Claude Code reads `exp`, `sub`, `email` and `aud` of a session's token, and are signed with a key
derived from the deployment's secret. They name a rule of the configuration. Its rights are looked up for each request,
so a changed or removed rule takes effect at once.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import orjson

SUBKEY: Final = b"identity"
ISSUER: Final = "dragoman"
AUDIENCE: Final = "claude-gateway"  # which Claude Code looks for
# In front of tokens for workloads, so that secret scanners recognise them.
EXCHANGED: Final = "sk-dg-oat-"
HEADER: Final = base64.urlsafe_b64encode(orjson.dumps({"alg": "HS256", "typ": "JWT", "kid": ISSUER})).rstrip(b"=")


def sign(secret: bytes, claims: Mapping[str, Any]) -> str:
    body = (
        HEADER + b"." + base64.urlsafe_b64encode(orjson.dumps({**claims, "iss": ISSUER, "aud": AUDIENCE})).rstrip(b"=")
    )
    return (body + b"." + base64.urlsafe_b64encode(_mac(secret, body)).rstrip(b"=")).decode()


def is_own(token: str) -> bool:
    return token.startswith((EXCHANGED, HEADER.decode() + "."))


def open_token(secret: bytes, token: str, now: float) -> dict[str, Any] | None:
    """Return the claims of a token of this deployment; None for an invalid or expired one."""
    text = token.removeprefix(EXCHANGED)
    body, _, signature = text.encode("utf-8", "surrogateescape").rpartition(b".")
    try:
        given = base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4))
    except (binascii.Error, ValueError):
        return None
    if not hmac.compare_digest(given, _mac(secret, body)):
        return None
    raw = body.partition(b".")[2]
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4)))
    return claims if now < claims["exp"] else None


def _mac(secret: bytes, body: bytes) -> bytes:
    subkey = hmac.new(secret, SUBKEY, hashlib.sha256).digest()
    return hmac.new(subkey, body, hashlib.sha256).digest()
