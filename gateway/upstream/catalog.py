"""The upstream's models, read now and then, in Anthropic's shape.

A list that cannot be read leaves the old one standing; before the first, the aliases alone are known. Requests do not
wait for it: routing passes unknown names through. What a list says of a model corrects what routing thinks of it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.errors import GatewayError, UpstreamError
from gateway.upstream.client import Call, Timeouts, UpstreamClient
from gateway.upstream.routing import RoutingTable, Upstream

FRESH_SECONDS = 300.0
RETRY_SECONDS = 15.0
# How often to look whether it is time to read again.
WATCH_SECONDS = 30.0
MAX_LIST_BYTES = 32 * 1024 * 1024
TIMEOUTS = Timeouts(connect=3.0, first_byte=5.0, idle=5.0, total=10.0)
EFFORTS = ("low", "medium", "high", "xhigh", "max")
LINES = ("haiku", "sonnet", "opus", "fable", "mythos")


@dataclass(slots=True)
class Catalog:
    """Ask `models`; it reads the upstream's list again when the last one is older than FRESH_SECONDS."""

    client: UpstreamClient
    table: RoutingTable
    _models: tuple[dict[str, Any], ...] = ()
    _next_read: float = 0.0
    _reading: asyncio.Lock | None = None

    async def models(self) -> tuple[dict[str, Any], ...]:
        """Aliases first, then the upstream's models, newest first. Never raises for an upstream that is away."""
        if self._reading is None:
            self._reading = asyncio.Lock()
        clock = asyncio.get_running_loop().time
        async with self._reading:
            if clock() >= self._next_read:
                await self._read(clock())
        return self._models or to_models([], self.table)

    async def find(self, model_id: str) -> dict[str, Any] | None:
        """By the id of the list, or by any name that routing maps onto a model of the upstream."""
        models = await self.models()
        by_id = {model["id"]: model for model in models}
        if model_id in by_id:
            return by_id[model_id]
        served = by_id.get(self.table.to_upstream_model(model_id))
        return None if served is None else {**served, "id": model_id}

    async def _read(self, now: float) -> None:
        try:
            listed = await read_models(self.client, self.table.upstream)
        except GatewayError:
            self._next_read = now + RETRY_SECONDS
        else:
            self.table.learn(listed)
            self._models = to_models(listed, self.table)
            self._next_read = now + FRESH_SECONDS


async def read_models(client: UpstreamClient, upstream: Upstream) -> list[dict[str, Any]]:
    """The upstream's own list, as it is. Raises GatewayError when it cannot be had."""
    answer = await client.open(Call("GET", upstream.url + "/models", upstream.headers, timeouts=TIMEOUTS))
    body = await answer.read(MAX_LIST_BYTES)
    if answer.status != 200:
        raise UpstreamError("The upstream does not list its models.")
    try:
        data = orjson.loads(body)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UpstreamError("The upstream's list of models cannot be read.") from None
    return [model for model in data if isinstance(model, dict) and isinstance(model.get("id"), str)]


def to_models(listed: Iterable[Mapping[str, Any]], table: RoutingTable) -> tuple[dict[str, Any], ...]:
    models = sorted((to_model(model) for model in listed), key=lambda model: model["created_at"], reverse=True)
    by_id = {model["id"]: model for model in models}
    aliases = []
    for alias, slug in table.aliases.items():
        if not alias.endswith("*") and alias not in by_id:
            aliases.append(
                {**by_id.get(slug, to_model({"id": slug})), "id": alias, "display_name": f"{alias} ({slug})"}
            )
    return (*aliases, *models)


def to_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's Model object of one entry of an OpenAI or OpenRouter list; capabilities from what the entry tells."""
    created = model.get("created")
    created = created if isinstance(created, int | float) and created > 0 else 0
    top = _mapping(model.get("top_provider"))
    identifier = model["id"]
    described = {
        "type": "model",
        "id": identifier,
        "display_name": model.get("name") or identifier,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "line": next((line for line in LINES if "claude" in identifier and line in identifier), None),
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": top.get("context_length") or model.get("context_length"),
        "max_tokens": top.get("max_completion_tokens"),
        "capabilities": _capabilities(model),
    }
    # Beyond Anthropic's object, as the upstream tells it: dollars per token, as text.
    return described | ({"pricing": model["pricing"]} if _mapping(model.get("pricing")) else {})


def _capabilities(model: Mapping[str, Any]) -> dict[str, Any]:
    inputs = set(_mapping(model.get("architecture")).get("input_modalities") or ())
    parameters = set(model.get("supported_parameters") or ())
    reasoning = _mapping(model.get("reasoning"))
    thinks = bool(reasoning) or "reasoning" in parameters
    efforts = set(reasoning.get("supported_efforts") or ())
    return {
        "batch": _supported(True),
        "citations": _supported(False),
        "code_execution": _supported(False),
        "image_input": _supported("image" in inputs),
        "pdf_input": _supported("file" in inputs or "image" in inputs),
        "structured_outputs": _supported("structured_outputs" in parameters or "response_format" in parameters),
        "context_management": {**_supported(True), **{edit: _supported(done) for edit, done in EDITS.items()}},
        "effort": {**_supported(bool(efforts)), **{effort: _supported(effort in efforts) for effort in EFFORTS}},
        "server_tools": {**_supported(False), "web_search": _supported(False), "code_execution": _supported(False)},
        "thinking": {
            **_supported(thinks),
            "types": {
                "adaptive": _supported(thinks),
                "between_tools": _supported(False),
                "disabled": _supported(not reasoning.get("mandatory", False)),
                "enabled": _supported(thinks),
            },
        },
    }


# Of a prompt, done by the gateway for whatever model (`convert.edits`).
EDITS = {"clear_tool_uses_20250919": True, "clear_thinking_20251015": True, "compact_20260112": False}


def _supported(value: bool) -> dict[str, Any]:
    return {"supported": value}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
