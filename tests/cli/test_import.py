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
    model_info: {id: one, kind: small}
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
    assert toml["routes"]["local"] == [{"to": "gpu/qwen3", "share": 3}, {"to": "other/qwen3", "share": 1}]
    assert toml["routes"]["big"] == ["anthropic/claude-opus-4-5", "gpu/qwen3", "other/qwen3"]
    assert toml["routes"]["fast"] == toml["routes"]["local"]
    assert "sk-plain-text" not in out
    for lost in (
        "config.yaml:7: model_list[1].model_info.kind: not carried over",
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
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", out), "http://k")  # of keys and addresses
    assert loaded(out, tmp_path, monkeypatch, **variables)


def test_claude_code_router_roles_become_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_bytes(orjson.dumps(ROUTER))
    target = tmp_path / "out.toml"
    status, _, notes = run("claude-code-router", str(config), "--output", str(target))
    assert status == 0, notes
    assert "Router.longContext: became overflow" in notes
    table = loaded(target.read_text(), tmp_path, monkeypatch, OPENROUTER_API_KEY="a")
    for asked, model in (("claude-haiku-4-5", "qwen2.5"), ("claude-opus-4-5", "anthropic/claude-sonnet-4")):
        assert table.resolve(asked)[0].target.model == model  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "- 1", "must be an object"),
        ("a.yaml", "b: 1\na: [", "a.yaml:2: is not valid YAML"),
        ("a.yaml", "a: 1\n---\na: 2", "a.yaml:2: is not valid YAML: but found another document"),
        ("a.yaml", "a: !ENV x", "a.yaml:1: is not valid YAML: could not determine a constructor"),
        ("a.yaml", "", "must be an object"),
        ("a.yaml", "model_list: {a: 1}", "a.yaml:1: model_list: must be a list"),
        ("a.yaml", "include: x", "a.yaml:1: include: must be a list"),
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


@pytest.mark.parametrize(
    ("gateway", "text"),
    [
        ("litellm", "model_list: [{model_name: a, litellm_params: {model: openai/x, api_base: 'http://['}}]"),
        (
            "claude-code-router",
            """{"Providers": [{"name": "openai", "api_base_url": "http://[", "api_key": "k", "models": ["x"]}],
            "Router": {"default": "openai,x"}}""",
        ),
    ],
)
def test_address_that_cannot_be_read_becomes_a_variable(tmp_path: Path, gateway: str, text: str) -> None:
    (tmp_path / "config").write_text(text)
    status, out, notes = run(gateway, str(tmp_path / "config"))
    assert (status, 'url = "${OPENAI_API_BASE}"' in out) == (0, True)
    assert "set OPENAI_API_BASE: this is no address of a server" in notes


def imported_models(text: str, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> list[str]:
    """The candidates that a name has at the gateway after the import of a configuration."""
    config = tmp_path / "config"
    config.write_text(text)
    status, out, notes = run(gateway, str(config))
    assert status == 0, notes
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", out), "http://k")  # of keys and addresses
    table = loaded(out, tmp_path, monkeypatch, **variables)
    return [f"{one.upstream.name}/{one.target.model}" for one in table.resolve(asked)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("deployments", "asked", "candidates"),
    [
        pytest.param("[{x/*: groq/*}]", "x/llama", ["groq/llama"], id="wildcard"),
        pytest.param("[{c: claude-sonnet-4-5}]", "c", ["anthropic/claude-sonnet-4-5"], id="Claude without a provider"),
        pytest.param("[{c: gpt-4o}]", "c", ["openai/gpt-4o"], id="another name without a provider"),
        pytest.param("[{c: openai/a}, {c: openai/a}]", "c", ["openai/a"], id="the same deployment twice"),
        pytest.param("[{7: openai/a}]", "7", ["openai/a"], id="name that is a number"),
        pytest.param(
            "[{c: deepinfra/meta/llama}]", "c", ["deepinfra/meta/llama"], id="provider that is no vendor here"
        ),
    ],
)
def test_names_of_litellm_lead_to_the_models_that_they_led_to(
    deployments: str, asked: str, candidates: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        f"{{model_name: {name}, litellm_params: {{model: '{model}'}}}}"
        for name, model in re.findall(r"\{([^{}]+?): ([^{}]+)\}", deployments)
    ]
    text = f"model_list: [{', '.join(entries)}]"
    assert imported_models(text, "litellm", tmp_path, monkeypatch, asked) == candidates


def test_limits_of_two_deployments_with_one_key_stay_apart_and_keys_in_plain_text_too(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    entry = "{{model_name: {0}, litellm_params: {{model: openai/{0}, api_key: {1}, {2}}}}}"
    parts = [entry.format("a", "sk-1", "rpm: 5"), entry.format("b", "sk-1", "rpm: 5"), entry.format("c", "sk-2", "")]
    config.write_text(f"model_list: [{', '.join(parts)}]")
    _, out, _ = run("litellm", str(config))
    upstreams = tomllib.loads(out)["upstreams"]
    assert [one["key"] for one in upstreams.values()] == [
        "${OPENAI_API_KEY}",
        "${OPENAI_API_KEY}",
        "${OPENAI_API_KEY_2}",
    ]
    assert [one.get("rpm") for one in upstreams.values()] == [5, 5, None]


@pytest.mark.parametrize(
    ("roles", "asked", "candidates"),
    [
        pytest.param('"Router": {"default": "a,m"}', "claude-x", ["a/m"], id="default"),
        pytest.param("", "a,vendor/m", ["a/vendor/m"], id="provider and model that the client names"),
        pytest.param('"Router": {"background": "A, m"}', "claude-haiku", ["a/m"], id="name in other letters, a space"),
    ],
)
def test_names_of_claude_code_router_lead_to_its_models(
    roles: str, asked: str, candidates: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = '{"name": "a", "api_base_url": "http://a:1/v1/chat/completions"}'
    text = f'{{"Providers": [{provider}], /* more */ {roles}}}'
    assert imported_models(text, "claude-code-router", tmp_path, monkeypatch, asked) == candidates


def test_old_form_of_claude_code_router_is_one_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"OPENAI_BASE_URL": "http://a:1/v1", "OPENAI_API_KEY": "sk-1", "OPENAI_MODEL": "m"}'
    assert imported_models(text, "claude-code-router", tmp_path, monkeypatch, "claude-x") == ["default/m"]
