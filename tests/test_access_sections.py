"""`[[keys]]`, `[limits]`, `[model_groups]` and `[identity]` of gateway.toml: which problems are found, and where."""

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load_settings, names_of


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for field in Settings.model_fields for name in names_of(field)]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def problems_of(text: str) -> list[str]:
    Path("gateway.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value).splitlines()


def test_problem_of_a_later_table_has_its_own_line() -> None:
    keys = '[[keys]]\nname = "a"\nkey = "${A_KEY}"\n\n[[keys]]\nname = "a"\nkey = "k"\n'
    assert problems_of(keys) == [
        "gateway.toml:3: keys.key: ${A_KEY} is not set; set the variable A_KEY where the gateway is started",
        'gateway.toml:6: keys.name: there are two keys named "a"',
    ]
