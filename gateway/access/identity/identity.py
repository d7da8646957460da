"""From a token to a client: which issuer signed it, and which rule of `[identity]` its claims meet.

The first rule that matches counts; without one the answer is 403 that names what was looked for. A checked token is
remembered until it expires, by a digest of all of it.
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
# Entra lists no groups beyond this many; its claim then only says where to ask.
OVERAGE: Final = ("hasgroups", "_claim_names")
# A token in exchange lives at least this long, so that a client does not exchange with every request.
MIN_EXCHANGED: Final = 60


@dataclass(frozen=True, slots=True)
class Person:
    """A principal with its rule: what a token of ours says of it."""

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
    """`audience`: of tokens for this gateway, besides those that the section names."""

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
        """Return the holder of a token of ours or of a configured issuer.

        Raises Unauthenticated for a token that is not valid, PermissionDenied where no rule is for it, Unavailable
        while its issuer's keys cannot be read.
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
        """Return the principal of another party's token. Raises as `person_of` does."""
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
        """Return the principal under its first rule, or the one of this name. Raises PermissionDenied."""
        rules = [one for one in self.section.rules if one.issuer == principal.issuer and name in ("", one.name)]
        for rule in rules:
            if _matches(rule, principal):
                email = principal.claims.get("email")
                user = to_user(principal, rule.user_claim, is_only_issuer=len(self.issuers) == 1)
                is_text = isinstance(email, str)
                return Person(rule, user, principal.subject, str(email) if is_text else "", principal.expires_at)
        looked = sorted({claim for rule in rules for claim in _claims_of(rule)}) or ["a rule of this issuer"]
        raise PermissionDenied(
            f"No rule of this gateway is for this token; looked for {', '.join(looked)}.", should_retry=False
        )

    def exchange(self, person: Person) -> tuple[str, int]:
        """Return a token of ours for a workload, and its lifetime in seconds."""
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

    A value that had to be changed, or may come from several issuers, gets a digest of issuer and value, or two people
    could become one.
    """
    value = principal.claims.get(claim)
    text = value if isinstance(value, str) and value else principal.subject
    if is_only_issuer and NAME.fullmatch(text):
        return text
    digest = hashlib.sha256(f"{principal.issuer}\0{text}".encode()).hexdigest()[:8]
    return f"{to_characters(text).strip('-.@+_')[:54] or 'user'}-{digest}"


def to_characters(text: str) -> str:
    """Replace what a name may not have, and what it may not begin with."""
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
    """Raises PermissionDenied where the issuer has left the groups out because they are too many."""
    if any(name in claims for name in OVERAGE):
        raise PermissionDenied(
            "The token lists no groups, since there are too many of them; let its issuer send only this gateway's.",
            should_retry=False,
        )
    groups = claims.get("groups")
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return {one for one in listed if isinstance(one, str)}


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim; a dotted name that is no claim's leads into objects, as `realm_access.roles` does."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _claims_of(rule: RuleSection) -> list[str]:
    named = [("sub", rule.subject), ("groups", rule.groups), ("email", rule.email_domain)]
    return [name for name, value in named if value] + list(rule.claims)
