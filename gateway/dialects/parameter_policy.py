"""Apply an operator's policy to a request, before it is converted for a candidate.

A parameter may stand at several places: top-level, in `openai`, `openrouter` or `upstream`, and under another name. A
rule holds at all of them. What a rule changes is noted; what it forbids is answered with 400.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, cast

import orjson

from gateway.dialects.chat.vocabulary import OPENAI_ONLY, OPENROUTER_ONLY
from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.messages.validation.fields import NAMESPACES, RESERVED_FIELDS
from gateway.schemas.anthropic import MessagesRequest
from gateway.schemas.openai import PassThrough
from gateway.upstream.routes.policy import ParameterPolicy, RequestPolicy, lowest, merged
from gateway.upstream.routes.route import Route

HEADER: Final = "x-gateway-params"
# Enough for every parameter once. The value is JSON, parsed on the request path.
MAX_HEADER_BYTES: Final = 4096

# Other names of a parameter, as paths.
EFFORT: Final = ("reasoning_effort", "reasoning.effort", "output_config.effort")
STOPS: Final = ("stop_sequences", "stop")
NAMES: Final = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "max_completion_tokens": ("max_tokens", "max_completion_tokens"),
    "reasoning_effort": EFFORT,
    "stop": STOPS,
    "stop_sequences": STOPS,
}
# With one of these the client has decided about reasoning: no effort is filled in.
REASONING: Final = ("thinking", "reasoning", "reasoning_effort", "output_config.effort")
NAMESPACE_KEYS: Final = frozenset(NAMESPACES)
CHAT_NAMES: Final = frozenset(PassThrough.__annotations__)
ANTHROPIC_NAMES: Final = frozenset(MessagesRequest.__annotations__) - CHAT_NAMES
MEDIA: Final = frozenset({"image", "document", "video", "audio"})
WEB_TOOLS: Final = ("web_search", "web_fetch", "openrouter:web_search", "openrouter:web_fetch")

Path = tuple[str, ...]
Request = dict[str, Any]


def governed_prompt(prompt: Prompt, policy: RequestPolicy, route: Route) -> tuple[Prompt, list[Note]]:
    """Return the prompt as the policy allows it. A changed one is not sent as it was received."""
    request, notes = governed(prompt.request, policy, route)
    if "max_tokens" in policy.parameters:  # a limit that only the model knows could be longer
        prompt = replace(prompt, has_default_length=False)
    if request is prompt.request:
        return prompt, notes
    return replace(prompt, request=cast(MessagesRequest, request), received=None), notes


def refuse_losses(notes: Iterable[Note]) -> None:
    """Raise InvalidRequest for the first note of something that was left out."""
    for note in notes:
        if note.kind == "dropped":
            raise InvalidRequest(f"{note.field}: {note.reason}")


def governed(request: Mapping[str, Any], policy: RequestPolicy, route: Route) -> tuple[Request, list[Note]]:
    """Return the request as the policy allows it, the same object if nothing changed. Raises InvalidRequest."""
    if not policy.concerns_all and _keys_of(policy.names).isdisjoint(request):
        return request, []  # type: ignore[return-value] # unchanged
    notes: list[Note] = []
    found: Request = request  # type: ignore[assignment] # copied before it is changed
    for name, rule in policy.denied.items():  # before anything that a feature leaves out
        places = _places(found, name)
        if places and rule.deny == "refuse":
            raise InvalidRequest(f"{'.'.join(places[0])}: {name} is not allowed here")
        for path in places:
            notes.append(Note("dropped", ".".join(path), "the gateway does not allow this parameter"))
            found = _with(found, path, None)
    if policy.off:
        _refuse_content(request, policy.off)
        found = _without_extensions(found, policy.off, notes)
    for name, rule in policy.allowed.items():
        if rule.fills_in or not _first_keys(name).isdisjoint(found):
            found = _governed_by(found, name, rule, route, notes)
    return found, notes


def filled_from_header(request: Any, text: str | None) -> bool:
    """Fill in the parameters of `x-gateway-params` that the request lacks. Return True if it was changed."""
    if text is None or not isinstance(request, dict):
        return False
    if len(text) > MAX_HEADER_BYTES:
        raise InvalidRequest(f"{HEADER}: must not exceed {MAX_HEADER_BYTES} bytes")
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise InvalidRequest(f"{HEADER}: must be a JSON object")
    changed = False
    for name, value in given.items():
        if name in RESERVED_FIELDS or name in NAMESPACES:
            raise InvalidRequest(f"{HEADER}: {name} belongs into the body")
        if value is not None and not _places(request, name):
            _put(request, name, value)
            changed = True
    return changed


def _governed_by(request: Request, name: str, rule: ParameterPolicy, route: Route, notes: list[Note]) -> Request:
    places = _places(request, name)
    for path in places:
        value = _value(request, path)
        if rule.choices is not None and any(one not in rule.choices for one in _items(value)):
            allowed = ", ".join(map(str, rule.choices))
            raise InvalidRequest(f"{'.'.join(path)}: must be one of {allowed} on this gateway")
        clamped = rule.clamped(value)
        if clamped != value:
            notes.append(Note("changed", ".".join(path), "the gateway limits this parameter"))
            request = _with(request, path, clamped)
    if not rule.fills_in or not (places or _takes(name, route)):
        return request
    if rule.lock is not None or rule.ceilings is not None:
        return _locked(request, name, rule, places, notes)
    if places:
        return request
    if name == "reasoning_effort" and any(_value(request, tuple(path.split("."))) is not None for path in REASONING):
        return request  # which decides it by another name
    filled = dict(request)
    _put(filled, name, rule.clamped(rule.default))
    return filled


def _locked(request: Request, name: str, rule: ParameterPolicy, places: list[Path], notes: list[Note]) -> Request:
    """Put one value in place of the client's, wherever it has set one: two places must not differ."""
    own = _value(request, places[0]) if places else rule.default
    for path in places[1:]:
        own = merged(own, _value(request, path))
    value = own if rule.lock is None else merged(own, rule.lock)
    if rule.ceilings is not None:
        value = dict(value) if isinstance(value, Mapping) else {}
        prices = value.get("max_price")
        value["max_price"] = lowest(rule.ceilings, _prices(prices) if isinstance(prices, Mapping) else None)
    if places and any(_value(request, path) != value for path in places):
        notes.append(Note("changed", ".".join(places[0]), "the gateway sets this parameter"))
    result = dict(request)
    for path in places:
        result = _with(result, path, None)
    _put(result, name, value)
    return result


