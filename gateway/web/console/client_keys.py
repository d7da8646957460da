"""Client keys as the console lists them: configured and made ones, with the time each was last seen."""

from typing import Any

import orjson
from aiohttp import web

from gateway.access.records import KeyRecord
from gateway.errors import GatewayError
from gateway.web.admin.key_fields import to_api_key
from gateway.web.app_keys import DIRECTORY
from gateway.web.console.sources import CONSOLE, data_response, is_missing


async def list_client_keys(request: web.Request) -> web.Response:
    """`last_used` is known for keys of the recent exchanges only."""
    last = await last_used(request)
    keys, store = request.app[DIRECTORY].configured, request.app[DIRECTORY].store
    configured: list[dict[str, Any]] = [
        {"id": client.key_id, "name": None, "tenant": client.tenant, "status": "active", "source": "configured"}
        for client in keys.clients
    ]
    of_file = [to_row(record, "file") for record in keys.file_records]
    made = [] if store is None else [to_row(record, "made") for record in reversed(await store.keys())]
    data = [{**row, "last_used": last.get(row["id"])} for row in configured + of_file + made]
    auth = "off" if keys.admits_everyone else "keys"
    return data_response({"data": data, "auth": auth, "can_make": store is not None})


def to_row(record: KeyRecord, source: str) -> dict[str, Any]:
    one = to_api_key(record)
    return {
        "id": one["id"],
        "name": one["name"],
        "tenant": one["workspace_id"],
        "status": one["status"],
        "source": source,
        "hint": one["partial_key_hint"],
        "created_at": one["created_at"] if record.created_at else None,
        "expires_at": one["expires_at"],
        **one["gateway"],
    }


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
