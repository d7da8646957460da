"""Names that the gateway knows, and names that tokens may have."""

import pytest

from gateway.access.keys import ClientKeys
from gateway.access.records import KeyRecord
from gateway.access.roster import MAX_COMPARED, MAX_NAMED, named_key, not_found, to_roster
from gateway.errors import InvalidRequest, NotFound
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
        ({"groups": ["dev"], "user_claim": "email"}, "whatever", True),
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


def test_unknown_name_is_quoted_as_far_as_80_characters_with_names_that_are_known() -> None:
    assert not_found("key", "x" * 81, ()).message == f"There is no key {'x' * 80!r}."
    names = [f"n{number:04}" for number in range(MAX_NAMED)]
    assert not_found("key", "?", names).message.endswith(f" There are {', '.join(names)}.")
    assert not_found("key", "?", [*names, "n9999"]).message.endswith("n0009 and more.")
    assert not_found("key", "?", ["one"], "Look.").message == "There is no key '?'. There is only one. Look."
    many = [f"a{number:05}" for number in range(MAX_COMPARED)]
    assert "Did you mean zebra?" not in not_found("key", "zebro", [*many, "zebra"]).message
    assert "Did you mean zebra?" in not_found("key", "zebro", [*many[1:], "zebra"]).message


def test_key_is_found_by_its_name_an_archived_one_last() -> None:
    gone, red = KeyRecord("key_1", "ci", "red", status="archived"), KeyRecord("key_2", "ci", "red")
    blue, other = KeyRecord("key_3", "ci", "blue"), KeyRecord("key_4", "other", "blue")
    assert named_key([gone, red, other], "ci") is red
    assert named_key([gone, other], "ci") is gone
    assert named_key([gone, red, blue], "blue/ci") is blue
    with pytest.raises(InvalidRequest, match="Several tenants have a key named 'ci': use blue/ci, red/ci, or its id"):
        named_key([gone, red, blue], "ci")
    for name in ("blue/none", "green/ci", "ci/"):
        with pytest.raises(NotFound):
            named_key([gone, red, blue], name)
