"""Files with secrets that every user of the machine can read."""

from pathlib import Path

import pytest

from gateway.cli.probes import look_at_settings
from gateway.settings import load_settings
from gateway.settings.exposure import exposed_files

PLAIN = '[[keys]]\nname = "ci"\nkey = "a-key-in-the-file"\n'
REFERRED = '[[keys]]\nname = "ci"\nkey = "${CI_KEY}"\n'


@pytest.mark.parametrize(
    ("text", "mode", "is_exposed"),
    [(PLAIN, 0o644, True), (PLAIN, 0o640, False), (REFERRED, 0o644, False), ("", 0o644, False)],
)
def test_configuration_with_a_secret_in_it_is_named_while_all_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, is_exposed: bool
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    path.chmod(mode)
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    monkeypatch.setenv("CI_KEY", "a-key-of-the-environment")
    found = list(exposed_files(load_settings()))
    problem = f"{path} holds secrets, and everyone on this machine can read it"
    assert found == ([(problem, "chmod o-r, or write ${NAME} there")] if is_exposed else [])
    shown = [one.text for one in look_at_settings(load_settings(), {}) if one.subject == "secrets"]
    assert shown == [text for text, _ in found]


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o604, True), (0o600, False)])
def test_key_for_tls_that_all_may_read_is_named(tmp_path: Path, mode: int, is_exposed: bool) -> None:
    key = tmp_path / "tls.key"
    key.write_text("key")
    key.chmod(mode)
    settings = load_settings().model_copy(update={"tls_key": str(key)})
    assert [str(key) in text for text, _ in exposed_files(settings)] == [True] * is_exposed


def test_file_that_is_gone_is_not_named(tmp_path: Path) -> None:
    settings = load_settings().model_copy(update={"tls_key": str(tmp_path / "none")})
    assert list(exposed_files(settings)) == []
