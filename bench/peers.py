"""Other gateways to be measured beside this one, where someone has installed them: `--peers DIR`.

A peer that is to be measured is installed in its own directory under DIR, so that none shares a dependency with another
or with the gateway:

    litellm   python -m venv DIR/litellm && DIR/litellm/bin/pip install 'litellm[proxy]==1.106.2'
    ant2oai   python -m venv DIR/ant2oai && DIR/ant2oai/bin/pip install ant2oai==0.1.6
    smg       python -m venv DIR/smg && DIR/smg/bin/pip install smg==1.13.0
    ccr       mkdir DIR/ccr && cd DIR/ccr && npm install @musistudio/claude-code-router@2.0.0

Each is set up in its cheapest way: no database, no key, no callbacks, no retries, one process.
"""

import json
from pathlib import Path

from bench.targets import Recipe

MODELS = (
    *("plain-1", "stream-200", "stream-200-d10", "stream-200-d100", "stream-20-d100", "stream-220-d100"),
    "tool-200-d10",
)


def peer_recipes(directory: Path) -> list[Recipe]:
    """The peers that are installed under `directory`."""
    found = []
    for name, (installed, make) in PEERS.items():
        path = directory / name / installed
        if path.exists():
            found.append(make(path))
    return found


def _litellm(executable: Path) -> Recipe:
    models = [
        {
            "model_name": model,
            "litellm_params": {"model": f"openrouter/{model}", "api_base": "$upstream", "api_key": "x"},
        }
        for model in MODELS
    ]
    settings = {
        "model_list": models,
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "general_settings": {"disable_error_logs": True},
    }
    return Recipe(
        name="litellm",
        command=f"{executable} --config $dir/config.yaml --port $port --host 127.0.0.1 --num_workers 1",
        files={"config.yaml": json.dumps(settings)},  # JSON is YAML
        environment={
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
        },
    )


def _ant2oai(executable: Path) -> Recipe:
    return Recipe(
        name="ant2oai",
        command=f"{executable} --upstream $upstream/chat/completions --port $port",
        environment={"HOME": "$dir"},
    )


def _ccr(script: Path) -> Recipe:
    provider = {
        "name": "bench",
        "api_base_url": "$upstream/chat/completions",
        "api_key": "x",
        "models": MODELS,
        "transformer": {"use": ["openrouter"]},
    }
    settings = {
        "LOG": False,
        "HOST": "127.0.0.1",
        "PORT": "$port",
        "APIKEY": "x",
        "NON_INTERACTIVE_MODE": True,
        "Providers": [provider],
        "Router": {"default": "bench,plain-1"},
    }
    return Recipe(
        name="ccr",
        command=f"node {script} start",
        files={".claude-code-router/config.json": json.dumps(settings).replace('"$port"', "$port")},
        environment={"HOME": "$dir"},
        headers=("x-api-key: x",),
        model_prefix="bench,",
    )


def _smg(executable: Path) -> Recipe:
    """A router of inference servers, written in Rust. It parses Messages and writes them again, without conversion."""
    choices = "--backend anthropic --policy passthrough --history-backend none --log-level error"
    off = "--disable-health-check --disable-retries --disable-circuit-breaker"
    # A base URL without the version, and its own port for metrics, which several of them would share.
    address = "--host 127.0.0.1 --port $port --prometheus-port $admin_port --worker-urls http://$upstream_address/api"
    return Recipe(name="smg", command=f"{executable} launch {address} {choices} {off}")


PEERS = {
    "smg": ("bin/smg", _smg),
    "litellm": ("bin/litellm", _litellm),
    "ant2oai": ("bin/ant2oai", _ant2oai),
    "ccr": ("node_modules/@musistudio/claude-code-router/dist/cli.js", _ccr),
}
