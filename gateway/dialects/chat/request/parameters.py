"""Parameters of a request, all but its prompt and tools: Anthropic's fields by chat's names, and chat's own passed on.

Chat parameters come as top-level keys, or in an `openai` or `openrouter` object for upstreams of that kind. What two
places say differently is refused, since either choice could be wrong; what is derived from other fields
(`user`, `session_id`, `provider.require_parameters`) gives way to what is said outright.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.dialects.chat.request.parameter_set import Parameters
from gateway.dialects.chat.request.scope import Scope
from gateway.dialects.chat.request.thinking import nested, snap_effort, to_thinking_fields
from gateway.dialects.chat.vocabulary import (
    FAST_TIER,
    IGNORED_FIELDS,
    OPENAI_ONLY,
    OPENROUTER_ONLY,
    PROMPT_FIELDS,
    SERVICE_TIERS,
)
from gateway.errors import InvalidRequest
from gateway.schemas.openai import PassThrough
from gateway.upstream.models.target import to_slug

CHAT_FIELDS = frozenset(PassThrough.__annotations__) | {"temperature", "top_p"}
REASONING_FIELDS = frozenset({"thinking", "output_config", "reasoning", "reasoning_effort"})

# Further fields that Anthropic and chat share, in different terms; an override speaks in chat's.
SHARED_FIELDS = frozenset({"top_k", "service_tier", "metadata", "tool_choice"})

# OpenRouter's limit; a longer one is a 400.
MAX_SESSION_ID = 256

# OpenRouter takes one of the two, never both.
EITHER_OR = {"effort": "max_tokens", "max_tokens": "effort"}

# OpenAI's limit, which compatible servers take at least.
STOPS_IN_CALLS = 4
# Of all stop sequences that are matched here: each takes some hundred bytes until the answer ends.
MAX_STOP_CHARACTERS = 16_384

# Up to here OpenRouter takes messages out of a long conversation by default (docs, context compression).
SMALL_CONTEXT = 8192
COMPRESSION = "context-compression"


def to_parameters(request: Mapping[str, Any], scope: Scope, effort: str | None) -> tuple[dict[str, Any], list[str]]:
    """Fields of the chat body, and the stop sequences that the gateway must match itself.

    `effort` is the last one that a system message of the conversation set, for upstreams that take it only here.
    """
    parameters = Parameters(scope)
    foreign = OPENAI_ONLY if scope.target.openrouter else OPENROUTER_ONLY - scope.target.parameters
    for name, value in request.items():
        if value is None or name in PROMPT_FIELDS:
            continue
        put = PUTTERS.get(name)
        if put is not None:
            put(value, parameters)
        elif name in CHAT_FIELDS:
            parameters.pass_on(name, value, name, foreign)
        else:
            scope.note("dropped", name, IGNORED_FIELDS.get(name, "this upstream knows no such field"))
    _put_length(request, parameters)
    _put_speed(request.get("speed"), parameters)
    if (
        effort is not None
        or not REASONING_FIELDS.isdisjoint(request)
        or not REASONING_FIELDS.isdisjoint(parameters.fields)
    ):
        _put_reasoning(request, parameters, effort)
    has_schema = request.get("output_format") or (request.get("output_config") or {}).get("format")
    if scope.target.openrouter and has_schema:
        provider, _ = parameters.take("provider")
        parameters.fields["provider"] = {"require_parameters": True, **(provider or {})}
    if scope.target.context_length is not None and scope.target.context_length <= SMALL_CONTEXT:
        # Let a prompt that is too long fail, rather than have the model answer a part of it.
        plugins = parameters.fields.get("plugins") or []
        asked = "transforms" in parameters.fields or any(plugin["id"] == COMPRESSION for plugin in plugins)
        if scope.target.openrouter and not asked:
            parameters.fields["plugins"] = [*plugins, {"id": COMPRESSION, "enabled": False}]
    if scope.target.unsupported:
        parameters.leave_out(scope.target.unsupported)
    parameters.rename(scope.target.renamed)
    if scope.target.constants:
        parameters.fields |= nested(scope.target.constants)
    thinks = (request.get("thinking") or {}).get("type", "disabled") != "disabled"
    may_cut_calls = scope.target.names_stops and bool(request.get("tools")) and not thinks
    local_stops = _put_stops(request.get("stop_sequences") or [], parameters, may_cut_calls=may_cut_calls)
    return parameters.settle(), local_stops


def _put_openai(overrides: Mapping[str, Any], parameters: Parameters) -> None:
    is_openrouter = parameters.scope.target.openrouter
    for name, value in overrides.items():
        if is_openrouter and name not in CHAT_FIELDS and name not in SHARED_FIELDS:
            parameters.scope.note("dropped", f"openai.{name}", "the upstream is not OpenAI's API")
        else:
            chat_value = _with_chat_names(value, parameters.scope) if name == "tool_choice" else value
            parameters.pass_on(name, chat_value, f"openai.{name}", OPENAI_ONLY if is_openrouter else frozenset())


def _with_chat_names(choice: Any, scope: Scope) -> Any:
    """A choice in chat's terms that names functions, by the names that these have upstream."""
    if not isinstance(choice, dict):
        return choice
    function, allowed = choice.get("function"), choice.get("allowed_tools")
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {**choice, "function": {**function, "name": scope.names.to_chat(function["name"])}}
    if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
        return {
            **choice,
            "allowed_tools": {**allowed, "tools": [_with_chat_names(tool, scope) for tool in allowed["tools"]]},
        }
    return choice


