"""LiteLLM's `config.yaml`: groups of deployments become routes, with their fallbacks and aliases.

Several deployments of a group are shares by `weight`, `rpm` or `tpm`, as LiteLLM's simple shuffle has them, or an order
by `order`. Fallbacks of fallbacks are followed, as LiteLLM does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from gateway.cli.console import CommandError
from gateway.cli.imports.deployments import Deployment, key_variables, to_deployment
from gateway.cli.imports.result import Imported, ImportedCandidate, ImportedRoute
from gateway.cli.imports.source import SourceFile, listed, mapping, read_yaml

SECTIONS: Final = ("router_settings", "litellm_settings", "general_settings")
KINDS: Final = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
HANDLED: Final = frozenset({*KINDS, "default_fallbacks", "model_group_alias", "model_alias_map"})
REDIS: Final = "set GATEWAY_REDIS_URL"
ATTEMPTS: Final = "set GATEWAY_MAX_ATTEMPTS"
CACHE: Final = "set GATEWAY_CACHE"
# What takes the place of a setting.
REMEDIES: Final = {
    "master_key": "set GATEWAY_ADMIN_KEY; clients get keys by `dragoman keys create`",
    "database_url": "not needed; keys and spend are in Redis, GATEWAY_REDIS_URL",
    "store_model_in_db": "not needed; gateway.toml is read again when it changes",
    "drop_params": "not needed; parameters that a model does not take are left out",
    "modify_params": "not needed; requests are adapted to each server",
    "redis_host": REDIS,
    "redis_port": REDIS,
    "redis_password": REDIS,
    "redis_url": REDIS,
    "num_retries": ATTEMPTS,
    "retry_policy": ATTEMPTS,
    "cache": CACHE,
    "cache_params": f"{CACHE} and GATEWAY_CACHE_REDIS_URL",
    "cache_responses": CACHE,
    "request_timeout": "set GATEWAY_TOTAL_TIMEOUT",
    "timeout": "set GATEWAY_TOTAL_TIMEOUT",
    "stream_timeout": "set GATEWAY_FIRST_BYTE_TIMEOUT",
    "set_verbose": "set GATEWAY_LOG_LEVEL",
    "debug_level": "set GATEWAY_LOG_LEVEL",
    "json_logs": "set GATEWAY_LOG_FORMAT",
    "allowed_fails": "not needed; circuits open by themselves",
    "cooldown_time": "not needed; circuits open by themselves",
    "max_budget": "set budgets with `dragoman keys limit`",
    "budget_duration": "set budgets with `dragoman keys limit`",
}
STRATEGIES: Final = {"cost-based-routing": "price"}


@dataclass(frozen=True, slots=True)
class SettingsTable:
    """A table of settings, from the last file that has it."""

    name: str
    source: SourceFile
    values: Mapping[str, Any] = field(repr=False)

    def place(self, *keys: str | int) -> str:
        return self.source.place(self.name, *keys)


def of_litellm(path: Path) -> Imported:
    imported, sections = Imported(), dict[str, SettingsTable]()
    source = read_yaml(path)
    imported.taken |= set(re.findall(r"os\.environ/(\w+)", str(source.value)))
    groups: dict[str, list[Deployment]] = {}
    sources = list(_with_included(imported, source))
    imported.taken |= {variable for one in sources for variable in key_variables(one)}
    for one in sources:
        credentials = _credentials(one)
        for number in range(len(listed(one.value.get("model_list"), one.place("model_list")))):
            found = to_deployment(imported, one, number, credentials)
            if found is not None:
                groups.setdefault(found.name, []).append(found)
        for name in SECTIONS:
            if name in one.value or name not in sections:
                sections[name] = SettingsTable(name, one, mapping(one.value.get(name), one.place(name)))
        _note_others(imported, one)
    imported.routes |= {name: ImportedRoute(list(_candidates(found))) for name, found in groups.items()}
    _sort(imported, sections["router_settings"])
    _add_fallbacks(imported, list(sections.values()))
    _add_aliases(imported, sections)
    return imported


def _with_included(imported: Imported, source: SourceFile) -> Iterator[SourceFile]:
    """Yield the file, and those that it includes."""
    yield source
    included = source.value.get("include")
    for number, name in enumerate(listed(included, source.place("include"))):
        try:
            yield read_yaml(source.path.parent / str(name))
        except CommandError as error:
            imported.note(source.place("include", number), f"not carried over; {error.message}")


def _credentials(source: SourceFile) -> dict[str, Mapping[str, Any]]:
    entries = listed(source.value.get("credential_list"), source.place("credential_list"))
    return {
        str(entry.get("credential_name")): mapping(
            entry.get("credential_values"), source.place("credential_list", number, "credential_values")
        )
        for number, entry in enumerate(entries)
        if isinstance(entry, Mapping)
    }


def _candidates(found: list[Deployment]) -> Iterator[ImportedCandidate]:
    """Yield the first candidates by order, with shares if there are several, then those without a share."""
    first = min(one.order for one in found)
    tier = [one for one in found if one.order == first]
    by = next((key for key in ("weight", "rpm", "tpm") if key in tier[0].weights), None)
    shares: dict[str, ImportedCandidate] = {}
    rest: list[ImportedCandidate] = []
    for one in tier:
        share = 1 if by is None else one.weights.get(by, 0)
        known = shares.get(repr((one.candidate.to, one.candidate.params)))
        if share == 0:
            rest.append(one.candidate)
        elif known is not None:  # the same twice: it takes both shares
            known.share = (known.share or 0) + share
        else:
            shares[repr((one.candidate.to, one.candidate.params))] = replace(one.candidate, share=share)
    later = sorted((one for one in found if one.order != first), key=lambda one: one.order)
    ordered = ImportedRoute(list(shares.values()))
    ordered.add([*rest, *(one.candidate for one in later)])
    return iter(ordered.candidates)


def _sort(imported: Imported, section: SettingsTable) -> None:
    strategy = section.values.get("routing_strategy")
    if strategy in STRATEGIES:
        for route in imported.routes.values():
            route.sort = STRATEGIES[strategy] if len(route.candidates) > 1 else ""
    elif strategy not in (None, "simple-shuffle"):
        text = f"{strategy} is not carried over; several deployments of a group have shares"
        imported.note(section.place("routing_strategy"), text)


def _add_fallbacks(imported: Imported, sections: Iterable[SettingsTable]) -> None:
    found: dict[str, dict[str, tuple[list[str], str]]] = {kind: {} for kind in KINDS}
    for section in sections:
        for kind in KINDS:
            for name, others, place in _fallbacks(imported, section, kind):
                found[kind][name] = (others, place)
        for name in _names(section.values.get("default_fallbacks")):
            found["fallbacks"].setdefault("*", ([], section.place("default_fallbacks")))[0].append(name)
    own = {name: list(route.candidates) for name, route in imported.routes.items()}
    general = found["fallbacks"].pop("*", None) if "*" not in own else None
    chains = found["fallbacks"] | {name: general for name in own if general and name not in found["fallbacks"]}
    for name in dict.fromkeys([*chains, *found["content_policy_fallbacks"]]):
        _extend(imported, name, chains, found["content_policy_fallbacks"].get(name), own)
    for name, (others, place) in found["context_window_fallbacks"].items():
        _add_overflow(imported, name, others, place)


def _extend(
    imported: Imported,
    name: str,
    chains: Mapping[str, tuple[list[str], str]],
    refusals: tuple[list[str], str] | None,
    own: Mapping[str, list[ImportedCandidate]],
) -> None:
    """Add the candidates of a group's fallbacks, and theirs."""
    route = imported.routes.get(name)
    places = [one[1] for one in (chains.get(name), refusals) if one is not None]
    if route is None:
        imported.note(places[0], "not carried over; no model has this name")
        return
    waiting, seen = list(chains.get(name, ([], ""))[0]) + (refusals[0] if refusals else []), {name}
    while waiting:
        other = waiting.pop(0)
        if other in seen:
            continue
        seen.add(other)
        candidates = own.get(other) or imported.find(other)
        if not candidates:
            imported.note(places[0], f'"{other}" is not carried over; no model has this name')
        route.add(sorted(candidates, key=lambda one: -(one.share or 0)))
        waiting[:0] = chains.get(other, ([], ""))[0] if other in own else []
    if refusals is not None:
        route.on_refusal = "next"
        if name not in chains:
            imported.note(refusals[1], "became candidates for every failure, not only for refused content")


