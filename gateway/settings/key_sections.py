"""Tables of gateway.toml that describe a client: its limits, rights and key."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.access.networks import check_networks
from gateway.access.records import (
    NAME,
    NAME_FORM,
    Allowance,
    Budget,
    DataRule,
    KeyPriority,
    KeyRecord,
    RateLimits,
    check_time_zone,
    check_window,
    to_nano,
    to_period,
)
from gateway.json_values import from_datetime, to_whole
from gateway.settings.values import Credential, matching
from gateway.settings.wording import WrongPart, placed
from gateway.upstream.routes.policy import to_policy

MAX_COUNT: Final = 1_000_000_000
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Name = Annotated[str, matching(NAME.pattern, NAME_FORM)]
NameOrNone = Annotated[str, matching(f"({NAME.pattern})?", NAME_FORM)]
Digest = Annotated[str, matching("[0-9a-fA-F]{64}", "64 hexadecimal digits, as sha256sum writes them")]
# Of ids of keys in the file, which the ids of made keys never have.
FILE_ID = "key_file_"


def _check_time(at: datetime) -> datetime:
    from_datetime(at)
    return at


def _check_dollars(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('expected US dollars, such as 25 or "12.50"')
    to_nano(value)
    return value


# Text keeps its decimals.
Dollars = Annotated[float | str, BeforeValidator(_check_dollars)]


class AllowanceSection(BaseModel):
    """Limits and a budget, named like the options of `dragoman keys`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rpm: Count | None = None
    input_tpm: Count | None = None
    output_tpm: Count | None = None
    concurrency: Count | None = None
    budget_usd: Dollars | None = None
    period: str = "month"
    time_zone: str = "UTC"
    window_seconds: int = 0

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        with placed("period"):
            period = to_period(self.period)
        with placed("time_zone"):
            check_time_zone(self.time_zone)
        if self.budget_usd is not None:
            with placed("window_seconds" if self.window_seconds else "period"):
                check_window(period, self.window_seconds)
        return self

    def allowance(self) -> Allowance:
        limits = RateLimits(self.rpm, self.input_tpm, self.output_tpm, self.concurrency)
        if self.budget_usd is None:
            return Allowance(limits)
        amount = to_nano(self.budget_usd)
        return Allowance(limits, (Budget.checked(amount, self.period, self.time_zone, self.window_seconds),))


class LimitsSection(AllowanceSection):
    """Limits for all models together, and separate ones for model groups."""

    model_groups: dict[Name, AllowanceSection] = Field(default_factory=dict)

    def allowance(self) -> Allowance:
        allowance = super().allowance()
        for group, one in self.model_groups.items():
            allowance = allowance.with_group(group, one.allowance())
        return allowance

    @property
    def has_budget(self) -> bool:
        return any(one.budget_usd is not None for one in (self, *self.model_groups.values()))


def _check_params(params: dict[str, Any]) -> dict[str, Any]:
    for name, value in params.items():
        with placed(name):
            to_policy(name, value)
    return params


def _check_floor(value: object) -> object:
    number = to_whole(value, MAX_COUNT) if isinstance(value, str) else value
    if value != "off" and not (isinstance(number, int) and 1 <= number <= MAX_COUNT):
        raise ValueError("expected a number of tokens, or off")
    return value


Time = Annotated[datetime, AfterValidator(_check_time)]
ShrinkFloor = Annotated[int | Literal["off"], BeforeValidator(_check_floor)]


Params = Annotated[dict[str, Any], AfterValidator(_check_params)]


class RightsSection(LimitsSection):
    """Rights of a client besides its limits, named like the options of `dragoman keys`."""

    models: tuple[Annotated[str, Field(min_length=1, max_length=512)], ...] = ()
    addresses: Annotated[tuple[str, ...], AfterValidator(check_networks)] = ()
    max_tokens: Count | None = None
    batches: bool = True
    cache: bool = True
    priority: KeyPriority = "normal"
    params: Params = Field(default_factory=dict, repr=False)
    data: DataRule = ""
    shrink_floor: ShrinkFloor | None = None

    def to_record(self, record_id: str, name: str, tenant: str, **fields: Any) -> KeyRecord:
        return KeyRecord(
            record_id,
            name,
            tenant,
            models=self.models,
            addresses=self.addresses,
            max_tokens=self.max_tokens,
            batches=self.batches,
            cache=self.cache,
            priority=self.priority,
            params=self.params,
            data=self.data,
            shrink_floor=0 if self.shrink_floor == "off" else self.shrink_floor,
            allowance=self.allowance(),
            **fields,
        )


class KeySection(RightsSection):
    """One table of `[[keys]]`. `sha256`: the digest of the key as hex, instead of the key."""

    name: Name
    tenant: Name = "default"
    user: NameOrNone = ""
    key: Credential | None = None
    sha256: Digest | None = Field(default=None, repr=False)
    not_before: Time | None = None
    expires: Time | None = None

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            place = ("sha256",) if self.sha256 is not None else ()
            raise WrongPart(place, 'expected a key, such as key = "${NAME}", or the sha256 of one')
        return self

    def record(self) -> KeyRecord:
        times = {"not_before": to_seconds(self.not_before), "expires_at": to_seconds(self.expires)}
        return self.to_record(FILE_ID + self.name, self.name, self.tenant, user=self.user, **times)


def to_seconds(at: datetime | None) -> int | None:
    return None if at is None else from_datetime(at)
