"""Issuers, rules and service accounts of Anthropic's Admin API: `[identity]` of gateway.toml, read only.

Each rule is a service account too: what its tokens may do, under the id that logs and reports show.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway.json_values import to_time
from gateway.settings.identity_sections import RULE_ID, IdentitySection, IssuerSection, RuleSection
from gateway.web.admin.members import MEMBER_ROLE, workspace_of
from gateway.web.admin.pages import found, page_by_cursor
from gateway.web.app_keys import DIRECTORY

NO_IDENTITY: Final = IdentitySection()
# Objects of a file have no times.
TIMES: Final = {"created_at": to_time(0), "updated_at": to_time(0), "archived_at": None}


async def list_issuers(request: web.Request) -> web.Response:
    return page_by_cursor(request, [to_issuer(one) for one in _section(request).issuers])


async def show_issuer(request: web.Request) -> web.Response:
    issuers = [to_issuer(one) for one in _section(request).issuers]
    return found(issuers, request.match_info["issuer_id"], "federation issuer")


async def list_rules(request: web.Request) -> web.Response:
    """`issuer_id` filters."""
    wanted = request.query.get("issuer_id")
    rules = [to_rule(one) for one in _section(request).rules]
    return page_by_cursor(request, [one for one in rules if wanted in (None, one["issuer_id"])])


async def show_rule(request: web.Request) -> web.Response:
    return found([to_rule(one) for one in _section(request).rules], request.match_info["rule_id"], "federation rule")


async def list_rule_workspaces(request: web.Request) -> web.Response:
    wanted = request.match_info["rule_id"]
    found([to_rule(one) for one in _section(request).rules], wanted, "federation rule")
    rows = [
        {
            "type": "federation_rule_workspace",
            "federation_rule_id": one.name,
            "workspace_id": one.tenant,
            "workspace_name": one.tenant,
            "created_at": to_time(0),
        }
        for one in _section(request).rules
        if one.name == wanted
    ]
    return page_by_cursor(request, rows, "workspace_id")


async def list_service_accounts(request: web.Request) -> web.Response:
    return page_by_cursor(request, _accounts(_section(request).rules))


async def show_service_account(request: web.Request) -> web.Response:
    return found(_accounts(_section(request).rules), request.match_info["account_id"], "service account")


async def list_account_workspaces(request: web.Request) -> web.Response:
    wanted = request.match_info["account_id"]
    found(_accounts(_section(request).rules), wanted, "service account")
    rows = [to_account_member(one) for one in _section(request).rules if RULE_ID + one.name == wanted]
    return page_by_cursor(request, rows, "workspace_id")


async def list_workspace_accounts(request: web.Request) -> web.Response:
    tenant = await workspace_of(request)
    rows = [to_account_member(one) for one in _section(request).rules if one.tenant == tenant]
    return page_by_cursor(request, rows, "service_account_id")


def issuer_id(issuer: str) -> str:
    """Return an id that fits into a path."""
    return f"fdis_{hashlib.sha256(issuer.encode()).hexdigest()[:16]}"


def to_issuer(issuer: IssuerSection) -> dict[str, Any]:
    jwks: dict[str, Any] = {"type": "discovery"}
    if issuer.jwks is not None:
        jwks = {"type": "inline", "keys": orjson.loads(issuer.jwks).get("keys", [])}
    elif issuer.jwks_url is not None:
        jwks = {"type": "explicit_url", "url": issuer.jwks_url}
    return {
        "type": "federation_issuer",
        "id": issuer_id(issuer.issuer),
        "name": urlsplit(issuer.issuer).hostname,
        "issuer_url": issuer.issuer,
        "jwks": jwks,
        "check_jti": False,
        "max_jwt_lifetime_seconds": issuer.max_lifetime_seconds,
        **TIMES,
    }


def to_rule(rule: RuleSection) -> dict[str, Any]:
    """Return the rule; conditions that Anthropic's rules do not have are in `gateway`."""
    return {
        "type": "federation_rule",
        "id": rule.name,
        "name": rule.name,
        "issuer_id": issuer_id(rule.issuer),
        "issuer_name": urlsplit(rule.issuer).hostname,
        "match": {"subject_prefix": rule.subject or None, "claims": rule.claims or None},
        "target": {
            "type": "service_account",
            "service_account_id": RULE_ID + rule.name,
            "service_account_name": rule.name,
        },
        "oauth_scope": "",
        "token_lifetime_seconds": rule.token_lifetime_seconds,
        "applies_to_all_workspaces": False,
        "workspace_id": rule.tenant,
        "workspace_ids": [rule.tenant],
        **TIMES,
        "gateway": {
            "groups": list(rule.groups),
            "email_domain": rule.email_domain or None,
            "user_claim": rule.user_claim,
            "role": rule.role or None,
            **rule.allowance().to_json(),
        },
    }


def to_account_member(rule: RuleSection) -> dict[str, Any]:
    return {
        "type": "service_account_workspace_member",
        "service_account_id": RULE_ID + rule.name,
        "workspace_id": rule.tenant,
        "workspace_role": MEMBER_ROLE,
        "implicit": False,
    }


def _accounts(rules: Sequence[RuleSection]) -> list[dict[str, Any]]:
    return [
        {
            "type": "service_account",
            "id": RULE_ID + rule.name,
            "name": rule.name,
            "description": None,
            "organization_role": "admin" if rule.role == "admin" else "developer",
            **TIMES,
        }
        for rule in rules
    ]


def _section(request: web.Request) -> IdentitySection:
    identity = request.app[DIRECTORY].identity
    return NO_IDENTITY if identity is None else identity.section
