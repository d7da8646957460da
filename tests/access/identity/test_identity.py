"""Tokens of an issuer: which are accepted, the user they name, and an issuer that is unavailable."""

from typing import Any

import orjson
import pytest
from joserfc.jwk import RSAKey

from gateway.access.configured import to_identity
from gateway.access.identity.identity import Identity, looks_like_token
from gateway.access.identity.issuers import FRESH_SECONDS, KEPT_SECONDS, REFETCH_SECONDS
from gateway.access.identity.own_tokens import EXCHANGED, open_token, sign
from gateway.errors import GatewayError, PermissionDenied, Unauthenticated, Unavailable
from gateway.settings import load_settings
from gateway.settings.access_sections import AccessSections
from gateway.settings.config import Config
from gateway.settings.identity_sections import IdentitySection
from tests.support.clock import Clock
from tests.support.issuer import AUDIENCE, ISSUER, NOW, RSA, Provider, claims, token, unsigned

RULES = [
    {"name": "ci", "issuer": ISSUER, "subject": "system:serviceaccount:ci:*", "tenant": "robots"},
    {"name": "boss", "issuer": ISSUER, "claims": {"realm.role": "boss"}, "role": "admin"},
    {"name": "devs", "issuer": ISSUER, "groups": ["dev", "ops"], "email_domain": "example.com", "user_claim": "email"},
    {"name": "ann", "issuer": ISSUER, "subject": "ann"},
]


def identity(provider: Provider, clock: Clock | None = None, **section: Any) -> Identity:
    given = {"issuers": [{"issuer": ISSUER}], "rules": RULES, **section}
    return Identity(
        IdentitySection(**given), b"secret", AUDIENCE, provider.fetch, clock or Clock(0.0), lambda: float(NOW)
    )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_token_of_the_issuer_is_its_subjects_once_fetched_keys_serve_for_all(algorithm: str) -> None:
    provider = Provider()
    made = identity(provider)
    for _ in range(3):
        person = await made.person_of(token(algorithm))
        assert (person.client.tenant, person.client.key_id, person.client.user) == ("default", "rule_ann", "ann")
    assert provider.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


HMAC = orjson.dumps(RSA.as_dict(private=False))
REFUSED = {
    "no algorithm": lambda: unsigned({"alg": "none", "kid": "rsa"}, claims()),
    "an HMAC with the public key": lambda: unsigned({"alg": "HS256", "kid": "rsa"}, claims(), HMAC),
    "an unknown algorithm": lambda: unsigned({"alg": "XX1", "kid": "rsa"}, claims()),
    "no key id": lambda: unsigned({"alg": "RS256"}, claims()),
    "a key id that is no text": lambda: unsigned({"alg": "RS256", "kid": 1}, claims()),
    "an unknown key id": lambda: unsigned({"alg": "RS256", "kid": "zz"}, claims()),
    "a key of its own": lambda: token(header={"jwk": RSA.as_dict(private=False)}),
    "the URL of a key": lambda: token(header={"jku": "https://evil.example/keys"}),
    "an unknown critical header": lambda: unsigned({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}, claims()),
    "a wrong signature": lambda: token()[:-6] + "AAAAAA",
    "another payload under the signature": lambda: swapped(),
    "no audience": lambda: token(aud=None),
    "another audience": lambda: token(aud="https://other.example"),
    "an audience that ours begins with": lambda: token(aud=AUDIENCE[:-1]),
    "an audience list without ours": lambda: token(aud=["a", 1]),
    "another issuer": lambda: token(iss="https://evil.example"),
    "a list of issuers": lambda: token(iss=[ISSUER]),
    "an issuer with a slash more": lambda: token(iss=ISSUER + "/"),
    "no subject": lambda: token(sub=None),
    "a subject that is no text": lambda: token(sub=5),
    "no expiry": lambda: token(exp=None),
    "an expiry as text": lambda: token(exp=str(NOW + 60)),
    "a past expiry": lambda: token(exp=NOW - 31),
    "no time of issue": lambda: token(iat=None),
    "a time of issue in the future": lambda: token(iat=NOW + 31),
    "a start in the future": lambda: token(nbf=NOW + 31),
    "a life of more than a day": lambda: token(iat=NOW - 10, exp=NOW + 86_400),
    "an expiry of infinity": lambda: unsigned({"alg": "RS256", "kid": "rsa"}, b'{"exp":1e400}'),
    "an expiry that is no number": lambda: unsigned({"alg": "RS256", "kid": "rsa"}, b'{"exp":NaN}'),
    "deep JSON": lambda: unsigned({"alg": "RS256", "kid": "rsa"}, b"[" * 9000),
    "more than 16 KiB": lambda: token(padding="x" * 17_000),
    "two parts": lambda: "eyJhbGciOiJSUzI1NiJ9.e30",
    "an empty signature": lambda: token().rpartition(".")[0] + ".",
    "no base64": lambda: "eyJ!!.e30.x",
    "a payload that is no object": lambda: unsigned({"alg": "RS256", "kid": "rsa"}, b"[]"),
}


