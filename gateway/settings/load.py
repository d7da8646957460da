"""Reading the settings at start. Every problem is named at once, each with an example, so that one look at the output
is enough to correct them all.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from gateway.settings.config_file import read_config_file
from gateway.settings.settings import Settings, names_of
from gateway.settings.values import SettingsError

CONFIG: Final = "GATEWAY_CONFIG"


@dataclass(frozen=True, slots=True)
class Problem:
    """A line of the message, and the variables of which another value would solve it."""

    line: str
    variables: tuple[str, ...]


# What a command cannot start without, judged on settings whose wrong values were replaced by their defaults.
Need = Callable[[Settings], Iterable[Problem]]


def load_settings(*needs: Need, **overrides: Any) -> Settings:
    """Settings from the overrides, the environment and the file, in this order.

    Raises SettingsError with a line for each value that cannot be used and each need that is not met.
    """
    problems: list[Problem] = []
    try:
        in_file = read_config_file(os.environ)
    except SettingsError as error:
        problems.append(Problem(str(error), (CONFIG,)))
        in_file = {}
    given = _set_values(in_file) | _set_values(EnvSettingsSource(Settings)()) | _set_values(overrides)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        problems += map(_to_problem, error.errors())
        settings = Settings(**{name: value for name, value in given.items() if name not in wrong})
    named = {variable for problem in problems for variable in problem.variables}
    problems += [problem for need in needs for problem in need(settings) if named.isdisjoint(problem.variables)]
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problem.line for problem in problems)))
    return settings


def needs_upstream(settings: Settings) -> Iterator[Problem]:
    if not settings.has_upstream:
        yield Problem(
            "OPENROUTER_API_KEY: no upstream is configured; set it, or GATEWAY_UPSTREAM_URL for another server"
            " (`dragoman dev` runs without either, on a built-in simulator)",
            ("OPENROUTER_API_KEY", "GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_URL"),
        )


def needs_client_keys(settings: Settings) -> Iterator[Problem]:
    if settings.auth == "keys" and not settings.keys:
        yield Problem(
            "GATEWAY_KEYS: no client could log in; set GATEWAY_KEYS=tenant:key, or GATEWAY_AUTH=off to let everyone in",
            ("GATEWAY_KEYS", "GATEWAY_AUTH"),
        )


def needs_redis(settings: Settings) -> Iterator[Problem]:
    if settings.redis_url is None:
        yield Problem(
            "GATEWAY_REDIS_URL: a worker takes its batches from Redis; set it as for the front ends",
            ("GATEWAY_REDIS_URL",),
        )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _set_values(source: Mapping[str, Any]) -> dict[str, Any]:
    """By field. What is blank counts as not set, such as a variable that compose or a chart hands on empty."""
    fields = {variable: field for field in Settings.model_fields for variable in names_of(field)}
    return {
        fields.get(name, name): value
        for name, value in source.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def _to_problem(detail: ErrorDetails) -> Problem:
    """Of pydantic's error. An entry of a list is named by the list's variable."""
    location = detail["loc"]
    if not location:
        return Problem(f"settings: {detail['msg']}", ())
    field = str(location[0])
    if field not in Settings.model_fields:
        return Problem(f"GATEWAY_{field.upper()}: no setting has this name", ())
    names = names_of(field)
    variable = next((name for name in names if name in os.environ), names[0])
    what = detail["msg"].removeprefix("Value error, ")
    return Problem(f"{variable}: {what} (such as {variable}={example_of(field)})", names)


def example_of(field: str) -> str:
    """A value that can be used: the field's own example, or its default."""
    info = Settings.model_fields[field]
    value = info.examples[0] if info.examples else info.default
    return f"{value:g}" if isinstance(value, float) else str(value)
