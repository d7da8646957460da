"""gateway.toml as plain data, with `${NAME}` replaced by variables of the environment."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.settings.values import SettingsError


def read_config_file(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file named by GATEWAY_CONFIG, or ./gateway.toml where there is one. Raises SettingsError."""
    named = environment.get("GATEWAY_CONFIG")
    path = Path(named or "gateway.toml")
    if not named and not path.is_file():
        return {}
    try:
        return {name: _expand(value, environment) for name, value in tomllib.loads(path.read_text("utf-8")).items()}
    except OSError as error:
        raise SettingsError(f"GATEWAY_CONFIG: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"GATEWAY_CONFIG: {path} is not valid TOML: {error}") from None


def _expand(value: Any, environment: Mapping[str, str]) -> Any:
    """`${NAME}` in every string of the file. Raises SettingsError for a name that the environment does not have."""
    if isinstance(value, dict):
        return {name: _expand(inner, environment) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, environment) for inner in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise SettingsError(f"GATEWAY_CONFIG: the variable {match[1]} that the file refers to is not set")
        return environment[match[1]]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", look_up, value)
