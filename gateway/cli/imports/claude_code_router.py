"""claude-code-router's `config.json`: providers become upstreams, and its roles become routes for Claude's models.

It chooses by the request (a small model, thinking, length, tools). This gateway chooses by the model that Claude Code
names for each of these. A client may also ask for `provider,model`, which still works.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.cli.imports.result import Imported, ImportedCandidate, ImportedRoute, split_address, variable_of
from gateway.cli.imports.source import SourceFile, listed, mapping, read_json

# The route that a role becomes.
PATTERNS: Final = {"background": "*haiku*", "think": "*opus*", "default": "*"}
ROLE_NOTES: Final = {
    "think": "became the route of Opus; routes are chosen by the model's name, not by whether a request thinks",
    "longContextThreshold": "not needed; the model for long prompts is asked when a prompt does not fit the others",
    "webSearch": "not carried over; routes are chosen by the model's name",
    "image": "not carried over; routes are chosen by the model's name",
}
REMEDIES: Final = {
    "APIKEY": "set GATEWAY_KEYS",
    "HOST": "set GATEWAY_HOST",
    "PORT": "set GATEWAY_PORT",
    "PROXY_URL": "set HTTPS_PROXY",
    "API_TIMEOUT_MS": "set GATEWAY_TOTAL_TIMEOUT",
    "LOG_LEVEL": "set GATEWAY_LOG_LEVEL",
    "LOG": "not needed; logs go to standard output",
    "NON_INTERACTIVE_MODE": "not needed; it is a setting of Claude Code's start",
    "StatusLine": "not needed; it is a setting of Claude Code's start",
    "CLAUDE_PATH": "not needed; it is a setting of Claude Code's start",
}
# Transformers that the gateway does not need.
BUILT_IN: Final = frozenset(
    {
        "anthropic",
        "deepseek",
        "gemini",
        "openrouter",
        "groq",
        "cerebras",
        "openai",
        "openai-responses",
        "tooluse",
        "enhancetool",
        "reasoning",
        "cleancache",
        "vercel",
        "sampling",
        "streamoptions",
        "forcereasoning",
    }
)
# The form before there were providers: one server.
OLD: Final = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"})
ENDS: Final = (("/chat/completions", ""), ("/messages", "messages"), ("/responses", "responses"))
GEMINI: Final = "generativelanguage.googleapis.com"

# By the name of a provider: the upstream's name, and the parameters of some of its models.
Providers = dict[str, tuple[str, dict[str, dict[str, Any]]]]


def of_claude_code_router(path: Path) -> Imported:
    imported, source, providers = Imported(), read_json(path), Providers()
    imported.taken |= set(re.findall(r"\$\{?([A-Za-z_]\w*)", str(source.value)))
    key = "Providers" if "Providers" in source.value else "providers"
    for number in range(len(listed(source.value.get(key), source.place(key)))):
        _add_provider(imported, source, key, number, providers)
    if not providers and source.value.get("OPENAI_BASE_URL"):
        _add_old_form(imported, source)
    else:
        _add_roles(imported, source, providers)
    known = {key, "Router", "fallback", *(OLD if not providers else ())}
    for name in source.value:
        if name not in known:
            imported.note(source.place(str(name)), REMEDIES.get(str(name), "not carried over"))
    return imported


def _add_provider(imported: Imported, source: SourceFile, key: str, number: int, providers: Providers) -> None:
    provider = source.value[key][number]
    if not isinstance(provider, Mapping) or not provider.get("name"):
        imported.note(source.place(key, number), "not carried over; expected a table with name and api_base_url")
        return
    name = str(provider["name"])
    table = _to_address(imported, source, (key, number), name, provider)
    secret = imported.secret(str(provider.get("api_key") or ""), name, source.place(key, number, "api_key"))
    if secret:
        table["key"] = secret
    by_model: dict[str, dict[str, Any]] = {}
    transformer = _transformer(source, (key, number), provider)
    for model in transformer:
        where = (key, number, "transformer", str(model))
        of_model = transformer[model]
        one = of_model.get("use") if isinstance(of_model, Mapping) else of_model
        if params := dict(_to_params(imported, source, where, one)):
            by_model[str(model)] = params
    if "use" in by_model:
        table["params"] = by_model.pop("use")
    for other in provider:
        if other not in ("name", "api_base_url", "api_key", "models", "transformer"):
            imported.note(source.place(key, number, str(other)))
    providers[name] = (imported.upstream(name, table), by_model)


def _to_address(
    imported: Imported, source: SourceFile, here: tuple[str | int, ...], name: str, provider: Mapping[str, Any]
) -> dict[str, Any]:
    """Return url and dialect of an upstream. The address of a provider is that of one API."""
    place, given = source.place(*here, "api_base_url"), str(provider.get("api_base_url") or "")
    if not given:
        variable = variable_of(name, "API_BASE")
        imported.note(source.place(*here), f"has no api_base_url: set {variable} to the server's address")
        return {"url": f"${{{variable}}}"}
    if split_address(given).hostname == GEMINI and "/openai" not in given:
        return {"vendor": "gemini"}
    if "aiplatform.googleapis.com" in given:
        imported.note(place, "Vertex AI takes tokens of Google's that expire, which are not carried over")
    address = imported.address(given, name, place).rstrip("/")
    use = _transformer(source, here, provider).get("use")
    native = isinstance(use, list) and [str(one).lower() for one in use] == ["anthropic"]
    for end, dialect in ENDS:
        if address.endswith(end):
            url = address.removesuffix(end)
            return {"url": url, **({"dialect": dialect} if dialect else {})}
    return {"url": address, **({"dialect": "messages"} if native else {})}


def _transformer(source: SourceFile, here: tuple[str | int, ...], provider: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return its table; a list alone, or a name, is what its `use` is."""
    given = provider.get("transformer")
    if isinstance(given, str | list):
        return {"use": [given] if isinstance(given, str) else given}
    return mapping(given, source.place(*here, "transformer"))


