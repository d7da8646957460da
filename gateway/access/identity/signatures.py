"""Check the signature of a token, and read the signing keys of an issuer.

`issuers` imports this module only if an issuer is configured: JOSE and X.509 take 2.5 MB, and 3 % of a front end's
start.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.access.identity.tokens import MAX_BYTES, Unchecked, invalid
from gateway.settings.identity_sections import ALGORITHMS

# The library limits header and payload separately; MAX_BYTES limits the whole token.
REGISTRY: Final = jws.JWSRegistry(algorithms=list(ALGORITHMS))
REGISTRY.max_header_length = REGISTRY.max_payload_length = MAX_BYTES

PublicKey = RSAKey | ECKey | OKPKey
KINDS: Final[Mapping[str, type[Any]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


def check_signature(token: Unchecked, key: PublicKey, algorithms: Iterable[str]) -> None:
    """Raises Unauthenticated unless the key signed the token with one of the algorithms."""
    if token.algorithm not in algorithms:
        raise invalid("its algorithm is not allowed")
    try:
        with warnings.catch_warnings():  # RFC 9864 has new names for EdDSA, which issuers do not use yet
            warnings.simplefilter("ignore", SecurityWarning)
            jws.deserialize_compact(token.text, key, algorithms=[token.algorithm], registry=REGISTRY)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise invalid("its signature is wrong") from None


def to_keys(document: Any) -> dict[str, PublicKey]:
    """Return the signing keys of a JWKS by their ids. Keys of unknown kinds, or without an id, are left out.

    Raises ValueError if the document is not a JWKS.
    """
    found: dict[str, PublicKey] = {}
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is not a JWKS")
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
            continue
        kind = KINDS.get(str(entry.get("kty")))
        if kind is None:
            continue
        try:
            key = kind.import_key(entry)
        except (JoseError, ValueError, KeyError, TypeError):
            # Unsupported kind of key: use the others of the set.
            continue
        if not key.is_private:
            found[entry["kid"]] = key
    return found
