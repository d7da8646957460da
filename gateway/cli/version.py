"""`dragoman version`."""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.console import Console
from gateway.process.build import describe_version, read_commit


def version(json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False) -> None:
    """Print the version, and the commit of a built wheel or image."""
    Console(json).answer({"version": __version__, "commit": read_commit()}, describe_version())
