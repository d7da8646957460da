"""Every setting, in one frozen value: from GATEWAY_* variables and an optional gateway.toml, checked at start.

A variable beats the file; in the file `${NAME}` stands for a variable of the environment. A wrong value stops the start
and is named; docs/configuration.md lists every variable, and a test keeps it complete.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.access.keyring import Keyring
from gateway.settings.values import (
    AppTitle,
    AppUrl,
    BaseUrl,
    Credential,
    Flavor,
    Host,
    NameList,
    PairList,
    Port,
    RedisUrl,
    Seconds,
    SettingsError,
    SimulatedName,
    UpstreamName,
    check_keys,
    check_origins,
    check_text,
    to_names,
    to_pairs,
)
from gateway.upstream.vendor import Vendor
from gateway.upstream.vendors import vendor_of

OPENROUTER_URL = "https://openrouter.ai/api/v1"
# May span lines, with or without commas at their ends.
LISTS: Final = frozenset(
    {"aliases", "batch_priority_keys", "cache_keys", "cache_routes", "cors_origins", "keys", "secret"}
)


class Settings(BaseSettings):
    """Field names are the variables' names without GATEWAY_, in lower case; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_", frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: Host = "127.0.0.1"
    port: Port = 8080
    admin_host: Host = "127.0.0.1"
    admin_port: Port = 8081
    admin_key: SecretStr | None = Field(default=None, examples=["a-long-random-key"])

    upstream_url: BaseUrl | None = Field(default=None, repr=False, examples=["https://llm.example.com/v1"])
    upstream_api_key: Credential | None = Field(
        default=None,
        examples=["sk-or-v1-0123456789abcdef"],
        validation_alias=AliasChoices("GATEWAY_UPSTREAM_API_KEY", "OPENROUTER_API_KEY", "upstream_api_key"),
    )
    upstream_name: UpstreamName = Field(default="", examples=["openrouter"])
    upstream_flavor: Flavor = Field(default="auto", examples=["vllm"])
    simulator: SimulatedName = Field(default="", examples=["gemini"])
    dialect: Literal["auto", "chat", "messages"] = "auto"
    files: Literal["refused", "shared"] = "refused"
    stop_sequences: Literal["upstream", "gateway"] = "upstream"
    strict_fallback: Literal["off", "on"] = "off"
    app_url: AppUrl | None = Field(default=None, examples=["https://app.example.com"])
    app_title: AppTitle = "Dragoman"

    model_big: str = "~anthropic/claude-sonnet-latest"
    model_small: str = "~anthropic/claude-haiku-latest"
    aliases: PairList = Field(default=(), examples=["fast=openai/gpt-5-mini"])

    redis_url: RedisUrl | None = Field(default=None, repr=False, examples=["redis://:password@127.0.0.1:6379/0"])
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")] = "gw:"
    public_url: BaseUrl | None = Field(default=None, repr=False, examples=["https://gateway.example.com"])
    batch_expiry: Seconds = 86_400.0
    batch_retention: Annotated[float, Field(gt=0, le=366 * 86_400)] = 29 * 86_400.0
    batch_durability: Literal["process", "fsync", "replica"] = "process"
    batch_tenant_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    batch_priority_keys: NameList = Field(default=(), examples=["acme"])
    threads: Literal["on", "off"] = "on"
    thread_seconds: Seconds = 300.0
    cache: Literal["off", "opt-in", "on"] = "opt-in"
    cache_redis_url: RedisUrl | None = Field(default=None, repr=False, examples=["redis://:password@127.0.0.1:6379/1"])
    cache_routes: NameList = Field(default=(), examples=["claude-*"])
    cache_keys: NameList = Field(default=(), examples=["acme"])
    cache_tools: Literal["on", "off"] = "off"
    cache_ttl: Annotated[float, Field(ge=1, le=30 * 86_400)] = 3600.0
    cache_max_bytes: Annotated[int, Field(ge=1024 * 1024, le=1 << 40)] = 256 * 1024 * 1024
    cache_entry_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = 1024 * 1024
    cache_budget_seconds: Annotated[float, Field(ge=0.02, le=5)] = 0.05
    cache_wait_seconds: Seconds = 60.0
    cache_lock_seconds: Annotated[float, Field(ge=0.3, le=300)] = 5.0
    worker_admin_port: Port = 8082
    worker_slots: Annotated[int, Field(ge=1, le=10_000)] = 64
    worker_bytes: Annotated[int, Field(ge=1024 * 1024, le=1 << 40)] = 32 * 1024 * 1024
    worker_lease_seconds: Seconds = 60.0

    auth: Literal["keys", "off"] = "keys"
    cors_origins: NameList = Field(default=(), examples=["https://app.example.com"])
    keys: PairList = Field(default=(), repr=False, examples=["acme:a-long-random-key"])
    secret: SecretStr | None = Field(default=None, examples=["k1:a-long-random-secret"])

    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 600.0
    idle_timeout: Seconds = 60.0
    total_timeout: Seconds = 600.0
    commit_seconds: Seconds = 5.0
    ping_seconds: Seconds = 10.0
    stalled_client_timeout: Seconds = 60.0
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    upstream_connections: Annotated[int, Field(ge=1, le=100_000)] = 10_000

    connections_per_address: int | None = Field(default=None, ge=0, examples=["500"])
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 32 * 1024 * 1024
    tool_memory_bytes: Annotated[int, Field(ge=0, le=1 << 30)] = 2 * 1024 * 1024
    drain_seconds: Seconds = 25.0

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

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

    @field_validator("aliases", mode="before")
    @classmethod
    def _split_aliases(cls, value: object) -> object:
        """`name=model,…`, or a table in the file. A name may end in `*`."""
        if isinstance(value, Mapping):
            return tuple(value.items())
        return to_pairs(value, "=", "name=model")

    @field_validator("keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return to_pairs(value, ":", "tenant:key")

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return check_keys(value)

    @field_validator("batch_priority_keys", "cache_routes", "cache_keys", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return to_names(value)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_origins(value)

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Keyring.parse(value.get_secret_value())
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _clean_text(cls, value: object, info: ValidationInfo) -> object:
        """Runs before the validators above."""
        return check_text(value, is_list=info.field_name in LISTS) if isinstance(value, str) else value

    @property
    def has_upstream(self) -> bool:
        return self.upstream_url is not None or self.upstream_api_key is not None

    @property
    def upstream_label(self) -> str:
        """What headers, logs and metrics call the upstream; its address stays out of them."""
        return self.upstream_name or ("openrouter" if self.vendor.flavor == "openrouter" else "upstream")

    @property
    def base_url(self) -> str:
        return str(self.upstream_url or OPENROUTER_URL).rstrip("/")

    @property
    def vendor(self) -> Vendor:
        """Whose server the upstream is, as far as the setting and its host tell."""
        return vendor_of(self.upstream_flavor, self.base_url)


def names_of(field: str) -> tuple[str, ...]:
    """The variables that a setting is read from, the first one its own."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices if str(choice).isupper())
    return (f"GATEWAY_{field.upper()}",)


def read_config_file(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file named by GATEWAY_CONFIG, or ./gateway.toml where there is one. Raises SettingsError."""
    named = environment.get("GATEWAY_CONFIG")
    path = Path(named or "gateway.toml")
    if not named and not path.is_file():
        return {}
    try:
        return {name: _expand(value, environment) for name, value in tomllib.loads(path.read_text("utf-8")).items()}
    except OSError as error:
        raise SettingsError(f"GATEWAY_CONFIG: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"GATEWAY_CONFIG: {path} is not valid TOML: {error}") from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """GATEWAY_* names that no setting reads: most likely misspelt. Reported, not refused: Kubernetes sets some."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"GATEWAY_CONFIG"}
    return sorted(name for name in environment if name.startswith("GATEWAY_") and name not in known)


def _expand(value: Any, environment: Mapping[str, str]) -> Any:
    """`${NAME}` in every string of the file. Raises SettingsError for a name that the environment does not have."""
    if isinstance(value, dict):
        return {name: _expand(inner, environment) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, environment) for inner in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise SettingsError(f"GATEWAY_CONFIG: the variable {match[1]} that the file refers to is not set")
        return environment[match[1]]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", look_up, value)
