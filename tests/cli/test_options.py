"""Options that several commands share."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from gateway.cli.options import with_options


@dataclass(frozen=True)
class SizeOptions:
    width: Annotated[int | None, typer.Option(min=1, help="In columns.")] = None
    colours: Annotated[list[str] | None, typer.Option("--colour")] = None
    round: Annotated[bool, typer.Option()] = True


app = typer.Typer()


@app.command()
@with_options
def draw(name: str, *, size: SizeOptions, json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Draw a shape."""
    typer.echo(f"{name} {size.width} {size.colours} {size.round} {json}")


def test_shared_options_are_read_and_handed_over_together() -> None:
    asked = CliRunner().invoke(app, ["box", "--width", "3", "--colour", "red", "--colour", "blue", "--no-round"])
    assert asked.output == "box 3 ['red', 'blue'] False False\n"
    assert CliRunner().invoke(app, ["box", "--json"]).output == "box None None True True\n"
    assert CliRunner().invoke(app, ["box", "--width", "0"]).exit_code == 2


def test_shared_options_are_listed_in_the_place_of_their_parameter() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.index("Draw a shape.") < shown.index("--width") < shown.index("--colour") < shown.index("--json")
    assert "In columns." in shown
