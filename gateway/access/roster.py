"""Known names: tenants, and the users of each, from keys, limits and rules of identity.

A limit for a name that no key or rule has would apply to nothing, so it is refused with the closest known names. Names
that a rule of identity may still produce are accepted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from gateway.access.identity.identity import to_characters
from gateway.access.keys import ClientKeys
from gateway.access.records import KeyRecord
from gateway.errors import InvalidRequest, NotFound
from gateway.settings.identity_sections import RuleSection

DEFAULT_TENANT: Final = "default"
# Maximum names in an error message, and maximum names compared for it: comparing one takes 10 µs.
MAX_NAMED: Final = 10
MAX_COMPARED: Final = 1000


@dataclass(frozen=True, slots=True)
class Roster:
    """Known names. `tenants`: name → Unix seconds of its first key, 0 if it is configured.

    `users`: name → tenant → Unix seconds of the user's first key there. `admins`: users with an admin key. `rules`:
    rules of identity.
    """

    tenants: Mapping[str, int]
    users: Mapping[str, Mapping[str, int]]
    admins: frozenset[str] = frozenset()
    rules: tuple[RuleSection, ...] = field(default=(), repr=False)

    def members_of(self, tenant: str) -> list[str]:
        return sorted(user for user, tenants in self.users.items() if tenant in tenants)

    def since(self, user: str) -> int:
        return min(self.users[user].values(), default=0)

    def check_scope(self, scope: str, hint: str = "") -> None:
        """Raises NotFound for an unknown tenant or user. `hint`: sentence that ends the message."""
        kind, _, name = scope.partition(":")
        known: Mapping[str, object] = {"tenant": self.tenants, "user": self.users}.get(kind, {name: 0})
        if name in known or (kind == "user" and any(may_name(rule, name) for rule in self.rules)):
            return
        raise not_found(kind, name, known, hint)


def check_group(configured: ClientKeys, group: str) -> None:
    """Raises NotFound for an unknown model group. An empty name, which means all models, is accepted."""
    if group and group not in configured.model_groups.patterns:
        hint = "[model_groups] in gateway.toml names them."
        raise not_found("model group", group, configured.model_groups.patterns, hint)


def named_key(records: Sequence[KeyRecord], name: str) -> KeyRecord:
    """Return the key with this name, or with `TENANT/NAME`; an archived one only if there is no other.

    Raises NotFound, and InvalidRequest if several tenants have a key of this name.
    """
    tenant, mark, bare = name.rpartition("/")
    named = [record for record in records if record.name == bare and (not mark or record.tenant == tenant)]
    found = [record for record in named if record.status != "archived"] or named
    if not found:
        raise not_found("key", name, [record.name for record in records])
    tenants = sorted({record.tenant for record in found})
    if len(tenants) > 1:
        several = ", ".join(f"{one}/{bare}" for one in tenants[:MAX_NAMED])
        raise InvalidRequest(f"Several tenants have a key named {bare!r}: use {several}, or its id.")
    return found[0]


def not_found(what: str, name: str, known: Iterable[str], hint: str = "") -> NotFound:
    """Return the error for an unknown name, with the closest known ones."""
    names = sorted(known)
    close = get_close_matches(name[:80], names[:MAX_COMPARED], n=3)
    text = f"There is no {what} {name[:80]!r}."
    if close:
        text += f" Did you mean {' or '.join(close)}?"
    elif names:
        verb = "are" if len(names) > 1 else "is only"
        text += f" There {verb} {', '.join(names[:MAX_NAMED])}{' and more' if len(names) > MAX_NAMED else ''}."
    return NotFound(f"{text} {hint}".rstrip())


def to_roster(
    made: Iterable[KeyRecord], configured: ClientKeys, scopes: Iterable[str], rules: Iterable[RuleSection]
) -> Roster:
    """Build the roster. `made`: stored keys. `scopes`: scopes with stored limits."""
    records = (*made, *configured.records.values())
    tenants = dict.fromkeys((DEFAULT_TENANT, *configured.tenants), 0)
    users: dict[str, dict[str, int]] = {}
    for record in records:
        since = record.created_at
        tenants[record.tenant] = min(since, tenants.get(record.tenant, since))
        if record.user:
            known = users.setdefault(record.user, {})
            known[record.tenant] = min(since, known.get(record.tenant, since))
    for scope in (*scopes, *configured.allowances):
        kind, _, name = scope.partition(":")
        if kind == "tenant":
            tenants.setdefault(name, 0)
        elif kind == "user":
            users.setdefault(name, {})
    admins = frozenset(record.user for record in records if record.role == "admin" and record.user)
    return Roster(tenants, users, admins, tuple(rules))


def may_name(rule: RuleSection, user: str) -> bool:
    """Return True if a token under this rule may result in this user name (see `identity.to_user`)."""
    if rule.user_claim == "email" and rule.email_domain:
        return f"@{rule.email_domain.lower()}" in user.lower()
    if rule.user_claim == "sub" and rule.subject:
        return user.startswith(to_characters(rule.subject.removesuffix("*")).rstrip("-"))
    return True
