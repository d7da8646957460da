"""`dragoman claude`: the variables for a model, in the syntax of each shell."""

import asyncio
import os
import shutil
from typing import Any

import pytest

from gateway.cli.claude import Chosen, Shell, to_script, to_telemetry, to_variables
from tests.cli.conftest import dragoman
from tests.e2e.conftest import KEY, Live

SMALL = Chosen("small", 200_000, 64_000)
WINDOW = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"
COMPACT = "CLAUDE_CODE_AUTO_COMPACT_WINDOW"
OUTPUT = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"
NASTY = """it's $HOME "and" `more` \\ """


@pytest.mark.parametrize(
    ("main", "model", "further"),
    [
        pytest.param(Chosen("big", 1_000_000, 64_000), "big", {WINDOW: "1000000"}, id="a long window of another name"),
        pytest.param(Chosen("big", 131_072, 64_000), "big", {WINDOW: "131072"}, id="a short window"),
        pytest.param(Chosen("big", 200_000, 64_000), "big", {WINDOW: "200000"}, id="the usual window"),
        pytest.param(Chosen("big", None, None), "big", {}, id="nothing known"),
        pytest.param(Chosen("claude-x", 1_000_000, 64_000), "claude-x[1m]", {}, id="a Claude with a long window"),
        pytest.param(
            Chosen("claude-x", 128_000, 64_000), "claude-x", {WINDOW: "128000", COMPACT: "128000"}, id="short Claude"
        ),
        pytest.param(Chosen("claude-x", 500_000, 64_000), "claude-x", {WINDOW: "500000"}, id="a Claude in between"),
        pytest.param(Chosen("big", None, 8_192), "big", {OUTPUT: "8192"}, id="short answers"),
    ],
)
@pytest.mark.covers("Agents · dragoman claude")
def test_the_window_and_the_answers_fit_the_model(main: Chosen, model: str, further: dict[str, str]) -> None:
    variables = to_variables("http://x", main, SMALL)
    assert variables["ANTHROPIC_MODEL"] == variables["ANTHROPIC_DEFAULT_OPUS_MODEL"] == model
    assert variables["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "small"
    assert {name: variables.get(name) for name in (WINDOW, COMPACT, OUTPUT) if name in variables} == further


async def test_the_models_come_from_the_gateway(live: Live) -> None:
    ran = await dragoman("claude", "--url", live.url, "--model", "sim/echo", "--json", ANTHROPIC_API_KEY=KEY)
    told = ran.lines[0]
    assert told["env"]["ANTHROPIC_BASE_URL"] == live.url
    assert told["env"]["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert told["env"]["ANTHROPIC_MODEL"] == told["env"]["ANTHROPIC_DEFAULT_SONNET_MODEL"] == "sim/echo"
    assert told["unset"] == ["ANTHROPIC_API_KEY"]  # Claude Code would ask which of the two to take


async def test_an_unknown_model_is_reported_with_the_closest_names(live: Live) -> None:
    ran = await dragoman("claude", "--url", live.url, "--model", "sim/ecco", ANTHROPIC_API_KEY=KEY)
    assert (ran.status, ran.out) == (1, "")
    assert "has no model 'sim/ecco'" in ran.err
    assert "sim/echo" in ran.err


async def test_an_unreachable_gateway_is_reported() -> None:
    ran = await dragoman("claude", "--url", "http://127.0.0.1:1")
    assert (ran.status, ran.out) == (3, "")
    assert "dragoman dev" in ran.err


SHELLS: dict[Shell, tuple[str, ...]] = {Shell.SH: ("sh", "-c"), Shell.FISH: ("fish", "-c")}


@pytest.mark.parametrize("shell", [shell for shell, command in SHELLS.items() if shutil.which(command[0])])
async def test_a_shell_reads_back_what_was_meant(shell: Shell) -> None:
    script = to_script({"TOKEN": NASTY, "MODEL": "a/b"}, ["GONE"], shell)
    last = 'printf %s "$MODEL|$TOKEN|${GONE-unset}"' if shell is Shell.SH else 'printf %s "$MODEL|$TOKEN|unset$GONE"'
    process = await asyncio.create_subprocess_exec(
        *SHELLS[shell], f"{script}\n{last}", env={**os.environ, "GONE": "x"}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode() == f"a/b|{NASTY}|unset"


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (Shell.FISH, "set -gx TOKEN 'it\\'s \\\\';\nset -e GONE;"),
        (Shell.POWERSHELL, "$env:TOKEN = 'it''s \\';\nRemove-Item Env:GONE;"),
    ],
)
def test_other_shells_have_their_own_quotes(shell: Shell, script: str) -> None:
    assert to_script({"TOKEN": "it's \\"}, ["GONE"], shell) == script


@pytest.mark.parametrize("quotes", ['"', ""], ids=["quoted", "unquoted"])
async def test_eval_takes_it_with_and_without_quotes(live: Live, quotes: str) -> None:
    script = f'eval {quotes}$(dragoman claude){quotes}; printf %s "$ANTHROPIC_MODEL $ANTHROPIC_AUTH_TOKEN"'
    ran = await dragoman("claude", "--url", live.url, "--model", "sim/echo", ANTHROPIC_API_KEY=KEY)
    shim = f"dragoman() {{ cat <<'END'\n{ran.out}END\n}}\n"
    process = await asyncio.create_subprocess_exec("sh", "-c", shim + script, stdout=asyncio.subprocess.PIPE)
    out: Any = (await process.communicate())[0]
    assert out.decode() == f"sim/echo {KEY}"


def test_telemetry_goes_to_the_gateway_with_its_key() -> None:
    variables = to_telemetry("http://127.0.0.1:8080", "key")
    assert len(variables) == 9
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:8080"
    assert variables["OTEL_EXPORTER_OTLP_HEADERS"] == "authorization=Bearer key"
    assert variables["CLAUDE_CODE_PROPAGATE_TRACEPARENT"] == "1"
