"""Check the form and the claims of an OpenID provider's token. `signatures` checks its signature.

The form is checked first: the library's JSON parser does not limit nesting, and would try a token without a key id with
every key.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

import orjson

from gateway.errors import Unauthenticated

MAX_BYTES: Final = 16 * 1024
LEEWAY: Final = 30.0
# Headers that would let the sender choose the key, or change how the token is verified.
KEY_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "crit", "b64")


@dataclass(frozen=True, slots=True)
class Principal:
    """Holder of a checked token. The same subject at two issuers is two principals."""

    issuer: str
    subject: str
    expires_at: float
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Parsed token, before its signature and claims are checked."""

    text: str = field(repr=False)
    algorithm: str
    key_id: str
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def issuer(self) -> str:
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


def invalid(reason: str) -> Unauthenticated:
    return Unauthenticated(f"invalid token: {reason}", should_retry=False)


def read_token(text: str) -> Unchecked:
    """Parse a token. Raises Unauthenticated if it is not a signed JWT, or has a header of KEY_HEADERS."""
    if len(text) > MAX_BYTES:
        raise invalid("it is longer than 16 KiB")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise invalid("it is not a signed JWT")
    header, claims = _object(parts[0]), _object(parts[1])
    if any(name in header for name in KEY_HEADERS):
        raise invalid("its header names a key or an extension")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str) or not key_id:
        raise invalid("its header has no alg or no kid")
    return Unchecked(text, algorithm, key_id, claims)


def check_claims(token: Unchecked, audiences: Iterable[str], max_lifetime: float, now: float) -> Principal:
    """Return the principal. Raises Unauthenticated for an expired token, another audience, or no subject."""
    claims = token.claims
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    starts = _moment(claims, "nbf") if "nbf" in claims else issued
    if now >= expires + LEEWAY:
        raise invalid("it has expired")
    if now < starts - LEEWAY or now < issued - LEEWAY:
        raise invalid("it is not valid yet")
    if expires - issued > max_lifetime:
        raise invalid("it is valid for longer than its issuer may grant")
    audience = claims.get("aud")
    given = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if not set(audiences) & {one for one in given if isinstance(one, str)}:
        raise invalid("its audience is not this gateway")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 512:
        raise invalid("it has no subject")
    return Principal(token.issuer, subject, expires, claims)


def _object(part: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        value = orjson.loads(raw)
    except (binascii.Error, ValueError):
        raise invalid("it is not readable") from None
    if not isinstance(value, dict):
        raise invalid("it is not readable")
    return value


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise invalid(f"its {name} is no time")
    return float(value)
