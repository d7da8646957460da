"""`dragoman import`: a `gateway.toml` from the configuration of another gateway, and what could not be carried over.

The result is printed, or written to `--output`; it is not applied. Keys stay in variables of the environment.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
import yaml

from gateway.cli.console import CommandError, Console

importer = typer.Typer(help="Write a gateway.toml from another gateway's configuration.", no_args_is_help=True)

# LiteLLM's names of providers, and the vendor that each is here.
VENDORS: Final = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "openrouter": "openrouter",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "xai": "xai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "cerebras": "cerebras",
    "moonshot": "moonshot",
    "hosted_vllm": "vllm",
    "ollama_chat": "ollama",
    "ollama": "ollama",
    "lm_studio": "lmstudio",
}
# Paths that LiteLLM adds to the address of a server.
PATHS: Final = {"azure": "/openai/v1", "ollama": "/v1", "lmstudio": "/v1"}
# Settings of a LiteLLM deployment that mean the same here.
CARRIED: Final = frozenset({"model", "api_base", "api_key", "rpm", "tpm", "order", "weight", "max_parallel_requests"})
VARIABLE: Final = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the file here instead of printing it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@dataclass(slots=True)
class Imported:
    """`upstreams` by name, `routes` by pattern; `notes`: one line for each setting that is lost or changed."""

    upstreams: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    routes: dict[str, list[str | dict[str, Any]]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    def upstream(self, name: str, table: dict[str, Any]) -> str:
        """Add an upstream, or find the one with the same settings. Return its name."""
        for known, other in self.upstreams.items():
            if other == table:
                return known
        base, number = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "upstream", 1
        unique = base
        while unique in self.upstreams:
            number += 1
            unique = f"{base}-{number}"
        self.upstreams[unique] = table
        return unique

    def secret(self, text: str, name: str, where: str) -> str:
        """Return a variable's reference; a key in plain text becomes a variable to set."""
        reference = VARIABLE.fullmatch(text) or re.fullmatch(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", text)
        if reference or not text:
            return f"${{{reference[1]}}}" if reference else ""
        variable = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") + "_API_KEY"
        self.notes.append(f"{where}: set {variable}")
        return f"${{{variable}}}"

    def to_toml(self) -> str:
        lines = ["[upstreams]", *(f"{_key(name)} = {_value(table)}" for name, table in self.upstreams.items())]
        lines += ["", "[routes]"]
        for pattern, candidates in self.routes.items():
            lines.append(f"{_value(pattern)} = {_value(candidates[0] if len(candidates) == 1 else candidates)}")
        return "\n".join(lines) + "\n"


@importer.command("litellm")
def import_litellm(
    config: Annotated[Path, typer.Argument(help="LiteLLM's config.yaml.")], output: Output = None, json: Json = False
) -> None:
    """Import from LiteLLM's proxy: models, fallbacks and aliases become upstreams and routes."""
    console = Console(json)
    with console.failing_clearly():
        finish(console, of_litellm(read_yaml(config)), output)


@importer.command("claude-code-router")
def import_router(
    config: Annotated[Path, typer.Argument(help="claude-code-router's config.json.")],
    output: Output = None,
    json: Json = False,
) -> None:
    """Import from claude-code-router: providers become upstreams, and its roles routes of Claude's families."""
    console = Console(json)
    with console.failing_clearly():
        try:
            value = orjson.loads(read(config))
        except orjson.JSONDecodeError as error:
            raise CommandError(f"{config}: no JSON: {error.msg} at position {error.pos}") from None
        finish(console, of_router(mapping(value, str(config))), output)


def finish(console: Console, imported: Imported, output: Path | None) -> None:
    if not imported.routes:
        raise CommandError("no model was found in this file", "is it the configuration of that gateway?")
    text = imported.to_toml()
    for note in imported.notes:
        console.note(note)
    if output is not None:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from None
        console.note(f"written to {output}; `GATEWAY_CONFIG={output} dragoman check` shows what it means")
    if console.json:
        console.emit({"toml": text, "notes": imported.notes})
    elif output is None:
        typer.echo(text, nl=False)


def of_litellm(config: Mapping[str, Any]) -> Imported:
    """Groups of deployments are routes; several of one name are the order of `order`, or shares by `weight` or rpm."""
    imported = Imported()
    groups: dict[str, list[tuple[int, float | None, str]]] = {}
    for number, deployment in enumerate(config.get("model_list") or ()):
        name, params = (
            str(deployment.get("model_name", "")),
            mapping(deployment.get("litellm_params"), "litellm_params"),
        )
        candidate = _deployment(imported, f"model_list[{number}]", params)
        weight = params.get("weight", params.get("rpm"))
        groups.setdefault(name, []).append((int(params.get("order", 0)), weight, candidate))
        imported.notes += [
            f"model_list[{number}].{one}: not carried over"
            for one in deployment
            if one not in ("model_name", "litellm_params")
        ]
    settings = mapping(config.get("router_settings") or {}, "router_settings")
    general = mapping(config.get("litellm_settings") or {}, "litellm_settings")
    for name, found in groups.items():
        imported.routes[name] = list(_candidates(found))
    for source, holder in (("router_settings", settings), ("litellm_settings", general)):
        for kind in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
            _add_fallbacks(imported, holder.get(kind) or (), f"{source}.{kind}", kind)
    for alias, target in (settings.get("model_group_alias") or {}).items():
        if isinstance(target, str) and target in imported.routes:
            imported.routes[alias] = list(imported.routes[target])
        else:
            imported.notes.append(f"router_settings.model_group_alias.{alias}: not carried over")
    known = {"fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "model_group_alias"}
    for source, holder in (("router_settings", settings), ("litellm_settings", general)):
        imported.notes += [f"{source}.{one}: not carried over" for one in holder if one not in known]
    for one in mapping(config.get("general_settings") or {}, "general_settings"):
        remedy = ": set GATEWAY_ADMIN_KEY" if one == "master_key" else ": not carried over"
        imported.notes.append(f"general_settings.{one}{remedy}")
    other = config.keys() - {"model_list", "router_settings", "litellm_settings", "general_settings"}
    imported.notes += [f"{one}: not carried over" for one in sorted(other)]
    return imported


def of_router(config: Mapping[str, Any]) -> Imported:
    """`Providers` are upstreams; of `Router`, `default` takes what no other role does and `background` takes Haiku."""
    imported, names = Imported(), {}
    for number, provider in enumerate(config.get("Providers") or config.get("providers") or ()):
        url = str(provider.get("api_base_url", "")).removesuffix("/chat/completions").rstrip("/")
        name = str(provider.get("name", "upstream"))
        key = imported.secret(str(provider.get("api_key", "")), name, f"Providers[{number}].api_key")
        names[name] = imported.upstream(name, {"url": url, **({"key": key} if key else {})})
        if "transformer" in provider:
            imported.notes.append(f"Providers[{number}].transformer: not needed; servers are recognised")
    roles = mapping(config.get("Router") or {}, "Router")
    patterns = {"background": "*haiku*", "think": "*opus*", "default": "*"}
    for role, pattern in patterns.items():
        provider, _, model = str(roles.get(role, "")).partition(",")
        if provider in names and model:
            imported.routes[pattern] = [f"{names[provider]}/{model.strip()}"]
    imported.notes += [
        f"Router.{role}: not carried over; routes are chosen by the model's name"
        for role in roles
        if role not in patterns
    ]
    for one in sorted(config.keys() - {"Providers", "providers", "Router"}):
        remedy = ": set GATEWAY_KEYS" if one == "APIKEY" else ": not carried over"
        imported.notes.append(f"{one}{remedy}")
    return imported


def _deployment(imported: Imported, where: str, params: Mapping[str, Any]) -> str:
    provider, slash, model = str(params.get("model", "")).partition("/")
    if not slash:
        provider, model = "openai", provider
    vendor, base = VENDORS.get(provider), params.get("api_base")
    table: dict[str, Any] = {}
    if base:
        url, path = VARIABLE.sub(r"${\1}", str(base)).rstrip("/"), PATHS.get(vendor or "", "")
        table["url"] = url if url.endswith(path) else url + path
    if vendor is not None and (not base or vendor != "openai"):
        table["vendor"] = vendor
    elif vendor is None and not base:
        imported.notes.append(f"{where}: provider {provider} is not known; set its url")
        table["url"] = f"https://{provider}.example/v1"
    if params.get("api_key"):
        table["key"] = imported.secret(str(params["api_key"]), provider, f"{where}.litellm_params.api_key")
    for theirs, ours in (("rpm", "rpm"), ("tpm", "tpm"), ("max_parallel_requests", "concurrency")):
        if isinstance(params.get(theirs), int):
            table[ours] = params[theirs]
    imported.notes += [f"{where}.litellm_params.{one}: not carried over" for one in params if one not in CARRIED]
    return f"{imported.upstream(vendor or provider, table)}/{model}"


def _candidates(found: list[tuple[int, float | None, str]]) -> Iterator[str | dict[str, Any]]:
    ordered = sorted(found, key=lambda one: one[0])
    same_order = len(ordered) > 1 and len({order for order, _, _ in ordered}) == 1
    for _, weight, candidate in ordered:
        yield {"to": candidate, "share": weight or 1} if same_order else candidate


def _add_fallbacks(imported: Imported, fallbacks: Any, where: str, kind: str) -> None:
    for entry in fallbacks:
        for name, others in entry.items():
            if name not in imported.routes or kind == "content_policy_fallbacks":
                imported.notes.append(f"{where}.{name}: not carried over")
                continue
            _put_in_order(imported, name, f"{where}.{name}")
            for other in others:
                candidates = [one if isinstance(one, str) else one["to"] for one in imported.routes.get(other, ())]
                imported.routes[name] += [one for one in candidates if one not in imported.routes[name]]
            if kind == "context_window_fallbacks":
                imported.notes.append(f"{where}.{name}: became candidates for every failure")


def _put_in_order(imported: Imported, name: str, where: str) -> None:
    """Turn shares into an order: a list of candidates has one or the other."""
    shared = [one for one in imported.routes[name] if isinstance(one, dict)]
    if shared:
        imported.routes[name] = [one["to"] for one in sorted(shared, key=lambda one: -one["share"])]
        imported.notes.append(f"{where}: its shares became an order, which fallbacks need")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """Write TOML; strings as JSON writes them, which TOML reads the same."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return orjson.dumps(value).decode()


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CommandError(f"{what}: must be an object")
    return value


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        value = yaml.safe_load(read(path))
    except yaml.YAMLError as error:
        raise CommandError(f"{path}: no YAML: {error}") from None
    return mapping(value, str(path))
