"""The sections of gateway.toml for several upstreams, `[upstreams]` and `[routes]`, as typed values.

The short forms are brought into the long one before they are checked: a candidate's text into a table, a route's text
or list into a table with `to`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.settings.values import BaseUrl, Credential, Flavor, Seconds
from gateway.upstream.vendors.registry import COMPATIBLE, VENDORS, vendor_of
from gateway.upstream.vendors.vendor import Vendor

# Beyond this many a client waits for minutes before it hears that all have failed.
MAX_CANDIDATES: Final = 32
MAX_KEYS: Final = 64

# Labels for which OpenRouter has a rule, by the fields of its `provider` object.
DATA_RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "zdr": {"zdr": True, "data_collection": "deny"},
    "deny": {"data_collection": "deny"},
}

Dialect = Literal["auto", "chat", "messages", "responses"]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Dollars = Annotated[float, Field(ge=0, le=1_000_000)]


def _listed(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("expected a key, or a list of keys")
    return [value] if isinstance(value, str) else value


def _header_name(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError("expected the name of a header: letters, digits, - and _")
    return name.lower()


def _header_value(value: str) -> str:
    if not all(" " <= each <= "~" for each in value):
        raise ValueError("expected one line of visible ASCII characters")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Prices(Section):
    """Dollars for a million tokens."""

    prompt: Dollars | None = None
    completion: Dollars | None = None


class UpstreamSection(Section):
    """One table of `[upstreams]`. `header_timeout` and `first_content_timeout` apply while a candidate is left."""

    url: BaseUrl | None = Field(default=None, repr=False)
    key: Annotated[tuple[Credential, ...], BeforeValidator(_listed), Field(max_length=MAX_KEYS)] = ()
    vendor: Flavor = "auto"
    dialect: Dialect | None = None
    auth: Literal["bearer", "x-api-key", "api-key", "client", "none"] | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, repr=False)
    forward_headers: tuple[HeaderName, ...] = ()
    concurrency: Positive | None = None
    rpm: Positive | None = None
    tpm: Positive | None = None
    batch: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    connect_timeout: Seconds | None = None
    header_timeout: Seconds = 20.0
    first_content_timeout: Seconds = 60.0
    idle_timeout: Seconds | None = None
    total_timeout: Seconds | None = None
    models: tuple[Annotated[str, Field(min_length=1, max_length=512)], ...] = ()
    prices: Prices | None = None
    region: Annotated[str, Field(max_length=64)] = ""
    data: Annotated[str, Field(max_length=64)] = Field(default="", repr=False)
    params: dict[str, Any] = Field(default_factory=dict, repr=False)
    unsupported: Literal["drop", "refuse"] = "drop"

    def row(self, name: str) -> Vendor:
        """Return the vendor's row: as set, else by the host, else by the upstream's name."""
        if self.vendor not in ("auto", "openai"):
            return VENDORS[self.vendor]
        if self.url is None:
            return VENDORS.get(name if self.vendor == "auto" else self.vendor, COMPATIBLE)
        found = vendor_of(self.vendor, str(self.url))
        return VENDORS.get(name, found) if found is COMPATIBLE and self.vendor == "auto" else found

    def has_labels(self, name: str, required: Mapping[str, str]) -> bool:
        """Return True if the upstream has what a route requires. OpenRouter keeps rules about data for each request."""
        if not required:
            return True
        own = {"region": self.region, "data": self.data}
        if self.row(name).flavor == "openrouter" and required.get("data") in DATA_RULES:
            required = {label: value for label, value in required.items() if label != "data"}
        return all(own[label] == value for label, value in required.items())

    @property
    def is_named_after_vendor(self) -> bool:
        """Return True if the vendor is found by the upstream's name, and not by its host."""
        return self.url is None or vendor_of(self.vendor, str(self.url)) is COMPATIBLE

    def base(self, name: str) -> str:
        """Return the v1 base, without a slash at the end."""
        return str(self.url or self.row(name).base).rstrip("/")


def _in_long_form(value: object) -> object:
    return {"to": value} if isinstance(value, str) else value


class CandidateSection(Section):
    """`to` is `upstream` or `upstream/model`: all after the first slash is the model."""

    to: Annotated[str, Field(min_length=1, max_length=600)]
    share: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    dialect: Dialect = "auto"
    params: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def upstream(self) -> str:
        return self.to.partition("/")[0]

    @property
    def model(self) -> str | None:
        return self.to.partition("/")[2] or None


CandidateForm = Annotated[CandidateSection, BeforeValidator(_in_long_form)]


class RouteSection(Section):
    """One line of `[routes]`."""

    to: Annotated[
        tuple[CandidateForm, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, str | Mapping) else value),
        Field(min_length=1, max_length=MAX_CANDIDATES),
    ]
    params: dict[str, Any] = Field(default_factory=dict, repr=False)
    sticky: bool = True
    hedge: bool = False
    overflow: CandidateForm | None = None
    on_refusal: Literal["stop", "next"] = "stop"
    sort: Literal["price", "throughput", "latency"] | None = None
    max_price: Prices | None = None
    require: dict[Literal["region", "data"], str] = Field(default_factory=dict, repr=False)
    description: str = ""

    @property
    def named(self) -> tuple[CandidateSection, ...]:
        """Return the candidates, that for long prompts included."""
        return self.to if self.overflow is None else (*self.to, self.overflow)

    @property
    def labels(self) -> dict[str, str]:
        """Return what it requires of an upstream."""
        return {str(label): value for label, value in self.require.items()}


def _route_in_long_form(value: object) -> object:
    if isinstance(value, str | list):
        return {"to": value}
    if isinstance(value, Mapping) and isinstance(value.get("to"), str) and {"share", "dialect"} & value.keys():
        own = {name: value[name] for name in ("to", "share", "dialect") if name in value}
        return {name: inner for name, inner in value.items() if name not in own} | {"to": [own]}
    return value


RouteForm = Annotated[RouteSection, BeforeValidator(_route_in_long_form)]


Feature = Literal[
    "multimodal", "openai_params", "openrouter_params", "web_tools", "batch", "cache", "threads", "responses"
]


class Sections(Section):
    """Sections of gateway.toml beside settings. Times and prices as in the page on routing."""

    upstreams: dict[str, UpstreamSection] = Field(default_factory=dict)
    routes: dict[str, RouteForm] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict, repr=False)
    features: dict[Feature, bool] = Field(default_factory=dict)


def has_placeholder(url: str) -> bool:
    """Return True for a vendor's base that differs between accounts, such as https://RESOURCE.openai.azure.com."""
    return any(part.isupper() and part.isalpha() for part in (urlsplit(url).netloc or "").split("."))