def _to_params(
    imported: Imported, source: SourceFile, where: tuple[str | int, ...], use: Any
) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that the options of transformers set."""
    for one in use if isinstance(use, list) else ():
        name, options = (one[0], one[1] if len(one) > 1 else {}) if isinstance(one, list) and one else (one, {})
        kind, options = str(name).lower(), options if isinstance(options, Mapping) else {}
        if kind == "maxtoken" and isinstance(options.get("max_tokens"), int):
            yield "max_tokens", {"max": options["max_tokens"]}
        elif kind == "openrouter" and isinstance(options.get("provider"), Mapping):
            yield "provider", options["provider"]
        elif kind == "customparams":
            yield from ((str(key), value) for key, value in options.items() if not isinstance(value, Mapping | None))
        elif kind in BUILT_IN and not options:
            imported.note(source.place(*where), f"{name} is not needed; servers are recognised")
        else:
            imported.note(source.place(*where), f"{name} is not carried over")


def _add_roles(imported: Imported, source: SourceFile, providers: Providers) -> None:
    roles = mapping(source.value.get("Router"), source.place("Router"))
    fallbacks = mapping(source.value.get("fallback"), source.place("fallback"))
    long = _to_candidate(imported, source, ("Router", "longContext"), roles.get("longContext"), providers)
    for name, (upstream, by_model) in providers.items():
        for model, params in by_model.items():
            imported.routes[f"{name},{model}"] = ImportedRoute([ImportedCandidate(f"{upstream}/{model}", None, params)])
        imported.routes[f"{name},*"] = ImportedRoute([ImportedCandidate(f"{upstream}/*")])
    for role, pattern in PATTERNS.items():
        candidate = _to_candidate(imported, source, ("Router", role), roles.get(role), providers)
        if candidate is None:
            continue
        route = imported.routes[pattern] = ImportedRoute([candidate], overflow=long)
        names = listed(fallbacks.get(role), source.place("fallback", role))
        others = [_to_candidate(imported, source, ("fallback", role), one, providers) for one in names]
        route.add(one for one in others if one is not None)
    for role in roles:
        if role in ROLE_NOTES:
            imported.note(source.place("Router", role), ROLE_NOTES[role])
        elif role not in (*PATTERNS, "longContext"):
            imported.note(source.place("Router", str(role)))
    for role in fallbacks:
        if PATTERNS.get(str(role)) not in imported.routes:
            imported.note(source.place("fallback", str(role)))
    if long is not None and set(PATTERNS.values()) & imported.routes.keys():
        imported.note(source.place("Router", "longContext"), "became overflow, for prompts too long for the others")


def _to_candidate(
    imported: Imported, source: SourceFile, where: tuple[str, ...], value: Any, providers: Providers
) -> ImportedCandidate | None:
    """Return the candidate that `provider,model` names; None, with a note, if it names none."""
    if not value:
        return None
    name, _, model = (part.strip() for part in str(value).partition(","))
    known = next((one for one in providers if one.lower() == name.lower()), None)
    if known is None or not model:
        imported.note(
            source.place(*where),
            f'"{value}" is not carried over; expected a provider of this file, a comma, and a model',
        )
        return None
    upstream, by_model = providers[known]
    return ImportedCandidate(f"{upstream}/{model}", None, by_model.get(model, {}))


def _add_old_form(imported: Imported, source: SourceFile) -> None:
    url = imported.address(str(source.value["OPENAI_BASE_URL"]), "openai", source.place("OPENAI_BASE_URL"))
    table = {"url": url.rstrip("/").removesuffix("/chat/completions")}
    key = imported.secret(str(source.value.get("OPENAI_API_KEY") or ""), "openai", source.place("OPENAI_API_KEY"))
    upstream = imported.upstream("default", {**table, **({"key": key} if key else {})})
    model = str(source.value.get("OPENAI_MODEL") or "")
    imported.routes["*"] = ImportedRoute([ImportedCandidate(f"{upstream}/{model}" if model else upstream)])
