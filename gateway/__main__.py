"""`dragoman`, also `python -m gateway`.

A command's module is imported when that command runs: importing all of them takes a second, which `--help` and small
commands would wait for.
"""

import gc
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]
from typer.core import TyperGroup

from gateway.process.build import describe_version
from gateway.process.structlog_import import import_structlog

HELP: Final = {"help_option_names": ["-h", "--help"]}
# Command → module and name of its function or group, and what it does.
COMMANDS: Final = {
    "serve": ("gateway.cli.serve:serve", "Run a front end, or several on one port."),
    "worker": ("gateway.cli.worker:worker", "Run a worker, which drains message batches."),
    "dev": ("gateway.cli.dev:dev", "Run everything on this machine."),
    "check": ("gateway.cli.check:check", "Show the configuration, what can be reached, and what is degraded."),
    "batch": ("gateway.cli.batch.command:batch", "Message batches from a file."),
    "keys": ("gateway.cli.keys:keys", "Client keys, with their limits and budgets."),
    "limits": ("gateway.cli.increases:limits", "Limits and budgets of a tenant, a user, or the whole deployment."),
    "users": ("gateway.cli.keys:users", "Block people who sign in or are named by keys."),
    "spend": ("gateway.cli.spend:spend", "Show requests, tokens and US dollars."),
    "audit": ("gateway.cli.spend:audit", "The record of every change of keys, limits and budgets."),
    "import": ("gateway.cli.importer:importer", "Write a gateway.toml from another gateway's configuration."),
    "claude": ("gateway.cli.claude:claude", "Print the environment in which Claude Code talks to a gateway."),
    "login": ("gateway.cli.login:login", "Sign in to a gateway, and print a key for other programs."),
    "completion": ("gateway.cli.completion:completion", "Print a shell's completion script."),
    "version": ("gateway.cli.version:version", "Print the version."),
}
# Commands that are processes of a server, and whose memory matters.
PROCESSES: Final = ("dev", "serve", "worker")


class Group(TyperGroup):
    """Subcommands, listed with the whole first sentence of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in self.commands.items()])


class LazyCommands(TyperGroup):
    """Commands that are imported when they are asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: dict[str, Any] = dict.fromkeys(COMMANDS)  # their names: suggestions are made from them

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        found = load(COMMANDS[cmd_name][0])
        if isinstance(found, typer.Typer):
            found.rich_markup_mode = None
            found.info.cls = Group
            group = typer.main.get_group(found)
            group.name = cmd_name
            return group
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(cmd_name, context_settings=HELP)(found)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])


def load(place: str) -> Any:
    """Import a command, `module:name`.

    Nearly all objects that an import makes stay. The garbage collector would look at them again and again, for a
    quarter of the time of `serve`'s imports, and once more at the end of its start.
    """
    module, _, name = place.partition(":")
    gc.disable()
    try:
        if name in PROCESSES:
            import_structlog()
        return getattr(import_module(module), name)
    finally:
        gc.freeze()
        gc.enable()


app = typer.Typer(
    name="dragoman",
    cls=LazyCommands,
    help="An LLM gateway that speaks Anthropic's API in front of any chat upstream.",
    no_args_is_help=True,
    add_completion=False,  # the command `completion` prints the script
    context_settings=HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
completion_init()  # which typer does only for an app with its options; the printed scripts call back


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dragoman {describe_version()}")
        raise typer.Exit


@app.callback()
def dragoman(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An LLM gateway that speaks Anthropic's API in front of any chat upstream."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
