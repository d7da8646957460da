"""`dragoman`, also `python -m gateway`."""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.batch import batch
from gateway.cli.check import check
from gateway.cli.claude import claude
from gateway.cli.console import Console
from gateway.cli.dev import dev
from gateway.cli.keys import keys, limits
from gateway.cli.serve import serve
from gateway.cli.spend import audit, spend
from gateway.cli.worker import worker

app = typer.Typer(
    name="dragoman",
    help="An LLM gateway that speaks Anthropic's API in front of any chat upstream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(worker)
app.command()(dev)
app.add_typer(batch, name="batch")
app.add_typer(keys, name="keys")
app.add_typer(limits, name="limits")
app.command()(spend)
app.add_typer(audit, name="audit")
app.command()(check)
app.command()(claude)


@app.command()
def version(json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False) -> None:
    """Print the version."""
    Console(json).answer({"version": __version__}, __version__)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
