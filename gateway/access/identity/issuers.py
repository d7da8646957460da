"""Issuers of tokens, with their signing keys: inline, from a URL, or from the issuer's discovery document.

Keys are fetched when a token first needs them, and cached for ten minutes. An unknown key id causes a new fetch, at
most one in 30 seconds. While an issuer is unavailable, its last keys stay valid for a day. After that its tokens get a
503, never a 401.
"""

import asyncio
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import structlog

from gateway.access.identity.fetching import Fetch, ProviderAway, fetch_json
from gateway.access.identity.tokens import Unchecked, invalid
from gateway.errors import Unavailable
from gateway.settings.identity_sections import IssuerSection, is_local

log = structlog.get_logger()

FRESH_SECONDS: Final = 600.0
KEPT_SECONDS: Final = 86_400.0
REFETCH_SECONDS: Final = 30.0
DISCOVERY: Final = "/.well-known/openid-configuration"


@dataclass(slots=True)
class Issuer:
    """One issuer. `generation` grows whenever its keys change."""

    section: IssuerSection
    fetch: Fetch = fetch_json
    clock: Callable[[], float] = time.monotonic
    generation: int = 0
    _keys: dict[str, Any] = field(default_factory=dict, repr=False)
    _fetched_at: float | None = None  # when the keys were last read
    _tried_at: float | None = None
    _document: dict[str, Any] | None = field(default=None, repr=False)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _signatures: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._signatures = importlib.import_module("gateway.access.identity.signatures")
        if self.section.jwks is not None:
            self._keys = self._signatures.to_keys(orjson.loads(self.section.jwks))
            self._fetched_at = self.clock()

    async def check_signature(self, token: Unchecked) -> None:
        """Raises Unauthenticated unless a key of the issuer has signed the token, Unavailable without its keys."""
        self._signatures.check_signature(token, await self.key(token.key_id), self.section.algorithms)

    async def key(self, key_id: str) -> Any:
        """Return a signing key. Raises Unauthenticated for an unknown id, and Unavailable without any keys."""
        if self.section.jwks is None and self._is_due(key_id):
            async with self._fetching:
                if self._is_due(key_id):
                    await self._refresh()
        now = self.clock()
        if self._fetched_at is None or (self.section.jwks is None and now - self._fetched_at > KEPT_SECONDS):
            raise Unavailable("The signing keys of this token's issuer cannot be read now.", retry_after=5)
        found = self._keys.get(key_id)
        if found is None:
            raise invalid("its signing key is unknown")
        return found

    async def discovered(self) -> dict[str, Any]:
        """Return the issuer's discovery document. Raises ProviderAway."""
        if self._document is None:
            status, document = await self.fetch(self.section.issuer.rstrip("/") + DISCOVERY, None)
            if status != 200 or document.get("issuer") != self.section.issuer:
                raise ProviderAway("its discovery document names another issuer")
            self._document = document
        return self._document

    def _is_due(self, key_id: str) -> bool:
        now = self.clock()
        if self._tried_at is not None and now - self._tried_at < REFETCH_SECONDS:
            return False
        is_old = self._fetched_at is None or now - self._fetched_at > FRESH_SECONDS
        return is_old or key_id not in self._keys

    async def _refresh(self) -> None:
        self._tried_at = self.clock()
        try:
            url = self.section.jwks_url or str((await self.discovered()).get("jwks_uri", ""))
            parts = urlsplit(url)
            if parts.scheme != "https" and not is_local(parts.hostname or ""):
                raise ProviderAway("the address of its keys is not https")
            _, document = await self.fetch(url, None)
            keys = self._signatures.to_keys(document)
        except (ProviderAway, ValueError) as error:
            self._document = None
            log.warning("issuer_keys_not_read", issuer=self.section.issuer, reason=str(error))
            return
        if not keys:
            log.warning("issuer_keys_not_read", issuer=self.section.issuer, reason="there are none")
            return
        if keys.keys() != self._keys.keys():
            self.generation += 1
        self._keys, self._fetched_at = keys, self.clock()
