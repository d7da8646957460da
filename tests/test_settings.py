import re
from pathlib import Path

import pytest

from gateway.settings import (
    Settings,
    SettingsError,
    is_loopback,
    load_settings,
    names_of,
    needs_client_keys,
    needs_own_keys,
    needs_redis,
    needs_upstream,
    read_config_file,
    unknown_variables,
)
from gateway.settings.load import example_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 8080, 8081)
    assert not settings.has_upstream
    assert settings.vendor.name == "openrouter"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GATEWAY_PORT", "eighty", "GATEWAY_PORT: expected a whole number"),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT: expected at most 65535"),
        ("GATEWAY_AUTH", "maybe", "GATEWAY_AUTH: expected keys or off"),
        ("GATEWAY_KEYS", "just-a-key", "GATEWAY_KEYS: expected a comma-separated list of tenant:key"),
        ("GATEWAY_ALIASES", "fast", "GATEWAY_ALIASES: expected a comma-separated list of name=model"),
        ("GATEWAY_SECRET", "nokey", "GATEWAY_SECRET: expected a comma-separated list of id:key"),
        ("GATEWAY_UPSTREAM_URL", "ftp://x", "GATEWAY_UPSTREAM_URL: expected an http or https URL"),
        ("GATEWAY_IDLE_TIMEOUT", "0", "GATEWAY_IDLE_TIMEOUT: expected more than 0"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings()


@pytest.mark.parametrize("prefix", ["{tag}:", "a b:", "gw*", "ä:", "x" * 65])
def test_a_prefix_that_would_change_slots_or_patterns_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("GATEWAY_REDIS_PREFIX", prefix)
    with pytest.raises(SettingsError, match="GATEWAY_REDIS_PREFIX"):
        load_settings()


def test_no_error_quotes_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "canary-4711")
    monkeypatch.setenv("GATEWAY_KEYS", "canary-4712")
    monkeypatch.setenv("GATEWAY_OTLP_HEADERS", "canary-4713")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "canary" not in str(caught.value)


def test_pairs_are_read_in_order_and_tenants_may_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEYS", "a:k1, a:k2,b:k:3")
    assert load_settings().keys == (("a", "k1"), ("a", "k2"), ("b", "k:3"))


