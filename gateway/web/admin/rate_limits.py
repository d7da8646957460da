"""`rate_limits` of Anthropic's Admin API: the limits of the deployment, and those of each tenant, which can be set.

There is an entry for all models together, and one for each model group of gateway.toml.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from gateway.access.records import DEPLOYMENT, Allowance, RateLimits
from gateway.access.roster import not_found
from gateway.errors import InvalidRequest
from gateway.json_values import to_string
from gateway.web.admin.allowances import change_rules, model_groups_of, rules_of
from gateway.web.admin.key_fields import check_names
from gateway.web.admin.members import workspace_of
from gateway.web.admin.pages import page_by_cursor
from gateway.web.admin.requests import conditions_of, etag_of, read_object
from gateway.web.reply import NO_STORE, json_response

LIMIT_ID: Final = "all_models"
GROUP_TYPE: Final = "model_group"
# Anthropic's names of limits, and ours. Input is counted without what a cache has read; `concurrency` is ours alone.
TYPES: Final[Mapping[str, str]] = {
    "requests_per_minute": "requests",
    "input_tokens_per_minute_cache_aware": "input_tokens",
    "output_tokens_per_minute": "output_tokens",
    "concurrency": "concurrency",
}


async def list_rate_limits(request: web.Request) -> web.Response:
    """`group_type` filters."""
    allowance, _ = await rules_of(request, DEPLOYMENT)
    entries = []
    for group in _groups(request, allowance):
        limits = [{"type": one, "value": value} for one, value in _values(allowance.of_group(group)).items()]
        if limits or not group:
            named = {"type": "rate_limit", "id": group or LIMIT_ID, **_shown_group(request, group)}
            entries.append({**named, "limits": limits})
    return page_by_cursor(request, entries if _is_wanted(request) else [], limit=None)


async def list_workspace_rate_limits(request: web.Request) -> web.Response:
    """The tenant's own; with `include_inherited=true` also what the deployment limits."""
    tenant = await workspace_of(request)
    allowance, _ = await rules_of(request, f"tenant:{tenant}")
    with_inherited = request.query.get("include_inherited") == "true"
    general, _ = await rules_of(request, DEPLOYMENT)
    several = [
        _entry(request, tenant, (general.of_group(group), allowance.of_group(group)), group, with_inherited)
        for group in _groups(request, general, allowance)
    ]
    listed = [one for one in several if one["limits"] or (with_inherited and one["rate_limit_id"] == LIMIT_ID)]
    return page_by_cursor(request, listed if _is_wanted(request) else [], "rate_limit_id", limit=None)


async def set_workspace_rate_limits(request: web.Request) -> web.Response:
    """Set, or with null remove, the limits that the body names; others stay."""
    tenant, wanted = await workspace_of(request), request.match_info["rate_limit_id"]
    group = "" if wanted == LIMIT_ID else wanted
    if group and group not in model_groups_of(request):
        raise not_found("rate limit", wanted, [LIMIT_ID, *model_groups_of(request)])
    body = await read_object(request)
    changes = to_changes(body)

    def change(before: Allowance) -> Allowance:
        known = before.of_group(group)
        return before.with_group(group, replace(known, limits=replace(known.limits, **changes)))

    allowance, version = await change_rules(request, f"tenant:{tenant}", change, conditions_of(request, body))
    general, _ = await rules_of(request, DEPLOYMENT)
    entry = _entry(request, tenant, (general.of_group(group), allowance.of_group(group)), group, with_inherited=False)
    return json_response(entry, headers=(*NO_STORE, etag_of(version)))


def to_changes(body: Mapping[str, Any]) -> dict[str, int | None]:
    """Return fields of RateLimits from `limits` [{type, value}]. Raises InvalidRequest naming the wrong one."""
    check_names(body, ("limits",))
    limits = body.get("limits")
    if not isinstance(limits, list) or not limits:
        raise InvalidRequest("limits: must be a list of objects with type and value")
    found: dict[str, int | None] = {}
    for place, one in enumerate(limits):
        kind = to_string(one.get("type")) if isinstance(one, dict) else ""
        if kind not in TYPES:
            raise InvalidRequest(f"limits.{place}.type: must be one of {', '.join(TYPES)}")
        value = one.get("value")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InvalidRequest(f"limits.{place}.value: must be a positive whole number, or null for none")
        found[TYPES[kind]] = value
    return found


def _entry(
    request: web.Request, tenant: str, allowances: tuple[Allowance, Allowance], group: str, with_inherited: bool
) -> dict[str, Any]:
    """`allowances`: of the deployment and the tenant, for the model group."""
    general, own = map(_values, allowances)
    limits = [
        {"type": one, "value": value, "org_limit": general.get(one), "source": {"type": "workspace"}}
        for one, value in own.items()
    ]
    limits += [
        {"type": one, "value": value, "org_limit": value, "source": {"type": "organization"}}
        for one, value in general.items()
        if with_inherited and one not in own
    ]
    return {
        "type": "workspace_rate_limit",
        "rate_limit_id": group or LIMIT_ID,
        "workspace_id": tenant,
        **_shown_group(request, group),
        "limits": limits,
    }


def _groups(request: web.Request, *allowances: Allowance) -> list[str]:
    """Return the names of model groups with limits, after an empty one for all models together."""
    return ["", *(one for one in model_groups_of(request) if any(one in given.model_groups for given in allowances))]


def _shown_group(request: web.Request, group: str) -> dict[str, Any]:
    shown = {"type": GROUP_TYPE, "id": group or LIMIT_ID, "display_name": group or "All models"}
    return {"group": shown, "models": list(model_groups_of(request)[group]) if group else None}


def _values(allowance: Allowance) -> dict[str, int]:
    limits: RateLimits = allowance.limits
    found = {name: getattr(limits, ours) for name, ours in TYPES.items()}
    return {name: value for name, value in found.items() if value is not None}


def _is_wanted(request: web.Request) -> bool:
    return request.query.get("group_type", GROUP_TYPE) == GROUP_TYPE
