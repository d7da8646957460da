"""The sections of gateway.toml for clients: `[[keys]]` and `[limits]`, as typed values."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gateway.access.keys import FileAccess
from gateway.access.records import (
    DEPLOYMENT,
    Allowance,
    Budget,
    DataRule,
    KeyRecord,
    RateLimits,
    check_name,
    to_nano,
)
from gateway.settings.config_file import ConfigFile
from gateway.settings.values import Credential
from gateway.upstream.policy import to_policy

Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, AfterValidator(lambda text: check_name(text, "name"))]
# Of ids of keys in the file, which the ids of made keys never have.
FILE_ID = "key_file_"


class AllowanceSection(BaseModel):
    """Limits and a budget, with the names that the options of `dragoman keys` have."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rpm: Count | None = None
    input_tpm: Count | None = None
    output_tpm: Count | None = None
    concurrency: Count | None = None
    budget_usd: float | str | None = None
    period: str = "month"
    time_zone: str = "UTC"
    window_seconds: int = 0

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        self.allowance()
        return self

    def allowance(self) -> Allowance:
        limits = RateLimits(self.rpm, self.input_tpm, self.output_tpm, self.concurrency)
        if self.budget_usd is None:
            return Allowance(limits)
        amount = to_nano(self.budget_usd)
        return Allowance(limits, (Budget.checked(amount, self.period, self.time_zone, self.window_seconds),))


def _check_params(params: dict[str, Any]) -> dict[str, Any]:
    for name, value in params.items():
        to_policy(name, value)
    return params


Params = Annotated[dict[str, Any], AfterValidator(_check_params)]


class KeySection(AllowanceSection):
    """One table of `[[keys]]`. `sha256`: the digest of the key as hex, instead of the key."""

    name: Name
    tenant: Name = "default"
    user: Name | Literal[""] = ""
    key: Credential | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = Field(default=None, repr=False)
    models: tuple[Annotated[str, Field(min_length=1, max_length=512)], ...] = ()
    max_tokens: Count | None = None
    not_before: datetime | None = None
    expires: datetime | None = None
    batches: bool = True
    cache: bool = True
    params: Params = Field(default_factory=dict, repr=False)
    data: DataRule = ""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError('expected a key, such as key = "${NAME}", or the sha256 of one')
        return self

    def record(self) -> KeyRecord:
        return KeyRecord(
            FILE_ID + self.name,
            self.name,
            self.tenant,
            self.user,
            not_before=to_seconds(self.not_before),
            expires_at=to_seconds(self.expires),
            models=self.models,
            max_tokens=self.max_tokens,
            batches=self.batches,
            cache=self.cache,
            params=self.params,
            data=self.data,
            allowance=self.allowance(),
        )


def _check_scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    if scope != "deployment" and kind not in ("tenant", "user"):
        raise ValueError("expected deployment, tenant:NAME or user:NAME")
    return DEPLOYMENT if scope == "deployment" else f"{kind}:{check_name(name, kind)}"


Scope = Annotated[str, AfterValidator(_check_scope)]


class AccessSections(BaseModel):
    """What gateway.toml holds of clients. Without Redis, limits are shared out among the processes of one host."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: tuple[KeySection, ...] = ()
    limits: dict[Scope, AllowanceSection] = Field(default_factory=dict)

    def file_access(self) -> FileAccess:
        keys = [
            (one.record(), one.key.get_secret_value() if one.key is not None else "", (one.sha256 or "").lower())
            for one in self.keys
        ]
        return FileAccess(tuple(keys), {scope: one.allowance() for scope, one in self.limits.items()})

    def budgeted(self) -> Iterator[str]:
        """Return the names of everything that has a budget."""
        yield from (f"key {one.name}" for one in self.keys if one.budget_usd is not None)
        yield from (scope for scope, one in self.limits.items() if one.budget_usd is not None)


def to_seconds(at: datetime | None) -> int | None:
    return None if at is None else int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


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
    repeated = sorted({name for name in names if names.count(name) > 1})
    return sections, tuple(file.problem(("keys",), f'there are two keys named "{name}"') for name in repeated)


def _to_problem(detail: ErrorDetails, file: ConfigFile) -> str:
    location = tuple(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        known = KeySection if location[0] == "keys" else AllowanceSection
        return file.problem(location, f"unknown key; known are {', '.join(sorted(known.model_fields))}")
    text = detail["msg"].removeprefix("Value error, ")
    return file.problem(location, text[0].lower() + text[1:])
