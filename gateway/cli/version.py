"""`dragoman version`."""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.console import Console


def version(json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False) -> None:
    """Print the version."""
    Console(json).answer({"version": __version__}, __version__)
