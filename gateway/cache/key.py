"""The fingerprint of a request: equal when the answer may be, different when anything that can change it is.

It is an HMAC over who asks (the tenant), where the request goes, the rules that it is read and converted by, and its
body in canonical form. Without the deployment's secret nobody can tell from a fingerprint what was asked, nor find out
whether somebody has asked it. The body counts whole, less what says who asks or how the answer is to be delivered.
Fields that validation does not know are gone by then; one that it learns counts without a change here.
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
from gateway.upstream.routing import Route
from gateway.upstream.target import Target

# Of the fingerprint and of the entries found under it. The gateway's version counts as well: another one may convert
# an answer differently.
KEY_VERSION: Final = 1

# Who asks, how the answer is delivered, and what is for somebody's records: none of it reaches the model.
VOLATILE: Final = frozenset(
    {"diagnostics", "metadata", "safety_identifier", "session_id", "stream", "stream_options", "trace", "user"}
)

_PURPOSE: Final = b"dragoman prompt cache"
# 160 bits: two requests never share one, and a name in Redis stays short.
_BYTES: Final = 20


def to_secret(keyring: Keyring) -> bytes:
    """The key of the fingerprints, from the one that signs: a new one makes a new, empty cache."""
    return hmac.digest(keyring.keys[0][1], _PURPOSE, "sha256")


def fingerprint(secret: bytes, context: Context, route: Route, request: Mapping[str, Any]) -> str:
    """In hexadecimal. The model counts as the one that will answer, so aliases of one model share their answers."""
    rules = (
        KEY_VERSION,
        __version__,
        context.tenant,
        context.api_version,
        sorted(context.betas),
        route.upstream.name,
        route.upstream.url,
        route.dialect,
    )
    # No line end is in JSON of one line, so the three parts cannot be confused.
    said = b"\n".join((orjson.dumps(rules), _described(route.target), canonical(request)))
    return hmac.digest(secret, said, "sha256")[:_BYTES].hex()


def canonical(request: Mapping[str, Any]) -> bytes:
    """What is asked, as JSON: keys sorted, the order of lists kept, null the same as absent, no volatile field."""
    asked = {name: value for name, value in request.items() if value is not None and name not in VOLATILE}
    del asked["model"]
    system = asked.get("system")
    if isinstance(system, list) and system and _is_billing(system[0]):
        # Claude Code's first block holds a hash that differs from conversation to conversation; it is not sent on.
        asked["system"] = system[1:]
    if not asked.get("system"):
        asked.pop("system", None)
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


def _is_billing(block: object) -> bool:
    return isinstance(block, dict) and str(block.get("text")).startswith(BILLING_HEADER)


@lru_cache(maxsize=1024)
def _described(target: Target) -> bytes:
    """All that conversion goes by: the model, and what is known of it. The same in every process."""
    return orjson.dumps(target, default=_plain, option=orjson.OPT_SORT_KEYS)


def _plain(value: object) -> object:
    """A set in an order of its own, which that of its hashes is not."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError
