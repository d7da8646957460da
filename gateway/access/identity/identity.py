"""Identify the client of a token: check its issuer's signature, and find the rule of `[identity]` for its claims.

The first matching rule applies. Without one the answer is a 403 that names the claims the rules look for. Checked
tokens are cached until they expire, by a digest of the whole token.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.access.identity.fetching import Fetch, fetch_json
from gateway.access.identity.issuers import Issuer
from gateway.access.identity.own_tokens import EXCHANGED, is_own, open_token, sign
from gateway.access.identity.tokens import Principal, check_claims, invalid, read_token
from gateway.access.keys import Client
from gateway.access.records import NAME
from gateway.errors import PermissionDenied
from gateway.settings.identity_sections import RULE_ID, IdentitySection, RuleSection

MAX_REMEMBERED: Final = 50_000
# Claims by which Entra replaces the list of groups when a user has too many.
OVERAGE: Final = ("hasgroups", "_claim_names")
# Shortest lifetime of an exchanged token, in seconds, so that a client does not exchange with every request.
MIN_EXCHANGED: Final = 60


@dataclass(frozen=True, slots=True)
class Person:
    """A principal with its rule: the content of a token that the gateway issues."""

    rule: RuleSection
    user: str
    subject: str
    email: str = ""
    expires_at: float = 0.0

    @property
    def client(self) -> Client:
        return Client(self.rule.tenant, RULE_ID + self.rule.name, self.user)


@dataclass(slots=True)
class Identity:
    """Identity of the holders of tokens. `audience`: expected in tokens if the section names none."""

    section: IdentitySection
    secret: bytes = field(repr=False)
    audience: str = ""
    fetch: Fetch = fetch_json
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    issuers: dict[str, Issuer] = field(init=False)
    _remembered: OrderedDict[bytes, tuple[Person, int]] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        self.issuers = {one.issuer: Issuer(one, self.fetch, self.clock) for one in self.section.issuers}

    async def person_of(self, token: str) -> Person:
        """Return the holder of a token that the gateway or a configured issuer has issued.

        Raises Unauthenticated for an invalid token, PermissionDenied if no rule matches it, and Unavailable while its
        issuer's keys cannot be read.
        """
        if is_own(token):
            claims = open_token(self.secret, token, self.wall_clock())
            rule = None if claims is None else self.rule(str(claims.get("rule")))
            if claims is None or rule is None:
                raise invalid("it has expired, or is not this gateway's")
            return Person(rule, claims["user"], claims["sub"], claims.get("email", ""), claims["exp"])
        digest = hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self.secret[:64]).digest()
        found, now = self._remembered.get(digest), self.wall_clock()
        if found is not None and now < found[0].expires_at and found[1] == self._generation:
            self._remembered.move_to_end(digest)
            return found[0]
        person = self.match(await self.check(token))
        self._remembered[digest] = (person, self._generation)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return person

    async def check(self, token: str, audiences: tuple[str, ...] = ()) -> Principal:
        """Return the principal of an issuer's token. Raises Unauthenticated and Unavailable, as `person_of`."""
        read = read_token(token)
        issuer = self.issuers.get(read.issuer)
        if issuer is None:
            raise invalid("its issuer is not configured")
        await issuer.check_signature(read)
        wanted = audiences or issuer.section.audience or self.section.audience or (self.audience,)
        return check_claims(
            read, [one for one in wanted if one], issuer.section.max_lifetime_seconds, self.wall_clock()
        )

    def match(self, principal: Principal, name: str = "") -> Person:
        """Return the principal with its first matching rule, or with the rule `name`. Raises PermissionDenied."""
        rules = [one for one in self.section.rules if one.issuer == principal.issuer and name in ("", one.name)]
        for rule in rules:
            if _matches(rule, principal):
                email = principal.claims.get("email")
                user = to_user(principal, rule.user_claim, is_only_issuer=len(self.issuers) == 1)
                is_text = isinstance(email, str)
                return Person(rule, user, principal.subject, str(email) if is_text else "", principal.expires_at)
        looked = sorted({claim for rule in rules for claim in _claims_of(rule)}) or ["a rule of this issuer"]
        raise PermissionDenied(
            f"No rule of this gateway matches this token; looked for {', '.join(looked)}.", should_retry=False
        )

    def exchange(self, person: Person) -> tuple[str, int]:
        """Issue a token for a workload. Return it with its lifetime in seconds."""
        remaining = person.expires_at - self.wall_clock()
        seconds = int(max(MIN_EXCHANGED, min(person.rule.token_lifetime_seconds, 2 * remaining)))
        return EXCHANGED + self.session(person, seconds), seconds

    def session(self, person: Person, seconds: int, **claims: Any) -> str:
        now = int(self.wall_clock())
        known = {"sub": person.subject, "user": person.user, "rule": person.rule.name, "iat": now, "exp": now + seconds}
        return sign(self.secret, {**known, **({"email": person.email} if person.email else {}), **claims})

    def rule(self, name: str) -> RuleSection | None:
        return next((one for one in self.section.rules if one.name == name), None)

    @property
    def _generation(self) -> int:
        return sum(issuer.generation for issuer in self.issuers.values())


def looks_like_token(text: str) -> bool:
    """Return whether a credential is a token: three parts, the first of which is a JSON object in base64."""
    return text.startswith(("eyJ", EXCHANGED)) and text.count(".") == 2


def to_user(principal: Principal, claim: str, *, is_only_issuer: bool) -> str:
    """Return the principal's name in limits and reports: a claim's value, in characters that a header may have.

    A changed value, and any value if there are several issuers, gets a digest of issuer and value, so that two people
    never share a name.
    """
    value = principal.claims.get(claim)
    text = value if isinstance(value, str) and value else principal.subject
    if is_only_issuer and NAME.fullmatch(text):
        return text
    digest = hashlib.sha256(f"{principal.issuer}\0{text}".encode()).hexdigest()[:8]
    return f"{to_characters(text).strip('-.@+_')[:54] or 'user'}-{digest}"


def to_characters(text: str) -> str:
    """Replace characters that a name may not contain, and remove those that it may not start with."""
    return re.sub(r"[^A-Za-z0-9_.@+-]+", "-", text).lstrip("-.@+_")


def _matches(rule: RuleSection, principal: Principal) -> bool:
    claims, subject = principal.claims, rule.subject
    if subject and not (
        principal.subject.startswith(subject[:-1]) if subject.endswith("*") else principal.subject == subject
    ):
        return False
    if any(str(_claim(claims, name)) != value for name, value in rule.claims.items()):
        return False
    if rule.groups and not set(rule.groups) & _groups(claims):
        return False
    if not rule.email_domain:
        return True
    email = claims.get("email")
    is_known = isinstance(email, str) and claims.get("email_verified", True) is True
    return is_known and str(email).lower().endswith("@" + rule.email_domain.lower())


def _groups(claims: Mapping[str, Any]) -> set[str]:
    """Return the groups of a token. Raises PermissionDenied if the issuer left them out because there are too many."""
    if any(name in claims for name in OVERAGE):
        raise PermissionDenied(
            "The token lists no groups, since there are too many; let its issuer send only those for this gateway.",
            should_retry=False,
        )
    groups = claims.get("groups")
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return {one for one in listed if isinstance(one, str)}


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim. A dotted name that is not itself a claim is a path into objects, such as `realm_access.roles`."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _claims_of(rule: RuleSection) -> list[str]:
    named = [("sub", rule.subject), ("groups", rule.groups), ("email", rule.email_domain)]
    return [name for name, value in named if value] + list(rule.claims)
