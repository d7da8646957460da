"""GET /v1/models and /v1/models/{id}. Ids may hold slashes, raw or escaped, as OpenRouter's do.

One object serves Anthropic's and OpenAI's SDKs and Codex, each of which ignores the fields of the others.
"""

import re
from typing import Any

from aiohttp import web

from gateway.dialects.responses.client.catalog import to_catalog_entry, to_openai_model
from gateway.errors import InvalidRequest, NotFound
from gateway.upstream.models.catalog import Catalog
from gateway.web.app_keys import CATALOG, EXCHANGE
from gateway.web.reply import json_response

# The upstreams with lists of models that could not be read the last time.
UNREAD_HEADER = "x-gateway-models-unread"
DEFAULT_LIMIT = 20
MAX_LIMIT = 1000
LIFECYCLES = ("active", "deprecated", "retired")


async def list_models(request: web.Request) -> web.Response:
    # Anthropic's clients read page after page; OpenAI's and Codex know one page only.
    limit = parse_limit(
        request.query.get("limit"), DEFAULT_LIMIT if "anthropic-version" in request.headers else MAX_LIMIT
    )
    asked = request.query.getall("lifecycle[]", []) + request.query.getall("lifecycle", [])
    unknown = [value for value in asked if value not in LIFECYCLES]
    if unknown:
        raise InvalidRequest(f"lifecycle: Input should be one of {', '.join(LIFECYCLES)}")
    wanted = set(asked) or {"active", "deprecated"}
    catalog = request.app[CATALOG]
    models = [model for model in await catalog.models() if model["lifecycle"] in wanted]
    page = to_page(models, limit, request.query.get("after_id"), request.query.get("before_id"))
    table = request.app[EXCHANGE].table
    entries = []
    for priority, model in enumerate(page["data"]):
        if table.serves(model["id"]):
            entries.append(to_catalog_entry(model, table.resolve(model["id"])[0], priority))
    data = [to_openai_model(model) for model in page["data"]]
    return json_response({"object": "list", **page, "data": data, "models": entries}, headers=_unread(catalog))


async def retrieve_model(request: web.Request) -> web.Response:
    model_id = request.match_info["model_id"]
    model = await request.app[CATALOG].find(model_id)
    if model is None:
        raise NotFound(f"model: {model_id[:200]}")
    return json_response(to_openai_model(model), headers=_unread(request.app[CATALOG]))


def _unread(catalog: Catalog) -> list[tuple[str, str]]:
    """Mark a list that lacks the models of an upstream, or has old ones, with the upstream's name."""
    return [(UNREAD_HEADER, ", ".join(catalog.unread))] if catalog.unread else []


def parse_limit(text: str | None, default: int = DEFAULT_LIMIT) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"limit: Input should be between 1 and {MAX_LIMIT}")
    return int(text)


def to_page(items: list[dict[str, Any]], limit: int, after_id: str | None, before_id: str | None) -> dict[str, Any]:
    """Anthropic's page: `after_id` and `before_id` exclude the item they name; ids are null on an empty page."""
    if after_id is not None and before_id is not None:
        raise InvalidRequest("after_id and before_id cannot be used together")
    if after_id is not None:
        items = items[_position(items, after_id, "after_id") + 1 :]
    elif before_id is not None:
        items = items[: _position(items, before_id, "before_id")]
    page = items[-limit:] if before_id is not None else items[:limit]
    return {
        "data": page,
        "has_more": len(items) > len(page),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _position(items: list[dict[str, Any]], identifier: str, name: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == identifier:
            return position
    raise InvalidRequest(f"{name}: no such item")
