"""The route table of the client listener, and of the admin listener."""

from aiohttp import web

from gateway.web.admin import cache as admin_cache
from gateway.web.admin import metrics, organization, status
from gateway.web.api import batches, cache, chat_completions, count_tokens, health, messages, models, responses

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
    web.get("/v1/responses/{response_id}", responses.retrieve_response),
    web.get("/v1/models", models.list_models),
    web.get("/v1/models/{model_id:.+}", models.retrieve_model),
    web.get("/api/hello", health.hello),
    web.get("/", health.hello),
    web.get("/livez", health.live),
    web.get("/readyz", health.ready),
)

ADMIN_ROUTES = (
    web.get("/", health.hello),
    web.get("/livez", health.live),
    web.get("/readyz", health.ready),
    web.get("/metrics", metrics.metrics),
    web.get("/status", status.show_status),
    web.get("/v1/organizations/me", organization.show_organization),
    web.get("/v1/organizations/api_keys", organization.list_keys),
    web.post("/v1/organizations/api_keys", organization.create_key),
    web.get("/v1/organizations/api_keys/{key_id}", organization.show_key),
    web.post("/v1/organizations/api_keys/{key_id}", organization.update_key),
    web.post("/v1/organizations/api_keys/{key_id}/rotate", organization.rotate_key),
    web.get("/v1/organizations/limits", organization.show_limits),
    web.post("/v1/organizations/limits", organization.set_limits),
    web.get("/v1/organizations/audit", organization.show_audit),
    web.get("/cache/stats", admin_cache.show_any_cache_stats),
    web.post("/cache/clear", admin_cache.clear_any_cache),
)