def swapped() -> str:
    good, other_payload = token().split("."), token(sub="boss").split(".")
    return ".".join((good[0], other_payload[1], good[2]))


@pytest.mark.parametrize("case", REFUSED)
async def test_token_is_refused_for_good(case: str) -> None:
    made = identity(Provider())
    with pytest.raises(Unauthenticated) as caught:
        await made.person_of(REFUSED[case]())
    assert caught.value.should_retry is False
    await made.person_of(token())  # a good one is accepted all the same


async def test_remembered_token_is_known_by_all_of_it() -> None:
    made = identity(Provider())
    good = token()
    await made.person_of(good)
    with pytest.raises(Unauthenticated):
        await made.person_of(good[:-4] + "AAAA")


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        pytest.param("ci", {"sub": "system:serviceaccount:ci:build"}, id="prefix of the subject"),
        pytest.param("boss", {"sub": "x", "realm": {"role": "boss"}}, id="nested claim"),
        pytest.param("boss", {"sub": "x", "realm.role": "boss"}, id="claim with a dot in its name"),
        pytest.param("devs", {"sub": "x", "groups": ["ops"], "email": "Ann@Example.com"}, id="group and domain"),
        pytest.param(
            None, {"sub": "x", "groups": ["ops"], "email": "ann@example.com", "email_verified": False}, id="unverified"
        ),
        pytest.param(None, {"sub": "x", "groups": ["ops"], "email": "ann@evilexample.com"}, id="domain's end only"),
        pytest.param(None, {"sub": "system:serviceaccount:cj:build"}, id="another namespace"),
        pytest.param(None, {"sub": "x", "hasgroups": True}, id="groups left out"),
        pytest.param(None, {"sub": "Ann"}, id="another case"),
    ],
)
async def test_first_rule_that_matches_gives_the_rights(rule: str | None, changes: dict[str, Any]) -> None:
    made = identity(Provider())
    if rule is None:
        with pytest.raises(PermissionDenied):
            await made.person_of(token(**changes))
    else:
        assert (await made.person_of(token(**changes))).rule.name == rule


async def test_user_of_a_token_is_a_name_that_no_other_subject_has() -> None:
    made = identity(Provider())
    users = {
        (await made.person_of(token(sub=f"system:serviceaccount:ci:{name}"))).user for name in ("a:b", "a/b", "a-b")
    }
    assert len(users) == 3
    person = await made.person_of(token(sub="x", groups=["dev"], email="ann@example.com"))
    assert person.user == "ann@example.com"


async def test_same_subject_of_two_issuers_is_two_users() -> None:
    second = "https://other.example"
    rules = [{"name": one, "issuer": issuer, "subject": "ann"} for one, issuer in (("a", ISSUER), ("b", second))]
    issuers = [{"issuer": ISSUER}, {"issuer": second, "jwks_url": f"{second}/k"}]
    made = identity(Provider(), issuers=issuers, rules=rules)
    users = [(await made.person_of(token(iss=issuer))).user for issuer in (ISSUER, second)]
    assert users[0] != users[1]


