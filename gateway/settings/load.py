"""Read the settings at start. All problems are reported at once, each with an example."""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from gateway.settings.access_sections import AccessSections, is_access_section, read_access
from gateway.settings.check_sections import ONE_UPSTREAM, check_sections, without_wrong
from gateway.settings.check_sections import to_problem as to_section_problem
from gateway.settings.config import Config
from gateway.settings.config_file import ConfigFile, read_config_file
from gateway.settings.sections import Sections
from gateway.settings.settings import Settings, names_of
from gateway.settings.values import SettingsError
from gateway.settings.wording import in_words, suggestion

CONFIG: Final = "GATEWAY_CONFIG"
# From documentation of this gateway and of others (LiteLLM's examples have sk-1234, 2026-11).
EXAMPLE_KEYS: Final = frozenset(
    {
        *("sk-1234", "sk-12345", "sk-123456", "sk-xxx", "sk-test", "sk-local", "1234", "12345", "123456", "test"),
        *("test-key", "secret", "password", "admin", "example", "change-me", "changeme", "change_me", "your-key"),
        *("your-api-key", "my-key", "api-key", "a-long-random-key", "a-long-random-secret", "some-long-key"),
        *("some-key", "anything", "any", "dummy"),
    }
)
# Variables that [upstreams] replaces: they are not named where that section is wrong.
ONE_UPSTREAM_VARIABLES: Final = ("OPENROUTER_API_KEY", "GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_URL")


@dataclass(frozen=True, slots=True)
class Problem:
    """A line of the message, and the variables of which another value would solve the problem."""

    line: str
    variables: tuple[str, ...]


# Requirements of a command, judged on settings with wrong values replaced by their defaults.
Need = Callable[[Settings], Iterable[Problem]]


def load_settings(*needs: Need, **overrides: Any) -> Settings:
    """Return the settings from the overrides, the environment and the file, in this order.

    Raises SettingsError with a line for each unusable value and each unmet need.
    """
    problems: list[Problem] = []
    is_readable = True
    try:
        file = read_config_file(os.environ)
    except SettingsError as error:
        problems.append(Problem(str(error), (CONFIG,)))
        file, is_readable = ConfigFile(), False
    problems += [Problem(line, ()) for line in file.problems]
    config, in_sections = read_config(file)
    problems += [Problem(line, ONE_UPSTREAM_VARIABLES) for line in in_sections]
    access, in_access = read_access(file)
    problems += [Problem(line, ("GATEWAY_KEYS",)) for line in in_access]
    config = replace(config, access=access)
    in_file = _set_values({name: value for name, value in file.values.items() if not is_section(name, value)})
    in_environment = _set_values(EnvSettingsSource(Settings)())
    problems += _mixed(file, in_file, in_environment)
    given = in_file | in_environment | _set_values(overrides)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        beyond = in_environment.keys() | _set_values(overrides).keys()
        problems += [_to_problem(detail, file, beyond) for detail in error.errors()]
        settings = Settings(**{name: value for name, value in given.items() if name not in wrong})
    settings = settings.with_config(config)
    settings = settings.model_copy(update=switched_off(config))
    named = {variable for problem in problems for variable in problem.variables}
    problems += [problem for need in needs for problem in need(settings) if named.isdisjoint(problem.variables)]
    if problems:
        raise SettingsError(
            "\n".join(dict.fromkeys(problem.line for problem in problems)), in_file=bool(file.path) or not is_readable
        )
    return settings


def read_config(file: ConfigFile) -> tuple[Config, tuple[str, ...]]:
    """Return the file's sections, and their problems.

    Wrong values are left out, so that the rest can still be checked.
    """
    given = {name: value for name, value in file.values.items() if name in Sections.model_fields}
    problems: list[str] = []
    try:
        sections = Sections(**given)
    except ValidationError as error:
        # A value with an unset variable is reported once, for the variable.
        wrong = [detail for detail in error.errors() if tuple(map(str, detail["loc"])) not in file.unset]
        problems += [to_section_problem(detail, file) for detail in wrong]
        try:
            sections = Sections(**without_wrong(given, error.errors()))
        except ValidationError:
            return Config(file), tuple(dict.fromkeys(problems))
    found = check_sections(sections, file)
    return Config(file, sections, warnings=found.warnings), tuple(dict.fromkeys((*problems, *found.errors)))


def is_section(name: str, value: object) -> bool:
    """Return True if a key of the file is a section, and False if it is a setting."""
    return name in Sections.model_fields or is_access_section(name, value)


def switched_off(config: Config) -> dict[str, str]:
    """Return the settings that [features] overrides."""
    return {name: "off" for name in ("cache", "threads") if config.sections.features.get(name) is False}


