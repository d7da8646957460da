"""Fingerprint of a request: equal if the answers are interchangeable, different if anything that affects them differs.

It is an HMAC over the tenant, the target, the rules that the request is read and converted by, and its body in
canonical form. Without the deployment's secret, a fingerprint does not reveal the request, and a guessed request cannot
be confirmed. The whole body counts, except fields for the client's identity and the delivery of the answer. Unknown
fields have been removed by validation; a field that validation learns counts without a change here.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from gateway import __version__
from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.messages.claude_code import BILLING_HEADER
from gateway.upstream.models.target import Target
from gateway.upstream.routes.route import Route

# Version of the fingerprint and of its entries. The gateway's version counts as well: another one may convert an
# answer differently.
KEY_VERSION: Final = 1

# Identity of the client, delivery of the answer, and metadata: none of it reaches the model.
VOLATILE: Final = frozenset(
    {"diagnostics", "metadata", "safety_identifier", "session_id", "stream", "stream_options", "trace", "user"}
)

# Part of the HMAC: the same secret signs other things too.
_PURPOSE: Final = b"dragoman prompt cache"
# 160 bits: collisions are negligible, and a name in Redis stays short.
_BYTES: Final = 20


def to_secret(keyring: Keyring) -> bytes:
    """Derive the fingerprints' key from the signing key: a new signing key starts an empty cache."""
    return hmac.digest(keyring.keys[0][1], _PURPOSE, "sha256")


def fingerprint(secret: bytes, context: Context, route: Route, request: Mapping[str, Any]) -> str:
    """Return the fingerprint in hexadecimal. The resolved model counts, so aliases of one model share their answers."""
    rules = (
        KEY_VERSION,
        __version__,
        context.tenant,
        context.api_version,
        sorted(context.betas),
        route.upstream.name,
        route.upstream.url,
        route.dialect,
        context.forwarded if route.upstream.forward_headers else (),
        None if route.policy is None else route.policy.described,
    )
    # One-line JSON contains no line end, so the three parts cannot be confused.
    said = b"\n".join((orjson.dumps(rules), _described(route.target), canonical(request)))
    return hmac.digest(secret, said, "sha256")[:_BYTES].hex()


def canonical(request: Mapping[str, Any]) -> bytes:
    """Return canonical JSON: sorted keys, lists in order, null the same as absent, no volatile fields."""
    asked = {name: value for name, value in request.items() if value is not None and name not in VOLATILE}
    del asked["model"]
    system = asked.get("system")
    blocks = system if isinstance(system, list) else []
    first = blocks[0] if blocks else None
    if isinstance(first, dict) and str(first.get("text")).startswith(BILLING_HEADER):
        # Claude Code's first block holds a hash that differs from conversation to conversation; it is not sent on.
        asked["system"] = blocks[1:]
    if not asked.get("system"):
        asked.pop("system", None)
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


@lru_cache(maxsize=1024)
def _described(target: Target) -> bytes:
    """Return all inputs of the conversion: the model and the facts about it. The same in every process."""
    return orjson.dumps(target, default=_plain, option=orjson.OPT_SORT_KEYS)


def _plain(value: object) -> object:
    """Return a set's values in a stable order, which the order of hashes is not."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError
