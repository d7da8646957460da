"""Probes of `dragoman check`, one function each: the upstream, Redis, a worker, the ports, and disabled features.

A finding has a level, an observation and a remedy. Probes change nothing: they start no server, create no batch and
call no model.
"""

import asyncio
import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import aiohttp
import orjson
from redis.exceptions import RedisError

from gateway.batches.server import BatchServer, StoragePolicy
from gateway.cli.api import SERVER
from gateway.errors import GatewayError, StoreAway, UpstreamTimedOut
from gateway.redis.connections import queue_client
from gateway.redis.embedded import default_directory, find_binaries
from gateway.redis.keys import DATA_VERSION, Keys
from gateway.redis.server import RedisServer, ServerFacts
from gateway.redis.url import EMBEDDED
from gateway.settings import Settings, is_loopback
from gateway.settings.exposure import exposed_files
from gateway.upstream.http.client import Call, UpstreamClient
from gateway.upstream.models.catalog import MAX_LIST_BYTES, TIMEOUTS
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing
from gateway.upstream.vendors.recognition import look_at
from gateway.upstream.vendors.registry import COMPATIBLE
from gateway.wiring import build_client

Level = Literal["ok", "off", "warning", "error"]

# An operator waits at the terminal; what takes longer than this is a finding by itself.
PROBE_SECONDS: Final = 2.0
# OpenRouter's names that may be absent from its list: `~author/family-latest`, `@preset/…`, and variants such as
# `:nitro`.
RESOLVED_LATER: Final = re.compile(r"^~|@preset/|:[a-z]+$")
# Share of maxmemory; above it a large batch may be refused. Dollars of credit left at the upstream.
LOW_MEMORY: Final = 0.7
LOW_CREDIT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a probe. `off`: not configured; `warning`: works for now; `error`: does not work."""

    level: Level
    subject: str
    text: str
    hint: str = ""


# The upstream


async def look_at_upstreams(settings: Settings, routing: Routing | None) -> list[Finding]:
    """Read each upstream's list of models, and check the key of OpenRouter, which that list does not need.

    No model is called. `routing` learns from the lists; it is None if no upstream is configured.
    """
    if routing is None:
        return [
            Finding(
                "error",
                "upstream",
                "none is configured",
                "set OPENROUTER_API_KEY, or GATEWAY_UPSTREAM_URL for another server; `dragoman dev` brings a simulator",
            )
        ]
    client = build_client(settings, settings.upstream_connections)
    try:
        lanes = routing.table.upstreams
        found = await asyncio.gather(*(_look_at_lane(client, routing, lane, settings) for lane in lanes))
    finally:
        await client.close()
    if all(any(one.level == "error" for one in findings) for findings in found):
        return [finding for findings in found for finding in findings]
    return [  # while one upstream works, another one's failure is no error
        replace(one, level="warning") if one.level == "error" else one for findings in found for one in findings
    ]


async def _look_at_lane(
    client: UpstreamClient, routing: Routing, upstream: Upstream, settings: Settings
) -> list[Finding]:
    found = [await _key(client, upstream)] if upstream.flavor == "openrouter" else []
    if not any(finding.level == "error" for finding in found):
        found += await _models(client, upstream, routing)
    if not settings.upstreams:
        return found
    name = f"{upstream.name} (key {upstream.lane + 1})" if upstream.lane else upstream.name
    hint = f"check url and key of upstreams.{upstream.name} in {settings.config.file.path}"
    return [
        replace(
            one,
            subject=one.subject.replace("upstream", name, 1),
            hint=hint if one.level in ("error", "warning") else "",
        )
        for one in found
    ]


async def _key(client: UpstreamClient, upstream: Upstream) -> Finding:
    status, body = await _ask(client, upstream, "/key")
    if status != 200:
        return _refusal(status, body, upstream)
    data = body.get("data") if isinstance(body, dict) else None
    remaining = data.get("limit_remaining") if isinstance(data, dict) else None
    if not isinstance(remaining, int | float):
        return Finding("ok", "upstream key", "accepted; it has no limit")
    if remaining < LOW_CREDIT:
        return Finding("warning", "upstream key", f"${remaining:.2f} are left of its limit", "raise it at the upstream")
    return Finding("ok", "upstream key", f"accepted; ${remaining:.2f} are left of its limit")


async def _models(client: UpstreamClient, upstream: Upstream, routing: Routing) -> list[Finding]:
    status, body = await _ask(client, upstream, "/models")
    if status != 200:
        return [_refusal(status, body, upstream)]
    listed = body.get("data") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        hint = "is GATEWAY_UPSTREAM_URL its v1 base, such as https://host/v1?"
        return [Finding("warning", "upstream", "answers, but does not list models as OpenAI's API does", hint)]
    known = {entry.get("id") for entry in listed if isinstance(entry, dict)}
    found = [Finding("ok", "upstream", f"{upstream.name} lists {len(known):,} models")]
    if upstream.vendor is COMPATIBLE:
        vendor = await look_at(client, upstream, {}, [entry for entry in listed if isinstance(entry, dict)])
        routing.recognise(upstream.name, vendor or COMPATIBLE)
    routing.learn(upstream.name, [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)])
    unknown: dict[str, list[str]] = {}
    for alias, model in routing.table.aliases_at(upstream.name):
        if model not in known and not (upstream.flavor == "openrouter" and RESOLVED_LATER.search(model)):
            unknown.setdefault(model, []).append(alias)
    hint = "set GATEWAY_MODEL_BIG, GATEWAY_MODEL_SMALL or GATEWAY_ALIASES to a model that it lists"
    for model, aliases in unknown.items():
        found.append(Finding("warning", "models", f"{model!r} is not listed; {', '.join(aliases)} point to it", hint))
    return found


async def _ask(client: UpstreamClient, upstream: Upstream, path: str) -> tuple[int, Any]:
    """Return status and JSON: 0 and the problem without an answer, None for a body that is not JSON."""
    try:
        answer = await client.open(Call("GET", upstream.url + path, upstream.headers, timeouts=TIMEOUTS))
        body = await answer.read(MAX_LIST_BYTES)
    except GatewayError as error:
        return 0, error
    try:
        return answer.status, orjson.loads(body)
    except orjson.JSONDecodeError:
        # A web page: the address is not that of an API.
        return answer.status, None


def _refusal(status: int, body: object, upstream: Upstream) -> Finding:
    if isinstance(body, UpstreamTimedOut):
        return Finding("error", "upstream", "does not answer in time", "is a firewall or a proxy in the way?")
    if isinstance(body, GatewayError):
        cause = body.__cause__
        why = f"{body.message}: {cause}" if cause is not None else body.message
        hint = "check GATEWAY_UPSTREAM_URL, name lookup, and HTTPS_PROXY if this network needs one"
        return Finding("error", "upstream", why, hint)
    if status in (401, 403):
        name = "OPENROUTER_API_KEY" if upstream.flavor == "openrouter" else "GATEWAY_UPSTREAM_API_KEY"
        return Finding("error", "upstream", f"refuses the gateway's key (status {status})", f"set {name} again")
    hint = "is GATEWAY_UPSTREAM_URL its v1 base, such as https://host/v1?"
    return Finding("warning", "upstream", f"answers, but has no list of models (status {status})", hint)


# Redis and the workers


async def look_at_redis(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return [
            Finding(
                "off",
                "batches",
                "need Redis, and none is configured",
                "set GATEWAY_REDIS_URL=redis://… for front ends and workers alike",
            )
        ]
    url = settings.redis_url
    if url == EMBEDDED:
        embedded = default_directory() / "server.sock"
        if not embedded.exists():
            return [_embedded_at_rest()]
        url = f"unix://{embedded}"
    redis = queue_client(url, connections=1, timeout=PROBE_SECONDS)
    try:
        server = RedisServer(redis, Keys(settings.redis_prefix))
        facts = await BatchServer(server, StoragePolicy(durability=settings.batch_durability)).check()
        await server.probe()
    except (GatewayError, RedisError) as error:
        return [_redis_problem(error)]
    finally:
        await redis.aclose()
    if facts is None:
        hint = "allow the command INFO to this user"
        return [Finding("warning", "redis", "takes writes; its version, memory and eviction policy are unknown", hint)]
    return list(_judge(facts))


def _redis_problem(error: Exception) -> Finding:
    """Return the server's refusal, or the reason why it cannot be reached. Its address may be shown here."""
    if isinstance(error, StoreAway) and error.refusal is not None:
        hint = "the server answers: see the rights and settings that docs/deployment.md asks for"
        return Finding("error", "redis", error.reason, hint)
    reason = str(error.__cause__ or error)
    return Finding("error", "redis", reason, "is GATEWAY_REDIS_URL right, and is its server running?")