def _mixed(file: ConfigFile, in_file: Mapping[str, Any], in_environment: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield problems of the one-upstream form beside [upstreams]: it would be unclear which of the two applies."""
    if "upstreams" not in file.values:
        return
    found = {field: names_of(field)[0] for field in ONE_UPSTREAM if field in in_environment and _is_own(field)}
    found |= {field: f"{field} ({file.path}:{file.line_of((field,))})" for field in ONE_UPSTREAM if field in in_file}
    if found:
        moves = dict.fromkeys(ONE_UPSTREAM[field] for field in found)
        text = (
            f"{', '.join(found.values())} configure one upstream and cannot be mixed with [upstreams];"
            f" move each into the table of its upstream ({', '.join(moves)})"
        )
        yield Problem(file.problem(("upstreams",), text), ONE_UPSTREAM_VARIABLES)


def _is_own(field: str) -> bool:
    """Return False for OPENROUTER_API_KEY, which configures no upstream beside a file that may refer to it."""
    return field != "upstream_api_key" or bool(os.environ.get("GATEWAY_UPSTREAM_API_KEY", "").strip())


def needs_upstream(settings: Settings) -> Iterator[Problem]:
    if not settings.has_upstream:
        yield Problem(
            "OPENROUTER_API_KEY: no upstream is configured; set it, or GATEWAY_UPSTREAM_URL for another server"
            " (`dragoman dev` runs without either, on a built-in simulator)",
            ("OPENROUTER_API_KEY", "GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_URL"),
        )


def needs_client_keys(settings: Settings) -> Iterator[Problem]:
    if settings.auth == "keys" and not settings.has_keys and settings.redis_url is None:
        yield Problem(
            "GATEWAY_KEYS: no client could log in; set GATEWAY_KEYS=tenant:key, or GATEWAY_REDIS_URL for keys made by"
            " `dragoman keys create`, or GATEWAY_AUTH=off to let everyone in",
            ("GATEWAY_KEYS", "GATEWAY_AUTH"),
        )


def needs_redis_for_budgets(settings: Settings) -> Iterator[Problem]:
    budgeted = next(settings.config.access.budgeted(), None)
    if budgeted is not None and settings.redis_url is None:
        yield Problem(
            f"GATEWAY_REDIS_URL: {budgeted} has a budget, and money is counted in Redis; set it, or remove the budget",
            ("GATEWAY_REDIS_URL",),
        )


def needs_own_keys(settings: Settings) -> Iterator[Problem]:
    """Refuse well-known example keys, unless the address is a loopback one: everybody knows them."""
    if is_loopback(settings.host):
        return
    text = "is a well-known example; make one with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
    if settings.auth == "keys" and any(key.lower() in EXAMPLE_KEYS for _, key in settings.keys):
        yield Problem(f"GATEWAY_KEYS: a key {text}", ("GATEWAY_KEYS",))
    admin = settings.admin_key.get_secret_value() if settings.admin_key is not None else ""
    if admin.lower() in EXAMPLE_KEYS:
        yield Problem(f"GATEWAY_ADMIN_KEY: it {text}", ("GATEWAY_ADMIN_KEY",))
    secrets = settings.secret.get_secret_value() if settings.secret is not None else ""
    if any(entry.partition(":")[2].strip().lower() in EXAMPLE_KEYS for entry in secrets.split(",")):
        yield Problem(f"GATEWAY_SECRET: a secret {text}", ("GATEWAY_SECRET",))


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
    """Return the values by field. A blank value counts as not set, such as an empty variable that compose passes on."""
    fields = {variable: field for field in Settings.model_fields for variable in names_of(field)}
    return {
        fields.get(name, name): value
        for name, value in source.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def _to_problem(detail: ErrorDetails, file: ConfigFile, beyond: Container[str]) -> Problem:
    """Return the problems of pydantic's error. Entries of a list are named by the list's variable or key.

    `beyond`: fields with a value that is not from the file.
    """
    location = detail["loc"]
    if not location:
        return Problem(f"settings: {detail['msg']}", ())
    field = str(location[0])
    if field not in Settings.model_fields:
        close = suggestion(field, [*Settings.model_fields, *Sections.model_fields, *AccessSections.model_fields])
        text = f'unknown key; did you mean "{close}"?' if close else "unknown key: no setting has this name"
        return Problem(file.problem((field,), text), ())
    names = names_of(field)
    what = in_words(detail)
    if field not in beyond and field in file.values:
        example = example_of(field)
        if not isinstance(Settings.model_fields[field].default, int | float):
            example = f'"{example}"'
        return Problem(file.problem((field,), f"{what} (such as {field} = {example})"), names)
    variable = next((name for name in names if name in os.environ), names[0])
    return Problem(f"{variable}: {what} (such as {variable}={example_of(field)})", names)


def example_of(field: str) -> str:
    """Return a usable value: the field's own example, or its default."""
    info = Settings.model_fields[field]
    value = info.examples[0] if info.examples else info.default
    return f"{value:g}" if isinstance(value, float) else str(value)