def _put_openrouter(overrides: Mapping[str, Any], parameters: Parameters) -> None:
    if not parameters.scope.target.openrouter:
        if overrides:
            parameters.scope.note("dropped", "openrouter", "the upstream is not OpenRouter")
        return
    for name, value in overrides.items():
        parameters.pass_on(name, value, f"openrouter.{name}")


def _put_upstream(overrides: Mapping[str, Any], parameters: Parameters) -> None:
    """Parameters that no API here has, such as `chat_template_kwargs`: sent as they are."""
    for name, value in overrides.items():
        parameters.pass_on(name, value, f"upstream.{name}")


def _put_length(request: Mapping[str, Any], parameters: Parameters) -> None:
    max_tokens: int = request["max_tokens"]
    limit, path = parameters.take("max_completion_tokens")
    if limit is not None and limit != max_tokens:
        raise InvalidRequest(f"{path}: conflicts with max_tokens; set only one of them")
    most = parameters.scope.target.max_output
    if most is not None and max_tokens > most:
        parameters.scope.note("changed", "max_tokens", f"this model writes {most} tokens at most")
        max_tokens = most
    context = parameters.scope.target.context_length
    if parameters.scope.target.answer_within_context and context is not None and max_tokens > context:
        parameters.scope.note("changed", "max_tokens", f"this model's context has {context} tokens")
        max_tokens = context
    if max_tokens == 0:
        parameters.scope.note("changed", "max_tokens", "a chat upstream generates at least one token")
    parameters.fields[parameters.scope.target.max_tokens_field] = max_tokens or 1


def _put_top_k(value: int, parameters: Parameters) -> None:
    if parameters.scope.target.openrouter or "top_k" in parameters.scope.target.parameters:
        parameters.put("top_k", value, "top_k")
    else:
        parameters.scope.note("dropped", "top_k", "this upstream has no such parameter")


def _put_stops(own: list[str], parameters: Parameters, *, may_cut_calls: bool = False) -> list[str]:
    """The upstream gets as many as it takes; if that is not all, the gateway matches every one of them.

    The gateway matches text only. `may_cut_calls`: the upstream also gets those that it is to find within calls.
    """
    passed, _ = parameters.take("stop")
    if not own and not passed:
        return []
    sequences = list(dict.fromkeys([*own, *([passed] if isinstance(passed, str) else passed or ())]))
    limit = parameters.scope.target.stop_limit
    if limit or may_cut_calls:
        parameters.fields["stop"] = sequences[: limit or STOPS_IN_CALLS]
    if len(sequences) <= limit:
        return []
    if sum(map(len, sequences)) > MAX_STOP_CHARACTERS:
        raise InvalidRequest(f"stop_sequences: at most {MAX_STOP_CHARACTERS} characters in all can be looked for")
    return sequences


def _put_reasoning(request: Mapping[str, Any], parameters: Parameters, effort: str | None) -> None:
    """`reasoning_effort` is short for `reasoning.effort`; the upstream gets the one that it knows."""
    effort = effort or (request.get("output_config") or {}).get("effort")
    derived = to_thinking_fields(request, parameters.scope, effort)
    if "verbosity" in derived:
        parameters.put("verbosity", derived["verbosity"], "output_config.effort")
    reasoning = _take_reasoning(parameters)
    origin = "thinking" if request.get("thinking") else "output_config.effort"
    is_openrouter = parameters.scope.target.openrouter
    derived_effort = derived.pop("reasoning_effort", None)
    asked = derived.get("reasoning") or {} if is_openrouter else {"effort": derived_effort} if derived_effort else {}
    for key, value in reasoning.items():
        if asked.get(key, value) != value or EITHER_OR.get(key) in asked:
            raise InvalidRequest(f"reasoning.{key}: conflicts with {origin}; set only one of them")
    combined = {**asked, **reasoning}
    if not is_openrouter:
        parameters.fields |= derived
    if is_openrouter and combined:
        parameters.fields["reasoning"] = combined
    elif combined:
        parameters.fields["reasoning_effort"] = combined["effort"]


