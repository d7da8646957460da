"""One entry of LiteLLM's `model_list` as an upstream and a candidate."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.cli.imports.providers import ADDRESSES, BASES, OWN, VENDORS, Provider, to_base, to_provider
from gateway.cli.imports.result import NOT_CARRIED, Imported, ImportedCandidate, name_of, variable_of
from gateway.cli.imports.source import SourceFile, listed, mapping
from gateway.upstream.vendors.registry import HOSTED

# Of `litellm_params`: limits, and what each is called here.
LIMITS: Final = {"rpm": "rpm", "tpm": "tpm", "max_parallel_requests": "concurrency"}
# Defaults of requests.
PARAMETERS: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "reasoning_effort",
        "min_p",
        "repetition_penalty",
    }
)
PRICES: Final = {"input_cost_per_token": "prompt", "output_cost_per_token": "completion"}
CARRIED: Final = frozenset(
    {
        "model",
        "api_base",
        "base_url",
        "api_key",
        "custom_llm_provider",
        "order",
        "weight",
        "timeout",
        "extra_headers",
        "headers",
        "organization",
        "aws_region_name",
        "litellm_credential_name",
    }
)
NOTES: Final = {
    "api_version": "not needed; Azure's v1 API has no versions",
    "drop_params": "not needed; parameters that a model does not take are left out",
    "max_retries": "set GATEWAY_MAX_ATTEMPTS",
    "stream_timeout": "set first_content_timeout of the upstream",
}
# Kinds of models that Messages, chat completions and Responses do not ask.
OTHER_MODES: Final = frozenset(
    {
        "embedding",
        "image_generation",
        "image_edit",
        "audio_speech",
        "audio_transcription",
        "rerank",
        "moderation",
        "moderations",
        "video_generation",
        "ocr",
        "realtime",
        "search",
        "vector_store",
    }
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A candidate of the group `name`. `weights`: of LiteLLM's simple shuffle, the first that is given counts."""

    name: str
    candidate: ImportedCandidate
    order: float = 0
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `model_list`, with the place of each of its values, where notes are put."""

    imported: Imported
    source: SourceFile
    number: int
    provider: Provider
    table: Mapping[str, Any] = field(repr=False)
    params: Mapping[str, Any] = field(repr=False)
    info: Mapping[str, Any] = field(repr=False)

    def place(self, *keys: str) -> str:
        return self.source.place("model_list", self.number, *keys)

    def note(self, key: str, text: str = NOT_CARRIED) -> None:
        """Add a note about a parameter of the deployment."""
        self.imported.note(self.place("litellm_params", key), text)


def to_deployment(
    imported: Imported, source: SourceFile, number: int, credentials: Mapping[str, Mapping[str, Any]]
) -> Deployment | None:
    """Return None for an entry that has no model which this gateway can ask, with a note."""
    table, place = source.value["model_list"][number], source.place("model_list", number)
    if not isinstance(table, Mapping):
        imported.note(place, "not carried over; expected a table with model_name and litellm_params")
        return None
    params = mapping(table.get("litellm_params"), f"{place}.litellm_params")
    credential = str(params.get("litellm_credential_name") or "")
    params = {**credentials.get(credential, {}), **params}
    info = mapping(table.get("model_info"), f"{place}.model_info")
    entry = Entry(imported, source, number, to_provider(params), table, params, info)
    if credential and credential not in credentials:
        entry.note("litellm_credential_name", "no credential has this name")
    name = str(table.get("model_name") or params.get("model") or "").strip()
    if problem := _problem(entry, name):
        imported.note(place, f"not carried over; {problem}")
        return None
    _note_others(entry)
    upstream = _to_upstream(entry)
    candidate = f"{imported.upstream(_name_of(entry.provider, upstream), upstream)}/{entry.provider.model}"
    own = {
        one: found for one in sorted(PARAMETERS & params.keys()) if (found := _parameter(one, params[one])) is not None
    }
    weights = {key: found for key in ("weight", "rpm", "tpm") if (found := to_number(params.get(key))) is not None}
    return Deployment(name, ImportedCandidate(candidate, None, own), to_number(params.get("order")) or 0, weights)


def key_variables(source: SourceFile) -> Iterator[str]:
    """Yield the variables from which LiteLLM takes keys that the file does not have."""
    for entry in listed(source.value.get("model_list"), source.place("model_list")):
        params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
        if isinstance(params, Mapping) and _takes_default_key(provider := to_provider(params), params):
            yield provider.key_variable


def to_number(value: Any) -> float | None:
    """Return a number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not 0 <= number <= 1_000_000_000:
        return None
    return int(number) if number.is_integer() else number


def _problem(entry: Entry, name: str) -> str:
    """Return why this gateway cannot ask the model; "" if it can."""
    if not name or not entry.provider.model:
        return "it has no name, or no model"
    if entry.params.get("model") == "*" and "custom_llm_provider" not in entry.params:
        return "name a provider and a model, as in openai/*"
    mode = entry.info.get("mode") or entry.table.get("mode")
    return f"this gateway has no API for the mode {mode}" if mode in OTHER_MODES else ""


