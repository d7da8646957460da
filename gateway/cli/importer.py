"""`dragoman import`: convert another gateway's configuration to a `gateway.toml`, and list settings without a
counterpart.

The result is printed, or written to `--output`; it is not applied. Keys become variables of the environment.
"""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import CommandError, Console
from gateway.cli.imports.claude_code_router import of_claude_code_router
from gateway.cli.imports.litellm import of_litellm
from gateway.cli.imports.result import Imported
from gateway.cli.options import Json

importer = typer.Typer(help="Write a gateway.toml from another gateway's configuration.", no_args_is_help=True)

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the file here instead of printing it.")]


@importer.command("litellm")
def import_litellm(
    config: Annotated[Path, typer.Argument(help="LiteLLM's config.yaml.")], output: Output = None, json: Json = False
) -> None:
    """Import from LiteLLM's proxy: models, fallbacks and aliases become upstreams and routes."""
    console = Console(json)
    with console.failing_clearly():
        finish(console, of_litellm(config), output)


@importer.command("claude-code-router")
def import_router(
    config: Annotated[Path, typer.Argument(help="claude-code-router's config.json.")],
    output: Output = None,
    json: Json = False,
) -> None:
    """Import from claude-code-router: providers become upstreams, and its roles become routes for Claude's models."""
    console = Console(json)
    with console.failing_clearly():
        finish(console, of_claude_code_router(config), output)


def finish(console: Console, imported: Imported, output: Path | None) -> None:
    imported.finish()
    for note in imported.notes:
        console.note(note)
    if not imported.routes:
        raise CommandError("no model was found in this file", "is it the configuration of that gateway?")
    text = imported.to_toml()
    if output is not None:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from None
        console.note(f"written to {output}; `GATEWAY_CONFIG={output} dragoman check` shows what it means")
    if console.json:
        console.emit({"toml": text, "notes": imported.notes})
    elif output is None:
        typer.echo(text, nl=False)
