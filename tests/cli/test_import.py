"""`dragoman import`: configurations of other gateways become a gateway.toml that this one loads."""

import re
import tomllib
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from gateway.__main__ import app
from gateway.settings import load_settings
from gateway.upstream.routes.config import to_table

LITELLM = """
model_list:
  - model_name: big
    litellm_params: {model: anthropic/claude-opus-4-5, api_key: os.environ/ANTHROPIC_API_KEY, rpm: 100}
  - model_name: local
    litellm_params: {model: openai/qwen3, api_base: "http://gpu:8000/v1", api_key: "sk-plain-text", weight: 3}
    model_info: {id: one}
  - model_name: local
    litellm_params: {model: openai/qwen3, api_base: "http://other:8000/v1", weight: 1, timeout: 5}
router_settings:
  fallbacks: [{big: [local]}]
  model_group_alias: {fast: local}
  routing_strategy: least-busy
general_settings: {master_key: sk-1234, database_url: "postgres://x"}
"""
ROUTER = {
    "Providers": [
        {
            "name": "openrouter",
            "api_base_url": "https://openrouter.ai/api/v1/chat/completions",
            "api_key": "$OPENROUTER_API_KEY",
            "models": ["anthropic/claude-sonnet-4"],
            "transformer": {"use": ["openrouter"]},
        },
        {
            "name": "ollama",
            "api_base_url": "http://localhost:11434/v1/chat/completions",
            "api_key": "",
            "models": ["q"],
        },
    ],
    "Router": {
        "default": "openrouter,anthropic/claude-sonnet-4",
        "background": "ollama,qwen2.5",
        "longContext": "openrouter,google/gemini",
    },
}


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["import", *arguments])
    return result.exit_code, result.stdout, result.stderr


def loaded(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> object:
    """The routing table of the file, as a front end makes it."""
    (tmp_path / "gateway.toml").write_text(text)
    for name, value in {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "GATEWAY_AUTH": "off", **variables}.items():
        monkeypatch.setenv(name, value)
    return to_table(load_settings())


@pytest.mark.covers("Operation · configurations of LiteLLM and claude-code-router are imported")
def test_litellm_models_orders_weights_fallbacks_and_aliases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(LITELLM)
    status, out, notes = run("litellm", str(config))
    assert status == 0, notes
    toml = tomllib.loads(out)
    assert toml["upstreams"]["anthropic"] == {"vendor": "anthropic", "key": "${ANTHROPIC_API_KEY}", "rpm": 100}
    assert toml["routes"]["local"] == [{"to": "openai/qwen3", "share": 3}, {"to": "openai-2/qwen3", "share": 1}]
    assert toml["routes"]["big"] == ["anthropic/claude-opus-4-5", "openai/qwen3", "openai-2/qwen3"]
    assert toml["routes"]["fast"] == toml["routes"]["local"]
    assert "sk-plain-text" not in out
    for lost in (
        "model_list[1].model_info",
        "timeout: not carried over",
        "routing_strategy",
        "database_url",
        "GATEWAY_ADMIN_KEY",
    ):
        assert lost in notes
    table = loaded(out, tmp_path, monkeypatch, ANTHROPIC_API_KEY="a", OPENAI_API_KEY="b")
    assert [route.target.model for route in table.resolve("big")] == ["claude-opus-4-5", "qwen3", "qwen3"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("gateway", "name"), [("litellm", "config.yaml"), ("claude-code-router", "config.json")])
def test_imported_file_and_notes_are_those_of_the_golden_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateway: str, name: str
) -> None:
    folder = Path(__file__).parent / "imports" / gateway
    status, out, notes = run(gateway, str(folder / name))
    assert status == 0
    assert out == (folder / "gateway.toml").read_text()
    assert notes == (folder / "notes.txt").read_text()
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", out), "k")
    assert loaded(out, tmp_path, monkeypatch, **variables)


def test_claude_code_router_roles_become_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_bytes(orjson.dumps(ROUTER))
    target = tmp_path / "out.toml"
    status, _, notes = run("claude-code-router", str(config), "--output", str(target))
    assert status == 0, notes
    assert "Router.longContext: not carried over" in notes
    table = loaded(target.read_text(), tmp_path, monkeypatch, OPENROUTER_API_KEY="a")
    for asked, model in (("claude-haiku-4-5", "qwen2.5"), ("claude-opus-4-5", "anthropic/claude-sonnet-4")):
        assert table.resolve(asked)[0].target.model == model  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "- 1", "must be an object"),
        ("a.yaml", "a: [", "no YAML"),
        ("a.yaml", "a: 1", "no model was found"),
        ("missing.yaml", None, "No such file"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    status, _, problem = run("litellm", str(tmp_path / name))
    assert status == 2
    assert words in problem
