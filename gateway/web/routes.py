"""The route table of the client listener, and of the admin listener with the role that each of its routes needs."""

from collections.abc import Mapping
from itertools import chain

from aiohttp import web

from gateway.web.admin import cache as admin_cache
from gateway.web.admin import (
    federation,
    increase_requests,
    members,
    metrics,
    organization,
    rate_limits,
    reports,
    spend_limits,
    status,
)
from gateway.web.admin.authorization import Role
from gateway.web.api import (
    batches,
    cache,
    chat_completions,
    client_setup,
    count_tokens,
    health,
    messages,
    models,
    oauth,
    own_usage,
    responses,
)
from gateway.web.api import increase_requests as own_increases
from gateway.web.console import assets, client_keys, exchanges, fleet, overview, session, spend
from gateway.web.console import batches as console_batches
from gateway.web.otlp import SIGNALS, relay_otlp

CLIENT_ROUTES = (
    web.post("/v1/messages", messages.create_message),
    web.post("/v1/messages/stream", messages.stream_message),
    web.post("/v1/messages/count_tokens", count_tokens.count_tokens),
    web.get("/v1/messages/cache/stats", cache.show_cache_stats),
    web.post("/v1/messages/cache/clear", cache.clear_cache),
    web.delete("/v1/messages/cache/clear", cache.clear_cache),
    web.post("/v1/messages/cache/cleanup", cache.cleanup_cache),
    web.post("/v1/messages/batches", batches.create_batch),
    web.get("/v1/messages/batches", batches.list_batches),
    web.get("/v1/messages/batches/{batch_id}", batches.retrieve_batch),
    web.delete("/v1/messages/batches/{batch_id}", batches.delete_batch),
    web.post("/v1/messages/batches/{batch_id}/cancel", batches.cancel_batch),
    web.get("/v1/messages/batches/{batch_id}/results", batches.stream_results),
    web.post("/v1/messages/batch", batches.create_batch),
    web.get("/v1/messages/batch/{batch_id}/status", batches.show_status),
    web.post("/v1/chat/completions", chat_completions.create_chat_completion),
    web.post("/v1/responses", responses.create_response),
    web.get("/v1/responses", responses.refuse_socket, allow_head=False),
    web.get("/v1/responses/{response_id:.+}", responses.refuse_stored),
    web.post("/v1/responses/{response_id:.+}", responses.refuse_stored),
    web.delete("/v1/responses/{response_id:.+}", responses.refuse_stored),
    web.get("/v1/models", models.list_models),
    web.get("/v1/models/{model_id:.+}", models.retrieve_model),
    web.post("/v1/oauth/token", oauth.exchange_token),
    web.get("/.well-known/oauth-authorization-server", oauth.show_server),
    web.get("/.well-known/opencode", client_setup.show_client_setup),
    web.post("/oauth/device_authorization", oauth.start_sign_in),
    web.get("/device", oauth.show_device_page),
    web.post("/device", oauth.confirm_device),
    web.post("/device/deny", oauth.deny_device),
    web.get("/oauth/callback", oauth.finish_sign_in),
    web.post("/oauth/token", oauth.issue_token),
    web.post("/oauth/revoke", oauth.revoke_token),
    web.get("/managed/settings", oauth.show_managed_settings),
    web.get("/api/oauth/usage", own_usage.show_own_usage),
    web.get("/api/spend_limit_increase_requests", own_increases.list_own_increase_requests),
    web.post("/api/spend_limit_increase_requests", own_increases.ask_for_increase),
    *(web.post(f"/v1/{signal}", relay_otlp) for signal in SIGNALS),
    web.get("/api/hello", health.hello),
    web.get("/", health.hello),
    web.get("/livez", health.live),
    web.get("/readyz", health.ready),
)

# The console's pages hold no data, so they need no sign-in; what they load does.
CONSOLE_PAGES = ("/", "/r/{request_id}", "/errors", "/spend", "/batches", "/batches/{batch_id}", "/fleet", "/keys")

