"""POST /v1/messages/count_tokens: the upstream's own count where it has a tokenizer, and an estimate otherwise.

The answer is Anthropic's; how it was arrived at, and how far it may be off, is in the `x-gateway-token-count` header.
Long prompts are counted in steps, between which other requests are served.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

from gateway.context import Context
from gateway.dialects.chat.request.context_editing import edit_messages
from gateway.dialects.chat.request.scope import Scope, ToolNames
from gateway.exchange.calibration import Ratio
from gateway.exchange.client_keys import with_client_keys
from gateway.exchange.exchange import Exchange
from gateway.messages.prompt import Prompt, Received, parse_body
from gateway.messages.tokens.profiles import Profile, to_profile
from gateway.messages.tokens.prompt import PromptTally
from gateway.messages.validation import check_count_tokens_request
from gateway.schemas.anthropic import CountTokensRequest, MessagesRequest
from gateway.upstream.routes.route import Route
from gateway.web.app_keys import EXCHANGE, SETTINGS
from gateway.web.auth import CONTEXT
from gateway.web.body import read_body
from gateway.web.reply import json_response

METHOD_HEADER = "x-gateway-token-count"

# The event loop is given back after this long.
STEP_SECONDS = 0.002


async def count_tokens(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    body = await read_body(request, request.app[SETTINGS].max_body_bytes)
    exchange = request.app[EXCHANGE]
    parsed = parse_body(body, exchange.tools)
    prompt, _ = check_count_tokens_request(parsed, version=context.api_version, betas=context.betas)
    routes = exchange.table.resolve(prompt["model"])
    route = (with_client_keys(routes, context) if context.credentials else routes)[0]
    if exchange.admission is not None:
        exchange.admission.directory.check(context, route.requested, route.target.model)
    received = Received(body, request.headers.items(), request.query_string)
    counted = await _count_upstream(prompt, received, exchange, context, route)
    if counted is not None:
        return json_response(
            counted, headers=[(METHOD_HEADER, f"method=upstream; upstream={route.upstream.name}; error=0")]
        )
    return await _estimate(prompt, exchange, context, route)


async def _count_upstream(
    prompt: CountTokensRequest, received: Received, exchange: Exchange, context: Context, route: Route
) -> dict[str, Any] | None:
    """Return the answer with the upstream's numbers; None if it gave none."""
    asking = exchange.asking(context, route)

    async def count(request: Mapping[str, Any], received: Received | None) -> int | None:
        asked = Prompt(cast(MessagesRequest, request), len(received.body) if received else 0, received=received)
        tokens: int | None = await exchange.counter.count(asked, route, asking)
        return tokens

    tokens = await count(prompt, received)
    if tokens is None or prompt.get("context_management") is None:
        return None if tokens is None else {"input_tokens": tokens}
    whole = await count({name: value for name, value in prompt.items() if name != "context_management"}, None)
    if whole is None:
        return None
    return {"context_management": {"original_input_tokens": whole}, "input_tokens": tokens}


async def _estimate(prompt: CountTokensRequest, exchange: Exchange, context: Context, route: Route) -> web.Response:
    model = route.target.model
    ratio = exchange.calibration.by_text.of(model)
    tally = await read_in_steps(prompt, to_profile(model))
    counted: dict[str, Any] = {}
    management = prompt.get("context_management")
    if management is not None:
        counted["context_management"] = {"original_input_tokens": tally.estimate.tokens(ratio.value)}
        target = exchange.table.resolve(prompt["model"])[0].target
        scope = Scope(target, exchange.keyring.of_tenant(context.tenant), ToolNames(target.tool_name_limit))
        edits = cast(Any, management.get("edits") or ())
        messages, applied = edit_messages(prompt, edits, scope)
        if applied:
            tally = await read_in_steps({**prompt, "messages": messages}, tally.profile)
    counted["input_tokens"] = tally.estimate.tokens(ratio.value)
    return json_response(counted, headers=[(METHOD_HEADER, to_header(tally, ratio))])


async def read_in_steps(prompt: Mapping[str, Any], profile: Profile) -> PromptTally:
    tally = PromptTally(profile)
    clock = asyncio.get_running_loop().time
    rest_at = clock() + STEP_SECONDS
    for _ in tally.read(prompt):
        if clock() >= rest_at:
            await asyncio.sleep(0)
            rest_at = clock() + STEP_SECONDS
    return tally


def to_header(tally: PromptTally, ratio: Ratio) -> str:
    """Describe the number's origin. `error` is of its text; `media` and the `assumed` part of it are tokens in it."""
    parts = {
        "method": "characters",
        "profile": tally.profile.name,
        "ratio": f"{ratio.value:.3f}",
        "samples": ratio.samples,
        "error": f"{ratio.error:.2f}",
        "media": round(tally.media),
        "assumed": round(tally.assumed),
    }
    return "; ".join(f"{name}={value}" for name, value in parts.items())
