"""The effective settings with their sources, for display: secrets are hidden.

The rules are those of `gateway.settings`: a variable beats the file, the file beats the default.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from gateway.settings.config_file import read_config_file
from gateway.settings.settings import Settings, names_of, unknown_variables

HIDDEN: Final = "********"
DEFAULT: Final = "default"
# In names of settings to come too: rather one value too many hidden than one too few.
SECRET_WORDS: Final = re.compile(r"secret|password|token$|_key$|_keys$|^keys$")
# Lists of tenants and ids, in spite of their names.
NAMES_ALONE: Final = frozenset({"cache_keys"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `source`: a variable's name, the file's path, or `default`."""

    variable: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        if isinstance(self.value, list):
            return ", ".join(self.value) or "none"
        return "" if self.value is None else str(self.value)


def effective(settings: Settings) -> list[Setting]:
    """Return all settings, redacted. Raises SettingsError, as loading does."""
    variables = {name.upper(): name for name, value in os.environ.items() if value.strip()}
    in_file = read_config_file(os.environ)
    found = []
    for name in Settings.model_fields:
        names = names_of(name)
        if name == "upstream_api_key" and settings.upstreams:
            names = names[:1]  # OPENROUTER_API_KEY beside [upstreams] is there for the file to refer to
        given = next((variables[variable] for variable in names if variable in variables), None)
        source = given or (in_file.path if in_file.values.keys() & {name, *names} else DEFAULT)
        value = None if name == "upstream_api_key" and source == DEFAULT else getattr(settings, name)
        found.append(Setting(names[0], redacted(name, value), source))
    return found


def redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, tuple):
        return [_entry(name, entry) for entry in value]
    text = str(value)
    if SECRET_WORDS.search(name):
        return HIDDEN
    return without_credentials(text) if "://" in text else text


def _entry(name: str, entry: str | tuple[str, str]) -> str:
    hides = SECRET_WORDS.search(name) and name not in NAMES_ALONE
    if isinstance(entry, str):
        return HIDDEN if hides else entry
    return f"{entry[0]}:{HIDDEN}" if hides else "=".join(entry)


def without_credentials(url: str) -> str:
    """Return the URL without user, password and query, each of which may contain a key."""
    return re.sub(r"\?.*", f"?{HIDDEN}", re.sub(r"://[^/?#]*@", f"://{HIDDEN}@", url))


def misspelt(environment: Mapping[str, str], in_file: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return variables that neither a setting nor the file refers to, with the probably intended name, or ""."""
    known = [variable for field in Settings.model_fields for variable in names_of(field)] + ["GATEWAY_CONFIG"]
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1, 0.8)), "")
        for name in unknown_variables(environment, in_file)
    }


def config_file() -> str | None:
    """Return the path of the file that is read, if there is one."""
    named = os.environ.get("GATEWAY_CONFIG")
    return named or ("gateway.toml" if Path("gateway.toml").is_file() else None)
