"""Sign-in of people by OAuth's device flow, which Claude Code uses.

The device shows a code, the person confirms it in a browser and signs in at the company's OpenID provider
(authorization code with PKCE), and the device gets a session token and a refresh token. State is in Redis under
digests, so any front end can serve any step. A refresh token is valid once: a second use ends its session, since the
token must have been copied.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from gateway.access.identity.fetching import ProviderAway
from gateway.access.identity.identity import Identity, Person
from gateway.access.sealing import seal, unseal
from gateway.errors import GatewayError
from gateway.redis.server import RedisServer
from gateway.settings.identity_sections import SignInSection

DEVICE_SECONDS: Final = 600
POLL_SECONDS: Final = 5
# No vowels, so that codes are no words, and no Y or other letters that are easily misread.
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH: Final = 8
# Per WINDOW_SECONDS and address.
MAX_GUESSES: Final = 10
MAX_STARTS: Final = 30
WINDOW_SECONDS: Final = 600

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_GRANT: Final = "refresh_token"
# Prefix of sealed values; others are plain JSON.
SEALED: Final = b"s1."
PURPOSE: Final = b"sign-in"


class Refused(Exception):
    """OAuth error. `error`: code of RFC 6749 or RFC 8628. `status`: HTTP status of the reply."""

    def __init__(self, error: str, status: int = 400, description: str = "") -> None:
        super().__init__(error)
        self.error, self.status, self.description = error, status, description


@dataclass(slots=True)
class SignIn:
    """Sign-in at one provider, configured by `section`. Every method raises StoreAway while Redis is unavailable."""

    identity: Identity
    section: SignInSection
    server: RedisServer
    code_seconds: int = DEVICE_SECONDS
    poll_seconds: int = POLL_SECONDS
    _prefix: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._prefix = self.server.keys.sign_in

    async def start(self, address: str) -> dict[str, Any]:
        """Start a sign-in. Return codes for the device and for the person. Raises Refused above MAX_STARTS."""
        await self._count("start", address, MAX_STARTS)
        device, code = secrets.token_urlsafe(32), "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        state = orjson.dumps({"state": "pending", "code": code})
        await self._run(
            ("SET", self._name("device", device), state, "EX", self.code_seconds),
            ("SET", self._name("code", code), self._name("device", device), "EX", self.code_seconds),
        )
        return {
            "device_code": device,
            "user_code": f"{code[:4]}-{code[4:]}",
            "expires_in": self.code_seconds,
            "interval": self.poll_seconds,
            **({"login_notice": self.section.notice} if self.section.notice else {}),
        }

    async def to_provider(self, user_code: str, address: str, callback: str) -> tuple[str, str]:
        """Return the provider's URL for a person who confirmed a code, and a binding for the browser's cookie.

        Raises Refused for an unknown code or too many guesses, and ProviderAway.
        """
        await self._count("guess", address, MAX_GUESSES)
        code = _without_marks(user_code)
        [device] = await self._run(("GET", self._name("code", code)))
        if device is None:
            raise Refused("invalid_request", 404, "This code is unknown or has expired.")
        document = await self.identity.issuers[self.section.issuer].discovered()
        state, verifier, nonce, binding = (secrets.token_urlsafe(32) for _ in range(4))
        kept = {"device": device.decode(), "code": code, "verifier": verifier, "nonce": nonce, "binding": binding}
        await self._run(("SET", self._name("state", state), orjson.dumps(kept), "EX", self.code_seconds))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.section.client_id,
            "redirect_uri": callback,
            "scope": " ".join(self.section.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{document['authorization_endpoint']}?{urlencode(query)}", binding

    async def deny(self, user_code: str, address: str) -> None:
        await self._count("guess", address, MAX_GUESSES)
        code = _without_marks(user_code)
        [device] = await self._run(("GETDEL", self._name("code", code)))
        if device is not None:
            await self._run(("SET", device, orjson.dumps({"state": "denied"}), "XX", "KEEPTTL"))

    async def finish(self, state: str, code: str, binding: str, callback: str) -> Person:
        """Exchange the provider's code, check its token, and approve the device.

        Raises Refused, ProviderAway, and PermissionDenied if no rule matches the token.
        """
        [raw] = await self._run(("GETDEL", self._name("state", state)))
        kept = None if raw is None else orjson.loads(raw)
        if kept is None or not secrets.compare_digest(kept["binding"], binding):
            raise Refused("invalid_request", 400, "This sign-in was not started in this browser, or has expired.")
        answer = await self._ask(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": callback,
                "code_verifier": kept["verifier"],
            }
        )
        principal = await self.identity.check(str(answer.get("id_token", "")), (self.section.client_id,))
        if principal.issuer != self.section.issuer or principal.claims.get("nonce") != kept["nonce"]:
            raise Refused("invalid_request", 400, "The provider's token does not belong to this sign-in.")
        person = self.identity.match(principal)
        approved = {"state": "approved", "person": _to_plain(person), "provider": answer.get("refresh_token")}
        await self._run(
            ("SET", kept["device"], self._seal(approved), "XX", "KEEPTTL"), ("DEL", self._name("code", kept["code"]))
        )
        return person

    async def poll(self, device_code: str) -> dict[str, Any]:
        """Return the tokens of an approved sign-in, once. Raises Refused with the code that the device expects."""
        name = self._name("device", device_code)
        raw, may_poll = await self._run(("GET", name), ("SET", name + ":p", 1, "NX", "EX", self.poll_seconds - 1))
        if raw is None:
            raise Refused("expired_token")
        if raw.startswith(SEALED):
            [raw] = await self._run(("GETDEL", name))
            if raw is None:  # another poll was faster
                raise Refused("expired_token")
            approved = self._open(raw)
            return await self._tokens(_to_person(self.identity, approved["person"]), approved["provider"])
        if orjson.loads(raw)["state"] == "denied":
            raise Refused("access_denied")
        raise Refused("authorization_pending" if may_poll is not None else "slow_down")

    async def refresh(self, token: str) -> dict[str, Any]:
        """Return new tokens. Raises Refused: 401 if the person has to sign in again, 503 without the provider."""
        name = self._name("refresh", token)
        raw, used = await self._run(("GETDEL", name), ("GET", name + ":used"))
        if raw is None:
            if used is not None:
                await self._run(("DEL", used))  # the successor, since one of the two is a copy
            raise Refused("invalid_grant", 401)
        kept = self._open(raw)
        provider = kept["provider"]
        if provider:
            try:
                answer = await self._ask({"grant_type": "refresh_token", "refresh_token": provider})
            except (ProviderAway, GatewayError):
                await self._run(("SET", name, raw, "EX", self.section.refresh_seconds))
                raise Refused("temporarily_unavailable", 503) from None
            except Refused:
                raise Refused("invalid_grant", 401) from None
            provider = answer.get("refresh_token") or provider
        person = _to_person(self.identity, kept["person"])
        tokens = await self._tokens(person, provider)
        successor = self._name("refresh", tokens["refresh_token"])
        await self._run(("SET", name + ":used", successor, "EX", self.section.refresh_seconds))
        return tokens

    async def revoke(self, token: str) -> None:
        await self._run(("DEL", self._name("refresh", token)))

    async def _tokens(self, person: Person, provider: str | None) -> dict[str, Any]:
        refresh, seconds = secrets.token_urlsafe(32), self.section.session_seconds
        kept = self._seal({"person": _to_plain(person), "provider": provider})
        await self._run(("SET", self._name("refresh", refresh), kept, "EX", self.section.refresh_seconds))
        return {
            "access_token": self.identity.session(person, seconds),
            "token_type": "Bearer",
            "expires_in": seconds,
            "refresh_token": refresh,
            **({"email": person.email} if person.email else {}),
        }

    async def _ask(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Call the provider's token endpoint. Raises Refused for an error of the provider, and ProviderAway."""
        document = await self.identity.issuers[self.section.issuer].discovered()
        secret = self.section.client_secret
        client = {"client_id": self.section.client_id}
        if secret is not None:
            client["client_secret"] = secret.get_secret_value()
        status, answer = await self.identity.fetch(str(document["token_endpoint"]), {**form, **client})
        if status != 200:
            raise Refused("access_denied", 403, "The provider refused this sign-in.")
        return answer

    async def _count(self, kind: str, address: str, most: int) -> None:
        name = f"{self._prefix}try:{kind}:{address}"
        count, _ = await self._run(("INCR", name), ("EXPIRE", name, WINDOW_SECONDS, "NX"))
        if int(count) > most:
            raise Refused("slow_down", 429, "Too many attempts from this address; try again in ten minutes.")

    def _name(self, kind: str, value: str) -> str:
        return f"{self._prefix}{kind}:{hashlib.sha256(value.encode('utf-8', 'surrogateescape')).hexdigest()}"

    async def _run(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        return await self.server.pipeline(list(commands))

    def _seal(self, value: dict[str, Any]) -> bytes:
        return SEALED + seal(self.identity.secret, orjson.dumps(value), PURPOSE)

    def _open(self, raw: bytes) -> dict[str, Any]:
        """Raises Refused for values that were sealed before the secret changed: the person has to sign in again."""
        try:
            value: dict[str, Any] = orjson.loads(unseal(self.identity.secret, raw.removeprefix(SEALED), PURPOSE))
        except ValueError:
            raise Refused("invalid_grant", 401) from None
        return value


def _without_marks(user_code: str) -> str:
    """Normalise a code as typed by a person."""
    return user_code.upper().replace("-", "").replace(" ", "")


def _to_plain(person: Person) -> dict[str, Any]:
    return {"rule": person.rule.name, "user": person.user, "subject": person.subject, "email": person.email}


def _to_person(identity: Identity, plain: Mapping[str, Any]) -> Person:
    """Raises Refused if the rule has been removed from the configuration."""
    rule = identity.rule(plain["rule"])
    if rule is None:
        raise Refused("invalid_grant", 401)
    return Person(rule, plain["user"], plain["subject"], plain["email"])