def _embedded_at_rest() -> Finding:
    binaries = find_binaries()
    if not binaries:
        hint = "install valkey or redis, or set GATEWAY_REDIS_URL to a running server"
        return Finding("error", "redis", "embedded, and there is no server's binary", hint)
    return Finding("ok", "redis", f"embedded; not running now, would be started from {binaries[0]}")


def _judge(facts: ServerFacts) -> Iterator[Finding]:
    share = facts.used_memory / facts.memory_limit if facts.memory_limit else 0.0
    used = f"{facts.used_memory / 2**20:,.0f} MiB of {facts.memory_limit / 2**20:,.0f}"
    yield Finding("ok", "redis", f"{facts.product}, {used} used, {facts.eviction_policy}, data version {DATA_VERSION}")
    if share > LOW_MEMORY:
        hint = "raise its maxmemory, delete batches, or shorten GATEWAY_BATCH_RETENTION"
        yield Finding("warning", "redis", f"{share:.0%} of its memory is in use: no new batch is taken in", hint)
    if not facts.persistent:
        hint = "start it with `appendonly yes`"
        yield Finding("warning", "redis", "keeps nothing on disk: a restart of it loses every batch", hint)
    if facts.eviction_policy.startswith("volatile-"):
        yield Finding("warning", "redis", f"may drop results early ({facts.eviction_policy})", "set it to noeviction")


