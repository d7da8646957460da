"""Explanation of a model's route: the rule that decides, and those that match the name too and lost."""

from dataclasses import dataclass

from gateway.upstream.routes.route import CONTEXT_SUFFIX, Route, RouteRule
from gateway.upstream.routes.table import RoutingTable


@dataclass(frozen=True, slots=True)
class Explanation:
    """`winner` is None for a name that nothing matches; `lost` has each other rule that matches, and the reason."""

    model: str
    winner: RouteRule | None
    routes: tuple[Route, ...]
    lost: tuple[tuple[RouteRule, str], ...]


def explain(table: RoutingTable, model: str) -> Explanation:
    """Raises InvalidRequest for a name that clients may not use."""
    name = CONTEXT_SUFFIX.sub("", model)
    winner = table.rule_of(model)
    others = [rule for rule in (*table.rules, *table.families) if rule is not winner and rule.matches(name)]
    if winner is None:
        return Explanation(model, None, (), ())
    lost = tuple((rule, _reason(table, rule, winner)) for rule in others)
    return Explanation(model, winner, table.resolve(model), lost)


def _reason(table: RoutingTable, rule: RouteRule, winner: RouteRule) -> str:
    if rule in table.families:
        return "built-in names come last"
    if winner.is_exact:
        return "a pattern; an exact name wins"
    if rule.literals < winner.literals:
        return f"{rule.literals} literal characters, {winner.literals} win"
    return "the earlier line wins"