def _to_upstream(entry: Entry) -> dict[str, Any]:
    table, provider, params = _to_address(entry), entry.provider, entry.params
    if provider.vendor and not ("url" in table and provider.vendor == "openai"):
        table["vendor"] = provider.vendor
    if provider.dialect:
        table["dialect"] = provider.dialect
    if key := _to_key(entry):
        table["key"] = key
    for theirs, ours in LIMITS.items():
        limit = to_number(params.get(theirs))
        if limit is not None and limit >= 1:
            table[ours] = int(limit)
        elif params.get(theirs) is not None:
            entry.note(theirs, "not carried over; expected a number of at least 1")
    if (timeout := to_number(params.get("timeout"))) is not None and timeout > 0:
        table["total_timeout"] = timeout
    if headers := _to_headers(entry):
        table["headers"] = headers
    costs = {ours: to_number(params.get(key, entry.info.get(key))) for key, ours in PRICES.items()}
    if prices := {ours: round(cost * 1_000_000, 6) for ours, cost in costs.items() if cost is not None}:
        table["prices"] = prices
    return table


def _to_address(entry: Entry) -> dict[str, Any]:
    """Return the url as it is given, or as LiteLLM knows it of the provider, or a variable that must be set to one.

    Return nothing where the vendor has one.
    """
    provider, key = entry.provider, "api_base" if entry.params.get("api_base") else "base_url"
    if given := str(entry.params.get(key) or ""):
        address = entry.imported.address(given, provider.name, entry.place("litellm_params", key))
        base = to_base(provider, address)
        if address.startswith("${") and base != address:
            entry.note(key, f"{address[2:-1]} must not end with a slash: a path is put behind it")
        return {"url": base}
    if variable := ADDRESSES.get(provider.name):
        entry.note("model", f"has no api_base: set {variable} to the server's address, without a slash at its end")
        return {"url": to_base(provider, f"${{{variable}}}")}
    if provider.vendor == "bedrock":
        region = str(entry.params.get("aws_region_name") or "us-east-1")
        region = region if re.fullmatch(r"[a-z0-9-]+", region) else "us-east-1"
        entry.note("model", "is asked by Bedrock's chat completions, with an API key of Bedrock in place of AWS keys")
        return {"url": f"https://bedrock-runtime.{region}.amazonaws.com/openai/v1"}
    if provider.name in BASES:
        return {"url": BASES[provider.name]}
    if provider.vendor:
        return {}
    variable = variable_of(provider.name, "API_BASE")
    entry.note("model", f"provider {provider.name} is not known: set {variable} to a server that speaks its models")
    return {"url": f"${{{variable}}}"}


def _to_key(entry: Entry) -> str:
    """Return the reference of a key, of the one that LiteLLM takes where none is given."""
    provider, key = entry.provider, str(entry.params.get("api_key") or "")
    if _takes_default_key(provider, entry.params):
        key = f"os.environ/{provider.key_variable}"
        entry.note("model", f"has no api_key: {provider.key_variable} is used, as by LiteLLM")
    return entry.imported.secret(key, provider.name, entry.place("litellm_params", "api_key"))


def _takes_default_key(provider: Provider, params: Mapping[str, Any]) -> bool:
    """Return True for a deployment without a key, unless its server is the operator's own."""
    has_address = bool(params.get("api_base") or params.get("base_url"))
    is_own = provider.name in OWN or (has_address and provider.vendor in ("openai", ""))
    return not params.get("api_key") and not is_own


def _to_headers(entry: Entry) -> dict[str, str]:
    """Return headers. Their values may be secret, so those in plain text become variables."""
    given: dict[str, tuple[str, Any]] = {}
    for key in ("headers", "extra_headers"):
        table = mapping(entry.params.get(key), entry.place("litellm_params", key))
        given |= {
            str(name): (key, value) for name, value in table.items() if re.fullmatch(r"[\w-]+", str(name), re.ASCII)
        }
        for name in table:
            if str(name) not in given:
                entry.note(key, f'"{name}" is not carried over; it is no name of a header')
    if entry.params.get("organization"):
        given["OpenAI-Organization"] = ("organization", entry.params["organization"])
    return {
        name: entry.imported.secret(str(value), f"header {name}", entry.place("litellm_params", key), "VALUE")
        for name, (key, value) in given.items()
        if value
    }


def _note_others(entry: Entry) -> None:
    for name, value in entry.params.items():
        if name in PARAMETERS and _parameter(name, value) is None:
            entry.note(name)
        elif name not in CARRIED | LIMITS.keys() | PARAMETERS | PRICES.keys():
            entry.note(str(name), NOTES.get(str(name), NOT_CARRIED))
    for name in entry.info:
        if name not in {"id", "mode", *PRICES}:
            entry.imported.note(entry.place("model_info", str(name)))
    for name in entry.table:
        if name not in ("model_name", "litellm_params", "model_info", "mode"):
            entry.imported.note(entry.place(str(name)))


def _name_of(provider: Provider, table: Mapping[str, Any]) -> str:
    hosted = {row.name for row in HOSTED}
    if "url" in table and provider.vendor in ("openai", "") and provider.name not in BASES:
        return name_of(table["url"], "local") if table["url"][:1] != "$" else provider.name
    if provider.vendor in hosted:
        return provider.vendor
    return VENDORS.get(provider.name, provider.name)


def _parameter(name: str, value: Any) -> float | str | None:
    """Return a number, or a word of an effort; None for anything else."""
    if name == "reasoning_effort":
        return value if isinstance(value, str) and value.isalpha() else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else to_number(value)
