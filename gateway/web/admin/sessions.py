"""Console sessions: opened with a key, found by a cookie's random value, stored by its digest only.

Redis holds them so that every front end knows them; each process also keeps those it opened, so that the console can be
used while Redis is unavailable. A session ends with the key that opened it: it holds a MAC of that key under its own
value, from which the key cannot be guessed without the cookie.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import Overloaded, StoreAway
from gateway.redis.server import RedisServer

SESSION_SECONDS: Final = 12 * 3600  # a working day
TOKEN_BYTES: Final = 32  # 256 bits: no token can be guessed
# Of one process. The oldest session goes first.
MAX_SESSIONS: Final = 1000


@dataclass(slots=True)
class Sessions:
    """`server` is None without Redis."""

    server: RedisServer | None = None
    clock: Callable[[], float] = time.monotonic
    _own: OrderedDict[str, tuple[float, str]] = field(default_factory=OrderedDict, repr=False)  # digest -> until, value

    async def open(self, role: str, key: str) -> str:
        """Return the new session's token."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        digest, value = _digest(token), f"{role} {_mac(token, key)}"
        self._own[digest] = (self.clock() + SESSION_SECONDS, value)
        if len(self._own) > MAX_SESSIONS:
            self._own.popitem(last=False)
        if self.server is not None:
            name = self.server.keys.console_session(digest)
            with suppress(StoreAway, Overloaded):  # this process knows the session; others ask for a new sign-in
                await self.server.pipeline([("SET", name, value, "EX", SESSION_SECONDS)])
        return token

    async def role_of(self, token: str, key_of: Callable[[str], str]) -> str | None:
        """Return the session's role; None for one that has ended. `key_of` gives the key of a role now."""
        role, _, mac = (await self._find(_digest(token))).partition(" ")
        key = key_of(role)
        return role if key and hmac.compare_digest(mac, _mac(token, key)) else None

    async def close(self, token: str) -> None:
        digest = _digest(token)
        self._own.pop(digest, None)
        if self.server is not None:
            await self.server.pipeline([("DEL", self.server.keys.console_session(digest))])

    async def _find(self, digest: str) -> str:
        if self.server is not None:
            try:
                [stored] = await self.server.pipeline([("GET", self.server.keys.console_session(digest))])
            except (StoreAway, Overloaded):
                pass
            else:
                return "" if stored is None else stored.decode()
        until, value = self._own.get(digest, (0.0, ""))
        return value if self.clock() < until else ""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _mac(token: str, key: str) -> str:
    return hmac.new(token.encode("utf-8", "surrogateescape"), key.encode(), hashlib.sha256).hexdigest()
