"""The section `[identity]` of gateway.toml: issuers of tokens, rules from their claims to rights, and sign-in."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.access.records import ROLES, KeyRecord
from gateway.settings.key_sections import Name, RightsSection
from gateway.settings.lines import Location
from gateway.settings.values import Credential
from gateway.settings.wording import WrongPart

# Signatures with a private key only: a public key can never serve as the secret of an HMAC.
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
# Of ids of rules, which stand where the ids of keys do.
RULE_ID: Final = "rule_"
MAX_LIFETIME: Final = 86_400


def _check_https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "http" and is_local(parts.hostname or ""):
        return url
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("expected an https URL; http is allowed for loopback addresses")
    return url


def is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


HttpsUrl = Annotated[str, AfterValidator(_check_https)]


class IssuerSection(BaseModel):
    """One table of `[[identity.issuers]]`. Keys come from `jwks` (inline), `jwks_url`, or the issuer's discovery."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: HttpsUrl
    audience: tuple[Annotated[str, Field(min_length=1, max_length=512)], ...] = ()
    jwks_url: HttpsUrl | None = Field(default=None, repr=False)
    jwks: Annotated[str, Field(max_length=1_000_000)] | None = Field(default=None, repr=False)
    algorithms: tuple[Literal[ALGORITHMS], ...] = ALGORITHMS  # type: ignore[valid-type]
    max_lifetime_seconds: Annotated[int, Field(ge=60, le=30 * 86_400)] = MAX_LIFETIME


class RuleSection(RightsSection):
    """One table of `[[identity.rules]]`: conditions for a token, and the rights of its holder. Limits apply to each
    person or workload separately."""

    name: Name
    issuer: str
    subject: Annotated[str, Field(max_length=512)] = ""
    claims: dict[str, str] = Field(default_factory=dict)
    groups: tuple[str, ...] = ()
    email_domain: str = ""
    tenant: Name = "default"
    user_claim: str = "sub"
    role: Literal[("", *ROLES)] = ""  # type: ignore[valid-type]
    token_lifetime_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    managed_settings: dict[str, Any] | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _check_match(self) -> Self:
        if not (self.subject.strip("*") or self.claims or self.groups or self.email_domain):
            raise ValueError("matches every token of its issuer; give a subject, claims, groups or email_domain")
        return self

    def record(self) -> KeyRecord:
        return self.to_record(RULE_ID + self.name, self.name, self.tenant, per_user=True, role=self.role)


class SignInSection(BaseModel):
    """`[identity.sign_in]`: the client of the OpenID provider with which people sign in."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str
    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    client_secret: Credential | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    session_seconds: Annotated[int, Field(ge=300, le=86_400)] = 3600
    refresh_seconds: Annotated[int, Field(ge=3600, le=90 * 86_400)] = 30 * 86_400
    notice: Annotated[str, Field(max_length=500)] = ""


class IdentitySection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    audience: tuple[Annotated[str, Field(min_length=1, max_length=512)], ...] = ()
    issuers: tuple[IssuerSection, ...] = ()
    rules: tuple[RuleSection, ...] = ()
    sign_in: SignInSection | None = None
    managed_settings: dict[str, Any] | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        issuers = [one.issuer for one in self.issuers]
        for place, what, name in self._issuers_named():
            if name not in issuers:
                raise WrongPart(place, f"{what} names the issuer {name}, which is not among [[identity.issuers]]")
        for kind, key, names in (("issuers", "issuer", issuers), ("rules", "name", [one.name for one in self.rules])):
            repeated = [at for at, name in enumerate(names) if name in names[:at]]
            if repeated:
                raise WrongPart((kind, str(repeated[0]), key), f"two {kind} have the same name")
        return self

    def _issuers_named(self) -> Iterator[tuple[Location, str, str]]:
        for at, one in enumerate(self.rules):
            yield ("rules", str(at), "issuer"), f"the rule {one.name}", one.issuer
        if self.sign_in is not None:
            yield ("sign_in", "issuer"), "sign_in", self.sign_in.issuer