ADMIN_ROUTES_BY_ROLE: Mapping[Role, tuple[web.RouteDef, ...]] = {
    "open": (
        *(web.get(path, assets.show_page) for path in CONSOLE_PAGES),
        web.get("/assets/{hash}/{name}", assets.show_asset),
        web.get("/api/session", session.show_session),
        web.post("/api/session", session.sign_in),
        web.get("/livez", health.live),
        web.get("/readyz", health.ready),
        web.get("/metrics", metrics.metrics),
        web.get("/status", status.show_status),
    ),
    "viewer": (
        web.delete("/api/session", session.sign_out),
        web.get("/api/overview", overview.show_overview),
        web.get("/api/exchanges", exchanges.list_exchanges),
        web.get("/api/exchanges/{request_id}", exchanges.show_exchange),
        web.get("/api/errors", exchanges.list_failures),
        web.get("/api/upstreams", exchanges.list_upstreams),
        web.get("/api/events", exchanges.stream_events, allow_head=False),
        web.get("/api/spend", spend.show_spend),
        web.get("/api/usage.csv", spend.show_usage_csv),
        web.get("/api/batches", console_batches.list_batches),
        web.get("/api/batches/{batch_id}", console_batches.show_batch),
        web.get("/api/fleet", fleet.show_fleet),
        web.get("/api/keys", client_keys.list_client_keys),
        web.get("/v1/organizations/me", organization.show_organization),
        web.get("/v1/organizations/api_keys", organization.list_keys),
        web.get("/v1/organizations/api_keys/{key_id}", organization.show_key),
        web.get("/v1/organizations/limits", organization.show_limits),
        web.get("/v1/organizations/usage_report/messages", reports.show_usage_report),
        web.get("/v1/organizations/cost_report", reports.show_cost_report),
        web.get("/v1/organizations/analytics/usage_report", reports.show_usage_report),
        web.get("/v1/organizations/analytics/cost_report", reports.show_cost_report),
        web.get("/v1/organizations/analytics/usage", reports.list_usage),
        web.get("/v1/organizations/analytics/cost", reports.list_cost),
        web.get("/v1/organizations/spend_limits", spend_limits.list_spend_limits),
        web.get("/v1/organizations/spend_limits/effective", spend_limits.list_effective_spend_limits),
        web.get("/v1/organizations/spend_limits/{limit_id}", spend_limits.show_spend_limit),
        web.get("/v1/organizations/spend_limit_increase_requests", increase_requests.list_increase_requests),
        web.get(
            "/v1/organizations/spend_limit_increase_requests/{request_id}", increase_requests.show_increase_request
        ),
        web.get("/v1/organizations/workspaces", members.list_workspaces),
        web.get("/v1/organizations/workspaces/{workspace_id}", members.show_workspace),
        web.get("/v1/organizations/workspaces/{workspace_id}/members", members.list_members),
        web.get("/v1/organizations/workspaces/{workspace_id}/members/{user_id}", members.show_member),
        web.get("/v1/organizations/workspaces/{workspace_id}/rate_limits", rate_limits.list_workspace_rate_limits),
        web.get("/v1/organizations/workspaces/{workspace_id}/service_accounts", federation.list_workspace_accounts),
        web.get("/v1/organizations/users", members.list_users),
        web.get("/v1/organizations/users/{user_id}", members.show_user),
        web.get("/v1/organizations/rbac_roles", members.list_roles),
        web.get("/v1/organizations/rbac_roles/{role_id}", members.show_role),
        web.get("/v1/organizations/rate_limits", rate_limits.list_rate_limits),
        web.get("/v1/organizations/service_accounts", federation.list_service_accounts),
        web.get("/v1/organizations/service_accounts/{account_id}", federation.show_service_account),
        web.get("/v1/organizations/service_accounts/{account_id}/workspaces", federation.list_account_workspaces),
        web.get("/v1/organizations/federation_issuers", federation.list_issuers),
        web.get("/v1/organizations/federation_issuers/{issuer_id}", federation.show_issuer),
        web.get("/v1/organizations/federation_rules", federation.list_rules),
        web.get("/v1/organizations/federation_rules/{rule_id}", federation.show_rule),
        web.get("/v1/organizations/federation_rules/{rule_id}/workspaces", federation.list_rule_workspaces),
        web.get("/v1/organizations/audit", organization.show_audit),
        web.get("/cache/stats", admin_cache.show_any_cache_stats),
    ),
    "operator": (
        web.post("/api/batches/{batch_id}/cancel", console_batches.cancel_any_batch),
        web.post("/cache/clear", admin_cache.clear_any_cache),
    ),
    "admin": (
        web.post("/api/keys", organization.create_key),
        web.patch("/api/keys/{key_id}", organization.update_key),
        web.post("/api/keys/{key_id}/rotate", organization.rotate_key),
        web.post("/v1/organizations/api_keys", organization.create_key),
        web.post("/v1/organizations/api_keys/{key_id}", organization.update_key),
        web.post("/v1/organizations/api_keys/{key_id}/rotate", organization.rotate_key),
        web.post("/v1/organizations/limits", organization.set_limits),
        web.post("/v1/organizations/spend_limits", spend_limits.set_spend_limit),
        web.post("/v1/organizations/spend_limits/{limit_id}/reset", spend_limits.reset_spend_limit),
        web.delete("/v1/organizations/spend_limits/{limit_id}", spend_limits.delete_spend_limit),
        web.post(
            "/v1/organizations/spend_limit_increase_requests/{request_id}/approve",
            increase_requests.approve_increase_request,
        ),
        web.post(
            "/v1/organizations/spend_limit_increase_requests/{request_id}/deny",
            increase_requests.deny_increase_request,
        ),
        web.post(
            "/v1/organizations/workspaces/{workspace_id}/rate_limits/{rate_limit_id}",
            rate_limits.set_workspace_rate_limits,
        ),
    ),
}
# Those that a lead has too, for the client keys of its own tenant.
OF_A_LEAD = (
    ("GET", ("me", "usage_report/messages", "cost_report", "analytics/usage_report", "analytics/cost_report")),
    ("GET", ("analytics/usage", "analytics/cost", "api_keys", "api_keys/{key_id}")),
    ("POST", ("api_keys", "api_keys/{key_id}", "api_keys/{key_id}/rotate")),
    ("GET", ("spend_limits", "spend_limits/effective", "spend_limits/{limit_id}")),
    ("POST", ("spend_limits", "spend_limits/{limit_id}/reset")),
    ("DELETE", ("spend_limits/{limit_id}",)),
    ("GET", ("spend_limit_increase_requests", "spend_limit_increase_requests/{request_id}")),
    ("POST", tuple(f"spend_limit_increase_requests/{{request_id}}/{answer}" for answer in ("approve", "deny"))),
    ("GET", ("workspaces", "workspaces/{workspace_id}", "workspaces/{workspace_id}/rate_limits")),
    ("GET", ("workspaces/{workspace_id}/members", "workspaces/{workspace_id}/members/{user_id}")),
)
ADMIN_LEAD_ROUTES = frozenset((method, f"/v1/organizations/{path}") for method, paths in OF_A_LEAD for path in paths)
ADMIN_ROUTES = tuple(chain.from_iterable(ADMIN_ROUTES_BY_ROLE.values()))
ADMIN_ROLES = {(route.method, route.path): role for role, routes in ADMIN_ROUTES_BY_ROLE.items() for route in routes}
