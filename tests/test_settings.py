import re
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load_settings, read_config_file, unknown_variables

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*unknown_variables({f"GATEWAY_{n.upper()}": "" for n in Settings.model_fields}), "OPENROUTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 8080, 8081)
    assert not settings.has_upstream
    assert settings.flavor == "openrouter"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GATEWAY_PORT", "eighty", "GATEWAY_PORT: Input should be a valid integer"),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT: Input should be less than or equal to 65535"),
        ("GATEWAY_AUTH", "maybe", "GATEWAY_AUTH: Input should be 'keys' or 'off'"),
        ("GATEWAY_KEYS", "just-a-key", "GATEWAY_KEYS: expected a comma-separated list of tenant:key"),
        ("GATEWAY_ALIASES", "fast", "GATEWAY_ALIASES: expected a comma-separated list of name=model"),
        ("GATEWAY_SECRET", "nokey", "GATEWAY_SECRET: expected a comma-separated list of id:key"),
        ("GATEWAY_UPSTREAM_URL", "ftp://x", "GATEWAY_UPSTREAM_URL: URL scheme should be 'http' or 'https'"),
        ("GATEWAY_IDLE_TIMEOUT", "0", "GATEWAY_IDLE_TIMEOUT: Input should be greater than 0"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings()


def test_no_error_quotes_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "canary-4711")
    monkeypatch.setenv("GATEWAY_KEYS", "canary-4712")
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
        ("prot = 1", "GATEWAY_PROT: Extra inputs are not permitted"),
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
    ("url", "flavor"),
    [
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://eu.openrouter.ai/api/v1", "openrouter"),
        ("https://notopenrouter.ai/api/v1", "openai"),
        ("http://127.0.0.1:8000/v1", "openai"),
    ],
)
def test_the_flavor_goes_by_the_host(monkeypatch: pytest.MonkeyPatch, url: str, flavor: str) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", url)
    assert load_settings().flavor == flavor


def test_misspelt_variables_are_found() -> None:
    assert unknown_variables({"GATEWAY_PROT": "1", "GATEWAY_PORT": "1", "PATH": ""}) == ["GATEWAY_PROT"]


def test_every_setting_is_documented_and_every_documented_variable_is_a_setting() -> None:
    documented = set(re.findall(r"^\| `(GATEWAY_[A-Z_]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
    assert documented == {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"GATEWAY_CONFIG"}