async def test_unknown_key_ids_cause_one_fetch_in_half_a_minute_and_a_rotation_is_found() -> None:
    provider, clock = Provider(), Clock(0.0)
    made = identity(provider, clock)
    await made.person_of(token())
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await made.person_of(unsigned({"alg": "RS256", "kid": f"k{number}"}, claims()))
    assert len(provider.asked) == 2
    provider.keys = [RSAKey.import_key({**RSA.as_dict(private=True), "kid": "new"})]
    clock.now = REFETCH_SECONDS + 1
    with pytest.raises(Unauthenticated):
        await made.person_of(token(sub="ann", header={"kid": "other"}))
    assert (await made.person_of(token(header={"kid": "new"}))).user == "ann"
    assert len(provider.asked) == 3


async def test_last_keys_count_for_a_day_while_the_issuer_is_away_then_the_answer_is_503() -> None:
    provider, clock = Provider(), Clock(0.0)
    made = identity(provider, clock)
    await made.person_of(token())
    provider.is_away = True
    clock.now = FRESH_SECONDS + 1
    assert (await made.person_of(token(jti="2"))).user == "ann"
    clock.now = KEPT_SECONDS + 1
    with pytest.raises(Unavailable):
        await made.person_of(token(jti="3"))


async def test_issuer_that_was_never_reached_or_has_no_keys_is_503_not_401() -> None:
    provider = Provider()
    provider.keys = []
    with pytest.raises(Unavailable):
        await identity(provider).person_of(token())


async def test_inline_keys_need_no_request() -> None:
    provider = Provider()
    keys = orjson.dumps({"keys": [RSA.as_dict(private=False)]}).decode()
    made = identity(provider, issuers=[{"issuer": ISSUER, "jwks": keys}])
    assert (await made.person_of(token())).user == "ann"
    assert provider.asked == []


async def test_keys_of_an_issuer_that_stays_the_same_are_kept_when_the_file_changes() -> None:
    provider = Provider()
    before = identity(provider, audience=(AUDIENCE,))
    await before.person_of(token())
    provider.is_away = True
    access = AccessSections(identity=before.section.model_copy(update={"managed_settings": {}}))
    kept = to_identity(load_settings().with_config(Config(access=access)), b"secret", before)
    assert kept is not None
    kept.wall_clock = before.wall_clock
    assert (await kept.person_of(token())).user == "ann"


async def test_exchanged_token_has_the_rule_and_a_bounded_life() -> None:
    made = identity(Provider(), rules=[{**RULES[3], "token_lifetime_seconds": 900}])
    person = made.match(await made.check(token(exp=NOW + 200)), "ann")
    text, seconds = made.exchange(person)
    assert (text.startswith(EXCHANGED), seconds, looks_like_token(text)) == (True, 400, True)
    assert (await made.person_of(text)).client == person.client
    made.wall_clock = lambda: float(NOW + 401)
    with pytest.raises(Unauthenticated):
        await made.person_of(text)


async def test_exchange_names_the_rule_and_gets_no_other() -> None:
    made = identity(Provider())
    with pytest.raises(PermissionDenied, match=r"looked for realm\.role"):
        made.match(await made.check(token()), "boss")


async def test_token_of_a_removed_rule_or_another_secret_is_refused() -> None:
    made = identity(Provider())
    text = made.session(made.match(await made.check(token())), 60)
    fewer = identity(Provider(), rules=RULES[:3])
    for one in (fewer, Identity(made.section, b"other", AUDIENCE, wall_clock=made.wall_clock)):
        with pytest.raises(Unauthenticated):
            await one.person_of(text)
    for changed in (text[:-3] + "AAA", text + "A", sign(b"", {"rule": "ann", "exp": NOW + 9, "user": "u", "sub": "u"})):
        with pytest.raises(GatewayError):
            await made.person_of(changed)
    assert open_token(b"secret", text, NOW) is not None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"rules": [{"name": "all", "issuer": ISSUER}]}, "matches every token"),
        ({"rules": [{"name": "all", "issuer": ISSUER, "subject": "*"}]}, "matches every token"),
        ({"rules": [{"name": "a", "issuer": "https://x.example", "subject": "b"}]}, "which is not among"),
        ({"issuers": [{"issuer": "http://idp.example.com"}]}, "expected an https URL"),
        ({"issuers": [{"issuer": ISSUER, "algorithms": ["HS256"]}]}, "Input should be"),
    ],
)
def test_section_that_would_let_anybody_in_is_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IdentitySection(**{"issuers": [{"issuer": ISSUER}], **section})
