"""What a request may have its upstream ask beside the model that it is for: other models, presets, and its own tools.

A key's list of models holds for all of it, and a budget reserves all of it. Fields that the upstream at hand ignores
count too: the next candidate may know them. Requests that their upstream validates may hold anything, so nothing is
assumed about the types of values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.access.records import PRESET
from gateway.messages.tools.tool_cache import derived
from gateway.messages.turn_cache import known_messages
from gateway.messages.validation.fields import NAMESPACES

# Fields that lead to other models or to tools, at the top of a request or in one of its objects for upstreams.
LEADING: Final = frozenset({"fallbacks", "models", "plugins", "preset", "web_search_options"})
FIELDS: Final = LEADING | frozenset(NAMESPACES)
# Names of models in a tool, a plugin, or the parameters of one.
MODEL_FIELDS: Final = ("model", "models", "analysis_models", "allowed_models")
# How the types of tools begin after which the upstream asks its model again. Anthropic's search for tools does not.
UPSTREAM_TOOLS: Final = ("web_search", "web_fetch", "code_execution", "advisor", "mcp_toolset", "openrouter:")
# Those that ask models, and choose them by a default or by the call where these fields are missing.
ASKING: Final[Mapping[str, tuple[str, ...]]] = {
    "advisor_20260301": ("model",),
    "openrouter:advisor": ("model",),
    "openrouter:fusion": ("analysis_models", "model"),
    "openrouter:image_generation": ("model",),
    "openrouter:subagent": ("model",),
}
FUSION: Final = "openrouter:fusion"
# Plugins that do the same as a tool, once.
PLUGINS: Final[Mapping[str, str]] = {
    "fusion": FUSION,
    "web": "openrouter:web_search",
    "web-fetch": "openrouter:web_fetch",
}
# Within the name of a model: search the web first.
ONLINE: Final = ":online"
# Calls of a tool that sets no `max_uses`, and the tokens of an answer to one that sets no limit: Anthropic's
# documentation has 1,400 to 1,800 for its advisor (2026-08).
USUAL_CALLS: Final = 5
USUAL_ANSWER: Final = 4096
LENGTH_FIELDS: Final = ("max_tokens", "max_completion_tokens")
# Models of a panel that search before a judge does, and the steps of each (OpenRouter's documentation, 2026-11).
FUSION_PANEL: Final = 3
FUSION_STEPS: Final = 8
# Of one request; more than any upstream makes.
MOST_CALLS: Final = 150


@dataclass(frozen=True, slots=True)
class Reach:
    """`models`: names beside the request's own. `presets`: fields for one, in the form of such names, `@preset/NAME`.

    `open_choices`: places that let the upstream or the model choose a model. `calls`: of tools that run at the
    upstream, after each of which a model is asked again. `longest`: tokens of a model's answer to such a call.
    """

    models: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    open_choices: tuple[str, ...] = ()
    calls: int = 0
    longest: int = 0

    @property
    def is_unknown(self) -> bool:
        """Return True if models may be asked that the request does not name."""
        return bool(self.presets or self.open_choices) or any(PRESET in model for model in self.models)


NOTHING_ELSE: Final = Reach()


def reach_of(request: Mapping[str, Any]) -> Reach:
    """Return what a request reaches, in the form of Messages or of chat completions."""
    parts = _of_conversation(request.get("messages"))
    if "tools" in request:
        parts += _of_tools(request["tools"])
    if not FIELDS.isdisjoint(request):
        scopes = [("", request), *((f"{name}.", request.get(name)) for name in NAMESPACES)]
        parts += [part for path, scope in scopes if isinstance(scope, Mapping) for part in _of_fields(scope, path)]
    model = request.get("model")
    if isinstance(model, str) and ONLINE in model:
        parts.append(Reach(calls=1))
    return _sum(parts, request.get("max_tool_calls")) if parts else NOTHING_ELSE


def joined(*several: Reach) -> Reach:
    """Return all of it together."""
    found = [reach for reach in several if reach is not NOTHING_ELSE]
    return found[0] if len(found) == 1 else _sum(found) if found else NOTHING_ELSE


def _sum(parts: Sequence[Reach], limit: Any = None) -> Reach:
    """`limit`: the request's own, if it has one."""
    models = dict.fromkeys(name for part in parts for name in part.models)
    presets = dict.fromkeys(name for part in parts for name in part.presets)
    choices = tuple(place for part in parts for place in part.open_choices)
    calls = min(sum(part.calls for part in parts), _count(limit) or MOST_CALLS, MOST_CALLS)
    return Reach(tuple(models), tuple(presets), choices, calls, max(part.longest for part in parts))


