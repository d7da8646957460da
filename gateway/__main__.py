"""`dragoman`, also `python -m gateway`."""

import typer

from gateway import __version__
from gateway.cli.dev import dev
from gateway.cli.serve import serve
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


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