def _takes(name: str, route: Route) -> bool:
    """Return whether the candidate has such a parameter: one filled in for another upstream would be dropped."""
    if route.dialect == "messages":
        return name in ANTHROPIC_NAMES
    if name in route.target.unsupported:
        return False
    return name not in OPENROUTER_ONLY or route.target.openrouter or name in route.target.parameters


def _refuse_content(request: Mapping[str, Any], off: frozenset[str]) -> None:
    if "multimodal" in off:
        for index, message in enumerate(request.get("messages") or ()):
            if isinstance(message, dict) and _has_media(message.get("content")):
                raise InvalidRequest(f"messages.{index}.content: multimodal input is off on this gateway")
    if "web_tools" in off:
        for index, tool in enumerate(request.get("tools") or ()):
            if isinstance(tool, dict) and str(tool.get("type")).startswith(WEB_TOOLS):
                raise InvalidRequest(f"tools.{index}: web tools are off on this gateway")
        for path in _places(request, "web_search_options"):
            raise InvalidRequest(f"{'.'.join(path)}: web tools are off on this gateway")


def _has_media(content: Any) -> bool:
    """Content nests once: a tool's result holds blocks."""
    if not isinstance(content, list):
        return False
    return any(
        isinstance(block, dict) and (block.get("type") in MEDIA or _has_media(block.get("content")))
        for block in content
    )


def _without_extensions(request: Request, off: frozenset[str], notes: list[Note]) -> Request:
    kinds = (("openai_params", "openai", OPENAI_ONLY), ("openrouter_params", "openrouter", OPENROUTER_ONLY))
    for feature, namespace, names in kinds:
        if feature not in off:
            continue
        for name in sorted(request.keys() & {namespace, *names}):
            notes.append(Note("dropped", name, "such parameters are off on this gateway"))
            request = _with(request, (name,), None)
    return request


def _places(request: Mapping[str, Any], name: str) -> list[Path]:
    """Return the paths at which the request has the parameter."""
    if _first_keys(name).isdisjoint(request):
        return []
    namespaces = () if NAMESPACE_KEYS.isdisjoint(request) else tuple(one for one in NAMESPACES if one in request)
    return [path for path in _paths_of(name, namespaces) if _value(request, path) is not None]


@lru_cache(maxsize=256)
def _keys_of(names: frozenset[str]) -> frozenset[str]:
    """Return the keys of a request under which one of the parameters can stand."""
    return frozenset().union(*map(_first_keys, names))


@lru_cache(maxsize=1024)
def _first_keys(name: str) -> frozenset[str]:
    """Return the keys of a request under which a parameter can stand."""
    return frozenset({*NAMESPACES, *(path[0] for path in _paths_of(name))})


@lru_cache(maxsize=1024)
def _paths_of(name: str, namespaces: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Return the paths of a parameter's names. Names in `x-gateway-params` are client input, so few are kept."""
    paths: list[Path] = []
    for written in NAMES.get(name, (name,)):
        path = tuple(written.split("."))
        paths += (path, *((namespace, *path) for namespace in namespaces))
    return tuple(paths)


def _value(request: Mapping[str, Any], path: Path) -> Any:
    value: Any = request
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _with(request: Request, path: Path, value: Any) -> Request:
    """Return a copy with the value at the path; None removes it."""
    result = dict(request)
    if len(path) > 1:
        result[path[0]] = _with(result[path[0]], path[1:], value)
    elif value is None:
        del result[path[0]]
    else:
        result[path[0]] = value
    return result


def _put(request: Request, name: str, value: Any) -> None:
    """Set a parameter where it is read: top-level, or in `upstream` for one that no API here has."""
    if name in CHAT_NAMES or name in ANTHROPIC_NAMES:
        request[name] = value
    else:
        request["upstream"] = {**(request.get("upstream") or {}), name: value}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _prices(prices: Mapping[str, Any]) -> dict[str, float]:
    """Return the prices, which OpenRouter takes as numbers or as text; others set no limit."""
    found = {}
    for unit, price in prices.items():
        try:
            found[unit] = float(price)
        except (TypeError, ValueError):
            continue
    return found
