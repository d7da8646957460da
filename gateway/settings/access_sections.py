"""The sections of gateway.toml for clients: `[[keys]]`, `[limits]` and `[identity]`, as typed values."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gateway.access.keys import FileAccess
from gateway.access.records import DEPLOYMENT, check_name
from gateway.settings.config_file import ConfigFile
from gateway.settings.identity_sections import IdentitySection, IssuerSection, RuleSection, SignInSection
from gateway.settings.key_sections import AllowanceSection, KeySection, LimitsSection, Name

# The model with the fields of a section.
FORMS: Final[Mapping[str, type[BaseModel]]] = {
    "keys": KeySection,
    "limits": LimitsSection,
    "model_groups": AllowanceSection,
    "issuers": IssuerSection,
    "rules": RuleSection,
}


def _check_scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if scope != "deployment" and kind not in ("tenant", "user"):
        raise ValueError("expected deployment, tenant:NAME or user:NAME")
    return DEPLOYMENT if scope == "deployment" else f"{kind}:{check_name(name, kind)}"


Scope = Annotated[str, AfterValidator(_check_scope)]


Patterns = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(min_length=1)]


class AccessSections(BaseModel):
    """Sections of gateway.toml about clients. Without Redis, limits are shared out among the processes of one host."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: tuple[KeySection, ...] = ()
    limits: dict[Scope, LimitsSection] = Field(default_factory=dict)
    model_groups: dict[Name, Patterns] = Field(default_factory=dict)
    identity: IdentitySection = Field(default_factory=IdentitySection)

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        keys = ((f"key {one.name}", one.model_groups) for one in self.keys)
        rules = ((f"rule {one.name}", one.model_groups) for one in self.identity.rules)
        scopes = (("deployment" if one == DEPLOYMENT else one, of.model_groups) for one, of in self.limits.items())
        for what, groups in (*keys, *rules, *scopes):
            for group in groups.keys() - self.model_groups.keys():
                known = ", ".join(sorted(self.model_groups)) or "none"
                raise ValueError(f"{what} has limits for the model group {group}; [model_groups] has {known}")
        return self

    def file_access(self) -> FileAccess:
        keys = [
            (one.record(), one.key.get_secret_value() if one.key is not None else "", (one.sha256 or "").lower())
            for one in self.keys
        ]
        rules = [one.record() for one in self.identity.rules]
        allowances = {scope: one.allowance() for scope, one in self.limits.items()}
        return FileAccess(tuple(keys), allowances, tuple(rules), self.model_groups)

    def budgeted(self) -> Iterator[str]:
        """Return the names of everything that has a budget."""
        yield from (f"key {one.name}" for one in self.keys if one.has_budget)
        yield from (f"rule {one.name}" for one in self.identity.rules if one.has_budget)
        yield from (scope for scope, one in self.limits.items() if one.has_budget)


def is_access_section(name: str, value: object) -> bool:
    """Return whether a key of the file is a section of this module: `keys` is also the name of a setting."""
    if name == "keys":
        return isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
    return name in AccessSections.model_fields


def read_access(file: ConfigFile) -> tuple[AccessSections, tuple[str, ...]]:
    """Return the file's sections for clients, and the problems of those that cannot be used, which are left out."""
    given = {name: value for name, value in file.values.items() if is_access_section(name, value)}
    try:
        sections = AccessSections(**given)
    except ValidationError as error:
        return AccessSections(), tuple(dict.fromkeys(_to_problem(detail, file) for detail in error.errors()))
    names = [one.name for one in sections.keys]
    repeated = [(number, name) for number, name in enumerate(names) if name in names[:number]]
    return sections, tuple(
        file.problem(("keys", str(number), "name"), f'there are two keys named "{name}"') for number, name in repeated
    )


def _to_problem(detail: ErrorDetails, file: ConfigFile) -> str:
    location = tuple(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        known: type[BaseModel] = next((form for name, form in FORMS.items() if name in location[:2]), IdentitySection)
        known = SignInSection if "sign_in" in location else known
        return file.problem(location, f"unknown key; known are {', '.join(sorted(known.model_fields))}")
    text = detail["msg"].removeprefix("Value error, ")
    return file.problem(location, text[0].lower() + text[1:])
