"""Effort and budget of thinking: from `thinking` and `output_config.effort` to the upstream's parameters.

OpenRouter takes a `reasoning` object, and for Claude an effort as `verbosity`. Others take `reasoning_effort`, a budget
in a separate field, or a switch, as the target says. An absent `thinking` sends no field, since models differ in their
defaults. `display` never reaches the upstream: asking it to leave reasoning out would also leave out the signatures.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.dialects.chat.request.scope import Scope
from gateway.dialects.chat.vocabulary import EFFORT_BEYOND, EFFORT_SHARES, EFFORTS
from gateway.upstream.vendors.vendor import Setting

# Anthropic's rule, which OpenRouter's own clamp follows.
LEAST_BUDGET = 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """`kind` of thinking; `share`: the effort that its `budget` amounts to; `effort`: what is asked for outright."""

    kind: str | None
    budget: int
    share: str
    effort: str | None


def to_thinking_fields(request: Mapping[str, Any], scope: Scope, effort: str | None) -> dict[str, Any]:
    """`effort` is what the request asks for, or a later system message; None where neither does."""
    thinking: Mapping[str, Any] = request.get("thinking") or {}
    kind = thinking.get("type")
    if kind is None and effort is None:
        return {}
    if kind == "between_tools":
        scope.note(
            "changed", "thinking.type", "this upstream cannot think between tool calls only; it may always think"
        )
        kind = "adaptive"
    if thinking.get("block_binding"):
        scope.note("dropped", "thinking.block_binding", "the upstream has no such setting")
    budget = thinking["budget_tokens"] if kind == "enabled" else 0  # on another kind it is an unchecked extra key
    max_tokens, most = request["max_tokens"], scope.target.max_output
    wish = Wish(kind, budget, _to_share(budget, max_tokens), effort)
    if most is not None and budget and max_tokens > most:
        wish = replace(wish, budget=max(LEAST_BUDGET, budget * most // max_tokens))  # the same part of less
    match scope.target.reasoning.style:
        case "openrouter":
            return _to_reasoning(wish, scope)
        case "fields":
            return _to_fields(wish, scope)
        case _:
            if kind != "disabled":
                scope.note("dropped", "thinking" if kind else "output_config.effort", "this model does not reason")
            return {}


def snap_effort(effort: str, path: str, scope: Scope) -> str:
    """The nearest effort that the model has, noted where it is another."""
    snapped = nearest_effort(effort, scope.target.reasoning.supported_efforts)
    if snapped != effort:
        scope.note("changed", path, f"the model has no effort {effort!r}; {snapped!r} is asked for")
    return snapped


def nearest_effort(effort: str, supported: Collection[str]) -> str:
    """The next lower one of those supported, else the lowest. "none" is only ever itself; without a list all are."""
    ranks = {name: rank for rank, name in enumerate(EFFORTS)}
    usable = sorted((name for name in supported if name != "none"), key=lambda name: ranks.get(name, 0))
    if effort in supported or not usable:
        return effort
    below = [name for name in usable if ranks.get(name, 0) <= ranks.get(effort, 0)]
    return below[-1] if below else usable[0]


def _to_reasoning(wish: Wish, scope: Scope) -> dict[str, Any]:
    target, effort = scope.target, wish.effort
    reasoning: dict[str, Any] = {}
    match wish.kind:
        case "enabled" if target.reasoning.supports_max_tokens:
            reasoning["max_tokens"] = wish.budget
        case "enabled" if target.claude:
            reasoning["enabled"] = True
            scope.note("changed", "thinking.budget_tokens", "this model sets its thinking budget itself")
        case "enabled":
            reasoning["enabled"] = True
            effort = effort or wish.share
        case "adaptive":
            reasoning["enabled"] = True
        case "disabled" if target.reasoning.mandatory:
            scope.note("dropped", "thinking", "this model always thinks")
        case "disabled":
            reasoning["enabled"] = False
    fields: dict[str, Any] = {"reasoning": reasoning} if reasoning else {}
    if effort is None:
        return fields
    if target.claude:
        return {**fields, "verbosity": snap_effort(effort, "output_config.effort", scope)}
    if "max_tokens" in reasoning:
        scope.note("dropped", "output_config.effort", "this model takes a budget or an effort, and has the budget")
        return fields
    if reasoning.get("enabled") is False:
        scope.note("dropped", "output_config.effort", "thinking is disabled")
        return fields
    return {"reasoning": {**reasoning, "effort": snap_effort(effort, "output_config.effort", scope)}}


def _to_fields(wish: Wish, scope: Scope) -> dict[str, Any]:
    """Fields of the request: switches, an effort, a budget, as far as the upstream has them."""
    support, effort = scope.target.reasoning, wish.effort
    if wish.kind == "disabled":
        if support.off:
            if effort is not None:
                scope.note("dropped", "output_config.effort", "thinking is disabled")
            return nested(support.off)
        scope.note("dropped", "thinking", "this model always thinks")
    fields = nested(support.on) if wish.kind in ("adaptive", "enabled") else {}
    if wish.kind == "enabled" and support.budget_field:
        fields[support.budget_field] = wish.budget
    elif wish.kind == "enabled" and support.takes_effort and effort is None:
        fields["reasoning_effort"] = snap_effort(wish.share, "thinking.budget_tokens", scope)
    elif wish.kind == "enabled" and not support.takes_effort:
        scope.note("dropped", "thinking.budget_tokens", "this upstream takes no thinking budget")
    if effort is not None and support.takes_effort:
        fields["reasoning_effort"] = snap_effort(effort, "output_config.effort", scope)
    elif effort is not None:
        scope.note("dropped", "output_config.effort", "this upstream takes no effort")
    return fields


def nested(settings: Iterable[Setting]) -> dict[str, Any]:
    """The settings as fields of a request: `("thinking.type", "enabled")` is `{"thinking": {"type": "enabled"}}`."""
    fields: dict[str, Any] = {}
    for path, value in settings:
        *outer, name = path.split(".")
        place = fields
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = value
    return fields


def _to_share(budget: int, max_tokens: int) -> str:
    """The least effort that may spend as much of max_tokens as the budget."""
    for share, effort in EFFORT_SHARES:
        if budget <= share * max_tokens:
            return effort
    return EFFORT_BEYOND