def _take_reasoning(parameters: Parameters) -> dict[str, Any]:
    """Return the client's reasoning settings in chat's terms. Upstreams other than OpenRouter know only the effort."""
    reasoning, path = parameters.take("reasoning")
    reasoning = {key: value for key, value in (reasoning or {}).items() if value is not None}
    short, short_path = parameters.take("reasoning_effort")
    if short is not None:
        if reasoning.get("effort", short) != short:
            raise InvalidRequest(f"{short_path}: conflicts with {path}.effort; set only one of them")
        reasoning["effort"] = short
    if "effort" in reasoning:
        reasoning["effort"] = snap_effort(
            reasoning["effort"], short_path if short else f"{path}.effort", parameters.scope
        )
    if parameters.scope.target.openrouter:
        return reasoning
    for key in reasoning.keys() - {"effort"}:
        parameters.scope.note("dropped", f"{path}.{key}", "this upstream knows the effort of reasoning only")
    return {key: value for key, value in reasoning.items() if key == "effort"}


def _put_output_config(config: Mapping[str, Any], parameters: Parameters) -> None:
    if config.get("format"):
        _put_format(config["format"], parameters, "output_config.format")
    if config.get("task_budget"):
        parameters.scope.note("dropped", "output_config.task_budget", "this upstream knows no task budgets")


def _put_format(wanted: Mapping[str, Any], parameters: Parameters, path: str = "output_format") -> None:
    target = parameters.scope.target
    is_strict = target.strict_schemas or not target.strict_fallback
    if not is_strict:
        parameters.scope.note("changed", path, "schemas are not enforced for this model: sent without strict")
    schema = {"name": "output", "strict": is_strict, "schema": wanted["schema"]}
    parameters.put("response_format", {"type": "json_schema", "json_schema": schema}, path)


def _put_fallbacks(fallbacks: Sequence[Mapping[str, Any]], parameters: Parameters) -> None:
    if not fallbacks:
        return
    if not parameters.scope.target.openrouter:
        raise InvalidRequest("fallbacks: this upstream takes one model only")
    for index, fallback in enumerate(fallbacks):
        if len(fallback) > 1:
            parameters.scope.note("dropped", f"fallbacks.{index}", "a fallback gets the request's own settings")
    parameters.put("models", [to_slug(fallback["model"]) for fallback in fallbacks], "fallbacks")


def _put_tier(tier: str, parameters: Parameters) -> None:
    if parameters.scope.target.has_service_tiers:
        parameters.put("service_tier", SERVICE_TIERS.get(tier, tier), "service_tier")
    elif tier != "auto":
        parameters.scope.note("dropped", "service_tier", "this upstream has no service tiers")


def _put_speed(speed: str | None, parameters: Parameters) -> None:
    if speed != "fast":
        return
    if parameters.fields.get("service_tier") == "auto":
        parameters.take("service_tier")
    if parameters.scope.target.has_service_tiers:
        parameters.put("service_tier", FAST_TIER, "speed")
    else:
        parameters.scope.note("dropped", "speed", "this upstream has no faster tier")


def _put_metadata(metadata: Mapping[str, Any], parameters: Parameters) -> None:
    pairs = {}
    for key, value in metadata.items():
        if key == "user_id":
            continue
        if isinstance(value, str):
            pairs[key] = value
        else:
            parameters.scope.note("dropped", f"metadata.{key}", "upstreams take metadata as text only")
    if pairs:
        parameters.put("metadata", pairs, "metadata")
    user = metadata.get("user_id")
    if not user:
        return
    parameters.suggest("user", user)
    session = _to_session(user)
    if parameters.scope.target.openrouter:
        if session:
            parameters.suggest("session_id", session)
    elif parameters.scope.target.identifies_users:
        parameters.suggest("safety_identifier", user)
        if session:
            parameters.suggest("prompt_cache_key", session)


def _to_session(user: str) -> str | None:
    """The conversation within Claude Code's user_id: JSON with a session_id, in older versions `…_session_<id>`."""
    if user.startswith("{"):
        try:
            session = orjson.loads(user).get("session_id")
        except orjson.JSONDecodeError:
            return None
    else:
        session = user.partition("_session_")[2]
    return session if isinstance(session, str) and 0 < len(session) <= MAX_SESSION_ID else None


def _put_cache_control(control: Mapping[str, Any], parameters: Parameters) -> None:
    if parameters.scope.target.cache_control and parameters.scope.target.openrouter:
        parameters.put("cache_control", control, "cache_control")
    else:
        parameters.scope.note("dropped", "cache_control", "this upstream has no cache breakpoints")


PUTTERS: dict[str, Callable[[Any, Parameters], None]] = {
    "cache_control": _put_cache_control,
    "fallbacks": _put_fallbacks,
    "metadata": _put_metadata,
    "openai": _put_openai,
    "openrouter": _put_openrouter,
    "output_config": _put_output_config,
    "output_format": _put_format,
    "service_tier": _put_tier,
    "top_k": _put_top_k,
    "upstream": _put_upstream,
}
