"""docs/configuration.md: every setting, from the text below its field in `Settings`.

python -m tests.support.configuration_page [--check]
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from gateway.settings.settings import Settings, names_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
DEFAULT = "Default: "

INTRODUCTION = """# Configuration

<!-- Written by `make docs` from the texts below the fields of `Settings`, in gateway/settings/settings.py. -->

Settings come from environment variables and, with less precedence, from a TOML file: `gateway.toml` in the working
directory, or the file that `GATEWAY_CONFIG` names. In the file a setting has its variable's name without `GATEWAY_`, in
lower case (`port = 9000`), and `${NAME}` reads an environment variable. Wrong values stop the start; all of them
are named at once, each with an example. A variable that is empty or blank counts as not set, and white space around a
value is cut off. Durations are in seconds or have a unit (`500ms`, `2m`, `1h`, `1d`), sizes in bytes or
with one (`32MB`, in powers of 1024), lists separated by commas or line ends. A `GATEWAY_…`
variable that no setting reads is reported at start.

| variable | default | meaning |
| --- | --- | --- |
| `GATEWAY_CONFIG` | `gateway.toml`, if there is one | Path of the configuration file. |
"""

# Each section starts with the row of a field. A field that is added belongs to the section around it.
SECTIONS = {
    "host": "Listeners",
    "upstream_url": "Upstream",
    "model_big": "Names of models",
    "redis_url": "Redis",
    "public_url": "Batches",
    "threads": "Threads",
    "cache": "Prompt cache",
    "worker_admin_port": "Workers",
    "auth": "Clients and secrets",
    "connect_timeout": "Time and attempts",
    "connections_per_address": "Limits and shutdown",
    "trace_ratio": "Traces",
    "log_level": "Logs",
}
HEADER = "| variable | default | meaning |\n| --- | --- | --- |"


class Undescribed(Exception):
    """A field of Settings has no text below it."""


def descriptions_of(settings: type[Settings]) -> dict[str, str]:
    """The text below each field that has one. Python keeps no such texts at run time, so they are read as source."""
    (definition,) = ast.parse(dedent(inspect.getsource(settings))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as description)),
            ):
                found[name] = inspect.cleandoc(description)
    return found


def to_page(settings: type[Settings] = Settings) -> str:
    return INTRODUCTION + "\n".join(_lines(settings)) + "\n"


def _lines(settings: type[Settings]) -> Iterator[str]:
    descriptions = descriptions_of(settings)
    for name, field in settings.model_fields.items():
        if name in SECTIONS:
            yield from ("", f"## {SECTIONS[name]}", "", HEADER)
        if name not in descriptions:
            raise Undescribed(f"describe the setting {name} in a docstring below its field, then run `make docs`")
        meaning, _, default = descriptions[name].partition(DEFAULT)
        shown = " ".join(default.split()) or _shown(field.default)
        names = ", ".join(f"`{variable}`" for variable in names_of(name))
        yield f"| {names} | {shown or ' '} | {' '.join(meaning.split())} |"


def _shown(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    return f"`{int(default) if isinstance(default, float) and default.is_integer() else default}`"


def main(arguments: Sequence[str]) -> int:
    try:
        page = to_page()
    except Undescribed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write("docs/configuration.md is older than the settings: run `make docs`, and commit it\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
