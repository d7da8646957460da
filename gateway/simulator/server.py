"""The simulator as an aiohttp application: OpenRouter's paths under `/api/v1`, those of other servers under
`/{vendor}/v1`, and under `/named/{vendor}/v1` for models with that name in front; answered by playing scripts.

Start it with `web.AppRunner(application(), handler_cancellation=True)`, or a client that leaves a silent answer is held
until the end. Shutting down breaks off every answer at once. It is for loopback: the key check is a comparison, not a
defence.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias, assert_never

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.errors import InvalidRequest
from gateway.simulator.failures import error_script
from gateway.simulator.messages_api import to_count_script, to_message_script
from gateway.simulator.models import to_catalogue, to_endpoints, to_key_info, to_script
from gateway.simulator.prompt import to_prompt
from gateway.simulator.responses_api import to_response_script
from gateway.simulator.script import HangUp, Hold, Pause, Script, json_script
from gateway.simulator.shapes import Generation
from gateway.simulator.vendors.play import to_vendor_list, to_vendor_script
from gateway.simulator.vendors.rows import SIMULATED_NAMES
from gateway.upstream.routes.config import SIMULATOR_BASE

BASE = SIMULATOR_BASE
MAX_BODY_BYTES = 64 * 1024 * 1024  # twice what Anthropic's API accepts
MAX_PAGE = 1000

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[Any]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, repr=False)
class Stage:
    """State that the answers of an application share."""

    clock: Clock
    sleep: Sleep
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    playing: set[asyncio.Task[Any]] = field(default_factory=set)


STAGE = web.AppKey("stage", Stage)


def application(
    *,
    key: str | None = None,
    clock: Clock = time.time,
    sleep: Sleep = asyncio.sleep,
    middlewares: Sequence[Middleware] = (),
    other_apis: bool = False,
) -> web.Application:
    """Build the simulator. With a `key`, requests need `Authorization: Bearer <key>`.

    `clock` returns the Unix seconds of `created`, `sleep` plays pauses, and `middlewares` run before the key check.
    `other_apis`: serve Messages and Responses too, for simulated servers that have them.
    """
    app = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[break_off_with_application, in_error_shape, *middlewares, key_check(key)],
    )
    app[STAGE] = Stage(clock, sleep)
    app.on_shutdown.append(_break_off)
    app.add_routes(
        [
            web.post(f"{BASE}/chat/completions", create_completion),
            web.get(f"{BASE}/models", list_models),
            web.get(BASE + "/models/{author}/{slug}/endpoints", list_endpoints),
            web.get(f"{BASE}/key", get_key),
            web.post("/{vendor}/v1/chat/completions", create_vendor_completion),
            web.get("/{vendor}/v1/models", list_vendor_models),
            web.post("/named/{vendor}/v1/chat/completions", create_vendor_completion),
            web.get("/named/{vendor}/v1/models", list_named_models),
        ]
    )
    if other_apis:
        for path, handler, vendors in OTHER_APIS:
            app.router.add_post(f"{BASE}/{path}", handler)
            for prefix in ("", "/named"):
                app.router.add_post(f"{prefix}/{{vendor}}/v1/{path}", of_vendor(handler, vendors))
    return app


async def create_completion(request: web.Request) -> web.StreamResponse:
    try:
        prompt = to_prompt(orjson.loads(await request.read()))
        stage = request.app[STAGE]
        generation = Generation(next(stage.numbers), int(stage.clock()), prompt.model)
        script = to_script(prompt, generation)
    except orjson.JSONDecodeError:
        script = error_script(400, "The request body is not valid JSON.")
    except InvalidRequest as error:
        script = error_script(400, error.message)
    return await play(request, script)


async def list_models(request: web.Request) -> web.StreamResponse:
    try:
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", MAX_PAGE))
    except ValueError:
        return await play(request, error_script(400, "offset and limit are whole numbers."))
    return await play(request, json_script(to_catalogue(max(offset, 0), min(max(limit, 1), MAX_PAGE))))


async def list_endpoints(request: web.Request) -> web.StreamResponse:
    name = f"{request.match_info['author']}/{request.match_info['slug']}"
    return await play(request, json_script(to_endpoints(name)))


async def get_key(request: web.Request) -> web.StreamResponse:
    return await play(request, json_script(to_key_info()))


async def create_message(request: web.Request) -> web.StreamResponse:
    stage, body = request.app[STAGE], await request.read()
    return await play(request, to_message_script(body, betas_of(request), next(stage.numbers), int(stage.clock())))


async def count_message_tokens(request: web.Request) -> web.StreamResponse:
    return await play(request, to_count_script(await request.read(), betas_of(request)))


async def create_response(request: web.Request) -> web.StreamResponse:
    stage, body = request.app[STAGE], await request.read()
    return await play(request, to_response_script(body, next(stage.numbers), int(stage.clock())))


def betas_of(request: web.Request) -> frozenset[str]:
    return frozenset(beta.strip() for beta in request.headers.get("anthropic-beta", "").split(","))


# APIs beside chat completions, and the servers that have them (their documentation, 2026).
OTHER_APIS: Final = (
    ("messages", create_message, frozenset({"fireworks", "moonshot", "zhipu"})),
    ("messages/count_tokens", count_message_tokens, frozenset({"moonshot"})),
    ("responses", create_response, frozenset({"azure", "fireworks", "groq", "openai", "xai"})),
)


def of_vendor(handler: Handler, vendors: frozenset[str]) -> Handler:
    """Return the handler for these servers; for others the path does not exist."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if to_vendor(request) not in vendors:
            raise web.HTTPNotFound
        return await handler(request)

    return handle


