"""Client keys as the console lists them: configured and made ones, with the time each was last seen."""

from typing import Any

import orjson
from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.admin.key_fields import to_api_key
from gateway.web.console.sources import CONSOLE, data_response, is_missing
from gateway.web.keys import DIRECTORY


async def list_client_keys(request: web.Request) -> web.Response:
    """`last_used` is known for keys of the recent exchanges only."""
    last = await last_used(request)
    configured: list[dict[str, Any]] = [
        {"id": client.key_id, "name": None, "tenant": client.tenant, "status": "active", "source": "configured"}
        for client in request.app[DIRECTORY].configured.clients
    ]
    store = request.app[DIRECTORY].store
    made = [] if store is None else [to_api_key(record) for record in reversed(await store.keys())]
    rows = [
        {
            "id": one["id"],
            "name": one["name"],
            "tenant": one["workspace_id"],
            "status": one["status"],
            "source": "made",
            "hint": one["partial_key_hint"],
            "created_at": one["created_at"],
            "expires_at": one["expires_at"],
            **one["gateway"],
        }
        for one in made
    ]
    data = [{**row, "last_used": last.get(row["id"])} for row in configured + rows]
    lets_everybody_in = request.app[DIRECTORY].configured.lets_everybody_in
    return data_response({"data": data, "auth": "off" if lets_everybody_in else "keys", "can_make": store is not None})


async def last_used(request: web.Request) -> dict[str, float]:
    """Return the time of each key's latest exchange among the recent ones."""
    found: dict[str, float] = {}
    try:
        async for raw in request.app[CONSOLE].activity.newest():
            row = orjson.loads(raw)
            if "key" in row:
                found.setdefault(row["key"], row["at"])
    except GatewayError as error:
        if not is_missing(error):
            raise
    return found
