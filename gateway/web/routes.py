"""The route table of the client listener, and of the admin listener; nothing else."""

from aiohttp import web

from gateway.web import admin, health, messages, models

CLIENT_ROUTES = (
    web.post("/v1/messages", messages.create_message),
    web.post("/v1/messages/stream", messages.stream_message),
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
    web.get("/metrics", admin.metrics),
)
