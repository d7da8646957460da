"""Names that the gateway knows, and names that tokens may have."""

import pytest

from gateway.access.keys import ClientKeys
from gateway.access.records import KeyRecord
from gateway.access.roster import to_roster
from gateway.errors import NotFound
from gateway.settings.identity_sections import RuleSection

ISSUER = "https://idp.example.com"
KEYS = [
    KeyRecord("key_1", "a", "red", "ann", created_at=50),
    KeyRecord("key_2", "b", "red", "ann", created_at=20),
    KeyRecord("key_3", "c", "blue", "ann", created_at=90),
    KeyRecord("key_4", "d", "blue", created_at=10, role="admin"),
    KeyRecord("key_5", "e", "blue", "bob", created_at=30, role="admin"),
]


def rule(**fields: object) -> RuleSection:
    return RuleSection.model_validate({"name": "r", "issuer": ISSUER, **fields})


def test_names_are_those_of_keys_limits_and_the_file_since_their_first_key() -> None:
    configured = ClientKeys([("green", "k")], b"s")
    roster = to_roster(KEYS, configured, ["tenant:grey", "user:una", "key:key_1", "*"], ())
    assert roster.tenants == {"default": 0, "green": 0, "red": 20, "blue": 10, "grey": 0}
    assert roster.users == {"ann": {"red": 20, "blue": 90}, "bob": {"blue": 30}, "una": {}}
    assert (roster.members_of("blue"), roster.members_of("green")) == (["ann", "bob"], [])
    assert (roster.since("ann"), roster.since("una"), roster.admins) == (20, 0, {"bob"})


@pytest.mark.parametrize(
    ("fields", "user", "may"),
    [
        ({"email_domain": "example.com", "user_claim": "email"}, "ann@example.com", True),
        ({"email_domain": "example.com", "user_claim": "email"}, "Ann@Example.com-1a2b3c4d", True),
        ({"email_domain": "example.com", "user_claim": "email"}, "ann@example.org", False),
        ({"subject": "ann"}, "ann", True),
        ({"subject": "ann"}, "bob", False),
        ({"subject": "repo:acme/app:*"}, "repo-acme-app-ref-refs-heads-main-1a2b3c4d", True),
        ({"subject": "repo:acme/app:*"}, "repo-acme-other-1a2b3c4d", False),
        ({"groups": ["dev"]}, "whatever", True),
        ({"email_domain": "example.com"}, "1234", True),
        ({"subject": "ann", "user_claim": "name"}, "Ann", True),
    ],
)
def test_limit_may_be_for_a_user_that_a_rule_may_name(fields: dict[str, object], user: str, may: bool) -> None:
    roster = to_roster((), ClientKeys([], b"s"), (), [rule(**fields)])
    if may:
        roster.check_scope(f"user:{user}")
    else:
        with pytest.raises(NotFound):
            roster.check_scope(f"user:{user}")


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("user:anm", "There is no user 'anm'. Did you mean ann? Hint."),
        ("user:zoe", "There is no user 'zoe'. There are ann, bob. Hint."),
        ("tenant:rde", "There is no tenant 'rde'. Did you mean red? Hint."),
    ],
)
def test_unknown_name_is_refused_with_the_closest_ones(scope: str, words: str) -> None:
    with pytest.raises(NotFound) as refused:
        to_roster(KEYS, ClientKeys([], b"s"), (), ()).check_scope(scope, "Hint.")
    assert refused.value.message == words


@pytest.mark.parametrize("scope", ["*", "key:key_9", "user:ann", "tenant:default"])
def test_known_scopes_are_accepted(scope: str) -> None:
    to_roster(KEYS, ClientKeys([], b"s"), (), ()).check_scope(scope)
