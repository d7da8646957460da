"""Sections of gateway.toml for clients: `[[keys]]`, `[limits]` and `[identity]`, as typed values."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gateway.access.keys import FileAccess
from gateway.access.records import DEPLOYMENT, check_name
from gateway.settings.config_file import ConfigFile
from gateway.settings.identity_sections import IdentitySection, IssuerSection, RuleSection, SignInSection
from gateway.settings.key_sections import AllowanceSection, KeySection, LimitsSection, Name
from gateway.settings.lines import Location
from gateway.settings.wording import Forms, section_problem

FORMS: Final[Forms] = (
    (("keys", "*"), KeySection),
    (("keys", "*", "model_groups", "*"), AllowanceSection),
    (("limits", "*"), LimitsSection),
    (("limits", "*", "model_groups", "*"), AllowanceSection),
    (("identity",), IdentitySection),
    (("identity", "issuers", "*"), IssuerSection),
    (("identity", "rules", "*"), RuleSection),
    (("identity", "rules", "*", "model_groups", "*"), AllowanceSection),
    (("identity", "sign_in"), SignInSection),
)


def _check_scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if scope != "deployment" and kind not in ("tenant", "user"):
        raise ValueError("expected deployment, tenant:NAME or user:NAME")
    return DEPLOYMENT if scope == "deployment" else f"{kind}:{check_name(name, kind)}"


Scope = Annotated[str, AfterValidator(_check_scope)]


Patterns = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(min_length=1)]


class AccessSections(BaseModel):
    """Sections of gateway.toml about clients. Without Redis, limits are divided among the processes of a host."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: tuple[KeySection, ...] = ()
    limits: dict[Scope, LimitsSection] = Field(default_factory=dict)
    model_groups: dict[Name, Patterns] = Field(default_factory=dict)
    identity: IdentitySection = Field(default_factory=IdentitySection)

    def file_access(self) -> FileAccess:
        keys = [
            (one.record(), one.key.get_secret_value() if one.key is not None else "", (one.sha256 or "").lower())
            for one in self.keys
        ]
        rules = [one.record() for one in self.identity.rules]
        allowances = {scope: one.allowance() for scope, one in self.limits.items()}
        return FileAccess(tuple(keys), allowances, tuple(rules), self.model_groups)

    def budgeted(self) -> Iterator[str]:
        """Return the names of all keys, scopes and rules with a budget."""
        yield from (f"key {one.name}" for one in self.keys if one.has_budget)
        yield from (f"rule {one.name}" for one in self.identity.rules if one.has_budget)
        yield from (scope for scope, one in self.limits.items() if one.has_budget)


def is_access_section(name: str, value: object) -> bool:
    """Return True if a key of the file is a section of this module. `keys` is also the name of a setting."""
    if name == "keys":
        return isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
    return name in AccessSections.model_fields


def read_access(file: ConfigFile) -> tuple[AccessSections, tuple[str, ...]]:
    """Return the file's sections for clients, and their problems. Sections with problems are left out."""
    given = {name: value for name, value in file.values.items() if is_access_section(name, value)}
    try:
        sections = AccessSections(**given)
    except ValidationError as error:
        return AccessSections(), tuple(dict.fromkeys(section_problem(one, file, FORMS) for one in error.errors()))
    return sections, tuple(file.problem(*each) for each in (*_repeated(sections), *_unknown_groups(sections)))


def _repeated(sections: AccessSections) -> Iterator[tuple[Location, str]]:
    names = [one.name for one in sections.keys]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("keys", str(number), "name"), f'there are two keys named "{name}"'


def _unknown_groups(sections: AccessSections) -> Iterator[tuple[Location, str]]:
    tables: list[tuple[Location, LimitsSection]] = [
        *((("keys", str(number)), one) for number, one in enumerate(sections.keys)),
        *((("identity", "rules", str(number)), one) for number, one in enumerate(sections.identity.rules)),
        *((("limits", "deployment" if scope == DEPLOYMENT else scope), one) for scope, one in sections.limits.items()),
    ]
    known = ", ".join(sorted(sections.model_groups)) or "none"
    for location, table in tables:
        for group in table.model_groups:
            if group not in sections.model_groups:
                yield (*location, "model_groups", group), f"there is no such group; [model_groups] has {known}"