def _of_fields(scope: Mapping[str, Any], path: str) -> Iterator[Reach]:
    if LEADING.isdisjoint(scope):
        return
    fallbacks = [one.get("model") if isinstance(one, Mapping) else one for one in _items(scope.get("fallbacks"))]
    yield Reach(_names([*fallbacks, *_items(scope.get("models"))]))
    preset = scope.get("preset")
    if preset:
        yield Reach(presets=(PRESET + str(preset).removeprefix(PRESET),))
    if scope.get("web_search_options") is not None:
        yield Reach(calls=1)
    for index, plugin in enumerate(_items(scope.get("plugins"))):
        if isinstance(plugin, Mapping) and plugin.get("enabled") is not False:
            kind = PLUGINS.get(str(plugin.get("id")), "")
            calls = _fusion_calls([plugin]) if kind == FUSION else 1 if kind else 0
            yield _of_settings(kind, [plugin], f"{path}plugins.{index}", calls)


def _of_tools(tools: Any) -> tuple[Reach, ...]:
    return derived(_of_list, tools) if isinstance(tools, list) else ()


def _of_list(tools: Sequence[Any]) -> tuple[Reach, ...]:
    """Return the reach of each tool that the upstream runs; most are the client's own."""
    return tuple(
        _of_tool(tool, f"tools.{index}")
        for index, tool in enumerate(tools)
        if isinstance(tool, Mapping) and _runs(tool)
    )


def _runs(tool: Mapping[str, Any]) -> bool:
    kind = tool.get("type")
    return isinstance(kind, str) and kind.startswith(UPSTREAM_TOOLS)


def _of_tool(tool: Mapping[str, Any], place: str, *, is_inner: bool = False) -> Reach:
    kind, parameters = tool["type"], tool.get("parameters")
    settings = [one for one in (tool, parameters) if isinstance(one, Mapping)]
    uses = next((one["max_uses"] for one in settings if _count(one.get("max_uses"))), USUAL_CALLS)
    own = _of_settings(kind, settings, place, _fusion_calls(settings) if kind == FUSION else uses)
    inner = [one for part in settings for one in _items(part.get("tools")) if isinstance(one, Mapping)]
    if not inner or kind not in ASKING:
        return own
    if is_inner:  # tools of a tool of an advisor: nothing is known of those
        return _sum((own, Reach(open_choices=(place,))))
    return _sum((own, *(_of_tool(one, place, is_inner=True) for one in inner if _runs(one))))


def _of_settings(kind: str, settings: Sequence[Mapping[str, Any]], place: str, calls: int) -> Reach:
    models = _names(name for one in settings for field in MODEL_FIELDS for name in _items(one.get(field)))
    is_open = any(not any(one.get(field) for one in settings) for field in ASKING.get(kind, ()))
    lengths = [length for one in settings for field in LENGTH_FIELDS if (length := _count(one.get(field)))]
    longest = max(lengths, default=USUAL_ANSWER) if kind in ASKING else 0
    return Reach(models, (), (place,) if is_open else (), calls, longest)


def _fusion_calls(settings: Sequence[Mapping[str, Any]]) -> int:
    panel = sum(len(_items(one.get("analysis_models"))) for one in settings) or FUSION_PANEL
    steps = sum(_count(one.get("max_tool_calls")) for one in settings) or FUSION_STEPS
    return (panel + 1) * steps


def _of_conversation(messages: Any) -> list[Reach]:
    """A system message after a user's may bring a tool along (`tool_addition`)."""
    if not isinstance(messages, list):
        return []
    found, known = [], known_messages(messages)
    for index, message in enumerate(messages[known:], known):
        if type(message) is dict and message.get("role") == "system":
            found += [_of_tool(tool, f"messages.{index}") for tool in _added(message) if _runs(tool)]
    return found


def _added(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for block in _items(message.get("content")):
        tool = block.get("tool") if isinstance(block, Mapping) else None
        definition = tool.get("definition") if isinstance(tool, Mapping) else None
        if isinstance(definition, Mapping):
            yield definition


def _names(values: Any) -> tuple[str, ...]:
    return tuple(name for name in values if isinstance(name, str) and name)


def _count(value: Any) -> int:
    """Return a positive integer; 0 for anything else."""
    return value if type(value) is int and value > 0 else 0


def _items(value: Any) -> Sequence[Any]:
    """Return the items of a list; another value is the only one."""
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)
