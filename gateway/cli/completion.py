"""`dragoman completion`: the script by which a shell completes commands and options."""

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]


class CompletedShell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[CompletedShell, typer.Argument(help="The shell that reads it.")]) -> None:
    """Print the completion script of a shell, for its start-up file: `eval "$(dragoman completion bash)"`."""
    typer.echo(get_completion_script(prog_name="dragoman", complete_var="_DRAGOMAN_COMPLETE", shell=shell.value))
