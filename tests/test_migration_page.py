"""docs/migration.md names settings, parameters, keys and commands that exist."""

import re
from pathlib import Path

import pytest

from gateway.__main__ import COMMANDS
from gateway.settings import Settings, load_settings

PAGE = (Path(__file__).parents[1] / "docs/migration.md").read_text(encoding="utf-8")
OURS = "\n".join(row.split(" | ")[-1] for row in PAGE.splitlines() if row.startswith("| "))
SECTIONS = """
[upstreams]
a = { vendor = "openrouter", key = "k", rpm = 1, tpm = 1, concurrency = 1 }
[routes]
"*" = { to = "a", sort = "price", require = { data = "zdr" }, max_price = { prompt = 5 } }
[params]
temperature = { min = 0, max = 1 }
min_p = 0.1
top_a = 0.1
repetition_penalty = 1.1
transforms = ["middle-out"]
models = ["a/b"]
provider = { only = ["x"] }
frequency_penalty = 0.1
presence_penalty = 0.1
seed = 7
user = "u"
logit_bias = { "1" = 2 }
[features]
batch = false
multimodal = false
openrouter_params = false
openai_params = false
"""


def test_every_setting_exists() -> None:
    named = set(re.findall(r"GATEWAY_(\w+)", PAGE))
    assert named <= {name.upper() for name in Settings.model_fields}


def test_every_key_of_the_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(SECTIONS)
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    params = load_settings().config.sections.params
    assert all(f"`{name}`" in OURS or f"{name} = " in OURS for name in params)


def test_every_command_exists() -> None:
    assert set(re.findall(r"dragoman (\w+)", PAGE)) <= COMMANDS.keys()
