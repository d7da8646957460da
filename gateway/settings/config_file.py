"""gateway.toml as plain data: `${NAME}` replaced by variables of the environment, and the line of each key.

Problems are collected, so that all of them can be reported at once.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.settings.lines import Location, lines_of
from gateway.settings.values import SettingsError

DEFAULT_PATH: Final = "gateway.toml"
# As in Docker Compose, without its defaults.
VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# Of the digest that shows which processes have the same file.
DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`problems`: lines about unset variables. `unset`: locations that refer to one. `variables`: all variables in the
    file.

    `digest` is of the values, so that a change of a variable shows.
    """

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lines: Mapping[Location, int] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    unset: frozenset[Location] = frozenset()
    variables: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.values).encode()).hexdigest()[:DIGEST_LENGTH]

    def problem(self, location: Location, text: str) -> str:
        """Return the line for a problem: file, line, key, text."""
        return f"{self.path}:{self.line_of(location)}: {to_dotted(location)}: {text}"

    def line_of(self, location: Location) -> int:
        """Return the line of a key, or of the statement that holds it."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return 1


def read_config_file(environment: Mapping[str, str]) -> ConfigFile:
    """Read the file named by GATEWAY_CONFIG, or ./gateway.toml if it exists. Raises SettingsError."""
    named = environment.get("GATEWAY_CONFIG")
    path = Path(named or DEFAULT_PATH)
    if not named and not path.is_file():
        return ConfigFile()
    text = ""
    try:
        text = path.read_text("utf-8-sig")  # editors on Windows write a byte order mark
        values = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"GATEWAY_CONFIG: cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        line = found[1] if found is not None else len(text.splitlines())
        raise SettingsError(f"{path}:{line}: is not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"GATEWAY_CONFIG: {path} is not valid TOML: {error}") from None
    lines = lines_of(text)
    expanded: dict[str, Any] = {}
    problems: list[tuple[Location, str]] = []
    for name, value in values.items():
        expanded[name] = _expand(value, environment, (name,), problems)
    file = ConfigFile(str(path), expanded, lines)
    unset = frozenset(location for location, _ in problems)
    variables = frozenset(match[1] for match in VARIABLE.finditer(str(values)))
    lines_of_problems = tuple(file.problem(*problem) for problem in problems)
    return ConfigFile(str(path), expanded, lines, lines_of_problems, unset, variables)


def to_dotted(location: Location) -> str:
    """Return a location as written in TOML, without positions in lists."""
    return ".".join(key if BARE_KEY.fullmatch(key) else f'"{key}"' for key in location if not key.isdigit())


def _expand(
    value: Any, environment: Mapping[str, str], location: Location, problems: list[tuple[Location, str]]
) -> Any:
    """Replace `${NAME}` in every string of the file. An unset variable leaves the text, and is a problem."""
    if isinstance(value, dict):
        return {name: _expand(inner, environment, (*location, name), problems) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, environment, (*location, str(index)), problems) for index, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    missing = [name for name in _variables(value) if name not in environment]
    problems += [
        (location, f"${{{name}}} is not set; set the variable {name} where the gateway is started") for name in missing
    ]
    return VARIABLE.sub(lambda match: environment.get(match[1], match[0]), value)


def _variables(text: str) -> Iterator[str]:
    return (match[1] for match in VARIABLE.finditer(text))
