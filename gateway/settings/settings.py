"""All settings in one frozen value: from GATEWAY_* variables and an optional gateway.toml, checked at start.

A variable beats the file; in the file `${NAME}` is replaced by a variable. A wrong value stops the start and is named.
The text below a field is its row in docs/configuration.md, which `make docs` writes. A last paragraph "Default: …"
replaces the default shown there.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings.config import Config
from gateway.settings.sections import UpstreamSection
from gateway.settings.values import (
    Aliases,
    AppTitle,
    AppUrl,
    BaseUrl,
    Credential,
    Duration,
    Flavor,
    Host,
    NameList,
    Networks,
    Origins,
    PathPrefix,
    Port,
    RedisPrefix,
    RedisUrl,
    Seconds,
    SecretHeaders,
    SecretUrl,
    SigningSecret,
    SimulatedName,
    Size,
    TenantKeys,
    UpstreamName,
    check_text,
)
from gateway.upstream.vendors.registry import vendor_of
from gateway.upstream.vendors.vendor import Vendor

OPENROUTER_URL = "https://openrouter.ai/api/v1"
# May span lines, with or without commas at their ends.
LISTS: Final = frozenset(
    {
        *("aliases", "batch_priority_keys", "cache_keys", "cache_routes", "console_hosts", "cors_origins"),
        *("keys", "secret", "trusted_proxies"),
    }
)


class Settings(BaseSettings):
    """Field names are the variables' names without GATEWAY_, in lower case; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_", frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    _config: Config = PrivateAttr(default_factory=Config)

    host: Host = "127.0.0.1"
    """Address of the client listener."""
    port: Port = 8080
    """Port of the client listener. `0` lets the system choose; the log names the chosen one."""
    path_prefix: PathPrefix = Field(default="", examples=["/llm"])
    """Path in front of every path of the client listener, for a balancer that does not take it away. The paths without
    it are served too."""
    tls_certificate: str | None = Field(default=None, examples=["/etc/dragoman/tls.crt"])
    """Path of a certificate chain (PEM), with which the client listener speaks TLS; read at the start. Without it, a
    balancer terminates TLS."""
    tls_key: str | None = Field(default=None, examples=["/etc/dragoman/tls.key"])
    """Path of the certificate's private key (PEM)."""
    admin_host: Host = "127.0.0.1"
    """Address of the admin listener: `/metrics`, `/livez`, `/readyz`."""
    admin_port: Port = 8081
    """Port of the admin listener."""
    admin_key: SecretStr | None = Field(default=None, examples=["a-long-random-key"])
    """Key for everything on the admin listener beyond metrics and probes, which is refused without one; also signs in
    to the [console](console.md)."""
    admin_view_key: SecretStr | None = Field(default=None, examples=["a-long-random-key"])
    """Key that may read everything on the admin listener and change nothing."""
    console_hosts: NameList = Field(default=(), examples=["console.example.com"])
    """Host names under which browsers reach the [console](console.md), beside addresses and names without a dot. A page
    under any other name is refused, since its owner could make the name mean this machine."""

    upstream_url: BaseUrl | None = Field(default=None, repr=False, examples=["https://llm.example.com/v1"])
    """Base URL of the upstream: chat goes to `<url>/chat/completions`, models to `<url>/models`.

    Default: OpenRouter's v1 base
    """
    upstream_api_key: Credential | None = Field(
        default=None,
        examples=["sk-or-v1-0123456789abcdef"],
        validation_alias=AliasChoices("GATEWAY_UPSTREAM_API_KEY", "OPENROUTER_API_KEY", "upstream_api_key"),
    )
    """Key for the upstream. `OPENROUTER_API_KEY` is read where the first is not set."""
    upstream_name: UpstreamName = Field(default="", examples=["openrouter"])
    """Name of the upstream in headers, logs and metrics.

    Default: `openrouter` or `upstream`
    """
    upstream_flavor: Flavor = Field(default="auto", examples=["vllm"])
    """Vendor of the upstream, by a name in [upstreams.md](upstreams.md). `auto` and `openai` go by the host, then by
    what the server shows without a key; `openrouter` sends OpenRouter's extensions."""
    simulator: SimulatedName = Field(default="", examples=["gemini"])
    """The hosted server that the built-in simulator plays in `dragoman dev`, by a name in [upstreams.md](upstreams.md),
    such as `gemini`. It then replaces any other upstream. `all`: OpenRouter, and each of those servers for models named
    after it, such as `gemini/gemini-3-flash`. Empty: `all`, where no upstream is configured."""
    dialect: Literal["auto", "chat", "messages", "responses"] = "auto"
    """The API spoken to the upstream: `chat`, `messages` (Anthropic's own API, passed on as it is), `responses`
    (OpenAI's Responses) or `auto`, which [chooses by vendor and model](upstreams.md#dialects)."""
    files: Literal["refused", "shared"] = "refused"
    """`shared`: clients may name files (`file_id`) of the operator's account at an upstream that speaks Messages, where
    every tenant can read them."""
    stop_sequences: Literal["upstream", "gateway"] = "upstream"
    """The side that matches stop sequences on OpenRouter. The `upstream` mostly does not name the sequence it found.
    The `gateway` is always exact, but you still pay for a whole JSON answer, and a stream cut at the match reports
    estimated usage and no cost. On other upstreams the gateway always matches: they do not name the sequence, cut tool
    calls at it, or lose letters."""
    strict_fallback: Literal["off", "on"] = "on"
    """`on`: where the upstream refuses strict tools or a strict schema, try once more with schemas that are not strict,
    noted as `dropped:tools.strict` and `changed:response_format.strict`. `off`: pass the refusal on."""
    app_url: AppUrl | None = Field(default=None, examples=["https://app.example.com"])
    """Sent to OpenRouter as `HTTP-Referer`."""
    app_title: AppTitle = "Dragoman"
    """Sent to OpenRouter as `X-Title`."""

    model_big: str = "~anthropic/claude-sonnet-latest"
    """Model for `big`, `sonnet` and `opus`. Elsewhere than on OpenRouter these names are unknown until it is set.

    Default: on OpenRouter `~anthropic/claude-sonnet-latest`
    """
    model_small: str = "~anthropic/claude-haiku-latest"
    """Model for `small` and `haiku`; as for `big`, only OpenRouter has a default.

    Default: on OpenRouter `~anthropic/claude-haiku-latest`
    """
    aliases: Aliases = Field(default=(), examples=["fast=openai/gpt-5-mini"])
    """Further names of models: `name=model,…`. A name may end in `*`."""

    redis_url: RedisUrl | None = Field(default=None, repr=False, examples=["redis://:password@127.0.0.1:6379/0"])
    """`redis://`, `rediss://`, `unix://`, `redis+cluster://` or `rediss+cluster://` with any node of a Cluster, or
    `embedded` for a server of the gateway's own. Batches and threads need Redis. `dragoman dev` embeds one."""
    redis_prefix: RedisPrefix = "gw:"
    """Prefix of all keys in Redis: letters, digits and `_ . : / -`, at most 64. All processes of one gateway need the
    same. Use another one to keep gateways apart on one server, or to match an [ACL](deployment.md#rights-in-redis)."""
    public_url: BaseUrl | None = Field(default=None, repr=False, examples=["https://gateway.example.com"])
    """Prefix of the path in a batch's `results_url`. Without it the URL is relative, which the SDKs accept."""
    batch_expiry: Seconds = 86_400.0
    """Seconds after which the items of a batch that have not been sent expire."""
    batch_retention: Annotated[Duration, Field(gt=0, le=366 * 86_400)] = 29 * 86_400.0
    """Seconds for which results are kept, from the batch's creation."""
    batch_durability: Literal["process", "fsync", "replica"] = "process"
    """The failure that a batch survives once its creation is answered: the end of a `process`, of the host (`fsync`),
    or of the Redis primary (`replica`)."""
    batch_tenant_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the store for unfinished batches of one tenant, of the 70 % of Redis' memory that batches may fill;
    beyond it, that tenant's creations get a 429. `1` for no limit. A single tenant has all of it."""
    batch_priority_keys: NameList = Field(default=(), examples=["acme"])
    """Tenants, or ids of client keys as in the log, with an `x-gateway-priority` that counts against the batches of all
    tenants: `name,…`. For others it counts among their own batches."""
    threads: Literal["on", "off"] = "on"
    """`off` refuses [message threads](threads.md) with the error on which the SDKs send whole conversations. Without
    Redis they are off."""
    thread_seconds: Seconds = 300.0
    """Seconds for which a conversation is held after its last use."""
    cache: Literal["off", "opt-in", "on"] = "opt-in"
    """The [prompt cache](cache.md): `off`; `opt-in`, where a header, a key or a route asks for it; `on`, also for
    `temperature: 0`. Without Redis it is off."""
    cache_redis_url: RedisUrl | None = Field(default=None, repr=False, examples=["redis://:password@127.0.0.1:6379/1"])
    """A Redis for the cache alone, in the same forms; it may evict. On a shared server the cache keeps to
    `GATEWAY_CACHE_MAX_BYTES`.

    Default: that of `GATEWAY_REDIS_URL`
    """
    cache_routes: NameList = Field(default=(), examples=["claude-*"])
    """Models, as clients name them, that use the cache without the header: `name,…`. A name may end in `*`."""
    cache_keys: NameList = Field(default=(), examples=["acme"])
    """Tenants, or ids of client keys as in the log, that use the cache without the header: `name,…`."""
    cache_tools: Literal["on", "off"] = "off"
    """`on` lets requests with tools use the cache without `tools` in the header."""
    cache_ttl: Annotated[Duration, Field(ge=1, le=30 * 86_400)] = 3600.0
    """Seconds for which an answer is kept, a tenth more or less."""
    cache_max_bytes: Annotated[Size, Field(ge=1024 * 1024, le=1 << 40)] = 256 * 1024 * 1024
    """Size of the cache in Redis. The least recently used answers are removed first."""
    cache_entry_bytes: Annotated[Size, Field(ge=1024, le=16 * 1024 * 1024)] = 1024 * 1024
    """Largest answer that is kept, compressed."""
    cache_budget_seconds: Annotated[Duration, Field(ge=0.02, le=5)] = 0.05
    """Seconds that a request waits for Redis before it continues without the cache."""
    cache_wait_seconds: Seconds = 60.0
    """Seconds that a request waits for an equal one at another front end before it calls the upstream itself."""
    cache_lock_seconds: Annotated[Duration, Field(ge=0.3, le=300)] = 5.0
    """Seconds after which another front end takes over the call of a silent one."""
    worker_admin_port: Port = 8082
    """Port of the worker's `/metrics`, `/livez`, `/readyz`, on `GATEWAY_ADMIN_HOST`."""
    worker_slots: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Batch items that one worker has in flight."""
    worker_bytes: Annotated[Size, Field(ge=1024 * 1024, le=1 << 40)] = 32 * 1024 * 1024
    """Bytes of `params` that one worker has in flight. A larger item runs alone. A JSON value counts for 64 bytes at
    least: parsed, params of small values take about twenty times as much memory as their bytes."""
    worker_lease_seconds: Seconds = 60.0
    """Seconds for which a silent worker keeps its items before others take them."""

    auth: Literal["keys", "off"] = "keys"
    """`keys`, or `off` to admit every client. `dragoman dev` on a loopback address defaults to `off`."""
    cors_origins: Origins = Field(default=(), examples=["https://app.example.com"])
    """Origins of web pages that may call the gateway: `https://app.example.com,…`, `*` for all, or `none`. Without it
    only pages that send Anthropic's header for direct access may, if keys are required: [api.md](api.md#browsers)."""
    trusted_proxies: Networks = Field(default=(), examples=["10.0.0.0/8"])
    """Addresses or networks of proxies with a trusted `x-forwarded-for`, for keys with `addresses` and for limits by
    address. Without it a client's address is that of its connection."""
    keys: TenantKeys = Field(default=(), repr=False, examples=["acme:a-long-random-key"])
    """Client keys: `tenant:key,…`. A tenant may have several."""
    unknown_price: Literal["assume", "refuse", "free"] = "assume"
    """Price of a model without a known price, under a budget: `assume` counts $5 per million input and $25 per million
    output tokens, `refuse` answers 403, `free` counts nothing. A cost that the upstream reports takes precedence."""
    limits_timeout: Annotated[Duration, Field(ge=0.02, le=5)] = 0.08
    """Seconds without an answer from Redis after which limits, budgets and new keys follow the rules of an outage."""
    budget_outage: Literal["bounded", "open", "closed"] = "bounded"
    """Requests under a budget while Redis is unavailable. `bounded`: for ten minutes, a twentieth of the budget's rest,
    shared out among the processes; `open`: all of them; `closed`: none."""
    budget_outage_usd: Annotated[float, Field(ge=0, le=1_000_000)] = 5.0
    """US dollars that `bounded` allows of one budget at most, in all processes together."""
    budget_webhook: SecretUrl | None = Field(default=None, examples=["https://hooks.example.com/budgets"])
    """URL that gets a JSON object when 50, 75, 90, 95 or 100 % of a budget are spent."""
    secret: SigningSecret | None = Field(default=None, examples=["k1:a-long-random-secret"])
    """`id:key,…`; the first one signs. Seals the reasoning that clients carry. All replicas need the same.

    Default: random per process
    """

    connect_timeout: Seconds = 5.0
    """Seconds to open a connection to the upstream."""
    first_byte_timeout: Seconds = 600.0
    """Seconds to wait at most for the header of an answer, and for the first content of a stream. A server without a
    free slot sends no header, and asking again would lose the place in its queue."""
    idle_timeout: Seconds = 60.0
    """Seconds between two reads from the upstream."""
    total_timeout: Seconds = 600.0
    """Seconds for a whole answer that is not streamed, all attempts together: each further attempt gets the rest. A
    stream may take longer; this only bounds its further attempts before the first content."""
    commit_seconds: Seconds = 5.0
    """Seconds without content, header or not, after which the client of a stream gets its 200 and a ping. A later
    failure is an `error` event."""
    ping_seconds: Seconds = 10.0
    """Seconds of silence after which a stream gets a ping."""
    stalled_client_timeout: Seconds = 60.0
    """Seconds after which a client that does not read its reply is disconnected, for replies of any kind."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Calls to the upstream for one request, before the client has received anything. Repeating a call at once without
    a field that the upstream refused does not count."""
    upstream_connections: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Connections to the upstream. Beyond them requests wait, then get a 529."""

    connections_per_address: int | None = Field(default=None, ge=0, examples=["500"])
    """Client connections from one address; further ones are reset. The other half of the descriptors is for calls to
    the upstream. `0` for any number. Counted at each listener of each process; for IPv6 by the first 64 bits. Behind a
    balancer all connections come from its address.

    Default: half of the process's descriptors (`ulimit -n`)
    """
    max_body_bytes: Annotated[Size, Field(ge=1024, le=1 << 30)] = 32 * 1024 * 1024
    """Largest request body, after decompression."""
    tool_memory_bytes: Annotated[Size, Field(ge=0, le=1 << 30)] = 2 * 1024 * 1024
    """JSON of tool lists that each process remembers, `0` for none. Lists that repeat are parsed and written once."""
    turn_memory_bytes: Annotated[Size, Field(ge=0, le=1 << 34)] = 64 * 1024 * 1024
    """Memory in each process for [conversations](performance.md#known-turns) that go on, `0` for none."""
    drain_seconds: Seconds = 25.0
    """Seconds that requests in flight may take after SIGTERM or SIGINT."""

    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the [traces](traces.md) that is exported where no client has begun them. Failures and the slowest
    percent always are."""
    trace_upstream: Literal["auto", "on", "off"] = "auto"
    """Which upstreams get a `traceparent` with the gateway's span: all but OpenRouter (`auto`), all, or none."""
    otlp_endpoint: BaseUrl | None = Field(default=None, repr=False, examples=["http://collector:4318"])
    """OTLP/HTTP address of the collector that clients' telemetry is [relayed](traces.md#relay) to. The client listener
    takes it at `/v1/metrics`, `/v1/logs` and `/v1/traces`."""
    otlp_headers: SecretHeaders | None = Field(default=None, examples=["authorization=Bearer%20key"])
    """Headers that relayed telemetry is sent with, such as the collector's key: `name=value,…`, values percent-encoded,
    as in `OTEL_EXPORTER_OTLP_HEADERS`."""
    trace_url: str | None = Field(default=None, repr=False, examples=["https://traces.example.com/trace/{trace}"])
    """Address of a trace in your viewer, with `{trace}` for its id: the console links to it."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`. `debug` adds a `conversion_noted` line with the reason for each name in
    `x-gateway-ignored`."""
    log_upstream_errors: Literal["off", "on"] = "off"
    """`on` adds the upstream's own message to the line of a failed exchange: up to 300 characters, without configured
    secrets. It may quote the request."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`json`, `console`, or `auto`: console on a terminal, JSON elsewhere."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_settings` reads the environment and the file, so that it can leave out what is wrong."""
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _clean_text(cls, value: object, info: ValidationInfo) -> object:
        """Clean a value before the validators of types run."""
        return check_text(value, is_list=info.field_name in LISTS) if isinstance(value, str) else value

    @property
    def config(self) -> Config:
        """Return the sections of the configuration file."""
        return self._config

    def with_config(self, config: Config) -> Self:
        copy = self.model_copy()
        copy._config = config
        return copy

    @property
    def has_upstream(self) -> bool:
        return bool(self.upstreams) or self.upstream_url is not None or self.upstream_api_key is not None

    def offers(self, feature: str) -> bool:
        """Return False for a feature that the file's `[features]` switches off."""
        features: Mapping[str, bool] = {str(name): on for name, on in self._config.sections.features.items()}
        return features.get(feature, True)

    @property
    def has_keys(self) -> bool:
        """Return True if clients have keys, in a variable or in the file."""
        return bool(self.keys or self._config.access.keys)

    @property
    def upstreams(self) -> Mapping[str, UpstreamSection]:
        """Return the upstreams of the file; empty in the one-upstream form."""
        return self._config.sections.upstreams

    @property
    def upstream_label(self) -> str:
        """Return the name of the upstream in headers, logs and metrics, which do not show its address."""
        if self.upstreams:
            return ", ".join(self.upstreams)
        return self.upstream_name or ("openrouter" if self.vendor.flavor == "openrouter" else "upstream")

    @property
    def base_url(self) -> str:
        return str(self.upstream_url or OPENROUTER_URL).rstrip("/")

    @property
    def vendor(self) -> Vendor:
        """Return the vendor of the upstream's server, by the setting and its host."""
        return vendor_of(self.upstream_flavor, self.base_url)


def names_of(field: str) -> tuple[str, ...]:
    """Return the variables that a setting is read from, its own first."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices if str(choice).isupper())
    return (f"GATEWAY_{field.upper()}",)


def unknown_variables(environment: Mapping[str, str], in_file: frozenset[str] = frozenset()) -> list[str]:
    """Return GATEWAY_* names that neither a setting nor the file refers to: most likely misspelt.

    They are reported but accepted, since Kubernetes sets some.
    """
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"GATEWAY_CONFIG"} | in_file
    return sorted(name for name in environment if name.startswith("GATEWAY_") and name not in known)