def _add_overflow(imported: Imported, name: str, others: list[str], place: str) -> None:
    route, candidates = imported.routes.get(name), [one for other in others for one in imported.find(other)]
    if route is None or not candidates:
        imported.note(place, "not carried over; no model has this name")
        return
    route.overflow = ImportedCandidate(candidates[0].to, None, candidates[0].params)
    if len(candidates) > 1:
        imported.note(place, f"only its first candidate, {candidates[0].to}, was carried over as overflow")


def _fallbacks(imported: Imported, section: SettingsTable, kind: str) -> Iterator[tuple[str, list[str], str]]:
    """Yield model groups, the names of their fallbacks, and the place."""
    value = section.values.get(kind) or ()
    entries = enumerate(value) if isinstance(value, list) else [(None, value)]
    for number, entry in entries:
        keys = (kind,) if number is None else (kind, number)
        if not isinstance(entry, Mapping):
            if entry:
                imported.note(section.place(*keys), "not carried over; expected {MODEL: [FALLBACK, …]}")
            continue
        for name, others in entry.items():
            yield str(name), list(_names(others)), section.place(*keys, str(name))


def _names(value: Any) -> Iterator[str]:
    """Yield the names of a list; one name may stand alone, or in a table with `model`."""
    for one in value if isinstance(value, list) else [value]:
        name = one.get("model") if isinstance(one, Mapping) else one
        if name:
            yield str(name)


def _add_aliases(imported: Imported, sections: Mapping[str, SettingsTable]) -> None:
    for name_of_section, key in (("router_settings", "model_group_alias"), ("litellm_settings", "model_alias_map")):
        section = sections[name_of_section]
        aliases = mapping(section.values.get(key), section.place(key))
        for alias, target in aliases.items():
            name = str((target.get("model") if isinstance(target, Mapping) else target) or "")
            route = imported.routes.get(name)
            candidates = imported.find(name)
            if not candidates:
                imported.note(section.place(key, str(alias)), "not carried over; no model has this name")
            elif route is not None:
                imported.routes[str(alias)] = replace(route, candidates=list(candidates))
            else:
                imported.routes[str(alias)] = ImportedRoute(candidates)


def _note_others(imported: Imported, source: SourceFile) -> None:
    """Note each setting that is not carried over, with what takes its place."""
    for section in SECTIONS:
        handled = HANDLED | {"routing_strategy"} if section == "router_settings" else HANDLED
        for name in _others(mapping(source.value.get(section), source.place(section)), handled):
            imported.note(source.place(section, name), REMEDIES.get(name, "not carried over"))
    variables = mapping(source.value.get("environment_variables"), source.place("environment_variables"))
    for name in variables:
        imported.note(source.place("environment_variables", str(name)), f"set {name} where the gateway is started")
    known = {"model_list", "include", "credential_list", "environment_variables", *SECTIONS}
    for name in _others(source.value, known):
        imported.note(source.place(name))


def _others(table: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    return [str(name) for name in table if name not in known]
