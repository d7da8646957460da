"""A token issuer for tests: its keys, its documents, and the tokens that it signs."""

import base64
import warnings
from collections.abc import Mapping
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.access.identity.fetching import ProviderAway

ISSUER = "https://idp.example.com"
AUDIENCE = "https://gateway.example.com"
NOW = 1_800_000_000

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}, private=True)
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}, private=True)
ED = OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"}, private=True)
KEYS = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token; a change to None removes one."""
    good = {"iss": ISSUER, "sub": "ann", "aud": AUDIENCE, "iat": NOW - 10, "exp": NOW + 600}
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(algorithm: str = "RS256", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    key = KEYS[algorithm]
    head = {"alg": algorithm, "kid": key.kid, **(header or {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode(head, claims(**changes), key, algorithms=[algorithm])


def unsigned(header: Mapping[str, Any], payload: bytes | Mapping[str, Any], signature: bytes = b"x") -> str:
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    parts = (orjson.dumps(header), raw, signature)
    return ".".join([base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts])


class Provider:
    """The documents that the gateway fetches from the issuer, with the requested URLs."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA, EC, ED]
        self.is_away = False
        self.asked: list[str] = []

    async def fetch(self, url: str, form: Mapping[str, str] | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(url)
        if self.is_away:
            raise ProviderAway("away")
        if url.endswith("/.well-known/openid-configuration"):
            return 200, {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "token_endpoint": f"{ISSUER}/token"}
        return 200, {"keys": [key.as_dict(private=False) for key in self.keys]}
