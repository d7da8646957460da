"""Rules of a client key for the candidates of its requests: parameters, and what upstreams may do with the data.

A key's rules are the innermost layer: they narrow what `[params]` allows and never widen it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.access.admission import Admission
from gateway.access.records import PRIORITIES, KeyRecord
from gateway.context import Context
from gateway.errors import PermissionDenied
from gateway.upstream.routes.policy import ParameterPolicy, RequestPolicy, combined, to_policy
from gateway.upstream.routes.route import Route

# OpenRouter keeps such a rule for each request; another upstream keeps it if the operator has labelled it so.
DATA_LOCKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "zdr": {"zdr": True, "data_collection": "deny"},
    "deny": {"data_collection": "deny"},
}
# An upstream that stores nothing does not train either.
KEPT_BY: Final = {"zdr": ("zdr",), "deny": ("deny", "zdr")}


def may_cache(admission: Admission | None, context: Context) -> bool:
    record = None if admission is None else admission.directory.record_of(context)
    return record is None or record.cache


def priority_of(admission: Admission | None, context: Context) -> int:
    """Return the priority of the key's live calls where an upstream is full, as `LaneDemand` has it."""
    record = None if admission is None else admission.directory.record_of(context)
    return PRIORITIES.index("normal" if record is None else record.priority)


def for_key(admission: Admission | None, context: Context, routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """Return the routes with the key's rules. Raises PermissionDenied where no upstream keeps its rule about data."""
    record = None if admission is None else admission.directory.record_of(context)
    if record is None or not (record.params or record.data):
        return routes
    kept = [route for route in routes if not record.data or _keeps(route, record.data)]
    if not kept:
        raise PermissionDenied(
            f"Key {record.name} needs an upstream with data = {record.data}, and none of this model has it.",
            should_retry=False,
        )
    return tuple(replace(route, policy=_policy(record, route)) for route in kept)


def _keeps(route: Route, rule: str) -> bool:
    return route.upstream.flavor == "openrouter" or route.upstream.data in KEPT_BY[rule]


def _policy(record: KeyRecord, route: Route) -> RequestPolicy:
    own = {name: to_policy(name, value) for name, value in record.params.items()}
    outer = route.policy or RequestPolicy()
    layers = [outer.parameters, own]
    if record.data and route.upstream.flavor == "openrouter":
        layers.insert(0, {"provider": ParameterPolicy(lock=dict(DATA_LOCKS[record.data]))})
    return replace(outer, parameters=combined(layers))