async def create_vendor_completion(request: web.Request) -> web.StreamResponse:
    stage, vendor = request.app[STAGE], to_vendor(request)
    return await play(request, to_vendor_script(vendor, await request.read(), next(stage.numbers), int(stage.clock())))


async def list_vendor_models(request: web.Request) -> web.StreamResponse:
    return await play(request, json_script(to_vendor_list(to_vendor(request))))


async def list_named_models(request: web.Request) -> web.StreamResponse:
    """List models under names that lead to this server when the simulator plays all servers."""
    vendor = to_vendor(request)
    listed = to_vendor_list(vendor)
    named = [{**entry, "id": f"{vendor}/{entry['id']}"} for entry in listed["data"]]
    return await play(request, json_script({**listed, "data": named}))


def to_vendor(request: web.Request) -> str:
    vendor = SIMULATED_NAMES.get(request.match_info["vendor"])
    if vendor is None:
        raise web.HTTPNotFound
    return vendor


async def play(request: web.Request, script: Script) -> web.StreamResponse:
    """Send the script's answer step by step, until the client leaves. Return the sent response."""
    response = web.StreamResponse(status=script.status, headers=script.headers)
    with contextlib.suppress(ConnectionError):
        for step in script.steps:
            match step:
                case bytes():
                    await response.prepare(request)
                    await response.write(step)
                case Pause(seconds):
                    await request.app[STAGE].sleep(seconds)
                case Hold(gate):
                    await (gate or asyncio.Event()).wait()
                case HangUp(reset):
                    _hang_up(request.transport, reset=reset)
                    raise ConnectionResetError
                case _:
                    assert_never(step)
    return response


def _hang_up(transport: asyncio.Transport | None, *, reset: bool) -> None:
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # Lingering for no time at all is how the socket API spells "reset".
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def key_check(key: str | None) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if key is None or given == f"Bearer {key}":
            return await handler(request)
        return await play(request, error_script(401, None if given else "No auth credentials found"))

    return check


@web.middleware
async def in_error_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return OpenRouter's error for an unknown path, a wrong method or a body that is too large."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        # aiohttp answers in plain text; clients read JSON.
        return await play(request, error_script(error.status, HTTPStatus(error.status).phrase))


@web.middleware
async def break_off_with_application(request: web.Request, handler: Handler) -> web.StreamResponse:
    task = asyncio.current_task()
    assert task is not None
    playing = request.app[STAGE].playing
    playing.add(task)
    try:
        return await handler(request)
    finally:
        playing.discard(task)


async def _break_off(app: web.Application) -> None:
    playing = list(app[STAGE].playing)
    for task in playing:
        task.cancel()
    await asyncio.gather(*playing, return_exceptions=True)
