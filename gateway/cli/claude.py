"""`dragoman claude`: the environment in which Claude Code talks to this gateway, from the gateway's list of models.

    eval "$(dragoman claude)" && claude

The variables are those that Claude Code 2.1.197 and 2.1.332 read. It knows the context windows of Claude's models by
name, and assumes 200,000 tokens for any other model (newer versions: a million). CLAUDE_CODE_MAX_CONTEXT_TOKENS
corrects that. The older version ignores it for names with the prefix `claude-`, so a Claude with a million tokens gets
`[1m]` after its name. The limit of an answer is lowered to the model's, never raised: upstreams reserve credit for all
of it.
"""

import difflib
import os
import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.api import KEY_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, Api, ApiError, connected
from gateway.cli.console import CommandError, Console, Exit, run_async
from gateway.cli.options import Json

# The window of most Claudes by their names, and the least one at which Claude Code compacts by itself.
CLAUDE_WINDOW: Final = 200_000
LONG_WINDOW: Final = 1_000_000
LEAST_COMPACT_WINDOW: Final = 100_000
ASSUMED_OUTPUT: Final = 32_000
CLAUDE: Final = "claude-"

# What Claude Code would take before ours.
IN_THE_WAY: Final = (KEY_VARIABLE, "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX")


class Shell(StrEnum):
    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model of the gateway's list; None for facts that the list does not have."""

    name: str
    window: int | None
    most_output: int | None

    @property
    def for_claude_code(self) -> str:
        is_long = self.window is not None and self.window >= LONG_WINDOW and self.name.startswith(CLAUDE)
        return f"{self.name}[1m]" if is_long else self.name

    @property
    def text(self) -> str:
        facts = [f"{self.window:,} tokens"] if self.window else []
        facts += [f"answers up to {self.most_output:,}"] if self.most_output else []
        return f"{self.name} ({', '.join(facts)})" if facts else self.name


def claude(
    model: Annotated[str, typer.Option(help="For the main conversation.")] = "big",
    small: Annotated[str, typer.Option(help="For small tasks.")] = "small",
    shell: Annotated[Shell, typer.Option(help="Whose syntax.")] = Shell.SH,
    url: Annotated[str | None, typer.Option(help="The gateway's address (ANTHROPIC_BASE_URL).")] = None,
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="Send Claude Code's telemetry by the gateway.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the environment for Claude Code: eval "$(dragoman claude)". The client key is part of it."""
    console = Console(json)

    async def main() -> None:
        async with connected(url) as api:
            main_model, small_model = await find(api, model), await find(api, small)
            variables = to_variables(api.url, main_model, small_model)
        if telemetry:
            variables |= to_telemetry(variables[URL_VARIABLE], variables[TOKEN_VARIABLE])
        unset = [name for name in IN_THE_WAY if os.environ.get(name)]
        value = {"env": variables, "unset": unset}
        console.answer(value, to_script(variables, unset, shell))
        console.note(f"# Claude Code will use {main_model.text}, and {small_model.text} for small tasks")

    with console.failing_clearly():
        run_async(main)


async def find(api: Api, name: str) -> Chosen:
    """Find a model by any of its names. Raises CommandError with the closest ones."""
    try:
        entry: dict[str, Any] = await api.get(f"/v1/models/{quote(name, safe='')}")
    except ApiError as error:
        if error.code != 404:
            raise
        listed = [str(model["id"]) for model in (await api.get("/v1/models", limit=1000))["data"]]
        close = difflib.get_close_matches(name, listed, 3, 0.4) or listed[:3]
        hint = f"it has {', '.join(close)} and {len(listed) - len(close):,} more; choose with --model and --small"
        raise CommandError(f"{api.url} has no model {name!r}", hint, status=Exit.FAILED) from None
    return Chosen(name, _number(entry.get("max_input_tokens")), _number(entry.get("max_tokens")))


def to_variables(url: str, main: Chosen, small: Chosen) -> dict[str, str]:
    name = main.for_claude_code
    variables = {
        URL_VARIABLE: url,
        TOKEN_VARIABLE: os.environ.get(KEY_VARIABLE) or os.environ.get(TOKEN_VARIABLE) or "any",
        "ANTHROPIC_MODEL": name,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": name,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": name,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": small.for_claude_code,
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
    }
    return variables | _window(main) | _output(main, small)


def to_telemetry(url: str, token: str) -> dict[str, str]:
    """Return the variables with which Claude Code sends metrics, logs and traces to the gateway, and passes its trace
    on.

    It adds no credential to exports, and sends a trace to a gateway only on request (both seen with 2.1.197).
    """
    exporters = {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("METRICS", "LOGS", "TRACES")}
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        **exporters,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {token}",
        "CLAUDE_CODE_PROPAGATE_TRACEPARENT": "1",
    }


def to_script(variables: dict[str, str], unset: list[str], shell: Shell) -> str:
    """Return commands that set the variables. Each line ends in `;`, so that it works without quotes around `$(…)`."""
    match shell:
        case Shell.SH:
            lines = [f"export {name}={shlex.quote(value)};" for name, value in variables.items()]
            lines += [f"unset {name};" for name in unset]
        case Shell.FISH:
            lines = [f"set -gx {name} {_single_quoted(value)};" for name, value in variables.items()]
            lines += [f"set -e {name};" for name in unset]
        case Shell.POWERSHELL:
            doubled = {name: value.replace("'", "''") for name, value in variables.items()}
            lines = [f"$env:{name} = '{value}';" for name, value in doubled.items()]
            lines += [f"Remove-Item Env:{name};" for name in unset]
    return "\n".join(lines)


def _window(main: Chosen) -> dict[str, str]:
    if main.window is None or main.for_claude_code != main.name:
        return {}
    variables = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(main.window)}
    if main.name.startswith(CLAUDE) and main.window < CLAUDE_WINDOW:  # for versions that ignore the first
        variables["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(max(main.window, LEAST_COMPACT_WINDOW))
    return variables


def _output(*chosen: Chosen) -> dict[str, str]:
    limits = [model.most_output for model in chosen if model.most_output is not None]
    least = min(limits, default=ASSUMED_OUTPUT)
    return {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(least)} if least < ASSUMED_OUTPUT else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _single_quoted(value: str) -> str:
    """Quote for fish, where a backslash and a quote are the only special characters within quotes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
