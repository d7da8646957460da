"""What Claude's models refuse in a request that was converted from another API, where its client could not know.

Clients of OpenAI's APIs set a temperature beside an effort, or both samplers, by habit (Roo-Code issue 12162,
inspect_ai issue 3721). Versions and rules: Anthropic's documentation and its API's errors, 2026-11. Requests in
Messages pass as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.dialects.chat.vocabulary import EFFORT_BEYOND, EFFORT_SHARES
from gateway.json_values import to_mapping, to_mappings
from gateway.messages.notes import Note
from gateway.messages.prompt import MIN_BUDGET_TOKENS

# From which version on a model has adaptive thinking; takes no samplers; takes one sampler only.
ADAPTIVE: Final = (4, 6)
UNSAMPLED: Final = (4, 7)
ONE_SAMPLER: Final = (4, 1)
SAMPLERS: Final = ("temperature", "top_p", "top_k")
LEAST_TOP_P: Final = 0.95  # beside thinking
SHARES: Final = {effort: share for share, effort in EFFORT_SHARES} | {EFFORT_BEYOND: 0.9, "max": 0.95}
FORCED: Final = frozenset({"any", "tool"})


def within_claude_limits(
    fields: dict[str, Any], version: tuple[int, int], *, has_effort: bool
) -> tuple[dict[str, Any], list[Note]]:
    """Return the fields that a model of this version takes, and notes.

    `has_effort`: thinking was asked for by an effort, as OpenAI's clients do it.
    """
    notes: list[Note] = []
    if has_effort and version < ADAPTIVE and to_mapping(fields.get("thinking")).get("type") == "adaptive":
        fields = _with_budget(fields, notes)
    dropped = dict(_refused_samplers(fields, version))
    notes += [Note("dropped", name, reason) for name, reason in dropped.items()]
    return {name: value for name, value in fields.items() if name not in dropped}, notes


def _with_budget(fields: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    """Return the fields with a thinking budget in place of the effort; without thinking where it would be refused."""
    output_config = dict(fields.get("output_config") or {})
    share = SHARES.get(output_config.pop("effort", ""), 0.0)
    rest = {name: value for name, value in fields.items() if name not in ("thinking", "output_config")}
    rest |= {"output_config": output_config} if output_config else {}
    budget = int(share * fields["max_tokens"])
    is_forced = to_mapping(fields.get("tool_choice")).get("type") in FORCED
    if budget < MIN_BUDGET_TOKENS or is_forced or _continues_unthought(fields.get("messages")):
        notes.append(Note("dropped", "reasoning_effort", "this model cannot think in this request"))
        return rest
    notes.append(Note("changed", "reasoning_effort", "this model takes a thinking budget"))
    return {**rest, "thinking": {**fields["thinking"], "type": "enabled", "budget_tokens": budget}}


def _continues_unthought(messages: Any) -> bool:
    """Return whether the last turn goes on behind calls without their thinking, which a budget demands."""
    turns = to_mappings(messages)
    results = to_mappings(turns[-1].get("content")) if turns else []
    if not any(block.get("type") == "tool_result" for block in results):
        return False
    called: dict[str, Any] = next((turn for turn in reversed(turns) if turn.get("role") == "assistant"), {})
    first = next(iter(to_mappings(called.get("content"))), {})
    return first.get("type") not in ("thinking", "redacted_thinking")


def _refused_samplers(fields: Mapping[str, Any], version: tuple[int, int]) -> list[tuple[str, str]]:
    """Return the samplers that the model refuses, each with the reason."""
    thinks = to_mapping(fields.get("thinking")).get("type") in ("adaptive", "enabled")
    told = {name: fields[name] for name in SAMPLERS if fields.get(name) is not None}
    if version >= UNSAMPLED:
        return [(name, "this model takes no samplers") for name in told if (name, told[name]) != ("temperature", 1)]
    if thinks:
        kept = (told.get("temperature") == 1, told.get("top_p", 0) >= LEAST_TOP_P, False)
        refused = [name for name, is_kept in zip(SAMPLERS, kept, strict=True) if name in told and not is_kept]
        return [(name, "this model samples by itself while it thinks") for name in refused]
    if version >= ONE_SAMPLER and {"temperature", "top_p"} <= told.keys():
        return [("top_p", "this model takes it or the temperature, not both")]
    return []
