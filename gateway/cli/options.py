"""Options that several commands share. Related options are one parameter: a dataclass with an option per field."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import signature
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command in the form that typer reads: the options of a dataclass replace its parameter."""
    own = signature(command, eval_str=True)
    groups = {
        name: one.annotation
        for name, one in own.parameters.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }

    @wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    parameters = [
        parameter
        for name, one in own.parameters.items()
        for parameter in (signature(groups[name]).parameters.values() if name in groups else (one,))
    ]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