async def look_at_worker(settings: Settings) -> list[Finding]:
    """Look for a worker on this machine. Workers elsewhere cannot be found from here."""
    if settings.redis_url is None:
        return []
    address = _address(settings.admin_host, settings.worker_admin_port)
    if await _answers(f"http://{address}/readyz"):
        return [Finding("ok", "worker", f"one runs here ({address})")]
    hint = "start one with `dragoman worker`, unless others run elsewhere: batches wait without"
    return [Finding("warning", "worker", f"none answers on this machine at {address}", hint)]


# This machine


async def look_at_ports(settings: Settings) -> list[Finding]:
    listeners = (
        ("client port", settings.host, settings.port, "GATEWAY_PORT"),
        ("admin port", settings.admin_host, settings.admin_port, "GATEWAY_ADMIN_PORT"),
    )
    return [await _look_at_port(*listener) for listener in listeners]


async def _look_at_port(subject: str, host: str, port: int, variable: str) -> Finding:
    address = _address(host, port)
    problem = _cannot_listen(host, port)
    if problem is None:
        return Finding("ok", subject, f"{address} is free")
    if problem == errno.EADDRINUSE:
        if await _answers(f"http://{address}/livez", SERVER):
            return Finding("ok", subject, f"{address} is in use by a running Dragoman")
        hint = f"`ss -ltnp 'sport = :{port}'` names the program; stop it, or set {variable}"
        return Finding("error", subject, f"{address} is taken by another program", hint)
    return Finding("error", subject, f"cannot listen on {address}: {os.strerror(problem)}", f"set {variable}")


def _cannot_listen(host: str, port: int) -> int | None:
    """Return the error number of an attempt to listen there, None if it works."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        # A host name that this machine does not know cannot be listened on.
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno or errno.EIO
    return None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _answers(url: str, server: str = "") -> bool:
    """Return True if there is an answer, from `server` if it is given. The gateway's own ports are reached without a
    proxy."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.headers.get("server") == server if server else response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def look_at_settings(settings: Settings, misspelt: Mapping[str, str]) -> list[Finding]:
    return [*_file(settings), *_access(settings), *_secret(settings), *_misspelt(misspelt)]


def _file(settings: Settings) -> Iterator[Finding]:
    for line in settings.config.warnings:
        yield Finding("warning", "routes", line)
    for text, remedy in exposed_files(settings):
        yield Finding("warning", "secrets", text, remedy)
    if settings.config.file.path and not settings.config.warnings:
        yield Finding("ok", "configuration", f"{settings.config.file.path}, hash {settings.config.file.digest}")


def _access(settings: Settings) -> Iterator[Finding]:
    if settings.auth == "off" and not is_loopback(settings.host):
        hint = "set GATEWAY_KEYS=tenant:key"
        yield Finding("warning", "access", f"everybody who reaches {settings.host} is let in (GATEWAY_AUTH=off)", hint)
    elif settings.auth == "off":
        yield Finding("ok", "access", "everybody on this machine is let in (GATEWAY_AUTH=off)")
    elif settings.keys:
        tenants = {tenant for tenant, _ in settings.keys}
        yield Finding("ok", "access", f"{_number(settings.keys, 'client key')} of {_number(tenants, 'tenant')}")
    else:
        hint = "set GATEWAY_KEYS=tenant:key, or GATEWAY_AUTH=off; `dragoman dev` needs neither on a loopback address"
        yield Finding("error", "access", "no client could log in: there are no keys", hint)
    if not is_loopback(settings.admin_host):
        hint = "keep it inside your network: it asks for no key"
        yield Finding("warning", "admin listener", f"listens on {settings.admin_host}", hint)


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")


def _secret(settings: Settings) -> Iterator[Finding]:
    if settings.secret is not None:
        return
    hint = "set GATEWAY_SECRET=id:key, the same for all processes"
    if settings.redis_url is None:
        text = "each start makes its own: reasoning that clients hold from before is lost to the model"
        yield Finding("off", "secret", text, hint)
    else:
        yield Finding("ok", "secret", "made by the first process, kept in Redis")


def _misspelt(names: Mapping[str, str]) -> Iterator[Finding]:
    for name, meant in names.items():
        yield Finding("warning", name, "no setting has this name", f"is {meant} meant?" if meant else "")