def test_a_variable_beats_the_file_and_an_option_beats_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 9000\nhost = "::1"\nmodel_big = "${BIG}"\n[aliases]\nfast = "small/model"\n')
    monkeypatch.setenv("BIG", "some/model")
    monkeypatch.setenv("GATEWAY_PORT", "9001")
    settings = load_settings(admin_port=9002)
    assert (settings.port, settings.host, settings.admin_port) == (9001, "::1", 9002)
    assert settings.model_big == "some/model"
    assert settings.aliases == (("fast", "small/model"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('secret = "k:${NOT_THERE}"', "NOT_THERE"),
        ("port = ", "not valid TOML"),
        ("prot = 1", r'other.toml:1: prot: unknown key; did you mean "port"\?'),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "other.toml").write_text(content)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        read_config_file({"GATEWAY_CONFIG": str(tmp_path / "missing.toml")})


@pytest.mark.parametrize(
    ("url", "flavor", "vendor"),
    [
        ("https://openrouter.ai/api/v1", "auto", "openrouter"),
        ("https://eu.openrouter.ai/api/v1", "auto", "openrouter"),
        ("https://eu.openrouter.ai/api/v1", "openai", "compatible"),
        ("https://notopenrouter.ai/api/v1", "auto", "compatible"),
        ("https://api.groq.com/openai/v1", "auto", "groq"),
        ("https://api.groq.com/openai/v1", "openai", "groq"),
        ("https://mine.openai.azure.com/openai/v1", "auto", "azure"),
        ("http://127.0.0.1:8000/v1", "auto", "compatible"),
        ("http://127.0.0.1:8000/v1", "openai", "compatible"),
        ("http://127.0.0.1:8000/v1", "vllm", "vllm"),
        ("https://api.groq.com/openai/v1", "openrouter", "openrouter"),
    ],
)
def test_the_vendor_goes_by_the_flavor_and_the_host(
    monkeypatch: pytest.MonkeyPatch, url: str, flavor: str, vendor: str
) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", url)
    monkeypatch.setenv("GATEWAY_UPSTREAM_FLAVOR", flavor)
    assert load_settings().vendor.name == vendor


def test_an_unknown_flavor_is_refused_with_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_FLAVOR", "vlm")
    with pytest.raises(SettingsError, match="GATEWAY_UPSTREAM_FLAVOR: expected auto or one of openrouter, openai, "):
        load_settings()


def test_misspelt_variables_are_found() -> None:
    assert unknown_variables({"GATEWAY_PROT": "1", "GATEWAY_PORT": "1", "PATH": ""}) == ["GATEWAY_PROT"]


def test_every_setting_is_documented_and_every_documented_variable_is_a_setting() -> None:
    documented = set(re.findall(r"^\| `(GATEWAY_[A-Z_]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
    assert documented == {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"GATEWAY_CONFIG"}


def test_all_wrong_values_and_unmet_needs_are_named_at_once_each_with_an_example(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gateway.toml").write_text('drain_seconds = "soon"\nprot = 1\n')
    monkeypatch.setenv("GATEWAY_PORT", "eighty")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "localhost:6379")
    with pytest.raises(SettingsError) as caught:
        load_settings(needs_upstream, needs_client_keys, needs_redis)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "GATEWAY_PORT",
        "GATEWAY_REDIS_URL",
        "gateway.toml",
        "gateway.toml",
        "OPENROUTER_API_KEY",
        "GATEWAY_KEYS",
    ]
    assert lines[0].endswith("(such as GATEWAY_PORT=8080)")
    assert lines[1].endswith("(such as GATEWAY_REDIS_URL=redis://:password@127.0.0.1:6379/0)")
    assert lines[2].endswith("(such as drain_seconds = 25)")


def test_a_need_is_not_named_where_one_of_its_variables_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", "no-url")
    monkeypatch.setenv("GATEWAY_KEYS", "no-key")
    with pytest.raises(SettingsError) as caught:
        load_settings(needs_upstream, needs_client_keys)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "GATEWAY_UPSTREAM_URL",
        "GATEWAY_KEYS",
    ]


def test_a_file_that_cannot_be_read_does_not_hide_wrong_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "missing.toml")
    monkeypatch.setenv("GATEWAY_PORT", "-1")
    with pytest.raises(SettingsError, match=r"GATEWAY_CONFIG: cannot read missing.toml.*\nGATEWAY_PORT: "):
        load_settings()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_the_example_of_a_setting_can_be_used(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(names_of(field)[0], example_of(field))
    load_settings()


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    for field in Settings.model_fields:
        for name in names_of(field):
            monkeypatch.setenv(name, blank)
    settings = load_settings()
    assert settings == Settings()
    assert settings.admin_key is None
    assert settings.model_fields_set == set()


def test_a_blank_variable_leaves_the_files_value_and_the_next_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gateway.toml").write_text('port = 9000\nadmin_key = ""\n')
    monkeypatch.setenv("GATEWAY_PORT", "")
    monkeypatch.setenv("GATEWAY_UPSTREAM_API_KEY", "")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or")
    settings = load_settings()
    assert settings.port == 9000
    assert settings.admin_key is None
    assert settings.upstream_api_key is not None
    assert settings.upstream_api_key.get_secret_value() == "sk-or"


def test_white_space_around_a_value_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or\n")
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", " https://llm.example.com/v1\r\n")
    monkeypatch.setenv("GATEWAY_APP_TITLE", "\tMine ")
    monkeypatch.setenv("GATEWAY_KEYS", "a:k1,\n  b:k2\nc:k3\n")
    monkeypatch.setenv("GATEWAY_SECRET", "k1:old\nk2:new\n")
    settings = load_settings()
    assert settings.upstream_api_key is not None
    assert settings.upstream_api_key.get_secret_value() == "sk-or"
    assert settings.base_url == "https://llm.example.com/v1"
    assert settings.app_title == "Mine"
    assert settings.keys == (("a", "k1"), ("b", "k2"), ("c", "k3"))


CANARY = "canary-4711"
REFUSED = [
    ("OPENROUTER_API_KEY", f"{CANARY}\nx"),
    ("OPENROUTER_API_KEY", f"{CANARY} x"),
    ("GATEWAY_UPSTREAM_API_KEY", f"{CANARY}ключ"),
    ("GATEWAY_UPSTREAM_API_KEY", f"{CANARY}\udcff"),
    ("GATEWAY_UPSTREAM_URL", f"https://user:{CANARY}@llm.example.com/v1"),
    ("GATEWAY_UPSTREAM_URL", f"https://{CANARY}@llm.example.com/v1"),
    ("GATEWAY_UPSTREAM_URL", "https://llm.example.com/v1#chat"),
    ("GATEWAY_UPSTREAM_URL", "https://llm.example.com/v1?version=1"),
    ("GATEWAY_UPSTREAM_URL", "https://llm.example.com:0/v1"),
    ("GATEWAY_UPSTREAM_URL", "https://a$b/v1"),
    ("GATEWAY_UPSTREAM_URL", "llm.example.com/v1"),
    ("GATEWAY_PUBLIC_URL", f"https://user:{CANARY}@gateway.example.com"),
    ("GATEWAY_PUBLIC_URL", "https://gateway.example.com/#x"),
    ("GATEWAY_APP_TITLE", "Нейро"),
    ("GATEWAY_APP_TITLE", "a\nb"),
    ("GATEWAY_APP_TITLE", "x" * 257),
    ("GATEWAY_APP_URL", "https://a\nb"),
    ("GATEWAY_APP_URL", "https://пример.рф"),
    ("GATEWAY_UPSTREAM_NAME", "two words"),
    ("GATEWAY_MODEL_BIG", "some/\udcff"),
    ("GATEWAY_ADMIN_KEY", f"{CANARY}\x07"),
    ("GATEWAY_KEYS", f"a:{CANARY},b:{CANARY}"),
    ("GATEWAY_KEYS", f"a:{CANARY}\x07"),
    ("GATEWAY_SECRET", f"{CANARY}:x,{CANARY}:y"),
    ("GATEWAY_SECRET", f"k1:{CANARY}\udcff"),
    ("GATEWAY_HOST", "localhost:8080"),
    ("GATEWAY_HOST", "[::1]"),
    ("GATEWAY_HOST", "http://localhost"),
    ("GATEWAY_HOST", "a b"),
    ("GATEWAY_ADMIN_HOST", "x" * 300),
    ("GATEWAY_BATCH_RETENTION", "inf"),
    ("GATEWAY_BATCH_RETENTION", "1e17"),
    ("GATEWAY_BATCH_RETENTION", "nan"),
    ("GATEWAY_CACHE_MAX_BYTES", "9" * 30),
    ("GATEWAY_REDIS_URL", f"redis://:{CANARY}/x@host:6379"),
    ("GATEWAY_REDIS_URL", f"redis://:{CANARY}#x@host:6379"),
    ("GATEWAY_REDIS_URL", f"redis://:{CANARY}?x@host:6379"),
    ("GATEWAY_REDIS_URL", f"redis://:[{CANARY}@host:6379"),
    ("GATEWAY_REDIS_URL", f"redis://host:6379/{CANARY}"),
    ("GATEWAY_REDIS_URL", f"redis://host:6379?{CANARY}=1"),
    ("GATEWAY_REDIS_URL", f"redis://host:6379?db={CANARY}"),
    ("GATEWAY_REDIS_URL", f"rediss://host:6379?ssl_cert_reqs={CANARY}"),
    ("GATEWAY_REDIS_URL", "redis://host:6379?decode_responses=True"),
    ("GATEWAY_REDIS_URL", "redis://host:6379?ssl_certfile=x"),
    ("GATEWAY_REDIS_URL", "redis://host:99999"),
    ("GATEWAY_REDIS_URL", f"http://user:{CANARY}@host"),
    ("GATEWAY_REDIS_URL", "host:6379"),
    ("GATEWAY_REDIS_URL", "redis:/host"),
    ("GATEWAY_REDIS_URL", "redis://"),
    ("GATEWAY_REDIS_URL", "unix://"),
    ("GATEWAY_REDIS_URL", "redis+cluster://host:7000/3"),
    ("GATEWAY_CACHE_REDIS_URL", f"http://{CANARY}"),
    ("GATEWAY_CORS_ORIGINS", "https://app.example.com/"),
    ("GATEWAY_CORS_ORIGINS", "app.example.com"),
    ("GATEWAY_CORS_ORIGINS", "https://*.example.com"),
    ("GATEWAY_CORS_ORIGINS", "https://user@app.example.com"),
]


@pytest.mark.parametrize(
    ("name", "value"), REFUSED, ids=[f"{name}-{number}" for number, (name, _) in enumerate(REFUSED)]
)
def test_an_unusable_value_stops_the_start_names_its_variable_and_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert f"(such as {name}=" in line
    assert CANARY not in line


GARBAGE = [
    "-1",
    "0.0.0",
    "1e400",
    "{}",
    "[]",
    "null",
    "\x1b[2J",
    "\udcfe",
    "x" * 5000,
    "'; DROP",
    "::",
    ",,,",
    "=",
    "a:",
    "${X}",
]


@pytest.mark.parametrize("field", Settings.model_fields)
def test_garbage_is_taken_or_named_and_never_a_traceback(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    for name in names_of(field):
        for value in GARBAGE:
            monkeypatch.setenv(name, value)
            try:
                load_settings()
            except SettingsError as error:
                lines = str(error).splitlines()
                assert [line for line in lines if not line.startswith(f"{name}: ")] == []
        monkeypatch.delenv(name)


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if "seconds" in name or "timeout" in name])
def test_every_duration_has_an_upper_bound(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(names_of(field)[0], "1e9")
    with pytest.raises(SettingsError):
        load_settings()


GOOD_REDIS_URLS = [
    "redis://localhost",
    "redis://:p%40ss%2Fw%23rd@host:6379/0",
    "rediss://user:password@host:6380/1?ssl_cert_reqs=none",
    "redis+cluster://host:7000",
    "rediss+cluster://host:7000/0",
    "unix:///run/redis.sock?db=1",
    "redis://[::1]:6379",
    "redis://host?client_name=dragoman",
    "embedded",
]


@pytest.mark.parametrize("url", GOOD_REDIS_URLS)
def test_every_form_of_a_redis_url_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GATEWAY_REDIS_URL", url)
    assert load_settings().redis_url == url


def test_origins_of_pages_and_extensions_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "GATEWAY_CORS_ORIGINS", "https://App.example.com, http://localhost:3000,chrome-extension://abc,null"
    )
    assert load_settings().cors_origins == (
        "https://app.example.com",
        "http://localhost:3000",
        "chrome-extension://abc",
        "null",
    )


