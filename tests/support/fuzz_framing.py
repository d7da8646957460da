"""Damaged HTTP for a real front end: it answers correctly or not at all, and serves the next client.

Requests are sent directly, and through nginx and haproxy where they are installed.
"""

import asyncio
import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from random import Random

import orjson

from tests.support.damage import damaged, pieces_of
from tests.support.framing import BODY, CORPUS, KEY, PATH, SOUND, Framing, check_invariants
from tests.support.ports import free_port
from tests.support.proxies import PROXIES, find_proxy, proxy
from tests.support.raw_http import Conversation, Piece, converse, request


def to_bytes(cases: Mapping[str, Framing]) -> list[bytes]:
    return [b"".join([piece for piece in case.pieces if isinstance(piece, bytes)]) for case in cases.values()]


LIVE_BODY = b'{"status":"ok"}'
SOUND_ONES, ALL = to_bytes(SOUND), to_bytes(CORPUS)
# A reply to HEAD has a length and no body, which `converse` cannot distinguish from one that is cut off.
CANNOT_BE_READ = b"HEAD "
MAX_RESIDENT_BYTES = 250 * 1024 * 1024
# Proxies cannot be sent what leads out of HTTP/1.
BEYOND_PROXIES = (b"PRI *", b"upgrade")
# nginx answers what it takes for HTTP/0.9, such as a request line without a version, without a header.
HEADERLESS = ("a header is cut off: b'{", "a header is cut off: b'<html>")
BARE = "bare"

HEADERS = (
    *("x-api-key", "authorization", "api-key", "anthropic-version", "anthropic-beta", "idempotency-key", "origin"),
    *("content-type", "content-encoding", "accept", "accept-encoding", "expect", "host", "cookie", "user-agent"),
    *("x-gateway-cache", "x-gateway-params", "x-request-id", "traceparent", "x-claude-code-session-id"),
    *("x-forwarded-for", "x-forwarded-prefix", "x-stainless-retry-count", "if-none-match", "range", "te", "trailer"),
)
ODD_BYTES = (
    *(b"\xff", b"\xe2\x98", "é☃".encode(), b"\xc0\x80", b"\t", b"\x7f", b"\x00", b"\r", b"\n x: y", b"", b" "),
    *(
        b"%0d%0a",
        b"a" * 3000,
        b"1" * 30,
        b"-1",
        b"NaN",
        b'"',
        b"\\",
        b",,,",
        b"*",
        b"../..",
        b"max-age=1e9",
        b"\xef\xbb\xbf",
    ),
)

VALUES = (*ODD_BYTES, b"a", b"application/json", KEY.encode())


class FrontEnd:
    """`dragoman serve` without an upstream, since counting tokens needs none. It ends with this process."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "GATEWAY_PORT": "0",
            "GATEWAY_ADMIN_PORT": "0",
            "GATEWAY_KEYS": f"fuzz:{KEY}",
            "GATEWAY_SECRET": "t:secret",
            "GATEWAY_UPSTREAM_URL": "http://127.0.0.1:9/v1",
            "GATEWAY_LOG_FORMAT": "json",
        }
        command = (sys.executable, "-m", "gateway", "serve")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        atexit.register(self.process.kill)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = orjson.loads(line)
            if told["event"] == "listening":
                self.url = f"http://{told['client']}"
                break
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.urls = {BARE: self.url}
        folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._stack.callback(folder.cleanup)
        atexit.register(lambda: self.runner.run(self._stack.aclose()))
        for name in filter(find_proxy, PROXIES):
            opened = proxy(name, self.url, Path(folder.name), free_port())
            self.urls[name] = self.runner.run(self._stack.enter_async_context(opened))

    def converse(self, way: str, pieces: list[Piece]) -> Conversation:
        return self.runner.run(converse(self.urls[way], pieces, seconds=5))

    def check(self, way: str) -> None:
        """Check that it runs, serves other clients their own replies, and has not grown."""
        assert self.process.poll() is None, "the front end has ended"
        for _ in range(1 if way == BARE else 2):  # a proxy may share a connection
            told = self.runner.run(converse(self.urls[way], [request("GET", "/livez")], replies=1))
            assert [(reply.status, reply.body) for reply in told.replies] == [(200, LIVE_BODY)]
        statistics = Path(f"/proc/{self.process.pid}/statm")
        if statistics.exists():
            resident = int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            assert resident < MAX_RESIDENT_BYTES, f"the front end has grown to {resident >> 20} MiB"


@cache
def front_end() -> FrontEnd:
    return FrontEnd()


def fuzz_framing(random: Random) -> str:
    """Send several requests, damaged and cut into pieces, directly or through a proxy."""
    front = front_end()
    way = random.choice(list(front.urls))
    cases = SOUND_ONES if random.random() < 0.7 else ALL
    data = damaged(b"".join(random.choices(cases, k=random.randrange(1, 6))), random, random.randrange(4))
    if CANNOT_BE_READ in data or (way != BARE and any(word in data for word in BEYOND_PROXIES)):
        return "not sent"
    pieces: list[Piece] = []
    for piece in pieces_of(data, random) if len(data) < 2000 else [data]:
        pieces += [piece] if random.random() < 0.8 else [piece, 0.001]
    try:
        told = front.converse(way, [*pieces, 0.02, None])
    except ValueError as error:
        if way != "nginx" or not str(error).startswith(HEADERLESS):
            raise
        front.check(way)
        return "refused"
    assert way != BARE or told.end != "open", "the connection stays open though nothing more is sent"
    check_invariants(told, most=data.count(b"HTTP/") + 1, ours=way == BARE)
    front.check(way)
    return outcome_of(told)


def fuzz_headers(random: Random) -> str:
    """Send sound requests with odd bytes in the headers that the gateway reads, some of them repeated."""
    front = front_end()
    headers = [("x-api-key", KEY.encode()), ("content-type", b"application/json")]
    for _ in range(random.randrange(1, 4)):
        value = b"".join(
            random.choices((*ODD_BYTES, b"a", b"application/json", KEY.encode()), k=random.randrange(1, 4))
        )
        headers.insert(random.randrange(len(headers) + 1), (random.choice(HEADERS), value))
    method, path, body = random.choice((("POST", PATH, BODY), ("POST", PATH, BODY), ("GET", "/livez", b"")))
    told = front.converse(BARE, [request(method, path, body, headers), 0.02, None])
    check_invariants(told, most=2)
    front.check(BARE)
    return outcome_of(told)


def outcome_of(told: Conversation) -> str:
    if not told.statuses:
        return "not answered"
    return "answered" if set(told.statuses) == {200} else "refused"