def test_one_key_of_one_tenant_may_be_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEYS", "a:k1,a:k1")
    assert load_settings().keys == (("a", "k1"), ("a", "k1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_address_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.example.com", "10.0.0.1"])
def test_any_other_address_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("GATEWAY_FIRST_BYTE_TIMEOUT", "2m", 120.0),
        ("GATEWAY_IDLE_TIMEOUT", "500ms", 0.5),
        ("GATEWAY_CACHE_TTL", "1 h", 3600.0),
        ("GATEWAY_BATCH_RETENTION", "7d", 7 * 86_400.0),
        ("GATEWAY_MAX_BODY_BYTES", "32MB", 32 * 1024 * 1024),
        ("GATEWAY_WORKER_BYTES", "1.5GiB", 1536 * 1024 * 1024),
        ("GATEWAY_TOOL_MEMORY_BYTES", "64k", 64 * 1024),
        ("GATEWAY_TURN_MEMORY_BYTES", "1g", 1 << 30),
    ],
)
def test_times_and_sizes_may_have_a_unit(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: float
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(load_settings(), variable.removeprefix("GATEWAY_").lower()) == expected


@pytest.mark.parametrize("key", ["sk-1234", "change-me", "CHANGE-ME"])
def test_a_well_known_key_stops_the_start_off_loopback(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("GATEWAY_KEYS", f"team:{key}")
    assert load_settings(needs_own_keys).keys
    monkeypatch.setenv("GATEWAY_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="GATEWAY_KEYS: a key is a well-known example"):
        load_settings(needs_own_keys)
